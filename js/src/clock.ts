/** The browser's time → one small object, so that tests can hold time still. */
export interface Clock {
  /** Milliseconds, monotonic. */
  now(): number;
  after(milliseconds: number, run: () => void): () => void;
  /** Run before the next paint; returns a way to call it off. */
  frame(run: () => void): () => void;
}

export const browserClock: Clock = {
  now: () => performance.now(),
  after(milliseconds, run) {
    const timer = setTimeout(run, milliseconds);
    return () => clearTimeout(timer);
  },
  frame(run) {
    const request = requestAnimationFrame(run);
    return () => cancelAnimationFrame(request);
  },
};
