/** Numbered blocks → boxes of sixteen, which a browser lays out one by one. */
import { make } from "./dom.ts";
import { place } from "./morph.ts";

/** Layout over thousands of siblings is quadratic: a box is contained, and so left alone. */
const BOX = 16;

export class Boxes {
  constructor(private readonly root: HTMLElement) {}

  at(number: number): HTMLElement | null {
    const child = this.root.children[Math.floor(number / BOX)]?.children[number % BOX];
    return (child as HTMLElement | undefined) ?? null;
  }

  /** Show this as the block of that number, all before it being there; returns what stands there. */
  put(number: number, fresh: HTMLElement): HTMLElement {
    return place(this.#box(number), this.at(number), fresh) as HTMLElement;
  }

  /** Show this very node as the block of that number. */
  replace(number: number, fresh: HTMLElement): void {
    const standing = this.at(number);
    if (standing) standing.replaceWith(fresh);
    else this.#box(number).append(fresh);
  }

  /** Take away the blocks from this number on. */
  truncate(number: number): void {
    const box = Math.floor(number / BOX);
    const kept = number % BOX;
    while (this.root.children.length > box + (kept ? 1 : 0)) this.root.lastElementChild?.remove();
    const last = this.root.children[box];
    while (last && last.children.length > kept) last.lastElementChild?.remove();
  }

  #box(number: number): Element {
    return (
      this.root.children[Math.floor(number / BOX)] ?? this.root.appendChild(make("div", "box"))
    );
  }
}
