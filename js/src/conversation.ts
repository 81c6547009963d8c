/** One model → its turns, a store for each answer, and what can be asked for; shared by all its views. */
import type { Clock } from "./clock.ts";
import { Controls, type RemoteStop } from "./controls.ts";
import {
  isObject,
  type PanelModel,
  readAcknowledged,
  readTurns,
  type Turn,
  type Turns,
} from "./conversation_protocol.ts";
import { loaderOfPage } from "./extras_loader.ts";
import { KernelLink } from "./kernel_link.ts";
import { Notebook, PendingOutputs } from "./notebook.ts";
import { type Callback, readMessage } from "./protocol.ts";
import { PATIENCE, Store } from "./store.ts";

/** A kernel that has not answered for so long is said to be busy. */
export const BUSY_AFTER = 1_000;

export type Ask = "send" | "edit" | "regenerate" | "switch";

interface Request {
  readonly id: string;
  readonly done: (ok: boolean) => void;
}

/** One answer, whichever branches it stands on. */
export class LiveAnswer {
  readonly store: Store;
  readonly controls: Controls;

  constructor(
    readonly number: number,
    clock: Clock,
    send: (message: object) => void,
    stopRemotely?: RemoteStop,
  ) {
    const numbered = (message: object) => send({ ...message, number });
    this.store = new Store(clock, (have) => numbered({ type: "sync", have }));
    this.controls = new Controls(clock, numbered, () => this.store.notify(), stopRemotely);
    this.store.subscribe(() => this.controls.observe(this.store.message.status));
  }

  get live(): boolean {
    return this.store.message.status === "streaming";
  }

  close(): void {
    this.controls.close();
    this.store.close();
  }
}

export class Conversation {
  turns: readonly Turn[] = [];
  /** What went wrong, in one line; "" when nothing did. */
  problem = "";
  /** Whether the kernel has not taken what was asked for, for a while. */
  waiting = false;
  readonly kernel: KernelLink;
  readonly notebook: Notebook;
  readonly outputs: PendingOutputs;
  #have = 0;
  #answers = new Map<number, LiveAnswer>();
  #request: Request | null = null;
  #alarms: { busy: (() => void) | null; gap: (() => void) | null } = { busy: null, gap: null };
  #listeners = new Set<() => void>();
  readonly #handlers: [string, Callback][];
  readonly #withdraw: () => void;

