import { describe, expect, it } from "vitest";
import { codeBlock } from "../src/code_block.ts";
import { Colouring } from "../src/colouring.ts";
import { highlight, typeset } from "../src/extras.ts";

const extras = { highlight, typeset };
const line = (at: number) => `x_${at} = f(${at})  # 好 🎉\n`;
const lines = (count: number) => Array.from({ length: count }, (_, at) => line(at)).join("");
const groupsOf = (block: HTMLElement) => [...block.querySelectorAll(".ssechat-code-group")];
const textOf = (block: HTMLElement) => block.querySelector("code")?.textContent;
const isColoured = (group: Element) => group.querySelector("[class^=ssechat-hl-]") !== null;

function coloured(code: string, language = "python") {
  const block = codeBlock(language, code);
  const colouring = new Colouring(block);
  let steps = 1;
  while (!colouring.step(extras)) steps++;
  return { block, steps };
}

describe("a block of code", () => {
  it("is coloured whole, however long it is, a group of lines at a time", () => {
    const code = lines(2_000);
    const { block, steps } = coloured(code);
    expect(textOf(block)).toBe(code);
    expect(groupsOf(block).every(isColoured)).toBe(true);
    expect(steps).toBe(groupsOf(block).length);
    expect(block.dataset["coloured"]).toBe("true");
  });

  it("has a string that goes over groups in one colour", () => {
    const code = `${lines(40)}'''\n${lines(70)}'''\n${lines(60)}`;
    const { block } = coloured(code);
    expect(textOf(block)).toBe(code);
    const strings = groupsOf(block).flatMap((group) => [
      ...group.querySelectorAll(".ssechat-hl-string"),
    ]);
    expect(strings.map(({ textContent }) => textContent).join("")).toBe(`'''\n${lines(70)}'''`);
    expect(groupsOf(block).map(({ textContent }) => textContent?.split("\n").length)).toEqual([
      51, 51, 51, 23,
    ]);
  });

  it("stays plain from where a string is too long to be read in one go", () => {
    const code = `${lines(60)}'''\n${lines(1_000)}`;
    const { block } = coloured(code);
    expect(textOf(block)).toBe(code);
    expect(groupsOf(block).map(isColoured).lastIndexOf(true)).toBe(0);
  });

  it("of one line too long for a frame stays plain", () => {
    const { block } = coloured(`x = [${"1, ".repeat(6_000)}]`);
    expect([block.dataset["coloured"], isColoured(block)]).toEqual(["false", false]);
  });

  it("in a language nobody knows stays as it is", () => {
    expect(coloured("x", "klingon").block.dataset["coloured"]).toBe("false");
  });
});
