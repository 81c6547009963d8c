/** One text → one contender, delta by delta and frame by frame. */
import type { Contender } from "./contender.ts";
import * as texts from "./texts.ts";

export interface Task {
  /** The name of its module. */
  contender: string;
  text: keyof typeof texts;
  /** In UTF-16 units. */
  length: number;
  deltas: number;
  perFrame: number;
  /** Whether code is coloured and formulas are typeset. */
  extras: boolean;
}

/** What is left to do after the end, such as colours, is done in these frames. */
const LAST_FRAMES = 40;

/** Do this in a frame's own callback: what runs after a promise, Chromium does not count as script. */
function inFrame(work: () => void): Promise<void> {
  return new Promise((resolve) => {
    requestAnimationFrame(() => {
      work();
      resolve();
    });
  });
}

function cut(text: string, count: number): string[] {
  const at = (index: number) => Math.round((index * text.length) / count);
  return Array.from({ length: count }, (_, index) => text.slice(at(index), at(index + 1)));
}

/** Write the text and load the contender; returns what feeds it, and then tells how many characters are shown. */
async function prepared({ contender, text, length, deltas, perFrame, extras }: Task) {
  const root = document.getElementById("here") as HTMLElement;
  const module = `/${contender}.js`;
  const { open } = await import(module);
  const one: Contender = await open(root, extras ? "/extras.js" : "");
  const pieces = cut(texts[text](length), deltas);
  return async (): Promise<number> => {
    for (let at = 0; at < deltas; at += perFrame) {
      await inFrame(() => {
        for (const piece of pieces.slice(at, at + perFrame)) one.push(piece);
        one.draw();
      });
    }
    await inFrame(() => one.end());
    for (let count = 0; count < LAST_FRAMES; count++) await inFrame(() => {});
    return root.textContent?.length ?? 0;
  };
}

Object.assign(globalThis, {
  prepare: async (task: Task) => {
    Object.assign(globalThis, { take: await prepared(task) });
  },
  ready: true,
});
