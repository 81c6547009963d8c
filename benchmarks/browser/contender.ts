/** What each contender can do; each is fed as its own manual says. */
export interface Contender {
  /** Take the next delta. */
  push(delta: string): void;
  /** A frame: what is drawn once for all deltas since the last one. */
  draw(): void;
  end(): void;
}
