/** As the view does it: deltas go into a leaf of the document, and the answer is drawn once for each batch. */
import { browserClock } from "../../js/src/clock.ts";
import { loaderOfPage } from "../../js/src/extras_loader.ts";
import { Text } from "../../js/src/patches.ts";
import { Answer } from "../../js/src/transcript.ts";
import type { Contender } from "./contender.ts";

/** A kernel sends at most 30 batches a second, which is one in two frames. */
const FRAMES = 2;

/** `extras` is where the heavy part is, or empty. */
export async function open(root: HTMLElement, extras: string): Promise<Contender> {
  if (extras) loaderOfPage().extras = await import(extras);
  const leaf = new Text("");
  const answer = new Answer(browserClock);
  root.append(answer.element);
  let frames = 0;
  return {
    push: (delta) => leaf.append(delta),
    draw: () => {
      if (++frames % FRAMES === 0) answer.show([leaf], false);
    },
    end: () => answer.show([leaf], true),
  };
}
