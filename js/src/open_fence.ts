/** The lines of a fence that is open → code that only grows. */
import { CodeBlock } from "./code_block.ts";
import { infoOf, type Token } from "./parser.ts";

export class OpenFence {
  readonly kind = "fence";
  readonly block: CodeBlock;
  readonly #closing: RegExp;
  readonly #maybeClosing: RegExp;
  /** Whether the line that comes is known to be code. */
  #inLine = false;

  constructor(
    token: Token,
    /** All that has been taken, from the first line on. */
    public source: string,
  ) {
    this.block = new CodeBlock(infoOf(token));
    const mark = token.markup[0] ?? "`";
    this.#closing = new RegExp(`^ {0,3}${mark}{${token.markup.length},}[ \\t]*$`);
    this.#maybeClosing = new RegExp(`^ {0,3}${mark}*[ \\t]*$`);
  }

  /** Take what is code from the beginning of `text`; returns how much, and whether the fence is closed. */
  feed(text: string): { taken: number; closed: boolean } {
    let taken = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", taken)) {
      const closed = !this.#inLine && this.#closing.test(text.slice(taken, end));
      if (closed) return this.#take(text, taken, end + 1, true);
      taken = end + 1;
      this.#inLine = false;
    }
    const rest = text.slice(taken);
    if (rest && (this.#inLine || !this.#maybeClosing.test(rest))) {
      this.#inLine = true;
      taken = text.length;
    }
    return this.#take(text, taken, taken, false);
  }

  /** Take the rest: there is nothing after it. */
  end(rest: string): void {
    const closed = !this.#inLine && this.#closing.test(rest);
    this.#take(rest, closed ? 0 : rest.length, rest.length, closed);
  }

  #take(text: string, code: number, taken: number, closed: boolean) {
    this.block.append(text.slice(0, code));
    this.source += text.slice(0, taken);
    return { taken, closed };
  }
}

/** Whether a fence ends before its text does. */
export function isClosedFence(token: Token, lines: readonly string[]): boolean {
  const [first, last] = token.map ?? [0, 0];
  const mark = token.markup[0] ?? "`";
  const closing = new RegExp(`^ {0,3}${mark}{${token.markup.length},}[ \\t]*$`);
  return last - first > 1 && closing.test(lines[last - 1] ?? "");
}
