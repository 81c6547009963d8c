/** Text that is cut anywhere → text that already looks as it will when the rest is there. */
import { formulaAt, HALF_FORMULA } from "./math.ts";

/** A line that may still become anything: a rule, a heading, an item, a task, a fence, a definition. */
const UNDECIDED =
  /^[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*(?:[-=_* \t]+|[+>]|\d{1,9}[.)]?|#{1,6}|`{1,2}|~{1,2}|(?:`{3,}|~{3,})[^`\n]*|\$\$?|\\\[?|\[[ \w^]{0,9}\]?[ \t]*|\[[^\]\n]*\]:.*)$/;
/** The first row of a table, which is one only when the line below it says so. */
const FIRST_ROW = /^[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*\|/;
/** The line below a first row, as far as it is there. */
const RULER = /^[ \t>]*[|:-][ \t|:-]*$/;
/** What is longer than this has been decided. */
const LINE = 400;

/** Where the lines begin that cannot be shown yet. */
export function undecidedFrom(text: string): number {
  const start = text.lastIndexOf("\n") + 1;
  const last = text.slice(start);
  if (last.length > LINE) return text.length;
  const before = text.lastIndexOf("\n", start - 2) + 1;
  const firstRow = start > 0 && FIRST_ROW.test(text.slice(before, start));
  if (firstRow && RULER.test(last || "-") && start - before <= LINE) return before;
  if (UNDECIDED.test(last) || (last.includes("|") && RULER.test(last))) return start;
  return FIRST_ROW.test(last) ? start : text.length;
}

interface Opener {
  readonly marker: string;
  /** Where the text after the marker begins. */
  readonly from: number;
}

/** What has no end yet gets one, or loses its beginning. */
export function completed(content: string): string {
  return new Completion(content).run();
}

/** Goes over inline text once, as a reader of Markdown would, and keeps what is open. */
class Completion {
  #out = "";
  #at = 0;
  readonly #open: Opener[] = [];
  readonly #brackets: number[] = [];

  constructor(private readonly text: string) {}

  run(): string {
    while (this.#at < this.text.length) this.#step();
    return this.#close();
  }

  #step(): void {
    const { text } = this;
    const rest = text.length - this.#at;
    const char = text[this.#at] ?? "";
    if (char === "$" || (char === "\\" && /[([]/.test(text[this.#at + 1] ?? ""))) this.#formula();
    else if (char === "\\" && rest === 1) this.#at++;
    else if (char === "\\") this.#keep(2);
    else if (char === "`") this.#code();
    else if (char === "*" || char === "_" || char === "~") this.#emphasis(char);
    else if (char === "[" || text.startsWith("![", this.#at)) this.#bracket();
    else if (char === "]") this.#bracketEnd();
    else if (char === "<") this.#angle();
    else if (char === "&") this.#entity();
    else this.#keep(1);
  }

  /** Go on by so much, which stays as it is. */
  #keep(length: number): void {
    this.#out += this.text.slice(this.#at, this.#at + length);
    this.#at += length;
  }

  #rest(): string {
    return this.text.slice(this.#at);
  }

  #code(): void {
    const run = /^`+/.exec(this.#rest())?.[0] ?? "`";
    const body = this.text.slice(this.#at + run.length);
    const end = new RegExp(`(?<!\`)${run}(?!\`)`).exec(body);
    if (end) {
      this.#keep(run.length * 2 + end.index);
      return;
    }
    const inside = body.replace(/`+$/, "");
    if (inside.trim()) this.#out += `${run}${inside}${run}`;
    this.#at = this.text.length;
  }

  #formula(): void {
    const formula = formulaAt(this.text, this.#at);
    if (formula) {
      this.#keep(formula.end - this.#at);
      return;
    }
    this.#halfFormula();
  }

  #halfFormula(): void {
    const opener = /^(?:\$\$?|\\[([])/.exec(this.#rest())?.[0] ?? "$";
    const body = this.text.slice(this.#at + opener.length);
    const money = opener === "$" && (!/^[^\s\d]/.test(body) || body.includes("$"));
    if (money && body) {
      this.#keep(1);
      return;
    }
    const tex = body.replace(/[\s$\\]+$/, "").trimStart();
    if (tex) this.#out += `${HALF_FORMULA[0]}${tex}${HALF_FORMULA[1]}`;
    this.#at = this.text.length;
  }

  #emphasis(char: string): void {
    const run = /^(\*+|_+|~+)/.exec(this.#rest())?.[0] ?? char;
    const before = this.text[this.#at - 1] ?? " ";
    const after = this.text[this.#at + run.length] ?? "";
    const last = this.#open.at(-1);
    if (last?.marker[0] === char && /\S/.test(before)) this.#emphasisEnd(last, run, after);
    else if (after || run.length > (char === "~" ? 2 : 3)) this.#emphasisBegin(run, before, after);
    else this.#at += run.length;
  }

  #emphasisBegin(run: string, before: string, after: string): void {
    const inWord = /[\p{L}\p{N}]/u.test(before);
    // A single star inside of a word is a product, and a single tilde means "about".
    const plain = (run.length === 1 && inWord) || run === "~" || (run[0] === "_" && inWord);
    if (/\S/.test(after) && !plain && run.length <= 3) {
      this.#open.push({ marker: run, from: this.#out.length + run.length });
    }
    this.#keep(run.length);
  }

  #emphasisEnd(last: Opener, run: string, after: string): void {
    const half = run.length < last.marker.length;
    if (!half) this.#open.pop();
    if (half && !after) this.#at += run.length;
    else this.#keep(run.length);
  }

  #bracket(): void {
    const length = this.text[this.#at] === "!" ? 2 : 1;
    const inWord = length === 1 && /[\p{L}\p{N}\])]/u.test(this.text[this.#at - 1] ?? "");
    const end = this.#labelEnd(this.#at + length);
    if (inWord || this.#linkEnd(end + 1) !== 0) {
      this.#keep(length);
      return;
    }
    this.#at += length;
    this.#brackets.push(end);
  }

  /** Where the bracket after `from` closes; the length of the text where it has not, yet. */
  #labelEnd(from: number): number {
    let depth = 1;
    for (let at = from; at < this.text.length; at++) {
      if (this.text[at] === "\\") at++;
      else if (this.text[at] === "[") depth++;
      else if (this.text[at] === "]" && --depth === 0) return at;
    }
    return this.text.length;
  }

  /** 0 where what follows a label may still become an address, else where it ends, or -1. */
  #linkEnd(from: number): number {
    const { text } = this;
    if (from >= text.length) return 0;
    if (text[from] === "[") return text.indexOf("]", from) < 0 ? 0 : text.indexOf("]", from);
    if (text[from] !== "(") return -1;
    let depth = 0;
    for (let at = from; at < text.length; at++) {
      if (text[at] === "\\") at++;
      else if (text[at] === "(") depth++;
      else if (text[at] === ")" && --depth === 0) return at;
      else if (text[at] === "\n" && text[at + 1] === "\n") return -1;
    }
    return 0;
  }

  #bracketEnd(): void {
    // The address that has not ended is not shown.
    if (this.#brackets.at(-1) === this.#at) this.#at = this.text.length;
    else this.#keep(1);
  }

  #angle(): void {
    const half = /^<[A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]*$|^<$/.test(this.#rest());
    if (half) this.#at++;
    else this.#keep(1);
  }

  #entity(): void {
    const half = /^&#?[A-Za-z0-9]{0,31}$/.test(this.#rest());
    if (half && this.#rest().length < 12) this.#at = this.text.length;
    else this.#keep(1);
  }

  #close(): string {
    let text = this.#out;
    const tail = /\s*$/.exec(text)?.[0] ?? "";
    text = text.slice(0, text.length - tail.length);
    for (const { marker, from } of this.#open.reverse()) {
      // Nothing stands behind the marker but other markers: it waits with them.
      if (text.length <= from) text = text.slice(0, from - marker.length);
      else text += marker;
    }
    return text + tail;
  }
}
