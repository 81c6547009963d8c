import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Markdown } from "../src/markdown.ts";
import { atOnce, cutAnywhere, inPieces, nastyLongText, nastyText } from "./nasty_markdown.ts";

const RUNS = Number(process.env["RUNS"] ?? 400);
const SEED = 20260;
/** Every kind of block, most of them next to each other. */
const FIXED = `# A *b*
好的，**粗体** 🎉 [l](https://e.org "t") \`c\` $x_1$ $5
- a
- [x] b **c

  d
1. e
   \`\`\`py
   f
   \`\`\`
> q
lazy
| h | i |
|---|:-:|
| \`|\` | ~~j~~ |
para
---
\`\`\`js
k()
\`\`
\`\`\`
$$
y
$$
[r][s] ![p](https://e.org/p)

[s]: https://e.org
"two
lines"
    not code

    code
***
end <b>&amp;`;
const PATIENCE = 600_000;

describe("a document in pieces", () => {
  it(
    "ends as the same text drawn at once, wherever it is cut",
    () => {
      fc.assert(
        fc.property(cutAnywhere(nastyText), ({ whole, pieces }) => {
          expect(inPieces(pieces)).toBe(atOnce(whole));
        }),
        { numRuns: RUNS, seed: SEED },
      );
    },
    PATIENCE,
  );

  it(
    "does so also letter by letter",
    () => {
      fc.assert(
        fc.property(nastyText, (whole) => {
          expect(inPieces([...whole])).toBe(atOnce(whole));
        }),
        { numRuns: RUNS / 4, seed: SEED },
      );
    },
    PATIENCE,
  );

  it(
    "does so with paragraphs so long that they are cut in two",
    () => {
      fc.assert(
        fc.property(cutAnywhere(nastyLongText), ({ whole, pieces }) => {
          expect(inPieces(pieces)).toBe(atOnce(whole));
        }),
        { numRuns: RUNS / 4, seed: SEED },
      );
    },
    PATIENCE,
  );

  it(
    "does so at every place of a fixed text",
    () => {
      for (let at = 0; at <= FIXED.length; at++) {
        expect(inPieces([FIXED.slice(0, at), FIXED.slice(at)])).toBe(atOnce(FIXED));
      }
    },
    PATIENCE,
  );

  it(
    "does so when each beginning of it is all there is",
    () => {
      for (let at = 0; at <= FIXED.length; at++) {
        const text = FIXED.slice(0, at);
        expect(inPieces(text.match(/[\s\S]{1,9}/g) ?? [])).toBe(atOnce(text));
      }
    },
    PATIENCE,
  );
});

describe("marks without end", () => {
  it.each(["*a ", "**a*", "~~a *b "])("stand within each other to a certain depth: %s", (mark) => {
    const text = mark.repeat(2_000);
    const root = document.createElement("div");
    const open = new Markdown(root);
    open.append(text);
    open.draw();
    expect(root.textContent?.match(/a/g)?.length).toBe(2_000);
    expect(depthOf(root)).toBeLessThan(60);
  });
});

function depthOf(root: Element): number {
  let depth = 0;
  for (let level = [root]; level.length > 0; depth++) {
    level = level.flatMap((element) => [...element.children]);
  }
  return depth;
}
