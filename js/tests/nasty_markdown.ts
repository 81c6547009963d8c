/** Markdown as nobody should write it: a generator, a fixed corpus, and the drawing in one go. */
import fc from "fast-check";
import { Boxes } from "../src/boxes.ts";
import { make } from "../src/dom.ts";
import { Markdown } from "../src/markdown.ts";
import { nodesOf } from "../src/nodes.ts";
import { blocksOf, noReferences, normalize, parseInline } from "../src/parser.ts";

/** The whole text parsed and drawn at once, without anything that streams. */
export function atOnce(text: string): string {
  const references = noReferences();
  const tokens = blocksOf(normalize(text), references);
  parseInline(tokens, references);
  const root = make("div", "markdown");
  const boxes = new Boxes(root);
  for (const [number, node] of nodesOf(tokens).entries()) boxes.put(number, node);
  return root.innerHTML;
}

/** The same text in pieces, drawn after each. */
export function inPieces(pieces: readonly string[]): string {
  const markdown = new Markdown(make("div", "answer"));
  for (const piece of pieces) {
    markdown.append(piece);
    markdown.draw();
  }
  markdown.end();
  markdown.draw();
  return markdown.element.innerHTML;
}

const WORDS = [
  "a",
  "snake_case",
  "好的",
  "，",
  "🎉",
  "é",
  "👩‍👩‍👧",
  "x",
  "1986",
  "https://e.org/a_b?c=*d*",
  "AT&T",
  "&amp;",
  "&copy",
  "<b>",
  "<https://e.org>",
  "\\*",
  "\\",
  "$",
  "$x_1$",
  "$5 and $10",
  "$$y$$",
  "\\(z\\)",
  "\\[",
  "\\]",
  "`code`",
  "`",
  "``",
  "*",
  "**",
  "***",
  "_",
  "__",
  "~~",
  "~",
  "[",
  "]",
  "(",
  ")",
  "[a]",
  "[b][a]",
  "[t](https://e.org)",
  "[t](javascript:x)",
  "![i](https://e.org/i.png)",
  "![",
  "|",
  ":",
  "!",
  "\t",
  "  ",
  " ",
  "\0",
];
const LINE_STARTS = [
  "",
  "",
  "",
  "# ",
  "###",
  "- ",
  "- [ ] ",
  "- [x] ",
  "* ",
  "+ ",
  "1. ",
  "2) ",
  "> ",
  "> > ",
  "- - ",
  "  ",
  "    ",
  "\t",
  "```",
  "```py",
  "~~~",
  "````",
  "| a | b |",
  "|---|:-:|",
  "--|--",
  "---",
  "===",
  "***",
  "-",
  "=",
  "$$",
  "\\[",
  "\\]",
  "[a]: https://e.org",
  "[a]: /u 'ti",
  "tle'",
  "[b]:",
  "<div>",
  "   - ",
  "  - ",
  "     1. ",
  "| $x$ | `|` |",
];

const line = fc
  .tuple(
    fc.constantFrom(...LINE_STARTS),
    fc.array(fc.constantFrom(...WORDS), { maxLength: 5 }),
    fc.boolean(),
  )
  .map(([start, words, spaced]) => start + words.join(spaced ? " " : ""));
const long = fc
  .tuple(
    fc.array(fc.constantFrom(...WORDS), { minLength: 1, maxLength: 6 }),
    fc.integer({ min: 60, max: 200 }),
  )
  .map(([words, times]) =>
    Array.from(
      { length: times },
      (_, at) => `plain 汉字 word${at} ${words[at % words.length]}`,
    ).join(" "),
  );
const ending = fc.constantFrom("\n", "\n", "\n", "\n\n", "\n\n", "\r\n", "\r", "\n \n");
const lines = (one: fc.Arbitrary<string>, max: number) =>
  fc
    .array(
      fc.tuple(one, ending).map((pair) => pair.join("")),
      { maxLength: max },
    )
    .map((all) => all.join(""));

/** Many short lines. */
export const nastyText = lines(line, 14);
/** The same around paragraphs that are long enough to be cut. */
export const nastyLongText = fc
  .tuple(nastyText, long, ending, lines(fc.oneof(line, long), 4))
  .map((parts) => parts.join(""));

/** A text and where it is cut, at any UTF-16 unit. */
export const cutAnywhere = (text: fc.Arbitrary<string>) =>
  fc.tuple(text, fc.array(fc.nat(), { maxLength: 30 })).map(([whole, cuts]) => {
    const places = [...new Set(cuts.map((cut) => cut % (whole.length + 1)))].sort((a, b) => a - b);
    return { whole, pieces: [0, ...places].map((at, index) => whole.slice(at, places[index])) };
  });
