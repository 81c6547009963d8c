/** One session → one view of it; everything is drawn in animation frames. */
import { AnswerText } from "./answer_text.ts";
import type { Clock } from "./clock.ts";
import { hides, make, makeButton, write } from "./dom.ts";
import { Footer } from "./footer.ts";
import { hasText } from "./message.ts";
import { offerCells } from "./notebook.ts";
import { PartsView } from "./parts_view.ts";
import { PromptEditor } from "./prompt_editor.ts";
import type { Session } from "./session.ts";
import { type Moment, momentOf, StatusLine } from "./status.ts";
import { ThinkingPanel } from "./transcript.ts";

/** Clocks that run are looked at so often, in milliseconds. */
const TICK = 250;
const REPLACED = "The server took its answer back and put this in its place:";

export class View {
  readonly element = make("section", "root");
  readonly #status = new StatusLine();
  readonly #stop: HTMLButtonElement;
  readonly #resume: HTMLButtonElement;
  readonly #problem = make("div", "problem", { role: "alert" });
  readonly #thinking = new ThinkingPanel();
  readonly #steps = new PartsView();
  readonly #replaced = make("div", "replaced");
  readonly #answer: AnswerText;
  readonly #calls = new PartsView();
  readonly #body: HTMLElement;
  readonly #editor: PromptEditor;
  readonly #footer: Footer;
  #began = false;
  #frame: (() => void) | null = null;
  #tick: (() => void) | null = null;
  readonly #leave: () => void;

  constructor(
    private readonly session: Session,
    private readonly clock: Clock,
  ) {
    this.#answer = new AnswerText(clock, () => this.#draw());
    this.#stop = makeButton("stop", () => session.controls.press("stop"));
    this.#resume = makeButton("resume", () => session.controls.press("resume"));
    const bar = make("div", "bar", {}, this.#status.element, this.#stop, this.#resume);
    write(this.#replaced, REPLACED);
    this.#body = make(
      "div",
      "body",
      {},
      this.#thinking.element,
      this.#steps.element,
      this.#replaced,
      ...this.#answer.elements,
      this.#calls.element,
    );
    this.#footer = new Footer(
      session,
      clock,
      this.#answer.button,
      () => this.#editor.open(session.prompt),
      () => this.#draw(),
    );
    this.#editor = new PromptEditor(
      (prompt) => session.controls.press("edit", prompt),
      () => this.#footer.focusEdit(),
    );
    offerCells(this.element, session.notebook);
    const rows = [this.#body, this.#footer.element, this.#editor.element];
    this.element.append(bar, this.#problem, ...rows);
    this.#leave = session.store.subscribe(() => {
      // A short answer may begin and end between two frames.
      this.#began ||= session.store.message.status === "streaming";
      this.#schedule();
    });
    this.#draw();
  }

  close(): void {
    this.#leave();
    this.#frame?.();
    this.#tick?.();
    this.#footer.close();
    this.#answer.close();
    this.element.remove();
  }

  #schedule(): void {
    this.#frame ??= this.clock.frame(() => {
      this.#frame = null;
      this.#draw();
    });
  }

  #draw(): void {
    const moment = this.#moment();
    const focused = document.activeElement;
    this.#drawFrame(moment);
    this.#status.show(moment);
    this.#drawButtons(moment);
    this.#drawBody(moment);
    this.#footer.show(moment);
    this.#drawFolded();
    this.#keepFocus(focused);
    const again = this.session.outputs.write(this.element);
    this.#keepTime(again || moment.message.status === "streaming");
  }

  /** Where what had the focus has gone, the first button that is left has it. */
  #keepFocus(focused: Element | null): void {
    if (!hides(this.element, focused)) return;
    const buttons = [...this.element.querySelectorAll("button")];
    buttons.find((button) => !button.closest("[hidden]"))?.focus({ preventScroll: true });
  }

  #moment(): Moment {
    const { session } = this;
    const whole = session.store.message.status === "finished" && !session.prompt;
    return momentOf(session, this.clock.now(), whole ? "" : session.lost);
  }

  #drawFrame({ message, phase }: Moment): void {
    const { store, label } = this.session;
    const { dataset } = this.element;
    dataset["status"] = message.status;
    dataset["phase"] = phase;
    this.element.toggleAttribute("data-cut", message.cut);
    dataset["seq"] = String(store.have);
    dataset["verified"] = store.verified === null ? "" : String(store.verified);
    this.element.setAttribute("aria-label", label || "Answer of the model");
    this.element.classList.toggle("ssechat-live", message.status === "streaming");
  }

  #drawButtons({ message, pending }: Moment): void {
    const live = message.status === "streaming";
    const cut = message.cut;
    const again = cut || ["stopped", "interrupted", "failed"].includes(message.status);
    this.#stop.hidden = !live;
    this.#resume.hidden = live || !again || this.session.lost !== "";
    label(this.#stop, "Stop", "Stop the answer", pending === "stop");
    label(
      this.#resume,
      cut ? "Continue" : "Resume",
      cut ? "Continue the answer" : "Resume the answer",
      pending === "resume",
    );
    if (this.#began) this.#editor.close();
    this.#began = false;
    write(this.#problem, this.session.controls.problem);
    this.#problem.hidden = !this.session.controls.problem;
  }

  #drawBody({ message, phase }: Moment): void {
    const { thinking, content } = message;
    const answered = hasText(content);
    const thinks =
      message.status === "streaming" && !answered && (phase === "thinking" || hasText(thinking));
    const seconds = this.session.store.timing.thinking(message, this.clock.now());
    this.#thinking.show(thinking, thinks, !answered, seconds);
    this.#answer.show(content, message.status !== "streaming");
    this.#replaced.hidden = !message.replaced;
    this.#steps.show(message.steps);
    this.#calls.show(message.calls);
  }

  #drawFolded(): void {
    const shown = [...this.#body.children].some((child) => !(child as HTMLElement).hidden);
    this.#body.hidden = !shown || this.#footer.folded;
    this.element.dataset["folded"] = String(this.#footer.folded);
  }

  #keepTime(again: boolean): void {
    this.#tick?.();
    this.#tick = again ? this.clock.after(TICK, () => this.#schedule()) : null;
  }
}

function label(button: HTMLButtonElement, text: string, title: string, busy: boolean): void {
  write(button, text);
  button.title = title;
  // Not `disabled`, which would take the focus away.
  button.setAttribute("aria-disabled", String(busy));
}
