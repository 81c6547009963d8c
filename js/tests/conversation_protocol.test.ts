import { describe, expect, it } from "vitest";
import { readAcknowledged, readTurns } from "../src/conversation_protocol.ts";
import { ended, turn } from "./panel_fakes.ts";

describe("turns", () => {
  it("are read from a message and from a state", () => {
    const read = readTurns({ seq: 3, keep: 1, turns: [turn(3, "two", { seq: 4 })] });
    expect(read).toMatchObject({ seq: 3, keep: 1 });
    expect(read?.turns[0]?.prompt).toEqual({ number: 3, text: "two", place: [1, 1] });
    expect(read?.turns[0]?.answer).toMatchObject({ number: 4, seq: 4, snapshot: null });
    const state = readTurns({ seq: 0, turns: [ended(1, "one", "Hi")] });
    expect(state?.keep).toBe(0);
    expect(state?.turns[0]?.answer.snapshot).toMatchObject({ seq: 1 });
  });

  it.each([
    [null],
    ["turns"],
    [{ seq: -1, turns: [] }],
    [{ seq: 0, turns: {} }],
    [{ seq: 0, turns: [null] }],
    [{ seq: 0, turns: [{ prompt: {}, answer: {} }] }],
    [{ seq: 0, turns: [{ prompt: { number: 1, place: [1, 1] } }] }],
  ])("that are none are refused: %j", (value) => {
    expect(readTurns(value)).toBeNull();
  });
});

it("reads an acknowledgement of whatever action, and only one with an id", () => {
  expect(readAcknowledged({ id: "1", ok: true })).toEqual({ id: "1", ok: true, message: "" });
  expect(readAcknowledged({ id: "1", ok: 1, message: "no" })).toMatchObject({ ok: false });
  expect(readAcknowledged({ ok: true })).toBeNull();
});
