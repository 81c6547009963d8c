/** Figures the kernel sent now and then → clocks that run in between. */
import { hasText, type Message } from "./message.ts";

/** All times out are seconds; `now` is the clock's milliseconds. */
export class Timing {
  #base: { readonly seconds: number; readonly at: number } | null = null;
  #measured: number | null = null;
  #ended: number | null = null;
  #thoughtFrom: number | null = null;
  #thoughtTo: number | null = null;

  /** Look at the message after a change. */
  observe(message: Message, now: number): void {
    this.#follow(message, now);
    this.#watchThinking(message, now);
  }

  /** Since the request; null for an answer that was over before this view, and not measured. */
  elapsed(now: number): number | null {
    if (!this.#base) return null;
    return this.#base.seconds + ((this.#ended ?? now) - this.#base.at) / 1000;
  }

  /** How long it has thought, or had; null when nobody saw it begin. */
  thinking(message: Message, now: number): number | null {
    if (message.phase !== "thinking" && message.thinkingSeconds !== null) {
      return message.thinkingSeconds;
    }
    const to = this.#thoughtTo ?? this.elapsed(now);
    const from = message.ttft ?? this.#thoughtFrom;
    return from === null || to === null ? null : Math.max(0, to - from);
  }

  #follow(message: Message, now: number): void {
    const live = message.status === "streaming";
    const { elapsed } = message;
    const changed = elapsed !== this.#measured;
    this.#measured = elapsed;
    if (elapsed !== null && changed) this.#base = { seconds: elapsed, at: now };
    else if (live && (changed || !this.#base)) this.#base = { seconds: 0, at: now };
    else if (live && this.#ended !== null)
      this.#base = { seconds: this.elapsed(now) ?? 0, at: now };
    if (live) this.#ended = null;
    else this.#ended = changed ? now : (this.#ended ?? now);
  }

  #watchThinking(message: Message, now: number): void {
    if (!hasText(message.thinking)) {
      this.#thoughtFrom = null;
      this.#thoughtTo = null;
      return;
    }
    const over = hasText(message.content) || message.status !== "streaming";
    if (!over) {
      this.#thoughtFrom ??= this.elapsed(now);
      this.#thoughtTo = null;
    } else if (this.#thoughtFrom !== null) this.#thoughtTo ??= this.elapsed(now);
  }
}

/** `3 s`, `1 min 12 s`, `2 h 5 min`: for a clock that runs. */
export function clockText(seconds: number): string {
  const whole = Math.floor(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** `0.84 s`, `9.3 s`, then as a clock: for a figure that stands. */
export function spanText(seconds: number): string {
  if (seconds < 1) return `${Number(seconds.toFixed(2))} s`;
  return seconds < 10 ? `${Number(seconds.toFixed(1))} s` : clockText(Math.round(seconds));
}
