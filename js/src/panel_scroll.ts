/** A box whose content grows → it scrolls with it while the reader is at its end. */
import { make, makeButton, write } from "./dom.ts";

/** So near to the end, in pixels, counts as being there. */
const NEAR = 24;

export class Scroll {
  readonly element: HTMLElement;
  readonly #jump: HTMLButtonElement;
  readonly #watch: ResizeObserver;
  #follows = true;
  #top = 0;

  constructor(private readonly box: HTMLElement) {
    this.#jump = makeButton("jump", () => this.toEnd());
    write(this.#jump, "Jump to newest");
    this.#jump.hidden = true;
    this.element = make("div", "viewport", {}, box, this.#jump);
    box.addEventListener("scroll", () => this.#look());
    this.#watch = new ResizeObserver(() => this.#settle());
    this.#watch.observe(box);
  }

  /** Scroll with this part of the content too. */
  observe(part: HTMLElement): void {
    this.#watch.observe(part);
  }

  toEnd(): void {
    if (document.activeElement === this.#jump) this.box.focus({ preventScroll: true });
    this.#follows = true;
    this.#settle();
  }

  close(): void {
    this.#watch.disconnect();
  }

  #settle(): void {
    if (this.#follows) this.box.scrollTop = this.box.scrollHeight;
    this.#look();
  }

  #look(): void {
    const { scrollHeight, scrollTop, clientHeight } = this.box;
    const left = scrollHeight - scrollTop - clientHeight;
    const down = scrollTop - this.#top;
    // A step up, however small, is the reader's; what shrinks leaves the box at its very end.
    this.#follows = left < 1 || (down >= 0 && this.#follows) || (down > 0 && left < NEAR);
    this.#top = scrollTop;
    this.#jump.hidden = this.#follows;
  }
}
