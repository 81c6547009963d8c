/** Messages of the kernel → one document per model, whole and in order. */
import { sumOf } from "./checksum.ts";
import type { Clock } from "./clock.ts";
import { joined, Message } from "./message.ts";
import { Document } from "./patches.ts";
import type { FromKernel, Patch, Snapshot } from "./protocol.ts";
import { Timing } from "./timing.ts";

/** A gap gets this long to close by itself before the kernel is asked. */
export const PATIENCE = 150;
/** Where nothing at all comes, the last batches may be lost: ask after this long. */
export const SILENCE = 10_000;
/** Without an answer the kernel is asked again, each time after twice as long, but at most this. */
const LONGEST = 60_000;

type End = Extract<FromKernel, { type: "end" }>;

/**
 * Batches are counted from 1: a known one is dropped, the next applied, an early one parked.
 * What is lost comes back as a snapshot, which the store asks for by `sync`.
 */
export class Store {
  readonly timing = new Timing();
  #document = new Document();
  #have = 0;
  #parked = new Map<number, readonly Patch[]>();
  #end: End | null = null;
  /** The texts are known to be wrong, until the next snapshot. */
  #doubt = false;
  #alarm: { readonly needed: boolean; readonly cancel: () => void } | null = null;
  #listeners = new Set<() => void>();
  #trait = "";
  #lost = "";
  /** Whether the line to the kernel is down for now. */
  away = false;
  /** Null until an `end` could be checked, then whether the texts were those of the kernel. */
  verified: boolean | null = null;
  /** When something new was last seen, by the clock. */
  lastChange: number;

  constructor(
    private readonly clock: Clock,
    private readonly ask: (have: number) => void,
  ) {
    this.lastChange = clock.now();
  }

  /** The number of the last batch in the document. */
  get have(): number {
    return this.#have;
  }

  get message(): Message {
    return new Message(this.#document, this.#trait, this.#lost);
  }

  /** Call the listener after every change; returns the way out. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  notify(): void {
    for (const listener of this.#listeners) listener();
  }

  /** Take what the model knew when it was opened, or a snapshot that was asked for. */
  take({ seq, document }: Snapshot): void {
    if (seq < this.#have) return;
    this.#document = new Document(document);
    this.#doubt = false;
    this.#settle(seq, true);
  }

  /** Take one batch. */
  patch(seq: number, patches: readonly Patch[]): void {
    if (seq <= this.#have) return;
    this.#parked.set(seq, patches);
    this.#settle(this.#have, false);
  }

  /** Take the kernel's word on what the texts are after batch `seq`. */
  finish(end: End): void {
    this.#end = end;
    this.#settle(this.#have, false);
  }

  /** Take the `status` trait. */
  setStatus(status: unknown): void {
    const trait = typeof status === "string" ? status : "";
    if (trait !== this.#trait) this.lastChange = this.clock.now();
    this.#trait = trait;
    this.#settle(this.#have, false);
  }

  /** Take what is known of the kernel: why nothing more can come from it, and whether it is out of reach. */
  heed(lost: string, away: boolean): void {
    const back = this.away && !away;
    this.#lost = lost;
    this.away = away;
    this.#settle(this.#have, false);
    if (back && this.message.status === "streaming") this.ask(this.#have);
  }

  close(): void {
    this.#rest();
    this.#listeners.clear();
  }

  /** The document stands at `seq`: apply what follows, check it, ask for what is missing. */
  #settle(seq: number, fresh: boolean): void {
    const now = this.clock.now();
    const before = this.#have;
    this.#have = seq;
    this.#drain();
    const advanced = this.#have > before;
    if (advanced) this.lastChange = now;
    this.timing.observe(this.message, now);
    // A snapshot is the kernel's own word: if that does not fit, asking again would not help.
    if (!this.#fits() && !fresh) this.#doubtIt();
    this.#listen(advanced);
    this.notify();
  }

  #drain(): void {
    for (const seq of this.#parked.keys()) if (seq <= this.#have) this.#parked.delete(seq);
    for (;;) {
      const next = this.#parked.get(this.#have + 1);
      if (!next) return;
      for (const patch of next) this.#document.apply(patch);
      this.#parked.delete(++this.#have);
    }
  }

  /** Compare the texts with what the kernel says they are, as soon as they can be compared. */
  #fits(): boolean {
    if (!this.#end || this.#end.seq > this.#have) return true;
    if (this.#end.seq === this.#have) {
      const { thinking, content } = this.message;
      const own = sumOf(joined(thinking), joined(content));
      this.verified = own.length === this.#end.length && own.checksum === this.#end.checksum;
    }
    const fits = this.#end.seq < this.#have || this.verified === true;
    if (fits) this.#end = null;
    return fits;
  }

  #doubtIt(): void {
    if (this.#doubt) return;
    this.#doubt = true;
    this.#request(PATIENCE, true);
  }

  /** Keep one alarm: for a gap, a doubt, or silence; none when the answer is over and whole. */
  #listen(advanced: boolean): void {
    const gap = this.#parked.size > 0 || (this.#end !== null && this.#end.seq > this.#have);
    const needed = gap || this.#doubt;
    if (this.#lost || (!needed && this.message.status !== "streaming")) this.#rest();
    else if (advanced || this.#alarm?.needed !== needed) {
      this.#wake(needed ? PATIENCE : SILENCE, needed);
    }
  }

  #request(wait: number, needed: boolean): void {
    this.ask(this.#have);
    this.#wake(Math.min(wait * 2, LONGEST), needed);
  }

  #wake(wait: number, needed: boolean): void {
    this.#rest();
    this.#alarm = { needed, cancel: this.clock.after(wait, () => this.#request(wait, needed)) };
  }

  #rest(): void {
    this.#alarm?.cancel();
    this.#alarm = null;
  }
}
