import { describe, expect, it } from "vitest";
import { Message } from "../src/message.ts";
import { Document } from "../src/patches.ts";
import type { JsonObject } from "../src/protocol.ts";
import { clockText, spanText, Timing } from "../src/timing.ts";

/** Let a timing see documents at given seconds. */
function watch(...moments: [number, JsonObject, JsonObject?][]) {
  const timing = new Timing();
  let message = new Message(new Document(), "");
  for (const [at, response, timingPart] of moments) {
    message = new Message(new Document({ response, timing: timingPart ?? {} }), "");
    timing.observe(message, at * 1000);
  }
  return {
    elapsed: (at: number) => timing.elapsed(at * 1000),
    thinking: (at: number) => timing.thinking(message, at * 1000),
  };
}

const WIP = { status: "WIP" };
const DONE = { status: "FINISHED" };

describe("the clock of an answer", () => {
  it("runs from the first sight of it", () => {
    expect(watch([10, WIP]).elapsed(13)).toBe(3);
  });

  it("goes on from what the kernel measured, after a reload in mid-stream", () => {
    expect(watch([100, WIP, { elapsed: 7 }]).elapsed(102)).toBe(9);
  });

  it("stands when the answer is over", () => {
    expect(watch([0, WIP], [4, DONE]).elapsed(60)).toBe(4);
  });

  it("takes the kernel's figure at the end", () => {
    expect(watch([0, WIP], [4, DONE], [4.1, DONE, { elapsed: 3.9 }]).elapsed(60)).toBeCloseTo(3.9);
  });

  it("is unknown for an answer that was over before, and not measured", () => {
    expect(watch([0, DONE]).elapsed(1)).toBeNull();
  });

  it("goes on from where it stood when the answer is resumed", () => {
    const stopped = { status: "INCOMPLETE", content: "as far as it came" };
    const resumed = { ...stopped, ...WIP };
    const ended: JsonObject = { elapsed: 4 };
    expect(watch([0, WIP], [4, stopped, ended], [60, resumed, ended]).elapsed(62)).toBe(6);
  });

  it("begins anew with another answer", () => {
    const ended: JsonObject = { elapsed: 4 };
    expect(
      watch([0, WIP], [4, { status: "INCOMPLETE" }, ended], [60, WIP, ended]).elapsed(62),
    ).toBe(2);
  });
});

describe("the clock of the thinking", () => {
  const thinks = { ...WIP, thinking_content: "hm" };
  const answers = { ...thinks, content: "a" };

  it("runs from the first thought to the first word of the answer", () => {
    const seen = watch([0, WIP], [1, thinks]);
    expect(seen.thinking(3)).toBe(2);
    expect(watch([0, WIP], [1, thinks], [5, answers]).thinking(90)).toBe(4);
  });

  it("stands when the answer is stopped in mid-thought", () => {
    expect(watch([1, thinks], [5, { ...thinks, status: "INCOMPLETE" }]).thinking(90)).toBe(4);
  });

  it("gives way to the server's own figure", () => {
    const measured = { ...answers, thinking_elapsed_secs: 12 };
    expect(watch([1, thinks], [5, measured]).thinking(90)).toBe(12);
    expect(watch([5, measured]).thinking(90)).toBe(12);
  });

  it("goes on after a reload, where the kernel says when the first token came", () => {
    expect(watch([100, thinks, { ttft: 1, elapsed: 8 }]).thinking(102)).toBe(9);
  });

  it("is unknown when nobody saw it", () => {
    expect(watch([0, answers]).thinking(5)).toBeNull();
    expect(watch([0, WIP]).thinking(5)).toBeNull();
  });
});

it.each([
  [0.4, "0 s", "0.4 s"],
  [0.842, "0 s", "0.84 s"],
  [3.96, "3 s", "4 s"],
  [9.34, "9 s", "9.3 s"],
  [59.9, "59 s", "1 min 0 s"],
  [72, "1 min 12 s", "1 min 12 s"],
  [7_500, "2 h 5 min", "2 h 5 min"],
])("%f seconds read %s on a clock and %s as a figure", (seconds, clock, span) => {
  expect([clockText(seconds), spanText(seconds)]).toEqual([clock, span]);
});
