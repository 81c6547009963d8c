/** A clock that stands still until told, and a model as anywidget hands it out. */
import type { Clock } from "../src/clock.ts";
import type { JsonObject, Model, Patch, ToKernel } from "../src/protocol.ts";

export class FakeClock implements Clock {
  #now = 0;
  #timers = new Set<{ at: number; run: () => void }>();
  #frames = new Set<() => void>();

  now(): number {
    return this.#now;
  }

  after(milliseconds: number, run: () => void): () => void {
    const timer = { at: this.#now + milliseconds, run };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  frame(run: () => void): () => void {
    this.#frames.add(run);
    return () => this.#frames.delete(run);
  }

  /** Let time pass, and run what falls due in its order. */
  advance(milliseconds: number): void {
    const until = this.#now + milliseconds;
    for (;;) {
      const due = [...this.#timers].filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.#timers.delete(due);
      this.#now = due.at;
      due.run();
    }
    this.#now = until;
  }

  /** Paint one frame; returns how many drawings it held. */
  paint(): number {
    const frames = [...this.#frames];
    this.#frames.clear();
    for (const run of frames) run();
    return frames.length;
  }

  /** Whether nothing is waiting any more. */
  get idle(): boolean {
    return this.#timers.size === 0 && this.#frames.size === 0;
  }
}

type Handler = (value: unknown) => void;

/** The one model behind all proxies. */
export class FakeModel implements Model {
  readonly sent: ToKernel[] = [];
  readonly #handlers = new Map<string, Set<Handler>>();

  constructor(readonly state: Record<string, unknown> = {}) {
    state["snapshot"] ??= { seq: 0, document: { response: {}, phase: "connecting", timing: {} } };
    state["status"] ??= "streaming";
  }

  get(name: string): unknown {
    return this.state[name];
  }

  on(name: string, handler: Handler): void {
    const handlers = this.#handlers.get(name) ?? new Set();
    this.#handlers.set(name, handlers.add(handler));
  }

  off(name: string, handler: Handler): void {
    this.#handlers.get(name)?.delete(handler);
  }

  send(message: ToKernel): void {
    this.sent.push(message);
  }

  /** A new object for the same model, as anywidget makes one for each call. */
  proxy(): Model {
    return {
      get: (name) => this.get(name),
      on: (name, handler) => this.on(name, handler),
      off: (name, handler) => this.off(name, handler),
      send: (message) => this.send(message),
    };
  }

  set(name: string, value: unknown): void {
    this.state[name] = value;
    this.#emit(`change:${name}`, undefined);
  }

  /** An event of the host's, without more. */
  tell(event: string): void {
    this.#emit(event, undefined);
  }

  /** A custom message of the kernel. */
  deliver(message: unknown): void {
    this.#emit("msg:custom", message);
  }

  get listeners(): number {
    return [...this.#handlers.values()].reduce((sum, handlers) => sum + handlers.size, 0);
  }

  #emit(name: string, value: unknown): void {
    for (const handler of [...(this.#handlers.get(name) ?? [])]) handler(value);
  }
}

export const set = (p: string, v: Patch["v"]): Patch => ({ p, o: "SET", v });
export const append = (p: string, v: Patch["v"]): Patch => ({ p, o: "APPEND", v });
export const think = (text: string) => append("response/thinking_content", text);
export const say = (text: string) => append("response/content", text);
export const flat = (response: JsonObject = {}): JsonObject => ({
  response: { status: "WIP", content: "", thinking_content: null, ...response },
});