  constructor(
    private readonly model: PanelModel,
    private readonly clock: Clock,
    private readonly stopRemotely?: RemoteStop,
  ) {
    const changed = () => this.#notify();
    this.notebook = new Notebook(model.widget_manager);
    this.outputs = new PendingOutputs(this.notebook, () => {});
    this.kernel = new KernelLink(model.widget_manager, () => {
      for (const answer of this.#answers.values()) this.#heed(answer);
      changed();
    });
    this.#handlers = [
      ["msg:custom", (value, buffers) => this.#receive(value, buffers)],
      ["change:conversation", () => this.#open()],
      ...["value", "busy", "label", "placeholder", "disabled"].map((name): [string, () => void] => [
        `change:${name}`,
        changed,
      ]),
    ];
    for (const [name, handler] of this.#handlers) model.on(name, handler);
    this.#open();
    this.#send({ type: "hello", origin: location.origin });
    this.#withdraw = loaderOfPage().offer(() => this.#send({ type: "extras" }));
    // What was sent before this view could hear is lost.
    this.#send({ type: "sync" });
    for (const { answer } of this.turns) this.#missed(answer.number);
  }

  get draft(): string {
    return String(this.model.get("value") ?? "");
  }

  set draft(text: string) {
    if (text === this.draft) return;
    this.model.set("value", text);
    this.model.save_changes();
  }

  get busy(): boolean {
    return (this.model.get("busy") === true && !this.kernel.lost) || this.running !== null;
  }

  get disabled(): boolean {
    return this.model.get("disabled") === true || this.kernel.lost !== "";
  }

  get label(): string {
    return String(this.model.get("label") ?? "");
  }

  get placeholder(): string {
    return String(this.model.get("placeholder") ?? "");
  }

  /** Whether anything but a stop can be asked for. */
  get rests(): boolean {
    return !this.busy && !this.pending && !this.disabled;
  }

  /** Whether something was asked for that the kernel has not taken yet. */
  get pending(): boolean {
    return this.#request !== null;
  }

  /** The answer that streams, the oldest of several. */
  get running(): LiveAnswer | null {
    const shown = this.turns.map(({ answer }) => this.answer(answer.number));
    return shown.find((answer) => answer.live) ?? null;
  }

  answer(number: number): LiveAnswer {
    const known = this.#answers.get(number);
    if (known) return known;
    const send = (message: object) => this.#send(message);
    const answer = new LiveAnswer(number, this.clock, send, this.stopRemotely);
    // Whether it streams decides what else can be done.
    let live: boolean | null = null;
    answer.store.subscribe(() => {
      if (answer.live !== live) this.#notify();
      live = answer.live;
    });
    this.#answers.set(number, answer);
    if (this.kernel.lost || this.kernel.away) this.#heed(answer);
    return answer;
  }

  /** Ask the kernel for something; `done` is called when it has been taken, or refused. */
  ask(type: Ask, fields: object, done: (ok: boolean) => void = () => {}): void {
    if (this.#request) return;
    const id = `${type}-${Math.random().toString(36).slice(2)}`;
    this.#request = { id, done };
    this.problem = "";
    this.#alarms.busy = this.clock.after(BUSY_AFTER, () => {
      this.waiting = true;
      this.#notify();
    });
    this.#send({ ...fields, type, id });
    this.#notify();
  }

  stop(): void {
    this.running?.controls.press("stop");
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    for (const [name, handler] of this.#handlers) this.model.off(name, handler);
    this.#withdraw();
    this.kernel.close();
    this.#alarms.busy?.();
    this.#alarms.gap?.();
    for (const answer of this.#answers.values()) answer.close();
    this.#listeners.clear();
  }

  #heed({ store }: LiveAnswer): void {
    store.heed(this.kernel.lost, this.kernel.away);
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }

  #open(): void {
    const turns = readTurns(this.model.get("conversation"));
    if (turns && turns.seq >= this.#have) this.#take(turns, []);
  }

  #receive(value: unknown, buffers: unknown): void {
    if (loaderOfPage().take(value, buffers) || !isObject(value)) return;
    if (this.outputs.take(value)) this.#notify();
    else if (value["type"] === "turns") this.#follow(readTurns(value));
    else if (value["type"] === "problem") {
      this.problem = String(value["message"] ?? "");
      this.#notify();
    } else {
      if (value["type"] === "ack") this.#acknowledge(value);
      this.#pass(value);
    }
  }

  /** What is about one answer goes to that answer, if it is known. */
  #pass(value: Record<string, unknown>): void {
    const answer = this.#answers.get(Number(value["number"]));
    if (!answer) return;
    const message = readMessage(value);
    if (value["type"] === "status") answer.store.setStatus(value["status"]);
    else if (message?.type === "patches") answer.store.patch(message.seq, message.patches);
    else if (message?.type === "snapshot") answer.store.take(message);
    else if (message?.type === "end") answer.store.finish(message);
    else if (message?.type === "ack") answer.controls.acknowledge(message);
    else if (message?.type === "control") answer.controls.allow(message);
  }

  #follow(turns: Turns | null): void {
    if (!turns || turns.seq < this.#have) return;
    const next = turns.seq <= this.#have + 1 && turns.keep <= this.turns.length;
    if (turns.keep === 0 || next) this.#take(turns, this.turns.slice(0, turns.keep));
    else this.#alarms.gap ??= this.clock.after(PATIENCE, () => this.#askForTurns());
  }

  #askForTurns(): void {
    this.#alarms.gap = null;
    this.#send({ type: "sync" });
  }

  #take({ seq, turns }: Turns, kept: readonly Turn[]): void {
    this.#have = seq;
    for (const { answer } of turns) {
      const { store } = this.answer(answer.number);
      if (answer.snapshot) store.take(answer.snapshot);
      store.setStatus(answer.status);
      if (store.have < answer.seq)
        this.#send({ type: "sync", number: answer.number, have: store.have });
    }
    this.turns = [...kept, ...turns];
    this.#notify();
  }

  /** Ask for what an answer that streams may have said unheard. */
  #missed(number: number): void {
    const { live, store } = this.answer(number);
    if (live) this.#send({ type: "sync", number, have: store.have });
  }

  #acknowledge(value: Record<string, unknown>): void {
    const ack = readAcknowledged(value);
    const request = this.#request;
    if (!ack || !request || ack.id !== request.id) return;
    this.#request = null;
    this.waiting = false;
    this.#alarms.busy?.();
    this.problem = ack.ok ? "" : ack.message || "The kernel could not do this.";
    request.done(ack.ok);
    this.#notify();
  }

  #send(message: object): void {
    try {
      this.model.send(message);
    } catch {
      // No kernel behind this model any more: what stands, stands.
    }
  }
}
