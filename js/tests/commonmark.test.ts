import { tests } from "commonmark-spec";
import { describe, expect, it } from "vitest";
import { parserOf } from "../src/parser.ts";
import { atOnce, inPieces } from "./nasty_markdown.ts";

/** The specification prints a tab as an arrow. */
const EXAMPLES = tests.map((example) => ({
  ...example,
  markdown: example.markdown.replaceAll("→", "\t"),
  html: example.html.replaceAll("→", "\t"),
}));
/** Line ends beside the tags of blocks mean nothing. */
const withoutLineEnds = (html: string) =>
  html.replace(/<blockquote>\n<\/blockquote>/g, "<blockquote></blockquote>");

describe("CommonMark 0.31", () => {
  it("has 652 examples", () => {
    expect(EXAMPLES).toHaveLength(652);
  });

  it.each(EXAMPLES)("$number: the parser reads it as specified", ({ markdown, html }) => {
    const parser = parserOf(() => true, true);
    expect(withoutLineEnds(parser.render(markdown))).toBe(withoutLineEnds(html));
  });

  it.each(EXAMPLES)("$number: is drawn the same in pieces and at once", ({ markdown }) => {
    expect(inPieces([...markdown])).toBe(atOnce(markdown));
  });
});
