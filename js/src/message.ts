/** Document → what a reader wants to know of an answer (protocols sections 1 and 6). */
import { callsOf, isReplaced, type Part, stepsOf } from "./parts.ts";
import { type Document, type Node, Text } from "./patches.ts";

export type Status = "streaming" | "finished" | "stopped" | "filtered" | "failed" | "interrupted";

/** What is going on while an answer streams. */
export type LivePhase =
  | "connecting"
  | "waiting"
  | "thinking"
  | "answering"
  | "stalled"
  | "reconnecting";
export type Phase = LivePhase | Exclude<Status, "streaming">;

export interface Usage {
  readonly prompt: number | null;
  readonly completion: number | null;
  readonly total: number | null;
}

const WIRE: Record<string, Status> = {
  WIP: "streaming",
  FINISHED: "finished",
  INCOMPLETE: "stopped",
  CONTENT_FILTER: "filtered",
  CONTEXT_LENGTH_EXCEEDED: "finished",
  TIMEOUT: "failed",
  FAILED: "failed",
};
const STATUSES = new Set<string>([...Object.values(WIRE), "interrupted"]);
const PHASES = new Set<string>([
  "connecting",
  "waiting",
  "thinking",
  "answering",
  "stalled",
  "reconnecting",
]);
const ANSWERS = new Set(["RESPONSE", "TEMPLATE_RESPONSE"]);

/** One answer, read from the document it stands in and from the `status` trait beside it. */
export class Message {
  readonly #document: Document;
  readonly #trait: string;
  readonly #lost: string;

  /** `lost` says why nothing more can come of it; "" while something can. */
  constructor(document: Document, trait: string, lost = "") {
    this.#document = document;
    this.#trait = trait;
    this.#lost = lost;
  }

  /** The leaves whose texts, one after the other, are the thinking. */
  get thinking(): Text[] {
    return this.#leaves("thinking_content", (type) => type === "THINK");
  }

  /** The leaves whose texts, one after the other, are the answer. */
  get content(): Text[] {
    return this.#leaves("content", (type) => ANSWERS.has(type));
  }

  /** Searches, pages read, tips: what was done on the way, in its order. */
  get steps(): Part[] {
    return stepsOf(this.#document);
  }

  /** The calls of tools that the model asks for, as far as they have arrived. */
  get calls(): Part[] {
    return callsOf(this.#document);
  }

  /** Whether the server has taken its answer back, and put another text in its place. */
  get replaced(): boolean {
    return isReplaced(this.#document);
  }

  /**
   * The wire's status in our words. Only the kernel knows of `interrupted`, so its trait counts;
   * but a last patch may arrive before the trait that goes with it.
   */
  get status(): Status {
    return this.#cutOff ? "interrupted" : this.#told;
  }

  /** Whether it streamed when its kernel went. */
  get #cutOff(): boolean {
    return this.#lost !== "" && this.#told === "streaming";
  }

  get #told(): Status {
    const word = this.#string("response/status");
    // The end is the status leaving WIP, also for a word nobody knows yet.
    const wire = word ? (WIRE[word] ?? "failed") : "streaming";
    if (!STATUSES.has(this.#trait)) return wire;
    return this.#trait === "streaming" && !this.#begins ? wire : (this.#trait as Status);
  }

  /** The kernel's word for what is going on, or else what the texts tell. */
  get phase(): Phase {
    const { status } = this;
    if (status !== "streaming") return status;
    const phase = this.#string("phase") ?? "";
    if (PHASES.has(phase)) return phase as LivePhase;
    if (hasText(this.content)) return "answering";
    if (hasText(this.thinking)) return "thinking";
    return this.#document.get("response") instanceof Map ? "waiting" : "connecting";
  }

  /** `stop`, `length`, …; a context that ran full is `length` too. */
  get finishReason(): string | null {
    const reason = this.#string("response/finish_reason");
    if (reason) return reason;
    return this.#string("response/status") === "CONTEXT_LENGTH_EXCEEDED" ? "length" : null;
  }

  /** Whether it ended for want of room, so that it can be continued. */
  get cut(): boolean {
    const whole = this.status === "finished" || this.status === "stopped";
    return whole && this.finishReason === "length";
  }

  get error(): string | null {
    if (this.#cutOff) return this.#lost;
    return this.#string("response/error/message") || this.#string("response/error");
  }

  /** What the gateway does about an answer that does not come yet, such as trying again. */
  get notice(): string | null {
    return this.status === "streaming" ? this.#string("response/notice") || null : null;
  }

  /** How the answer went on after a stop or a cut: `native`, `prefill`, `asked`, `again`. */
  get continuation(): string | null {
    return this.#string("response/continuation") || null;
  }

  get model(): string | null {
    return this.#string("response/model") || null;
  }

  /** As the server says; the sum where each fragment has its own. */
  get thinkingSeconds(): number | null {
    const flat = this.#number("response/thinking_elapsed_secs");
    if (flat !== null) return flat;
    const each = this.#fragments((type) => type === "THINK").map((one) => one.get("elapsed_secs"));
    const known = each.filter((seconds) => typeof seconds === "number");
    return known.length > 0 ? known.reduce((sum, seconds) => sum + seconds, 0) : null;
  }

  /** Seconds to the first token, as the kernel measured them. */
  get ttft(): number | null {
    return this.#number("timing/ttft");
  }

  /** Seconds since the request, as the kernel measured them. */
  get elapsed(): number | null {
    return this.#number("timing/elapsed");
  }

  /** Whether this is the rest of an answer that had ended once: speeds mean nothing then. */
  get continued(): boolean {
    return this.#document.get("continued") === true;
  }

  get usage(): Usage {
    const read = (name: string) => this.#number(`response/usage/${name}`);
    const total = read("total_tokens") ?? this.#number("response/accumulated_token_usage");
    return {
      prompt: read("prompt_tokens"),
      completion: read("completion_tokens"),
      total: total || null,
    };
  }

  /** A resumed answer keeps its old wire status until the new stream's snapshot is there. */
  get #begins(): boolean {
    return ["connecting", "waiting", "reconnecting"].includes(this.#string("phase") ?? "");
  }

  #leaves(name: string, wanted: (type: string) => boolean): Text[] {
    const fragments = this.#document.get("response/fragments");
    if (Array.isArray(fragments) && fragments.length > 0) {
      return texts(this.#fragments(wanted).map((one) => one.get("content")));
    }
    return texts([this.#document.get(`response/${name}`)]);
  }

  #fragments(wanted: (type: string) => boolean): Map<string, Node>[] {
    const fragments = this.#document.get("response/fragments");
    if (!Array.isArray(fragments)) return [];
    return fragments.filter((one) => one instanceof Map && wanted(`${one.get("type")}`)) as Map<
      string,
      Node
    >[];
  }

  #string(path: string): string | null {
    const node = this.#document.get(path);
    return node instanceof Text ? node.toString() : null;
  }

  #number(path: string): number | null {
    const node = this.#document.get(path);
    return typeof node === "number" ? node : null;
  }
}

const texts = (nodes: (Node | undefined)[]) => nodes.filter((node) => node instanceof Text);
export const hasText = (leaves: Text[]) => leaves.some((leaf) => leaf.length > 0);

/** All leaves as one string. */
export const joined = (leaves: Text[]): string => leaves.join("");
