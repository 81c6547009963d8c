/** A long open paragraph → where it may be cut in two, so that nothing after changes what is before. */
import { LONGEST_FORMULA } from "./math.ts";
import { isClosed, type References } from "./parser.ts";

/** A paragraph is cut from this length on, in units of UTF-16. */
export const LONG = 320;
/** How far from the end it is tried, one after the other. */
const FROM_END = [48, 120, 250];
/** A gap between words, or between two Chinese characters. */
const GAP = /(?<=\S)(?=\s+\S)|(?<=\p{Script=Han})(?=\p{Script=Han})/gu;

/** The place of the cut, or 0 where there is none yet. `whole` is whether the paragraph begins here. */
export function cutOf(text: string, whole: boolean, references: References): number {
  // It may still turn out to be a definition.
  if (whole && /^\s*\[/.test(text)) return 0;
  for (const distance of FROM_END) {
    const at = gapBefore(text, text.length - distance);
    if (at <= 0 || !isSettled(text, at)) continue;
    if (isClosed(text.slice(0, at).trimStart(), references, nearFormula(text, at))) return at;
  }
  return 0;
}

function gapBefore(text: string, limit: number): number {
  const from = Math.max(0, limit - 200);
  let found = 0;
  for (const gap of text.slice(from, limit + 1).matchAll(GAP)) found = from + gap.index;
  return found <= limit ? found : 0;
}

/** Whether the line and the address around this place are decided. */
function isSettled(text: string, at: number): boolean {
  const line = text.slice(text.lastIndexOf("\n", at - 1) + 1, at);
  const word = /\S*$/.exec(line.slice(-200))?.[0] ?? "";
  return !line.includes("|") && !/[:@]/.test(word) && /[\p{L}\p{N}]{2}/u.test(line);
}

/** Whether a formula that began before this place might still reach over it. */
function nearFormula(text: string, at: number): boolean {
  return /\$|\\[([]/.test(text.slice(Math.max(0, at - LONGEST_FORMULA), at));
}
