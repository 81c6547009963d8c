/** Lines of code → a block with a bar; what is written stays where it is. */
import { copy } from "./copy.ts";
import { make, makeButton, write } from "./dom.ts";

/** So many lines are laid out together; earlier groups are left alone. */
const LINES = 50;
const COPIED_FOR = 2_000;

/** Code that grows at its end. */
export class CodeBlock {
  readonly element: HTMLElement;
  readonly #code = make("code", "code-text");
  #group: globalThis.Text | null = null;
  #lines = 0;

  constructor(info: string) {
    const language = languageOf(info);
    const name = make("span", "code-language", {}, language);
    const pre = make("pre", "code-lines", { tabindex: "0", dir: "ltr" }, this.#code);
    const label = language ? `Code, ${language}` : "Code";
    pre.setAttribute("role", "group");
    pre.setAttribute("aria-label", label);
    const bar = make("div", "code-bar", {}, name, copyButton(pre));
    this.element = make("div", "code", { "data-language": language }, bar, pre);
  }

  append(text: string): void {
    for (let rest = text; rest; ) {
      const group = this.#group ?? this.#openGroup();
      const end = this.#lineEnds(rest);
      group.appendData(rest.slice(0, end));
      rest = rest.slice(end);
      if (this.#lines === LINES) this.#group = null;
    }
  }

  /** Everything up to the end of the group, or of the text. */
  #lineEnds(text: string): number {
    let end = 0;
    while (this.#lines < LINES) {
      const next = text.indexOf("\n", end) + 1;
      if (!next) return text.length;
      this.#lines++;
      end = next;
    }
    return end;
  }

  #openGroup(): globalThis.Text {
    const text = document.createTextNode("");
    this.#code.append(make("span", "code-group", {}, text));
    this.#group = text;
    this.#lines = 0;
    return text;
  }
}

/** A whole block of code, written the same way. */
export function codeBlock(info: string, text: string): HTMLElement {
  const block = new CodeBlock(info);
  block.append(text);
  return block.element;
}

/** The first word of what stands after the fence. */
function languageOf(info: string): string {
  return info.trim().split(/\s/, 1)[0] ?? "";
}

function copyButton(pre: HTMLElement): HTMLButtonElement {
  const button = makeButton("code-copy", async () => {
    // The line end before the closing fence is the fence's own.
    const done = await copy((pre.textContent ?? "").replace(/\n$/, ""));
    write(button, done ? "Copied" : "Not copied");
    setTimeout(() => write(button, "Copy"), COPIED_FOR);
  });
  write(button, "Copy");
  button.setAttribute("aria-label", "Copy the code");
  return button;
}
