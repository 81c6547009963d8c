import { describe, expect, it } from "vitest";
import { Message } from "../src/message.ts";
import { Document } from "../src/patches.ts";
import type { JsonObject } from "../src/protocol.ts";
import {
  clockBeside,
  figures,
  type Moment,
  phaseAt,
  StatusLine,
  stateText,
} from "../src/status.ts";

function moment(document: JsonObject, more: Partial<Moment> & { trait?: string } = {}): Moment {
  const { trait = "", silence = 0, away = false, lost = "", ...rest } = more;
  const message = new Message(new Document(document), trait, lost);
  return {
    message,
    phase: phaseAt(message, silence, away),
    pending: null,
    silence,
    elapsed: null,
    away,
    lost,
    ...rest,
  };
}
const words = (document: JsonObject, more: Parameters<typeof moment>[1] = {}) => {
  const seen = moment(document, more);
  return [stateText(seen), clockBeside(seen)].join(" ").trim();
};

describe("the status line reads", () => {
  it.each<[string, JsonObject, Parameters<typeof moment>[1]]>([
    ["Connecting…", { phase: "connecting" }, { elapsed: 0.5 }],
    ["Connecting… 2 s", { phase: "connecting" }, { elapsed: 2.5 }],
    ["Waiting for the first token… 14 s", { phase: "waiting" }, { elapsed: 14, silence: 14_000 }],
    ["Thinking…", { phase: "thinking" }, { elapsed: 4 }],
    ["Answering… 7 s", { phase: "answering" }, { elapsed: 7 }],
    ["Answering… 9 s", { phase: "answering" }, { elapsed: 9, silence: 9_999 }],
    ["Stalled, nothing for 14 s", { phase: "answering" }, { elapsed: 30, silence: 14_200 }],
    ["Stalled, nothing for 10 s", { phase: "thinking" }, { elapsed: 30, silence: 10_000 }],
    ["Reconnecting… 30 s", { phase: "reconnecting" }, { elapsed: 30, silence: 20_000 }],
    [
      "429: busy (trying again in 3 s) 4 s",
      { phase: "waiting", response: { notice: "429: busy (trying again in 3 s)" } },
      { elapsed: 4 },
    ],
    ["Stopped", { response: { status: "INCOMPLETE", notice: "busy" } }, {}],
    ["Stopping…", { phase: "answering" }, { pending: "stop" }],
    ["Resuming…", { response: { status: "INCOMPLETE" } }, { pending: "resume" }],
    [
      "No connection to the kernel; what it says comes when it is back… 9 s",
      { phase: "answering" },
      { elapsed: 9, away: true },
    ],
    [
      "Interrupted: the kernel died",
      { phase: "answering" },
      { elapsed: 9, lost: "the kernel died" },
    ],
    [
      "Stopped the kernel died",
      { response: { status: "INCOMPLETE" } },
      { lost: "the kernel died" },
    ],
    ["Stopped", { response: { status: "INCOMPLETE" } }, { away: true }],
    ["Stopped", { response: { status: "INCOMPLETE" } }, { elapsed: 9 }],
    [
      "Interrupted: the answer is not complete",
      { response: { status: "WIP" } },
      { trait: "interrupted" },
    ],
    ["Failed: no room", { response: { status: "FAILED", error: { message: "no room" } } }, {}],
    ["Failed", { response: { status: "TIMEOUT" } }, {}],
    ["Withdrawn by the content filter", { response: { status: "CONTENT_FILTER" } }, {}],
    ["Finished", { response: { status: "FINISHED", content: "x" } }, { elapsed: 9 }],
    ["Finished, but the answer is empty", { response: { status: "FINISHED", content: "" } }, {}],
    [
      "The model server answered 429; trying again in 2 s",
      { response: { notice: "the model server answered 429; trying again in 2 s" } },
      {},
    ],
    [
      "Cut off at the token limit",
      { response: { status: "FINISHED", finish_reason: "length" } },
      {},
    ],
    [
      "Cut off at the token limit",
      { response: { status: "INCOMPLETE", finish_reason: "length" } },
      {},
    ],
    ["Cut off at the token limit", { response: { status: "CONTEXT_LENGTH_EXCEEDED" } }, {}],
  ])("%s", (expected, document, more) => {
    expect(words(document, more)).toBe(expected);
  });
});

describe("the figures", () => {
  const list = (document: JsonObject, elapsed: number | null = null) =>
    figures(moment(document, { elapsed })).map(([text]) => text);
  const usage = { prompt_tokens: 1022, completion_tokens: 340, total_tokens: 1362 };

  it("are all there for a finished answer that was measured", () => {
    const response = { status: "FINISHED", model: "qwen-max", usage };
    expect(list({ response, timing: { ttft: 0.84, elapsed: 14.2 } }, 14.2)).toEqual([
      "qwen-max",
      "1,022 in",
      "340 out",
      "25 tokens/s",
      "first token 0.84 s",
      "total 14 s",
    ]);
  });

  it("leave out what is unknown", () => {
    expect(list({ response: { status: "WIP" } })).toEqual([]);
    expect(list({ response: { status: "FINISHED", accumulated_token_usage: 2297 } })).toEqual([
      "2,297 tokens",
    ]);
    expect(list({ response: { usage: { prompt_tokens: 5, completion_tokens: null } } })).toEqual([
      "5 in",
    ]);
  });

  it("give a low speed one decimal", () => {
    const response = { status: "FINISHED", usage: { completion_tokens: 9 } };
    expect(list({ response, timing: { ttft: 1 } }, 5)).toContain("2.3 tokens/s");
  });

  it("know no speed for what came at once, nor for the rest of an answer", () => {
    const response = { status: "FINISHED", usage: { completion_tokens: 340 } };
    expect(list({ response, timing: { ttft: 1 } }, 1).join()).not.toContain("tokens/s");
    expect(list({ response, timing: { ttft: 1 }, continued: true }, 9).join()).not.toContain(
      "tokens/s",
    );
  });

  it("tell how an answer went on", () => {
    const response = { status: "FINISHED", continuation: "asked" };
    expect(list({ response }, 2)).toContain("continued by asking");
    expect(list({ response: { ...response, continuation: "sideways" } }, 2)).toEqual(["total 2 s"]);
  });

  it("do not run while the answer does", () => {
    expect(list({ response: { model: "m", usage }, timing: { ttft: 1 } }, 9)).toEqual([
      "m",
      "1,022 in",
      "340 out",
      "first token 1 s",
    ]);
  });
});

it("announces states politely, and never a clock", () => {
  const line = new StatusLine();
  const spoken = line.element.querySelector("[role=status]");
  line.show(moment({ phase: "answering" }, { elapsed: 7 }));
  const said = spoken?.firstChild;
  line.show(moment({ phase: "answering" }, { elapsed: 8 }));
  expect([spoken?.getAttribute("aria-live"), spoken?.textContent]).toEqual([
    "polite",
    "Answering…",
  ]);
  expect(spoken?.firstChild).toBe(said);
  expect(line.element.textContent).toContain("8 s");
});
