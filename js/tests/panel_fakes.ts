/** The kernel's side of a panel: its model, and the messages of a conversation. */
import type { PanelModel } from "../src/conversation_protocol.ts";
import type { JsonObject } from "../src/protocol.ts";
import { FakeModel } from "./fakes.ts";

type Message = { type: string; id: string; number?: number } & Record<string, unknown>;

export class FakePanelModel extends FakeModel {
  saves = 0;

  constructor(state: Record<string, unknown> = {}) {
    super({ kind: "panel", conversation: { seq: 0, turns: [] }, value: "", busy: false, ...state });
  }

  get asked(): Message[] {
    return this.sent as unknown as Message[];
  }

  last(type: string): Message {
    const found = this.asked.filter((message) => message.type === type).at(-1);
    if (!found) throw new Error(`nothing of type ${type} was sent`);
    return found;
  }

  /** Take what was asked for last, or refuse it. */
  acknowledge(type: string, message = ""): void {
    const { id } = this.last(type);
    this.deliver({ type: "ack", id, action: type, ok: message === "", message });
  }

  override proxy(): PanelModel {
    return {
      get: (name) => this.get(name),
      set: (name, value) => this.set(name, value),
      save_changes: () => {
        this.saves++;
      },
      on: (name, handler) => this.on(name, handler),
      off: (name, handler) => this.off(name, handler),
      send: (message) => this.send(message as never),
    };
  }
}

interface Shape {
  readonly status?: string;
  readonly seq?: number;
  readonly places?: readonly [[number, number], [number, number]];
}

/** A turn as the kernel tells it: the prompt has this number, the answer the next. */
export function turn(number: number, text: string, shape: Shape = {}) {
  const {
    status = "streaming",
    seq = 0,
    places = [
      [1, 1],
      [1, 1],
    ],
  } = shape;
  return {
    prompt: { number, text, place: places[0] },
    answer: { number: number + 1, place: places[1], status, seq },
  };
}

/** A turn that is over, as it stands in the state. */
export function ended(number: number, text: string, content: string, shape: Shape = {}) {
  const { prompt, answer } = turn(number, text, { status: "finished", ...shape });
  const document: JsonObject = { response: { status: "FINISHED", content } };
  return { prompt, answer: { ...answer, snapshot: { seq: 1, document } } };
}
