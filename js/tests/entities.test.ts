import { describe, expect, it } from "vitest";
import { decodeHTMLStrict } from "../src/entities.ts";
import { ENTITY_NAMES } from "../src/entity_names.ts";

describe("a character reference", () => {
  it.each([
    ["&amp;", "&"],
    ["&AMP;", "&"],
    ["&nbsp;", "\u00a0"],
    ["&Tab;", "\t"],
    ["&NewLine;", "\n"],
    ["&fjlig;", "fj"],
    ["&NotEqualTilde;", "\u2242\u0338"],
    ["&bsol;", "\\"],
    ["&Aacute;", "Á"],
    ["&zwnj;", "\u200c"],
    ["&nope;", "&nope;"],
    ["&constructor;", "&constructor;"],
  ])("%s stands for %j", (reference, character) => {
    expect(decodeHTMLStrict(reference)).toBe(character);
  });

  it("has one of 2125 names, each of which can be read", () => {
    const names = ENTITY_NAMES.match(/^[A-Za-z0-9]+(?= )/gm) ?? [];
    expect(names).toHaveLength(2125);
    for (const name of names) expect(decodeHTMLStrict(`&${name};`)).not.toBe(`&${name};`);
  });
});
