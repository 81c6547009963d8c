/** Figures the kernel sent now and then → clocks that run in between. */
import { hasText, type Message } from "./message.ts";

/** What comes out is in seconds; `now` is the clock's, in milliseconds. */
export class Timing {
  /** When the request was made, by the clock; null when nobody knows. */
  #began: number | null = null;
  #ended: number | null = null;
  #measured: number | null = null;
  #thoughtFrom: number | null = null;
  #thoughtTo: number | null = null;

  /** Look at the message after a change. */
  observe(message: Message, now: number): void {
    this.#watchRun(message, now);
    this.#watchThinking(message, now);
  }

  /** Since the request; null for an answer that was over before this view, and not measured. */
  elapsed(now: number): number | null {
    return this.#began === null ? null : ((this.#ended ?? now) - this.#began) / 1000;
  }

  /** How long it has thought, or had; null when nobody saw it. */
  thinking(message: Message, now: number): number | null {
    const over = this.#thoughtTo !== null || this.#thoughtFrom === null;
    if (over && message.thinkingSeconds !== null) return message.thinkingSeconds;
    if (this.#thoughtFrom === null) return null;
    return Math.max(0, (this.#thoughtTo ?? now) - this.#thoughtFrom) / 1000;
  }

  #watchRun(message: Message, now: number): void {
    const { elapsed, status } = message;
    const live = status === "streaming";
    const again = live && (this.#ended !== null || this.#began === null);
    if (elapsed !== null && elapsed !== this.#measured) {
      this.#began = now - elapsed * 1000;
      this.#ended = live ? null : now;
    } else if (again) {
      // An answer that goes on counts from where it stood.
      const stands = hasText(message.thinking) || hasText(message.content);
      this.#began = now - (stands ? (elapsed ?? 0) * 1000 : 0);
      this.#ended = null;
    } else if (!live) this.#ended ??= now;
    this.#measured = elapsed;
  }

  #watchThinking(message: Message, now: number): void {
    if (!hasText(message.thinking)) {
      this.#thoughtFrom = null;
      this.#thoughtTo = null;
    } else if (message.status === "streaming" && !hasText(message.content)) {
      this.#thoughtFrom ??= this.#firstToken(message) ?? now;
      this.#thoughtTo = null;
    } else if (this.#thoughtFrom !== null) this.#thoughtTo ??= now;
  }

  #firstToken({ ttft, elapsed }: Message): number | null {
    if (ttft === null || elapsed === null || this.#began === null) return null;
    return this.#began + ttft * 1000;
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
