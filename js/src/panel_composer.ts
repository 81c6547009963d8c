/** The input box of a conversation, with Send, or Stop while an answer streams. */
import type { Conversation } from "./conversation.ts";
import { make, makeButton, write } from "./dom.ts";
import { Draft } from "./panel_draft.ts";
import { capital } from "./status.ts";

const RESTS = "Enter sends, Shift+Enter breaks the line";
const BUSY = "Esc stops the answer; Enter sends when it has ended";
const HELD = "Not sent yet: the answer is still coming. Esc stops it.";
const AWAY = "No connection to the kernel: it takes this when it is back";
const ANEW = "run the cell that shows this panel to begin anew";
const WAITS = "The kernel is busy: it takes this when it is free";

export class Composer {
  readonly element: HTMLElement;
  readonly #draft: Draft;
  readonly #send: HTMLButtonElement;
  readonly #stop: HTMLButtonElement;
  readonly #hint = make("div", "hint", { id: `ssechat-${Math.random().toString(36).slice(2)}` });
  /** What is worth an announcement; the rest is only there to be read. */
  readonly #spoken = make("span", "spoken", { role: "status", "aria-live": "polite" });
  /** Enter was pressed while an answer streams. */
  #held = false;

  constructor(
    private readonly conversation: Conversation,
    /** The reader wants to edit the last prompt. */
    editLast: () => void,
    private readonly sent: () => void,
  ) {
    this.#draft = new Draft("Message", {
      send: () => this.#press(),
      escape: () => conversation.stop(),
      up: editLast,
      input: () => {
        conversation.draft = this.#draft.text;
      },
    });
    this.#send = makeButton("send", () => this.#press());
    this.#stop = makeButton("stop", () => conversation.stop());
    // The second click of a double click on Send is meant for Send.
    this.#stop.addEventListener(
      "click",
      (event) => event.detail > 1 && event.stopImmediatePropagation(),
      { capture: true },
    );
    write(this.#send, "Send");
    write(this.#stop, "Stop");
    this.#stop.title = "Stop the answer";
    const box = make("div", "ask", {}, this.#draft.element, this.#send, this.#stop);
    this.#draft.element.setAttribute("aria-describedby", this.#hint.id);
    this.element = make("div", "composer", {}, box, this.#hint, this.#spoken);
  }

  focus(): void {
    this.#draft.element.focus({ preventScroll: true });
  }

  show(): void {
    const { busy, disabled, pending, waiting, draft, placeholder, kernel } = this.conversation;
    const hadFocus = [this.#send, this.#stop].some((one) => one === document.activeElement);
    const area = this.#draft.element;
    this.#draft.text = draft;
    area.placeholder = placeholder;
    area.disabled = disabled;
    area.readOnly = pending;
    this.#send.hidden = busy;
    this.#stop.hidden = !busy;
    this.#send.setAttribute("aria-disabled", String(disabled || pending || !draft.trim()));
    const stopping = this.conversation.running?.controls.pending === "stop";
    this.#stop.setAttribute("aria-disabled", String(stopping));
    if (hadFocus) (busy ? this.#stop : this.#send).focus({ preventScroll: true });
    if (!busy) this.#held = false;
    const waits = waiting ? (kernel.away ? AWAY : WAITS) : this.#held ? HELD : "";
    const urgent = kernel.lost ? `${capital(kernel.lost)}; ${ANEW}` : waits;
    write(this.#hint, urgent || (busy ? BUSY : RESTS));
    write(this.#spoken, urgent);
    this.#hint.hidden = disabled && !urgent;
    this.#hint.classList.toggle("ssechat-held", urgent !== "");
  }

  grow(): void {
    this.#draft.grow();
  }

  #press(): void {
    const { busy, disabled } = this.conversation;
    const prompt = this.#draft.text;
    if (disabled || !prompt.trim()) return;
    this.#held = busy;
    if (busy) this.show();
    else this.#ask(prompt);
  }

  #ask(prompt: string): void {
    this.conversation.ask("send", { prompt }, (ok) => {
      if (ok && this.conversation.draft === prompt) this.conversation.draft = "";
    });
    this.sent();
  }
}
