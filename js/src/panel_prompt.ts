/** What the reader asked → a bubble that can be edited in place. */
import type { Conversation } from "./conversation.ts";
import type { Turn } from "./conversation_protocol.ts";
import { make, makeButton, write } from "./dom.ts";
import { Draft } from "./panel_draft.ts";
import { Switcher } from "./panel_switcher.ts";

export class PromptView {
  readonly element: HTMLElement;
  readonly number: number;
  readonly #bubble: HTMLElement;
  readonly #edit: HTMLButtonElement;
  readonly #switcher: Switcher;
  readonly #row: HTMLElement;
  #form: HTMLElement | null = null;

  constructor(
    private readonly conversation: Conversation,
    private readonly prompt: Turn["prompt"],
    /** An edited prompt was sent: the reader goes on in the input box. */
    private readonly goOn: () => void,
  ) {
    this.number = prompt.number;
    this.#bubble = make("div", "prompt-text", { dir: "auto" }, prompt.text);
    this.#edit = makeButton("quiet ssechat-edit", () => this.edit());
    write(this.#edit, "Edit");
    this.#edit.title = "Edit the prompt, on a branch of its own";
    this.#switcher = new Switcher("prompt", (step) => {
      if (conversation.rests)
        conversation.ask("switch", { kind: "prompt", number: this.number, step });
    });
    this.#row = make("div", "row", {}, this.#switcher.element, this.#edit);
    this.element = make("article", "prompt", { "aria-label": "You" }, this.#bubble, this.#row);
  }

  show(prompt: Turn["prompt"], rests: boolean): void {
    this.#switcher.show(prompt, rests);
    this.#edit.setAttribute("aria-disabled", String(!rests));
  }

  /** Open the prompt for editing; not while an answer streams. */
  edit(): void {
    if (!this.conversation.rests || this.#form) return;
    const draft = new Draft("Edit the prompt", {
      send: () => this.#send(draft.text),
      escape: () => this.#close(),
    });
    const send = makeButton("send", () => this.#send(draft.text));
    const cancel = makeButton("cancel", () => this.#close());
    write(send, "Send");
    write(cancel, "Cancel");
    const row = make("div", "row", {}, cancel, send);
    this.#form = make("div", "rewording", {}, draft.element, row);
    this.#bubble.hidden = this.#row.hidden = true;
    this.element.append(this.#form);
    draft.text = this.prompt.text;
    draft.element.focus({ preventScroll: true });
    draft.element.scrollIntoView?.({ block: "nearest" });
  }

  #send(text: string): void {
    if (!text.trim() || !this.conversation.rests) return;
    if (text === this.prompt.text) this.#close();
    else {
      this.conversation.ask("edit", { number: this.number, prompt: text }, (ok) => {
        if (ok) this.#close("sent");
      });
    }
  }

  #close(why: "sent" | "left" = "left"): void {
    const focused = this.#form?.contains(document.activeElement);
    this.#form?.remove();
    this.#form = null;
    this.#bubble.hidden = this.#row.hidden = false;
    if (focused && why === "sent") this.goOn();
    else if (focused) this.#edit.focus({ preventScroll: true });
  }
}
