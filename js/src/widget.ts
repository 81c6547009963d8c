/** anywidget's model → a live answer, or a whole conversation. */
import { browserClock, type Clock } from "./clock.ts";
import type { RemoteStop } from "./controls.ts";
import { Conversation } from "./conversation.ts";
import type { PanelModel } from "./conversation_protocol.ts";
import type { KernelLink } from "./kernel_link.ts";
import { Panel } from "./panel.ts";
import type { Model } from "./protocol.ts";
import { Session } from "./session.ts";
import { View } from "./view.ts";

interface Initialized {
  readonly model: Model;
  readonly signal?: AbortSignal;
}

interface Rendered extends Initialized {
  readonly el: HTMLElement;
}

export interface Widget {
  initialize(context: Initialized): () => void;
  render(context: Rendered): () => void;
}

/** What all views of one model share. */
interface Shared {
  readonly kernel: KernelLink;
  show(): { readonly element: HTMLElement; close(): void };
  close(): void;
}

/** The trait `kind` says which of the two it is. */
function share(model: Model, clock: Clock, stopRemotely?: RemoteStop): Shared {
  if (model.get("kind") === "panel") {
    const conversation = new Conversation(model as PanelModel, clock, stopRemotely);
    const show = () => new Panel(conversation, clock);
    return { kernel: conversation.kernel, show, close: () => conversation.close() };
  }
  const session = new Session(model, clock, stopRemotely);
  const show = () => new View(session, clock);
  return { kernel: session.kernel, show, close: () => session.close() };
}

/**
 * anywidget calls the default export once per model, but hands `initialize` and each `render`
 * another proxy of it; so the one session begun here is theirs even where no key fits.
 */
export default function widget(clock: Clock = browserClock, stopRemotely?: RemoteStop): Widget {
  const sessions = new WeakMap<Model, Shared>();
  const begun = new Set<Shared>();

  const begin = (model: Model) => {
    const session = share(model, clock, stopRemotely);
    sessions.set(model, session);
    begun.add(session);
    return session;
  };
  const find = (model: Model) => sessions.get(model) ?? (begun.size === 1 ? [...begun][0] : null);

  return {
    initialize({ model, signal }) {
      const session = sessions.get(model) ?? begin(model);
      return onceOver(signal, () => {
        session.close();
        begun.delete(session);
        sessions.delete(model);
      });
    },
    render({ model, el, signal }) {
      const shared = find(model);
      const session = shared ?? share(model, clock, stopRemotely);
      const view = session.show();
      el.append(view.element);
      const back = focusBack(el);
      const heed = () => session.kernel.heed(el);
      heed();
      model.on("comm_live_update", heed);
      return onceOver(signal, () => {
        model.off("comm_live_update", heed);
        view.close();
        back();
        if (!shared) session.close();
      });
    },
  };
}

/** Keep in mind whether it has the focus; what is returned gives that back to its cell, when it has gone. */
function focusBack(el: HTMLElement): () => void {
  let cell: HTMLElement | null = null;
  el.addEventListener("focusin", () => {
    cell = el.closest(".jp-Cell");
  });
  el.addEventListener("focusout", ({ relatedTarget }) => {
    if (relatedTarget) cell = null;
  });
  return () => document.activeElement === document.body && cell?.focus({ preventScroll: true });
}

/** Clean up at the signal or at the call of what is returned, whichever comes first, once. */
function onceOver(signal: AbortSignal | undefined, run: () => void): () => void {
  let over = false;
  const end = () => {
    if (!over) run();
    over = true;
  };
  signal?.addEventListener("abort", end, { once: true });
  return end;
}
