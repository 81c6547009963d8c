/** The text of an answer → Markdown as it is drawn, or as it was written. */
import type { Clock } from "./clock.ts";
import { makeButton, write } from "./dom.ts";
import { hasText } from "./message.ts";
import type { Text } from "./patches.ts";
import { Answer, Transcript } from "./transcript.ts";

export class AnswerText {
  /** The two, of which at most one is seen. */
  readonly elements: readonly [HTMLElement, HTMLElement];
  readonly button: HTMLButtonElement;
  readonly #drawn: Answer;
  readonly #written = new Transcript("raw-text", "Answer as it was written");
  #raw = false;

  /** `changed` is called when the reader wants to see the other one. */
  constructor(clock: Clock, changed: () => void) {
    this.#drawn = new Answer(clock);
    this.elements = [this.#drawn.element, this.#written.element];
    this.button = makeButton("quiet ssechat-raw", () => {
      this.#raw = !this.#raw;
      changed();
    });
    write(this.button, "Raw");
    this.button.title = "The Markdown as it was written";
  }

  /** `over` is whether nothing more is coming. */
  show(content: Text[], over: boolean): void {
    const raw = this.#raw;
    const empty = !hasText(content);
    if (raw) this.#written.show(content);
    else this.#drawn.show(content, over);
    this.#drawn.element.hidden = raw || empty;
    this.#written.element.hidden = !raw || empty;
    this.button.hidden = empty;
    this.button.setAttribute("aria-pressed", String(raw));
  }

  close(): void {
    this.#drawn.close();
  }
}
