/** Lines of code → a block with a bar; what is written stays where it is. */
import { copy } from "./copy.ts";
import { make, makeButton, write } from "./dom.ts";
import { INSERT } from "./notebook.ts";

/** So many lines are laid out together; earlier groups are left alone. */
const LINES = 50;
const COPIED_FOR = 2_000;

/** Code that grows at its end. */
export class CodeBlock {
  readonly element: HTMLElement;
  readonly #code = make("code", "code-text");
  #group: HTMLElement | null = null;
  #lines = 0;

  constructor(info: string) {
    const language = languageOf(info);
    const name = make("span", "code-language", {}, language);
    const pre = make("pre", "code-lines", { tabindex: "0", dir: "ltr" }, this.#code);
    const label = language ? `Code, ${language}` : "Code";
    pre.setAttribute("role", "group");
    pre.setAttribute("aria-label", label);
    const bar = make("div", "code-bar", {}, name, ...buttonsOf(pre));
    this.element = make("div", "code", { "data-language": language }, bar, pre);
  }

  append(text: string): void {
    for (let rest = text; rest; ) {
      const group = this.#group ?? this.#openGroup();
      const end = this.#lineEnds(rest);
      // A text of its own: a browser shapes a text that grows anew from its beginning.
      group.append(rest.slice(0, end));
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

  #openGroup(): HTMLElement {
    this.#group = this.#code.appendChild(make("span", "code-group"));
    this.#lines = 0;
    return this.#group;
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

/** For a cell of its own, where the host allows that, and Copy. */
function buttonsOf(pre: HTMLElement): HTMLButtonElement[] {
  const insert = codeButton("insert", "Insert as cell", "Inserted", pre, (detail) => {
    const wish = new CustomEvent(INSERT, { bubbles: true, cancelable: true, detail });
    return !insert.dispatchEvent(wish);
  });
  insert.title = "Insert the code as a cell below this one";
  return [insert, codeButton("copy", "Copy", "Copied", pre, copy)];
}

function codeButton(
  name: string,
  text: string,
  done: string,
  pre: HTMLElement,
  act: (code: string) => boolean | Promise<boolean>,
): HTMLButtonElement {
  const button = makeButton(`code-button ssechat-code-${name}`, async () => {
    // The line end before the closing fence is the fence's own.
    const ok = await act((pre.textContent ?? "").replace(/\n$/, ""));
    say(ok ? done : `Not ${done.toLowerCase()}`);
    setTimeout(() => say(text), COPIED_FOR);
  });
  const say = (word: string) => {
    write(button, word);
    // Said aloud too when it changes; there is another Copy, of the whole answer.
    button.setAttribute("aria-label", word === "Copy" ? "Copy the code" : word);
  };
  say(text);
  return button;
}
