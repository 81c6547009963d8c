import { describe, expect, it } from "vitest";
import { readMessage, readSnapshot } from "../src/protocol.ts";

describe("a message of the kernel is read", () => {
  it.each([
    { type: "patches", seq: 1, patches: [{ p: "a", o: "SET", v: null }] },
    { type: "snapshot", seq: 0, document: { response: {} } },
    { type: "end", seq: 3, length: 1, checksum: 0xffffffff },
    { type: "ack", id: "stop-1", action: "stop", ok: false, message: "no" },
  ])("$type", (message) => {
    expect(readMessage(message)).toEqual(message);
  });

  it("drops a patch it cannot read, and keeps the others in order", () => {
    const good = { p: "a", o: "APPEND", v: "x" };
    const patches = [
      { p: 1, o: "SET", v: 1 },
      good,
      { p: "a", o: "BATCH", v: [] },
      { p: "a", o: "SET" },
    ];
    expect(readMessage({ type: "patches", seq: 1, patches })).toMatchObject({ patches: [good] });
  });

  it("takes a control without the ids it does not need, and a slash at the end of the address", () => {
    expect(
      readMessage({ type: "control", url: "http://127.0.0.1:1/", token: "t", message_id: 5 }),
    ).toEqual({
      type: "control",
      url: "http://127.0.0.1:1",
      token: "t",
      chat_session_id: null,
      message_id: 5,
      stream_id: null,
    });
  });
});

describe("what is no message is null", () => {
  it.each([
    [null],
    ["patches"],
    [[]],
    [{}],
    [{ type: "tomorrow" }],
    [{ type: "patches", seq: -1, patches: [] }],
    [{ type: "patches", seq: 1.5, patches: [] }],
    [{ type: "patches", seq: 1 }],
    [{ type: "snapshot", seq: 1, document: [] }],
    [{ type: "end", seq: 1, length: "2", checksum: 3 }],
    [{ type: "ack", id: 7, action: "stop" }],
    [{ type: "ack", id: "x", action: "dance" }],
    [{ type: "control", url: "javascript:alert(1)", token: "t" }],
    [{ type: "control", url: "http://x" }],
  ])("%j", (value) => {
    expect(readMessage(value)).toBeNull();
  });

  it.each([[undefined], [null], [{}], [{ seq: 0 }]])("nor a snapshot: %j", (value) => {
    expect(readSnapshot(value)).toBeNull();
  });
});
