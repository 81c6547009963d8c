/** Message and clock → the status line, its announcement, and the figures below the answer. */
import type { Controls } from "./controls.ts";
import { make, write } from "./dom.ts";
import { hasText, type Message, type Phase } from "./message.ts";
import type { Action } from "./protocol.ts";
import type { Store } from "./store.ts";
import { clockText, spanText } from "./timing.ts";

/** An answer that says nothing for so long is called stalled. */
export const STALLED_AFTER = 10_000;

const WORDS: Record<Phase, string> = {
  connecting: "Connecting…",
  waiting: "Waiting for the first token…",
  thinking: "Thinking…",
  answering: "Answering…",
  stalled: "Stalled,",
  reconnecting: "Reconnecting…",
  finished: "Finished",
  stopped: "Stopped",
  filtered: "Withdrawn by the content filter",
  failed: "Failed",
  interrupted: "Interrupted",
};
const CONTINUED: Record<string, string> = {
  native: "continued where it stopped",
  prefill: "continued from its own text",
  asked: "continued by asking",
  again: "asked anew",
};
const PENDING: Record<Action, string> = {
  stop: "Stopping…",
  resume: "Resuming…",
  regenerate: "Asking again…",
  edit: "Asking the edited prompt…",
};
const UNTOLD = "the answer is not complete";
const AWAY = "No connection to the kernel; what it says comes when it is back…";
const CLOCKED = new Set<Phase>(["connecting", "waiting", "answering", "reconnecting"]);

export interface Moment {
  readonly message: Message;
  readonly phase: Phase;
  readonly pending: Action | null;
  /** Milliseconds since the last batch. */
  readonly silence: number;
  /** Seconds since the request. */
  readonly elapsed: number | null;
  /** Whether the kernel is out of reach for now. */
  readonly away: boolean;
  /** What has become of the kernel, where that takes something from a reader; else "". */
  readonly lost: string;
}

/** What an answer and its controls tell at this moment. */
export function momentOf(
  { store, controls }: { readonly store: Store; readonly controls: Controls },
  now: number,
  lost: string,
): Moment {
  const { message, away, timing } = store;
  const silence = now - store.lastChange;
  const phase = phaseAt(message, silence, away);
  const elapsed = timing.elapsed(now);
  return { message, phase, pending: controls.pending, silence, elapsed, away, lost };
}

/** The kernel's phase, or `stalled` when text was coming and has not for a while. */
export function phaseAt(message: Message, silence: number, away: boolean): Phase {
  const { phase } = message;
  if (away && message.status === "streaming") return "reconnecting";
  const flows = phase === "thinking" || phase === "answering";
  return flows && silence >= STALLED_AFTER ? "stalled" : phase;
}

/** What is announced: the state in words, without anything that runs. */
export function stateText({ message, phase, pending, away }: Moment): string {
  if (away && message.status === "streaming") return AWAY;
  if (pending) return PENDING[pending];
  if (message.cut) return "Cut off at the token limit";
  if (message.notice) return capital(message.notice);
  if (phase === "interrupted") return `${WORDS[phase]}: ${message.error ?? UNTOLD}`;
  const empty = !hasText(message.content) && message.calls.length === 0;
  if (phase === "finished" && empty) return "Finished, but the answer is empty";
  return phase === "failed" && message.error ? `${WORDS[phase]}: ${message.error}` : WORDS[phase];
}

/** What runs beside it; "" when nothing does. */
export function clockBeside({ message, phase, silence, elapsed, lost }: Moment): string {
  if (lost && message.error !== lost) return lost;
  if (phase === "stalled") return `nothing for ${clockText(silence / 1000)}`;
  return CLOCKED.has(phase) && elapsed !== null && elapsed >= 1 ? clockText(elapsed) : "";
}

/** Model, tokens, speed and times, as far as they are known: `[text, what it is]`. */
export function figures({ message, elapsed }: Moment): [string, string][] {
  const { usage, model, ttft } = message;
  const over = message.status !== "streaming";
  const list: [string, string][] = [];
  const add = (text: string | null, title: string) => text !== null && list.push([text, title]);
  add(model, "model");
  if (usage.prompt !== null || usage.completion !== null) {
    add(usage.prompt === null ? null : `${count(usage.prompt)} in`, "tokens of the prompt");
    add(usage.completion === null ? null : `${count(usage.completion)} out`, "tokens generated");
  } else add(usage.total === null ? null : `${count(usage.total)} tokens`, "tokens in all");
  add(
    speed(usage.completion, ttft, over && !message.continued ? elapsed : null),
    "speed after the first token",
  );
  add(ttft === null ? null : `first token ${spanText(ttft)}`, "time to the first token");
  const measured = over && elapsed !== null && elapsed >= (ttft ?? 0);
  add(measured ? `total ${spanText(elapsed)}` : null, "time in all");
  add(CONTINUED[message.continuation ?? ""] ?? null, "how the answer went on");
  return list;
}

export const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);
const count = (tokens: number) => tokens.toLocaleString("en-US");

function speed(tokens: number | null, ttft: number | null, elapsed: number | null): string | null {
  if (!tokens || ttft === null || elapsed === null || elapsed - ttft < 0.05) return null;
  const rate = tokens / (elapsed - ttft);
  return `${rate < 10 ? rate.toFixed(1) : count(Math.round(rate))} tokens/s`;
}

/** A mark, the state, and a clock. */
export class StatusLine {
  readonly element: HTMLElement;
  readonly #text = make("span", "state", { dir: "auto" });
  readonly #clock = make("span", "clock");
  readonly #spoken = make("span", "spoken", { role: "status", "aria-live": "polite" });

  constructor() {
    const seen = make("span", "seen", { "aria-hidden": "true" }, this.#text, this.#clock);
    const mark = make("span", "mark", { "aria-hidden": "true" });
    this.element = make("div", "status", {}, mark, seen, this.#spoken);
  }

  show(moment: Moment): void {
    const state = stateText(moment);
    write(this.#text, state);
    write(this.#spoken, state);
    write(this.#clock, moment.pending ? "" : clockBeside(moment));
  }
}

/** The small print. */
export class Figures {
  readonly element = make("div", "figures");
  #shown = "";

  show(moment: Moment): void {
    const list = figures(moment);
    const key = JSON.stringify(list);
    if (key === this.#shown) return;
    this.#shown = key;
    this.element.replaceChildren(
      ...list.map(([text, title]) => make("span", "figure", { title }, text)),
    );
  }
}
