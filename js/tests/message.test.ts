import { describe, expect, it } from "vitest";
import { joined, Message } from "../src/message.ts";
import { Document } from "../src/patches.ts";
import type { JsonObject } from "../src/protocol.ts";

const read = (document: JsonObject, trait = "") => new Message(new Document(document), trait);
const response = (response: JsonObject, trait = "") => read({ response }, trait);

describe("the texts", () => {
  it("are two leaves in the flat generation", () => {
    const message = response({ thinking_content: "好", content: "a" });
    expect([joined(message.thinking), joined(message.content)]).toEqual(["好", "a"]);
  });

  it("are told by the fragments' types, not by their places", () => {
    const fragments = [
      { type: "THINK", content: "1" },
      { type: "TOOL_SEARCH", content: "not shown" },
      { type: "THINK", content: "2" },
      { type: "RESPONSE", content: "a" },
      { type: "TIP", content: "nor this" },
      { type: "TEMPLATE_RESPONSE", content: "b" },
    ];
    const message = response({ fragments, content: "ignored" });
    expect([joined(message.thinking), joined(message.content)]).toEqual(["12", "ab"]);
  });

  it("are flat while there is no fragment yet", () => {
    expect(joined(response({ fragments: [], content: "a" }).content)).toBe("a");
  });

  it("are empty where there are none, whatever stands there", () => {
    for (const value of [null, 7, [], {}]) {
      expect(joined(response({ content: value }).content)).toBe("");
    }
    expect(joined(read({}).thinking)).toBe("");
    expect(joined(response({ fragments: [null, 1, { type: "THINK" }] }).thinking)).toBe("");
  });
});

describe("the status", () => {
  it.each([
    ["WIP", "streaming", null],
    ["FINISHED", "finished", null],
    ["INCOMPLETE", "stopped", null],
    ["CONTENT_FILTER", "filtered", null],
    ["CONTEXT_LENGTH_EXCEEDED", "finished", "length"],
    ["TIMEOUT", "failed", null],
    ["FAILED", "failed", null],
    ["SOMETHING_NEW", "failed", null],
    ["", "streaming", null],
    [null, "streaming", null],
  ])("%s is %s", (wire, status, reason) => {
    const message = response({ status: wire });
    expect([message.status, message.finishReason]).toEqual([status, reason]);
  });

  it("is interrupted only by the kernel's word", () => {
    expect(response({ status: "WIP" }, "interrupted").status).toBe("interrupted");
  });

  it("is over as soon as the last patch says so, also before the trait does", () => {
    expect(read({ response: { status: "FINISHED" }, phase: "answering" }, "streaming").status).toBe(
      "finished",
    );
  });

  it("streams again while a resumed answer still has its old wire status", () => {
    for (const phase of ["connecting", "waiting", "reconnecting"]) {
      expect(read({ response: { status: "INCOMPLETE" }, phase }, "streaming").status).toBe(
        "streaming",
      );
    }
  });
});

describe("the phase", () => {
  it.each<[string, JsonObject, string]>([
    [
      "the kernel's word counts",
      { response: { content: "a" }, phase: "reconnecting" },
      "reconnecting",
    ],
    ["without it, nothing yet is connecting", {}, "connecting"],
    ["a response without text is waiting", { response: {} }, "waiting"],
    ["thinking without an answer is thinking", { response: { thinking_content: "a" } }, "thinking"],
    ["an answer is answering", { response: { thinking_content: "a", content: "b" } }, "answering"],
    ["an unknown word is none", { response: {}, phase: "dancing" }, "waiting"],
    [
      "what is over has its status for a phase",
      { response: { status: "FAILED" }, phase: "thinking" },
      "failed",
    ],
  ])("%s", (_, document, phase) => {
    expect(read(document).phase).toBe(phase);
  });
});

describe("the figures", () => {
  it("come from usage, or else from the running count", () => {
    const usage = { prompt_tokens: 22, completion_tokens: 17, total_tokens: 39 };
    expect(response({ usage, accumulated_token_usage: 99 }).usage).toEqual({
      prompt: 22,
      completion: 17,
      total: 39,
    });
    expect(response({ accumulated_token_usage: 2297 }).usage.total).toBe(2297);
  });

  it("are null when unknown, and an empty model is unknown", () => {
    const message = response({ model: "", accumulated_token_usage: 0 });
    expect([
      message.model,
      message.usage,
      message.thinkingSeconds,
      message.ttft,
      message.elapsed,
    ]).toEqual([null, { prompt: null, completion: null, total: null }, null, null, null]);
  });

  it("add up the thinking of the fragments that have their own time", () => {
    const fragments = [
      { type: "THINK", elapsed_secs: 2.5 },
      { type: "TIP", elapsed_secs: 9 },
      { type: "THINK", elapsed_secs: 1 },
    ];
    expect(response({ fragments }).thinkingSeconds).toBe(3.5);
    expect(response({ fragments, thinking_elapsed_secs: 5 }).thinkingSeconds).toBe(5);
  });

  it("tell a failure in its own words", () => {
    expect(response({ error: { type: "x", message: "too many requests" } }).error).toBe(
      "too many requests",
    );
    expect(response({ error: null }).error).toBeNull();
  });
});

it("is cut when it ended at the token limit, not before", () => {
  expect(response({ status: "FINISHED", finish_reason: "length" }).cut).toBe(true);
  expect(response({ status: "INCOMPLETE", finish_reason: "length" }).cut).toBe(true);
  expect(response({ status: "WIP", finish_reason: "length" }).cut).toBe(false);
  expect(response({ status: "WIP", finish_reason: "length" }, "interrupted").cut).toBe(false);
  expect(response({ status: "FINISHED", finish_reason: "stop" }).cut).toBe(false);
});
