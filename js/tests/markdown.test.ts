import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { atOnce, cutAnywhere, inPieces, nastyLongText, nastyText } from "./nasty_markdown.ts";

const RUNS = Number(process.env["RUNS"] ?? 400);
const SEED = 20260;
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
});
