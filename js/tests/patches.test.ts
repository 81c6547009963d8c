import { describe, expect, it } from "vitest";
import { Document, Text } from "../src/patches.ts";
import type { Json, JsonObject, Patch } from "../src/protocol.ts";
import { append, set } from "./fakes.ts";

const after = (start: JsonObject, ...patches: Patch[]) => {
  const document = new Document(start);
  const done = patches.map((patch) => document.apply(patch));
  return { document, done, value: document.snapshot(), ignored: document.ignored };
};

describe("a patch is applied", () => {
  it.each<[string, JsonObject, Patch, JsonObject]>([
    ["SET puts any JSON value", {}, set("a", [1, { b: null }]), { a: [1, { b: null }] }],
    ["SET replaces a text", { a: "x" }, set("a", "y"), { a: "y" }],
    ["SET takes false for a value", { a: true }, set("a", false), { a: false }],
    ["SET takes null for a value", { a: "x" }, set("a", null), { a: null }],
    ["SET at the root merges keys", { a: 1, b: 2 }, set("", { b: 3 }), { a: 1, b: 3 }],
    ["APPEND continues a text", { a: "好" }, append("a", "的😀"), { a: "好的😀" }],
    ["APPEND to null begins a text", { a: null }, append("a", "x"), { a: "x" }],
    ["APPEND to nothing begins a text", {}, append("a", "x"), { a: "x" }],
    ["APPEND of nothing still begins a text", { a: null }, append("a", ""), { a: "" }],
    ["APPEND extends a list", { a: [1] }, append("a", [2, "x"]), { a: [1, 2, "x"] }],
    ["APPEND to nothing begins a list", {}, append("a", [1]), { a: [1] }],
    ["APPEND to null begins a list", { a: null }, append("a", [1]), { a: [1] }],
    ["a missing object is made", {}, set("a/b/c", 1), { a: { b: { c: 1 } } }],
    ["null gives way to an object", { a: null }, set("a/b", 1), { a: { b: 1 } }],
    ["a number is an index", { a: ["x", "y"] }, append("a/0", "z"), { a: ["xz", "y"] }],
    [
      "-1 is the last item",
      { a: [{ t: "x" }, { t: "y" }] },
      append("a/-1/t", "z"),
      {
        a: [{ t: "x" }, { t: "yz" }],
      },
    ],
    ["an item is replaced", { a: [1, 2] }, set("a/-2", 0), { a: [0, 2] }],
    ["a number is a key of an object", { a: { 0: "x" } }, append("a/0", "y"), { a: { 0: "xy" } }],
    [
      "a dangerous name is only a key",
      {},
      set("__proto__/x", 1),
      JSON.parse('{"__proto__":{"x":1}}'),
    ],
  ])("%s", (_, start, patch, expected) => {
    const { value, done } = after(start, patch);
    expect(value).toEqual(expected);
    expect(done).toEqual([true]);
  });
});

describe("an impossible patch is ignored, counted, and changes nothing", () => {
  it.each<[string, JsonObject, Patch]>([
    ["an index beyond the end", { a: [1] }, set("a/1", 2)],
    ["an index before the start", { a: [1] }, set("a/-2", 2)],
    ["an item of an empty list", { a: [] }, append("a/-1/t", "x")],
    ["an index into what is missing", {}, set("a/0/b", 1)],
    ["a list with a huge index in what is missing", {}, set("a/1234567890", 1)],
    ["a number beyond nine digits", { a: [1] }, set("a/1234567890", 2)],
    ["a word on a list", { a: [1] }, set("a/b", 2)],
    ["a step into a text", { a: "x" }, set("a/b", 1)],
    ["a step into a number", { a: 1 }, set("a/b", 1)],
    ["a text on a list", { a: [1] }, append("a", "x")],
    ["a list on a text", { a: "x" }, append("a", [1])],
    ["a text on a number", { a: 1 }, append("a", "x")],
    ["a number on a text", { a: "x" }, append("a", 1)],
    ["a number appended to nothing", {}, append("a", 1)],
    ["the root as a text", {}, set("", "x")],
    ["an append to the root", {}, append("", { a: 1 })],
  ])("%s", (_, start, patch) => {
    const { value, done, ignored } = after(start, patch);
    expect([value, done, ignored]).toEqual([start, [false], 1]);
  });
});

it("follows a whole answer of the fragment generation", () => {
  const { value } = after(
    { response: { fragments: [], status: "WIP" } },
    append("response/fragments", [{ id: 1, type: "THINK", content: "好" }]),
    append("response/fragments/-1/content", "的"),
    append("response/fragments", [{ id: 2, type: "RESPONSE", content: "" }]),
    append("response/fragments/-1/content", "你好"),
    append("response/fragments/0/content", "。"),
    set("response/status", "FINISHED"),
  );
  expect(value).toEqual({
    response: {
      fragments: [
        { id: 1, type: "THINK", content: "好的。" },
        { id: 2, type: "RESPONSE", content: "你好" },
      ],
      status: "FINISHED",
    },
  });
});

it("shares nothing with what it was given or gives", () => {
  const given: Json = { list: [{ text: "a" }] };
  const document = new Document(given);
  const value: Json = { deep: ["x"] };
  document.apply(set("more", value));
  document.apply(append("list/0/text", "b"));
  document.apply(append("more/deep", ["y"]));
  const seen = document.snapshot();
  document.apply(append("list/0/text", "c"));
  expect(given).toEqual({ list: [{ text: "a" }] });
  expect(value).toEqual({ deep: ["x"] });
  expect(seen).toEqual({ list: [{ text: "ab" }], more: { deep: ["x", "y"] } });
});

describe("a text that grows", () => {
  it("gives its end without being joined", () => {
    const text = new Text("ab");
    for (const piece of ["c", "", "def", "g"]) text.append(piece);
    const ends = [...Array(9).keys()].map((start) => text.from(start));
    expect(ends).toEqual(["abcdefg", "bcdefg", "cdefg", "defg", "efg", "fg", "g", "", ""]);
    expect([text.length, String(text)]).toEqual([7, "abcdefg"]);
  });

  it("goes on growing after it was read", () => {
    const text = new Text("");
    text.append("a");
    expect(`${text}`).toBe("a");
    text.append("b");
    expect([`${text}`, text.from(1)]).toEqual(["ab", "b"]);
  });
});
