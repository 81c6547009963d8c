/** The prompt of an answer → a box to change it in. */
import { make, makeButton, write } from "./dom.ts";
import { Draft } from "./panel_draft.ts";

export class PromptEditor {
  readonly element: HTMLElement;
  readonly #draft: Draft;

  /** `send` takes the new prompt; `left` is called when the reader gives it up. */
  constructor(
    private readonly send: (prompt: string) => void,
    private readonly left: () => void,
  ) {
    this.#draft = new Draft("Edit the prompt", {
      send: () => this.#send(),
      escape: () => this.#leave(),
    });
    const submit = makeButton("send", () => this.#send());
    const cancel = makeButton("cancel", () => this.#leave());
    write(submit, "Send");
    write(cancel, "Cancel");
    const row = make("div", "edit-row", {}, cancel, submit);
    this.element = make("div", "editing", {}, this.#draft.element, row);
    this.element.hidden = true;
  }

  open(prompt: string): void {
    if (!this.element.hidden) return;
    this.element.hidden = false;
    this.#draft.text = prompt;
    this.#draft.grow();
    this.#draft.element.focus({ preventScroll: true });
  }

  close(): void {
    this.element.hidden = true;
    this.#draft.text = "";
  }

  #send(): void {
    if (this.#draft.text.trim()) this.send(this.#draft.text);
  }

  #leave(): void {
    this.close();
    this.left();
  }
}
