/** A block whose beginning is sealed → how its rest is read, and put behind it. */
import { isLoose, itemParagraphs } from "./nodes.ts";
import type { Token } from "./parser.ts";

/** Stands where the sealed beginning of a block stood, so that the rest is read as its rest. */
const BEGUN = "x";

/** A block whose first children are sealed. */
export interface OpenPart {
  readonly kind: "list" | "paragraph";
  readonly element: HTMLElement;
  /** Stands before the rest of the block when it is parsed. */
  readonly prefix: string;
  /** The last child that is sealed, and the text they all were made from. */
  kept: Node | null;
  source: string;
  /** Where it begins, by the letters that are sealed. */
  direction: string;
  /** Of a list: whether its items stand apart, and whether one has a paragraph to show it. */
  apart: boolean;
  paragraphs: boolean;
}

export const TOGETHER = { apart: false, paragraphs: false, direction: "auto" };

/** Take the word away that stood for the beginning of a paragraph. */
export function dropBegun(tokens: readonly Token[]): void {
  const children = tokens[1]?.children;
  const first = children?.[0];
  if (!first) return;
  first.content = first.content.slice(BEGUN.length);
  if (!first.content) children.shift();
}

/** What makes the rest of a block be read as its rest. */
export function prefixOf(first: Token | undefined): string {
  if (first?.type === "paragraph_open") return BEGUN;
  const number = first?.type === "ordered_list_open" ? "1" : "";
  // So far in that no item can stand within this one.
  return `${number}${first?.markup}    ${BEGUN}\n`;
}

/** A list without the item that stood for its beginning; it knows whether its items stand apart. */
export function withoutBegun(tokens: readonly Token[]): Token[] {
  const [list] = tokens;
  if (list) list.meta = { apart: isLoose(tokens, 0) };
  for (const { map } of tokens) {
    if (!map) continue;
    map[0] = Math.max(0, map[0] - 1);
    map[1] -= 1;
  }
  const end = tokens.findIndex(({ type, level }) => type === "list_item_close" && level === 1);
  return [...tokens.slice(0, 1), ...tokens.slice(end + 1)];
}

/** Set a list's items apart, or together, by all of its items. */
export function drawApart(open: OpenPart, tokens: readonly Token[]): void {
  const paragraphs = open.paragraphs || itemParagraphs(tokens, 0).length > 0;
  const apart = open.apart || isLoose(tokens, 0);
  open.element.classList.toggle("ssechat-loose", apart && paragraphs);
}
