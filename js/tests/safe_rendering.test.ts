import { tests } from "commonmark-spec";
import { describe, expect, it } from "vitest";
import { atOnce } from "./nasty_markdown.ts";
import expected from "./safe_rendering.json";

const REVIEWED: Record<string, string> = expected;
const BLOCK = "p|h[1-6]|ul|ol|li|blockquote|pre|hr|table";

/** What is drawn, in the plain words of the specification. */
function drawn(markdown: string): string {
  const root = document.createElement("div");
  root.innerHTML = atOnce(markdown);
  for (const code of root.querySelectorAll(".ssechat-code")) {
    const plain = document.createElement("code");
    plain.textContent = code.querySelector("pre")?.textContent ?? "";
    const pre = document.createElement("pre");
    pre.append(plain);
    code.replaceWith(pre);
  }
  for (const paragraph of root.querySelectorAll(":not(.ssechat-loose) > li > p")) {
    paragraph.replaceWith(...paragraph.childNodes);
  }
  return [...root.children].map(({ innerHTML }) => plain(innerHTML)).join("");
}

/** Without line ends beside blocks, classes, and other attributes that say nothing of the text. */
function plain(html: string): string {
  return html
    .replace(/ (?:class|dir|rel|target|type|data-[a-z-]+|aria-[a-z]+)="[^"]*"/g, "")
    .replaceAll(" />", ">")
    .replaceAll("&quot;", '"')
    .replaceAll("&nbsp;", "\u00a0")
    .replace(new RegExp(`\\s*(</?(?:${BLOCK})(?: [^>]*)?>)\\s*`, "g"), "$1")
    .replace(/<br>\n/g, "<br>");
}

describe("an example of CommonMark 0.31, drawn safely", () => {
  it.each(tests)("$number", ({ number, markdown, html }) => {
    const specified = plain(html.replaceAll("→", "\t"));
    const shown = drawn(markdown.replaceAll("→", "\t"));
    if (process.env["REVIEW"] && shown !== specified)
      console.log(`@@${JSON.stringify([number, shown])}`);
    expect(shown).toBe(REVIEWED[number] ?? specified);
  });

  it("differs from the specification only where it must: HTML, images, and addresses that are not followed", () => {
    for (const number of Object.keys(REVIEWED)) {
      const { markdown = "" } = tests[Number(number) - 1] ?? {};
      expect(markdown, number).toMatch(/<|!\[|\]\(|\]:|\[|https?:/);
    }
  });
});
