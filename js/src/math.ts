/** `$…$`, `$$…$$`, `\(…\)`, `\[…\]` → tokens of markdown-it; money is no formula. */
import type { MarkdownIt, StateBlock, StateInline } from "markdown-it";

/** In units of UTF-16; what is longer is text. */
export const LONGEST_FORMULA = 2_000;

/** Stand around a formula whose end has not come; read only where `env.half` is true. */
export const HALF_FORMULA = ["$\u{FDD0}", "\u{FDD0}$"] as const;

export interface Formula {
  readonly tex: string;
  readonly display: boolean;
  /** Where the text goes on. */
  readonly end: number;
}

const DISPLAYED: Record<string, string> = { $$: "$$", "\\[": "\\]" };

/** The formula that begins at `start`, by Pandoc's rules, or null. */
export function formulaAt(text: string, start: number): Formula | null {
  const pair = text.slice(start, start + 2);
  const display = DISPLAYED[pair];
  if (display) return enclosed(text, start + 2, display, true);
  if (pair === "\\(") return enclosed(text, start + 2, "\\)", false);
  return text[start] === "$" ? dollars(text, start + 1) : null;
}

function enclosed(text: string, from: number, close: string, display: boolean): Formula | null {
  const at = closing(text, from, close);
  if (at < 0) return null;
  const tex = text.slice(from, at).trim();
  // Escaped brackets around an escaped backslash are no formula.
  return /[^\\]/.test(tex) ? { tex, display, end: at + close.length } : null;
}

/** No space inside the dollars, no digit after them, no code between them: "$5 and $10" is money. */
function dollars(text: string, from: number): Formula | null {
  const at = closing(text, from, "$");
  if (at <= from || /\s/.test(text[from] ?? "") || /\s/.test(text[at - 1] ?? "")) return null;
  if (/\d/.test(text[at + 1] ?? "")) return null;
  const tex = text.slice(from, at);
  return tex.includes("`") ? null : { tex, display: false, end: at + 1 };
}

function closing(text: string, from: number, close: string): number {
  const limit = Math.min(text.length, from + LONGEST_FORMULA);
  for (let at = from; at < limit; at++) {
    if (text.startsWith(close, at)) return at;
    if (text[at] === "\\") at++;
  }
  return -1;
}

/** Teach a parser the formulas. */
export function formulas(parser: MarkdownIt): void {
  parser.inline.ruler.before("escape", "formula", inlineRule);
  const alt = ["paragraph", "reference", "blockquote", "list"];
  parser.block.ruler.before("fence", "formula", blockRule, { alt });
}

function inlineRule(state: StateInline, silent: boolean): boolean {
  if (state.env["half"] === true && halfFormula(state, silent)) return true;
  const formula = formulaAt(state.src, state.pos);
  if (!formula || formula.end > state.posMax) return false;
  if (!silent) {
    const token = state.push("formula", "math", 0);
    token.content = formula.tex;
    token.markup = state.src.slice(state.pos, formula.end);
    token.meta = { display: formula.display };
  }
  state.pos = formula.end;
  return true;
}

function halfFormula(state: StateInline, silent: boolean): boolean {
  const [open, close] = HALF_FORMULA;
  if (!state.src.startsWith(open, state.pos)) return false;
  const at = state.src.indexOf(close, state.pos + open.length);
  if (at < 0) return false;
  if (!silent) {
    const token = state.push("formula", "math", 0);
    token.content = state.src.slice(state.pos + open.length, at);
    token.meta = { display: false, half: true };
  }
  state.pos = at + close.length;
  return true;
}

/** Lines of their own: from `$$` to `$$`, or `\[` to `\]`, without an empty line in between. */
function blockRule(state: StateBlock, start: number, end: number, silent: boolean): boolean {
  const lines: string[] = [];
  if ((state.sCount[start] ?? 0) - state.blkIndent >= 4) return false;
  const begin = (state.bMarks[start] ?? 0) + (state.tShift[start] ?? 0);
  if (!DISPLAYED[state.src.slice(begin, begin + 2)]) return false;
  for (let line = start; line < end && !state.isEmpty(line); line++) {
    if (line > start && (state.sCount[line] ?? 0) < state.blkIndent) return false;
    lines.push(state.getLines(line, line + 1, state.blkIndent, false).trim());
    const tex = displayed(lines);
    if (tex === undefined) return false;
    if (tex === null) continue;
    if (!silent) pushBlock(state, start, line + 1, tex, lines.join("\n"));
    return true;
  }
  return false;
}

/** The formula of these lines; null while it is not closed, undefined when it cannot be. */
function displayed(lines: readonly string[]): string | null | undefined {
  const first = lines[0] ?? "";
  const close = DISPLAYED[first.slice(0, 2)];
  if (!close) return undefined;
  const text = lines.join("\n");
  if (text.length > LONGEST_FORMULA) return undefined;
  const at = closing(text, 2, close);
  if (at < 0) return null;
  const tex = text.slice(2, at).trim();
  return at + close.length === text.length && tex ? tex : undefined;
}

function pushBlock(state: StateBlock, start: number, end: number, tex: string, source: string) {
  const token = state.push("formula", "math", 0);
  token.block = true;
  token.content = tex;
  token.markup = source;
  token.map = [start, end];
  token.meta = { display: true };
  state.line = end;
}
