import { describe, expect, it } from "vitest";
import { directionOf } from "../src/direction.ts";
import { make } from "../src/dom.ts";
import { Markdown } from "../src/markdown.ts";

describe("a text", () => {
  it.each([
    ["hello שלום", "ltr"],
    ["שלום hello", "rtl"],
    ["1. (مرحبا)", "rtl"],
    ["好的", "ltr"],
    ["𞤀𞤣", "rtl"],
    ["\u200Fa", "rtl"],
    ["12 🎉 …", null],
    ["", null],
  ])("%j begins at the side of its first letter: %s", (text, direction) => {
    expect(directionOf(text)).toBe(direction);
  });
});

describe("a block", () => {
  const drawn = (...pieces: string[]) => {
    const markdown = new Markdown(make("div", "answer"));
    const seen: Element[] = [];
    for (const piece of pieces) {
      markdown.append(piece);
      markdown.draw();
      seen.push(...markdown.element.querySelectorAll("[dir]"));
    }
    const blocks = [...markdown.element.querySelectorAll<HTMLElement>("[dir]")];
    return { directions: blocks.map(({ dir }) => dir), same: seen.every((one) => one === seen[0]) };
  };

  it("finds its direction with its first letter, and stays the same element", () => {
    expect(drawn("12 ", "🎉 ", "שלום ", "world")).toEqual({ directions: ["rtl"], same: true });
    expect(drawn("- 1\n- 2\n- 3\n", "- שלום\n- 4\n", "- b\n")).toEqual({
      directions: ["rtl"],
      same: true,
    });
  });

  it("is told by its own words, not by a formula, or by a list in it", () => {
    expect(drawn("$x$ שלום\n")).toEqual({ directions: ["rtl", "ltr"], same: false });
    expect(drawn("- 1\n  - hello\n- שלום\n").directions).toEqual(["rtl", "ltr"]);
  });
});
