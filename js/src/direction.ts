/** Words → where they begin, as `dir="auto"` tells it, which a browser asks again at each change. */

/** A letter, or a mark that stands for one. */
const STRONG = /[\p{L}\u200E\u200F]/u;
/** The scripts that run to the left: Hebrew, Arabic, Syriac, Thaana, NKo, Adlam, and their like. */
const LEFTWARD =
  /[\u0590-\u08FF\u200F\uFB1D-\uFDFF\uFE70-\uFEFF\u{10800}-\u{10FFF}\u{1E800}-\u{1EFFF}]/u;

/** By the first letter; null where there is none. */
export function directionOf(text: string): "ltr" | "rtl" | null {
  const letter = STRONG.exec(text)?.[0];
  if (!letter) return null;
  return LEFTWARD.test(letter) ? "rtl" : "ltr";
}
