import { beforeEach, describe, expect, it, vi } from "vitest";
import { ACK_WITHIN, Controls, GIVE_UP_AFTER, stopStream } from "../src/controls.ts";
import type { Action, Grant, ToKernel } from "../src/protocol.ts";
import { FakeClock } from "./fakes.ts";

const GRANT: Grant = {
  url: "http://127.0.0.1:8888",
  token: "one-stream",
  chat_session_id: "s",
  message_id: 5,
  stream_id: "e",
};

let clock: FakeClock;
let sent: ToKernel[];
let calls: Grant[];
let remote: { resolve: () => void; reject: (error: Error) => void; signal: AbortSignal };
let controls: Controls;

beforeEach(() => {
  clock = new FakeClock();
  sent = [];
  calls = [];
  controls = new Controls(
    clock,
    (message) => sent.push(message),
    () => {},
    (grant, signal) => {
      calls.push(grant);
      return new Promise((resolve, reject) => {
        remote = { resolve, reject, signal };
      });
    },
  );
  controls.observe("streaming");
});

const lastId = () => (sent.at(-1) as { id: string }).id;
const ack = (ok = true, message = "", action: Action = "stop", id = lastId()) =>
  controls.acknowledge({ type: "ack", id, action, ok, message });
const settled = () => new Promise<void>((resolve) => queueMicrotask(resolve));

describe("Stop", () => {
  it("asks the kernel first, with an id, and shows that it is under way", () => {
    controls.press("stop");
    expect(sent).toEqual([{ type: "stop", id: lastId() }]);
    expect([controls.pending, controls.problem]).toEqual(["stop", ""]);
  });

  it("pressed twice is pressed once", () => {
    controls.press("stop");
    controls.press("stop");
    expect(sent).toHaveLength(1);
  });

  it("that is acknowledged in time leaves the gateway alone", () => {
    controls.allow(GRANT);
    controls.press("stop");
    clock.advance(ACK_WITHIN - 1);
    ack();
    clock.advance(1);
    expect(calls).toEqual([]);
  });

  it("without an acknowledgement in 300 ms goes to the gateway itself", () => {
    controls.allow(GRANT);
    controls.press("stop");
    clock.advance(299);
    expect(calls).toEqual([]);
    clock.advance(1);
    expect(calls).toEqual([GRANT]);
  });

  it("without a grant can only wait for the kernel", () => {
    controls.press("stop");
    clock.advance(ACK_WITHIN);
    expect([calls, controls.pending]).toEqual([[], "stop"]);
  });

  it("uses the newest grant", () => {
    controls.allow(GRANT);
    controls.allow({ ...GRANT, stream_id: "newer" });
    controls.press("stop");
    clock.advance(ACK_WITHIN);
    expect(calls).toMatchObject([{ stream_id: "newer" }]);
  });

  it("is over when the answer is, whoever ended it", () => {
    controls.allow(GRANT);
    controls.press("stop");
    clock.advance(ACK_WITHIN);
    controls.observe("stopped");
    expect([controls.pending, controls.problem, remote.signal.aborted]).toEqual([null, "", true]);
    expect(clock.idle).toBe(true);
  });

  it("says so when the kernel is silent and there is no other way", () => {
    controls.press("stop");
    clock.advance(GIVE_UP_AFTER);
    expect(controls.pending).toBeNull();
    expect(controls.problem).toMatch(/^Not stopped: the kernel has not answered\..*Interrupt/);
  });

  it("says so when both ways fail", async () => {
    controls.allow(GRANT);
    controls.press("stop");
    clock.advance(ACK_WITHIN);
    remote.reject(new Error("HTTP 401"));
    await settled();
    expect([controls.pending, controls.problem]).toEqual(["stop", ""]);
    clock.advance(GIVE_UP_AFTER);
    expect(controls.problem).toMatch(
      /kernel has not answered.*gateway could not be reached \(HTTP 401\)/,
    );
  });

  it("tells of a gateway that stopped while the kernel is busy", async () => {
    controls.allow(GRANT);
    controls.press("stop");
    clock.advance(ACK_WITHIN);
    remote.resolve();
    await settled();
    clock.advance(GIVE_UP_AFTER);
    expect(controls.problem).toMatch(/^Stopped at the gateway; the kernel is busy/);
  });

  it("tells of an answer that goes on all the same", () => {
    controls.press("stop");
    ack();
    clock.advance(GIVE_UP_AFTER);
    expect(controls.problem).toBe("Stop was accepted, but the answer is still running.");
  });

  it("forgets the problem when a late acknowledgement comes", () => {
    controls.press("stop");
    clock.advance(GIVE_UP_AFTER);
    ack();
    expect(controls.problem).toBe("");
  });

  it("shows the kernel's reason when it refuses", () => {
    controls.press("stop");
    ack(false, "the gateway is gone");
    expect([controls.pending, controls.problem]).toEqual([null, "the gateway is gone"]);
  });

  it("can be pressed again after it failed", () => {
    controls.press("stop");
    clock.advance(GIVE_UP_AFTER);
    controls.press("stop");
    expect([sent.length, controls.problem, controls.pending]).toEqual([2, "", "stop"]);
    expect(new Set(sent.map((message) => JSON.stringify(message))).size).toBe(2);
  });

  it("takes no acknowledgement that is not its own", () => {
    controls.press("stop");
    ack(false, "not for you", "stop", "another");
    expect([controls.pending, controls.problem]).toEqual(["stop", ""]);
  });
});

