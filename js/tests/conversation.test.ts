import { beforeEach, describe, expect, it } from "vitest";
import { BUSY_AFTER, Conversation } from "../src/conversation.ts";
import { joined } from "../src/message.ts";
import { PATIENCE } from "../src/store.ts";
import { FakeClock, say, set } from "./fakes.ts";
import { ended, FakePanelModel, turn } from "./panel_fakes.ts";

let clock: FakeClock;
let model: FakePanelModel;
let conversation: Conversation;

function open(state: Record<string, unknown> = {}) {
  clock = new FakeClock();
  model = new FakePanelModel(state);
  conversation = new Conversation(model.proxy(), clock, () => new Promise(() => {}));
}

beforeEach(() => open());

const tell = (seq: number, keep: number, ...turns: unknown[]) =>
  model.deliver({ type: "turns", seq, keep, turns });
const batch = (number: number, seq: number, text: string) =>
  model.deliver({ type: "patches", number, seq, patches: [say(text)] });
const said = () =>
  conversation.turns.map(({ prompt, answer }) => [
    prompt.text,
    joined(conversation.answer(answer.number).store.message.content),
  ]);
const two = { seq: 2, turns: [ended(1, "one", "Hi"), ended(3, "two", "Ho")] };

describe("what a page knows", () => {
  it("says hello and asks for what was sent before it could hear", () => {
    expect(model.asked).toEqual([{ type: "hello", origin: location.origin }, { type: "sync" }]);
    open({ conversation: { seq: 1, turns: [turn(1, "one")] } });
    expect(model.last("sync")).toEqual({ type: "sync", number: 2, have: 0 });
  });

  it("keeps the turns that stay and takes the others, each batch into its own answer", () => {
    open({ conversation: two });
    tell(3, 1, turn(5, "zwei"));
    batch(6, 1, "So");
    batch(4, 2, " late");
    batch(6, 2, "!");
    expect(said()).toEqual([
      ["one", "Hi"],
      ["zwei", "So!"],
    ]);
    tell(4, 1, turn(3, "two", { status: "finished", seq: 2 }));
    expect(said()).toEqual([
      ["one", "Hi"],
      ["two", "Ho late"],
    ]);
    expect(model.asked.filter(({ type }) => type === "sync")).toHaveLength(1);
  });

  it("asks for an answer that it never saw", () => {
    tell(1, 0, turn(1, "one", { status: "finished", seq: 7 }));
    expect(model.last("sync")).toEqual({ type: "sync", number: 2, have: 0 });
    const document = { response: { status: "FINISHED", content: "Hi" } };
    model.deliver({ type: "snapshot", number: 2, seq: 7, document });
    expect(said()).toEqual([["one", "Hi"]]);
  });

  it("asks for the turns after a gap that does not close, and passes over old ones", () => {
    open({ conversation: two });
    tell(4, 2, turn(7, "four"));
    expect(said()).toHaveLength(2);
    clock.advance(PATIENCE);
    expect(model.last("sync")).toEqual({ type: "sync" });
    tell(4, 0, turn(1, "one", { status: "finished", seq: 1 }), turn(7, "four"));
    tell(3, 0);
    expect(said().map(([prompt]) => prompt)).toEqual(["one", "four"]);
  });

  it("takes no message for what it is not", () => {
    open({ conversation: two });
    for (const odd of [null, "turns", {}, { type: "turns" }, { type: "patches", number: 99 }]) {
      model.deliver(odd);
    }
    expect(said()).toEqual([
      ["one", "Hi"],
      ["two", "Ho"],
    ]);
  });

  it("is busy while an answer streams, whatever the kernel's trait says meanwhile", () => {
    tell(1, 0, turn(1, "one"));
    expect([conversation.busy, conversation.running?.number]).toEqual([true, 2]);
    const over = [set("response/status", "FINISHED"), set("phase", "finished")];
    model.deliver({ type: "patches", number: 2, seq: 1, patches: over });
    model.deliver({ type: "status", number: 2, status: "finished" });
    expect([conversation.busy, conversation.rests]).toEqual([false, true]);
    model.set("busy", true);
    expect([conversation.busy, conversation.rests]).toEqual([true, false]);
  });
});

describe("what is asked for", () => {
  it("is pending until the kernel takes it, one thing at a time", () => {
    const taken: boolean[] = [];
    conversation.ask("send", { prompt: "x" }, (ok) => taken.push(ok));
    conversation.ask("send", { prompt: "y" });
    expect(model.asked.filter(({ type }) => type === "send")).toHaveLength(1);
    expect(conversation.pending).toBe(true);
    model.deliver({ type: "ack", id: "another", ok: true });
    expect(conversation.pending).toBe(true);
    model.acknowledge("send");
    expect([conversation.pending, conversation.problem, taken]).toEqual([false, "", [true]]);
  });

  it("tells why the kernel refused it, until something else is asked for", () => {
    const taken: boolean[] = [];
    conversation.ask("edit", { number: 1 }, (ok) => taken.push(ok));
    model.acknowledge("edit", "there is no prompt 1");
    expect([conversation.problem, taken]).toEqual(["there is no prompt 1", [false]]);
    conversation.ask("send", { prompt: "x" });
    expect(conversation.problem).toBe("");
  });

  it("waits for a kernel that is busy, and says so after a while", () => {
    conversation.ask("send", { prompt: "x" });
    clock.advance(BUSY_AFTER - 1);
    expect(conversation.waiting).toBe(false);
    clock.advance(1);
    expect(conversation.waiting).toBe(true);
    model.acknowledge("send");
    expect(conversation.waiting).toBe(false);
  });

  it("stops the answer that streams, with its number", () => {
    tell(1, 0, turn(1, "one"));
    conversation.stop();
    expect(model.last("stop")).toMatchObject({ type: "stop", number: 2 });
  });

  it("saves the draft only when it is another one", () => {
    conversation.draft = "x";
    conversation.draft = "x";
    expect([model.saves, model.get("value")]).toEqual([1, "x"]);
  });
});

it("leaves nothing behind when it is closed", () => {
  tell(1, 0, turn(1, "one"));
  conversation.ask("send", { prompt: "x" });
  tell(9, 9, turn(1, "one"));
  conversation.close();
  expect([model.listeners, clock.idle]).toEqual([0, true]);
});
