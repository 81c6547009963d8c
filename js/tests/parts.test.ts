import { beforeEach, describe, expect, it } from "vitest";
import { callsOf, isReplaced, stepsOf } from "../src/parts.ts";
import { PartsView } from "../src/parts_view.ts";
import { Document } from "../src/patches.ts";
import type { JsonObject } from "../src/protocol.ts";
import { append, set } from "./fakes.ts";

const response = (fields: JsonObject) => new Document({ response: fields });
const fragments = (...list: JsonObject[]) => response({ fragments: list });
const told = ({ label, text, sources }: ReturnType<typeof stepsOf>[number]) => [
  label,
  text?.toString() ?? null,
  sources.map(({ url }) => url),
];

describe("the steps of an answer", () => {
  it("are the fragments that are no text of it, in their order", () => {
    const steps = stepsOf(
      fragments(
        { type: "THINK", content: "hm" },
        { type: "TOOL_SEARCH", content: "", queries: [{ query: "sse" }, { query: "patches" }] },
        { type: "TOOL_OPEN", result: { url: "https://a.example/", title: "A" } },
        { type: "RESPONSE", content: "So" },
        { type: "TIP", content: "Check what it says." },
      ),
    );
    expect(steps.map(told)).toEqual([
      ["Search: sse, patches", null, []],
      ["Page read", null, ["https://a.example/"]],
      ["Note of the server", "Check what it says.", []],
    ]);
  });

  it("have a name also when nobody knows the kind yet", () => {
    const steps = stepsOf(fragments({ type: "TOOL_READ_FILE", content: "x" }, { content: "y" }));
    expect(steps.map(told)).toEqual([
      ["Tool read file", "x", []],
      ["Step", "y", []],
    ]);
  });

  it("end with the search results of the flat wire", () => {
    const results = [{ title: "A", url: "https://a.example/" }, { title: "B" }, {}, null, "x"];
    expect(stepsOf(response({ search_results: results })).map(told)).toEqual([
      ["Search results (2)", null, ["https://a.example/", ""]],
    ]);
  });

  it("are none where there are none", () => {
    expect(stepsOf(new Document())).toEqual([]);
    expect(stepsOf(response({ fragments: "x", search_results: null }))).toEqual([]);
  });
});

describe("calls of tools", () => {
  it("have the tool's name, and arguments that grow", () => {
    const document = response({
      tool_calls: [{ id: "1", type: "function", function: { name: "weather", arguments: "" } }],
    });
    expect(callsOf(document).map(told)).toEqual([["Tool call: weather", null, []]]);
    document.apply(append("response/tool_calls/0/function/arguments", '{"city"'));
    document.apply(append("response/tool_calls/0/function/arguments", ':"Bern"}'));
    expect(callsOf(document).map(told)).toEqual([["Tool call: weather", '{"city":"Bern"}', []]]);
  });

  it("are shown also when they are half there", () => {
    expect(callsOf(response({ tool_calls: [{}, null] })).map(told)).toEqual([
      ["Tool call", null, []],
    ]);
  });
});

it("an answer is replaced when the server's own text stands in its place", () => {
  const document = fragments({ type: "RESPONSE", content: "bad" });
  expect(isReplaced(document)).toBe(false);
  document.apply(set("response/fragments", [{ type: "TEMPLATE_RESPONSE", content: "no" }]));
  expect(isReplaced(document)).toBe(true);
});

describe("as blocks", () => {
  let view: PartsView;
  beforeEach(() => {
    view = new PartsView();
  });
  const blocks = () => [...view.element.querySelectorAll("details")];

  it("nothing is shown where there is nothing", () => {
    view.show([]);
    expect(view.element.hidden).toBe(true);
  });

  it("links lead to http and https alone; every other address stands as text", () => {
    const urls = ["https://a.example/", "javascript:alert(1)", "data:text/html,x", "mailto:a@b.c"];
    const results = urls.map((url, index) => ({ title: `<b>${index}</b>`, url }));
    view.show(stepsOf(response({ search_results: results })));
    const links = [...view.element.querySelectorAll("a")];
    expect(links.map((link) => [link.href, link.rel])).toEqual([[urls[0], "noopener noreferrer"]]);
    expect(view.element.textContent).toContain("<b>3</b>");
  });

  it("keep what the reader has unfolded, and the text node, while they grow", () => {
    const document = response({ tool_calls: [{ function: { name: "f", arguments: "{" } }] });
    view.show(callsOf(document));
    const [block] = blocks();
    const node = block?.querySelector(".ssechat-group")?.firstChild;
    if (block) block.open = false;
    document.apply(append("response/tool_calls/0/function/arguments", "}"));
    document.apply(append("response/tool_calls", [{ function: { name: "g", arguments: "" } }]));
    view.show(callsOf(document));
    expect(blocks().map(({ open, textContent }) => [open, textContent])).toEqual([
      [false, "Tool call: f{}"],
      [true, "Tool call: g"],
    ]);
    expect(block?.querySelector(".ssechat-group")?.firstChild).toBe(node);
    view.show([]);
    expect(blocks()).toEqual([]);
  });
});