describe("Resume", () => {
  beforeEach(() => controls.observe("stopped"));

  it("goes to the kernel only, and lasts until the answer streams", () => {
    controls.allow(GRANT);
    controls.press("resume");
    clock.advance(ACK_WITHIN);
    ack(true, "", "resume");
    expect([sent[0]?.type, calls, controls.pending]).toEqual(["resume", [], "resume"]);
    controls.observe("streaming");
    expect(controls.pending).toBeNull();
  });

  it("says so when the kernel is silent", () => {
    controls.press("resume");
    clock.advance(GIVE_UP_AFTER);
    expect([controls.pending, controls.problem]).toEqual([
      null,
      "The kernel has not answered yet, it may be busy; it was asked to resume the answer.",
    ]);
  });

  it.each(["regenerate", "edit"] as const)(
    "is like %s, which may be pressed after it",
    (action) => {
      controls.press("resume");
      controls.press(action, action === "edit" ? "And b?" : undefined);
      const prompt = action === "edit" ? { prompt: "And b?" } : {};
      expect(sent.at(-1)).toEqual({ type: action, id: lastId(), ...prompt });
      ack(true, "", action);
      controls.observe("streaming");
      expect([controls.pending, controls.problem]).toEqual([null, ""]);
    },
  );

  it("shows the kernel's reason when it refuses", () => {
    controls.press("resume");
    ack(false, "", "resume");
    expect(controls.problem).toBe("The kernel could not resume the answer.");
  });
});

it("leaves nothing running when it is closed", () => {
  controls.press("stop");
  controls.close();
  expect(clock.idle).toBe(true);
});

describe("the gateway is asked", () => {
  const answer = (body: unknown, status = 200) =>
    vi
      .spyOn(globalThis, "fetch")
      .mockResolvedValue(new Response(JSON.stringify(body), { status }) as unknown as Response);
  const stop = (grant = GRANT) => stopStream(grant, new AbortController().signal);
  const fine = { code: 0, msg: "", data: { biz_code: 0, biz_msg: "", biz_data: null } };

  it("to stop this one stream, with the token in the address and no cookies", async () => {
    const fetched = answer(fine);
    await stop();
    const [url, request] = fetched.mock.calls[0] ?? [];
    expect(url).toBe("http://127.0.0.1:8888/api/v0/chat/stop_stream?token=one-stream");
    expect(request).toMatchObject({
      method: "POST",
      credentials: "omit",
      headers: { "content-type": "application/json" },
    });
    expect(JSON.parse(String(request?.body))).toEqual({
      chat_session_id: "s",
      message_id: 5,
      stream_id: "e",
    });
  });

  it("without a stream_id when there is none", async () => {
    const fetched = answer(fine);
    await stop({ ...GRANT, stream_id: null });
    expect(JSON.parse(String(fetched.mock.calls[0]?.[1]?.body))).not.toHaveProperty("stream_id");
  });

  it.each([
    ["an HTTP error", {}, 401, "HTTP 401"],
    ["an error in the envelope", { code: 40003, msg: "bad token", data: null }, 200, "bad token"],
    [
      "an error in its data",
      { code: 0, msg: "", data: { biz_code: 26, biz_msg: "no such" } },
      200,
      "no such",
    ],
  ])("and %s is a refusal", async (_, body, status, message) => {
    answer(body, status);
    await expect(stop()).rejects.toThrow(message);
  });
});
