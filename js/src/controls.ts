/** What is pressed → the kernel, and if it cannot hear a Stop, the gateway itself. */
import type { Clock } from "./clock.ts";
import type { Status } from "./message.ts";
import type { Action, FromKernel, Grant, ToKernel } from "./protocol.ts";

/** A kernel that is free acknowledges within this time. */
export const ACK_WITHIN = 300;
/** After this the reader is told that nothing has come of it. */
export const GIVE_UP_AFTER = 3_000;

/** What the kernel is asked for, in words. */
const ASKED: Record<Action, string> = {
  stop: "stop the answer",
  resume: "resume the answer",
  regenerate: "answer once more",
  edit: "ask the edited prompt",
};

/** Ask the gateway; rejects with one line when it refuses or cannot be reached. */
export type RemoteStop = (grant: Grant, signal: AbortSignal) => Promise<void>;
type Ack = Extract<FromKernel, { type: "ack" }>;

interface Request {
  readonly action: Action;
  readonly id: string;
  readonly abort: AbortController;
  acceptedBy: "kernel" | "gateway" | null;
  refusal: string;
}

/** The controls of one answer; pressing twice is pressing once. */
export class Controls {
  #request: Request | null = null;
  #grant: Grant | null = null;
  #lastId = "";
  #timers: (() => void)[] = [];
  #offered: Action | null = null;
  /** What went wrong, in one line; "" when nothing did. */
  problem = "";

  constructor(
    private readonly clock: Clock,
    private readonly send: (message: ToKernel) => void,
    private readonly changed: () => void,
    private readonly stopRemotely: RemoteStop = stopStream,
  ) {}

  /** What was pressed and has not come about yet. */
  get pending(): Action | null {
    return this.#request?.action ?? null;
  }

  allow(grant: Grant): void {
    this.#grant = grant;
  }

  /** `prompt` goes with `edit`: what is to be asked instead. */
  press(action: Action, prompt?: string): void {
    if (this.#request?.action === action) return;
    this.#clear();
    const id = `${action}-${Math.random().toString(36).slice(2)}`;
    const request: Request = {
      action,
      id,
      abort: new AbortController(),
      acceptedBy: null,
      refusal: "",
    };
    this.#request = request;
    this.#lastId = id;
    this.send({ type: action, id, ...(prompt !== undefined && { prompt }) });
    if (action === "stop") this.#later(ACK_WITHIN, () => this.#goAround(request));
    this.#later(GIVE_UP_AFTER, () => this.#giveUp(request));
    this.changed();
  }

  acknowledge({ id, ok, message, action }: Ack): void {
    if (id !== this.#lastId) return;
    if (ok) {
      this.problem = "";
      if (this.#request) this.#request.acceptedBy = "kernel";
    } else {
      this.#clear();
      this.problem = message || `The kernel could not ${ASKED[action]}.`;
    }
    this.changed();
  }

  /** What was asked for has come about, or something else has. */
  observe(status: Status): void {
    const wanted: Action = status === "streaming" ? "stop" : "resume";
    if (this.#offered === wanted) return;
    this.#offered = wanted;
    this.#clear();
  }

  close(): void {
    this.#clear();
  }

  async #goAround(request: Request): Promise<void> {
    if (request.acceptedBy || !this.#grant) return;
    try {
      await this.stopRemotely(this.#grant, request.abort.signal);
      request.acceptedBy = "gateway";
    } catch (error) {
      request.refusal = error instanceof Error ? error.message : String(error);
    }
  }

  #giveUp(request: Request): void {
    if (request !== this.#request) return;
    this.#clear();
    this.problem = explain(request);
    this.changed();
  }

  #later(milliseconds: number, run: () => void): void {
    this.#timers.push(this.clock.after(milliseconds, run));
  }

  #clear(): void {
    for (const cancel of this.#timers.splice(0)) cancel();
    this.#request?.abort.abort();
    this.#request = null;
    this.problem = "";
  }
}

function explain({ action, acceptedBy, refusal }: Request): string {
  if (action !== "stop") {
    const late = `The kernel has not answered yet, it may be busy; it was asked to ${ASKED[action]}.`;
    return acceptedBy ? "" : late;
  }
  if (acceptedBy === "kernel") return "Stop was accepted, but the answer is still running.";
  if (acceptedBy === "gateway") {
    return "Stopped at the gateway; the kernel is busy and will say so when it is free.";
  }
  const gateway = refusal && `, and the gateway could not be reached (${refusal})`;
  return `Not stopped: the kernel has not answered${gateway}. Interrupt the kernel (■) to end it.`;
}

/** POST stop_stream for the one stream of the grant (protocols sections 1 and 6). */
export async function stopStream(grant: Grant, signal: AbortSignal): Promise<void> {
  const { chat_session_id, message_id, stream_id } = grant;
  // In the address, so that the gateway knows the page before it is asked whether the page may ask.
  const token = encodeURIComponent(grant.token);
  const response = await fetch(`${grant.url}/api/v0/chat/stop_stream?token=${token}`, {
    method: "POST",
    mode: "cors",
    credentials: "omit",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      chat_session_id,
      message_id,
      ...(stream_id === null ? {} : { stream_id }),
    }),
    signal,
  });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const { code, msg, data } = await response.json();
  if (code || data?.biz_code) throw new Error(msg || data?.biz_msg || `code ${code}`);
}
