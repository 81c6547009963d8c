import { describe, expect, it } from "vitest";
import { make } from "../src/dom.ts";
import { Markdown } from "../src/markdown.ts";
import { atOnce, inPieces } from "./nasty_markdown.ts";

/** What stands there when so much has come: tags without attributes, and text. */
function seen(text: string): string {
  const markdown = new Markdown(make("div", "answer"));
  markdown.append(text);
  markdown.draw();
  return [...markdown.element.children]
    .map((box) => box.innerHTML)
    .join("")
    .replace(/ (?!checked)[a-z-]+="[^"]*"/g, "")
    .replace(/ checked=""/, " checked");
}

const CASES: [string, string, string][] = [
  ["strong text", "a **bo", "<p>a <strong>bo</strong></p>"],
  ["strong text, its end half there", "a **bold*", "<p>a <strong>bold</strong></p>"],
  ["markers with nothing behind them", "a **", "<p>a </p>"],
  ["emphasis in strong text", "**a *b", "<p><strong>a <em>b</em></strong></p>"],
  ["text that is struck", "~~no", "<p><s>no</s></p>"],
  ["a product", "5*3 * 2", "<p>5*3 * 2</p>"],
  ["a name with underscores", "see snake_case and _x", "<p>see snake_case and <em>x</em></p>"],
  ["inline code", "call `f(x", "<p>call <code>f(x</code></p>"],
  ["inline code with a backtick in it", "``a`b", "<p><code>a`b</code></p>"],
  ["a link's text", "see [the pa", "<p>see the pa</p>"],
  ["a link whose text is there", "see [the page]", "<p>see the page</p>"],
  ["a link's address", "see [the page](https://exa", "<p>see the page</p>"],
  ["an image", "![a cat](https://exa", "<p>a cat</p>"],
  ["an index", "a[0", "<p>a[0</p>"],
  ["an address in angle brackets", "at <https://exa", "<p>at <a>https://exa</a></p>"],
  ["a tag, which is text", "a <b", "<p>a &lt;b</p>"],
  ["an escape", "a \\", "<p>a </p>"],
  ["a character reference", "AT&am", "<p>AT</p>"],
  ["a formula", "so $x^2 + \\alp", "<p>so <span>x^2 + \\alp</span></p>"],
  ["money", "it costs $5 and", "<p>it costs $5 and</p>"],
  ["a displayed formula", "$$\n\\sum", "<p><span>\\sum</span></p>"],
  ["a formula in brackets", "so \\(x", "<p>so <span>x</span></p>"],
  ["a heading that may be none", "text\n\n##", "<p>text</p>"],
  ["what may be a heading's line", "text\n-", "<p>text</p>"],
  ["what may be a heading's line, too", "text\n==", "<p>text</p>"],
  ["an item with nothing in it", "text\n\n- a\n- ", "<p>text</p><ul><li><p>a</p></li></ul>"],
  ["a number that may begin a list", "text\n\n12", "<p>text</p>"],
  ["a task", "- [", ""],
  ["a task with its box", "- [x] do", "<ul><li><p><input checked>do</p></li></ul>"],
  ["a fence that is opened", "text\n\n```py", "<p>text</p>"],
  ["a definition", "text\n\n[a]: https://exa", "<p>text</p>"],
  ["the first row of a table", "text\n\n| a | b |", "<p>text</p>"],
  ["the first row and half of the next line", "text\n\n| a | b |\n|--", "<p>text</p>"],
];

describe("when a text has come half, the reader sees", () => {
  it.each(CASES)("%s: %j", (_, text, shown) => {
    expect(seen(text)).toBe(shown);
  });

  it("a table as soon as it is one, and then each row as it comes", () => {
    const table = "| a | b |\n|---|---|\n";
    expect(seen(table)).toContain("<th>a</th><th>b</th>");
    expect(seen(`${table}| 1 | **2`)).toContain("<td>1</td><td><strong>2</strong></td>");
  });

  it("code in a fence as it comes, but not what may be the fence's end", () => {
    const code = (text: string) => {
      const markdown = new Markdown(make("div", "answer"));
      markdown.append(text);
      markdown.draw();
      return markdown.element.querySelector("code")?.textContent;
    };
    expect(["```\na", "```\na\n``", "```\na\n``b", "```\na\n```\n"].map(code)).toEqual([
      "a",
      "a\n",
      "a\n``b",
      "a\n",
    ]);
  });

  it("no half of a character", () => {
    const markdown = new Markdown(make("div", "answer"));
    const [high = "", low = ""] = "🎉".split("");
    markdown.append(`a${high}`);
    markdown.draw();
    expect(markdown.element.textContent).toBe("a");
    markdown.append(low);
    markdown.draw();
    expect(markdown.element.textContent).toBe("a🎉");
  });
});

describe("when it is over, the reader sees all of it as it was written", () => {
  it.each(CASES.map(([name, text]) => [name, text] as const))("%s: %j", (_, text) => {
    expect(inPieces([...text])).toBe(atOnce(text));
  });

  it("may go on after all, as when it is resumed", () => {
    for (const text of ["a **b", "```py\nx = 1\ny", "- a\n- b", "a | b\n--|--\n1 |"]) {
      const markdown = new Markdown(make("div", "answer"));
      markdown.append(text);
      markdown.end();
      markdown.draw();
      markdown.append(" more** c\n\nend");
      markdown.draw();
      markdown.end();
      markdown.draw();
      const whole = new Markdown(make("div", "answer"));
      whole.append(`${text} more** c\n\nend`);
      whole.end();
      whole.draw();
      expect(markdown.element.innerHTML).toBe(whole.element.innerHTML);
    }
  });
});

describe("what is sealed", () => {
  it("is never touched again", () => {
    const markdown = new Markdown(make("div", "answer"));
    markdown.append("# T\n\none **two**\n\n- a\n- b\n- c\n\n");
    markdown.draw();
    const nodes = [...markdown.element.querySelectorAll("h1, p, strong, li")];
    const changes: unknown[] = [];
    const observer = new MutationObserver((list) => changes.push(...list));
    for (const node of nodes.slice(0, 3)) {
      observer.observe(node, { childList: true, characterData: true, subtree: true });
    }
    for (let count = 0; count < 40; count++) {
      markdown.append(`para ${count} *x*\n\n`);
      markdown.draw();
    }
    expect(observer.takeRecords().concat(changes as MutationRecord[])).toEqual([]);
    expect(nodes.every((node) => markdown.element.contains(node))).toBe(true);
  });

  it("is drawn anew where it uses a label that is defined later", () => {
    const markdown = new Markdown(make("div", "answer"));
    markdown.append("see [the page][a] and [b]\n\nmore\n\n");
    markdown.draw();
    expect(markdown.element.querySelector("a")).toBeNull();
    markdown.append("[a]: https://example.org/x\n\nend\n\n");
    markdown.draw();
    expect(markdown.element.querySelector("a")?.getAttribute("href")).toBe("https://example.org/x");
    expect(markdown.element.textContent).toContain("[b]");
  });

  it("stands in boxes of sixteen", () => {
    const markdown = new Markdown(make("div", "answer"));
    markdown.append("p\n\n".repeat(40));
    markdown.end();
    markdown.draw();
    expect(
      [...markdown.element.children].map(({ childElementCount }) => childElementCount),
    ).toEqual([16, 16, 8]);
  });
});
