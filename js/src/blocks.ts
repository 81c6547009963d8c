/** Tokens of whole lines → the blocks at the top, and where no later text can reach back over. */
import type { Token } from "./parser.ts";

/** One block at the top: tokens `from` to `to`, lines `first` to `last`, ends not included. */
export interface Block {
  readonly type: string;
  readonly from: number;
  readonly to: number;
  readonly first: number;
  readonly last: number;
}

/** The blocks at the top, definitions among them. */
export function topBlocks(tokens: readonly Token[]): Block[] {
  const blocks: Block[] = [];
  let from = 0;
  for (const [index, token] of tokens.entries()) {
    if (token.level === 0 && token.nesting >= 0) from = index;
    if (token.level !== 0 || token.nesting > 0) continue;
    const { type, map } = tokens[from] ?? token;
    const [first, last] = map ?? [0, 0];
    blocks.push({ type: type.replace("_open", ""), from, to: index + 1, first, last });
  }
  return blocks;
}

/** Blocks that are over with their last line, whatever follows. */
const CLOSED = new Set(["heading", "hr", "fence", "formula"]);
/** A formula may reach from a line that begins so to the next empty line. */
const FORMULA = /^[ \t>]*(?:[-*+]|\d{1,9}[.)])?[ \t]*(?:\$\$|\\\[)/;

/** The number of blocks that are final when these whole lines are all that is known. */
export function finalBlocks(blocks: readonly Block[], lines: readonly string[]): number {
  for (let index = blocks.length - 1; index > 0; index--) {
    const [before, after] = [blocks[index - 1], blocks[index]];
    if (before && after && divided(before, after, lines)) return index;
  }
  return 0;
}

function divided(before: Block, after: Block, lines: readonly string[]): boolean {
  if (isEmpty(lines[after.first - 1])) return true;
  const lazy = after.type === "paragraph" || after.type === "reference_definition";
  if (lazy && !CLOSED.has(before.type)) return false;
  for (let line = after.first - 1; line >= 0 && !isEmpty(lines[line]); line--) {
    if (FORMULA.test(lines[line] ?? "")) return false;
  }
  return true;
}

/** As CommonMark has it: other white space is text. */
export const isEmpty = (line = ""): boolean => /^[ \t]*$/.test(line);

/** The tokens where the items of a list begin; `list` is its own first token. */
export function itemsOf(tokens: readonly Token[], list: Block): number[] {
  const items: number[] = [];
  for (let at = list.from; at < list.to; at++) {
    if (tokens[at]?.level === 1 && tokens[at]?.type === "list_item_open") items.push(at);
  }
  return items;
}
