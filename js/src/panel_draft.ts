/** A text area that grows with its text → what was meant by the keys pressed in it. */
import { make } from "./dom.ts";

interface Meant {
  /** Enter, by itself and not to choose a word of an input method. */
  readonly send: () => void;
  readonly escape: () => void;
  /** The arrow up in an empty box. */
  readonly up?: () => void;
  readonly input?: () => void;
}

export class Draft {
  readonly element: HTMLTextAreaElement;
  #composing = false;

  constructor(label: string, meant: Meant) {
    this.element = make("textarea", "draft", {
      rows: "1",
      dir: "auto",
      "aria-label": label,
      "data-lm-suppress-shortcuts": "true",
    });
    const area = this.element;
    // JupyterLab takes line breaks and undo away from text areas in a cell; being the first here, we keep them.
    area.addEventListener("beforeinput", (event) => event.stopImmediatePropagation());
    area.addEventListener("keydown", (event) => this.#press(event, meant));
    area.addEventListener("input", () => {
      this.grow();
      meant.input?.();
    });
    area.addEventListener("compositionstart", () => {
      this.#composing = true;
    });
    area.addEventListener("compositionend", () => {
      this.#composing = false;
    });
  }

  get text(): string {
    return this.element.value;
  }

  /** Show another text; one that is being composed is left alone. */
  set text(text: string) {
    if (this.#composing || text === this.element.value) return;
    this.element.value = text;
    this.grow();
  }

  grow(): void {
    const { style } = this.element;
    style.height = "auto";
    const { scrollHeight } = this.element;
    // What is not laid out has no height yet, as in an accordion that is closed.
    if (scrollHeight) style.height = `${scrollHeight + 2}px`;
  }

  #press(event: KeyboardEvent, meant: Meant): void {
    // 229: an input method has the key; Safari says so only after the composition has ended.
    if (event.isComposing || this.#composing || event.keyCode === 229) return;
    const plain = !(event.shiftKey || event.ctrlKey || event.altKey || event.metaKey);
    if (!plain) return;
    if (event.key === "Enter") take(event, meant.send);
    else if (event.key === "Escape") take(event, meant.escape);
    else if (event.key === "ArrowUp" && meant.up && this.text === "") take(event, meant.up);
  }
}

function take(event: Event, run: () => void): void {
  event.preventDefault();
  event.stopPropagation();
  run();
}
