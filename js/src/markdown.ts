/** Pieces of Markdown → a document that grows: what is sealed is not touched again, the rest is drawn anew. */
import { type Block, finalBlocks, isEmpty, itemsOf, topBlocks } from "./blocks.ts";
import { Boxes } from "./boxes.ts";
import { cutOf, LONG } from "./cut.ts";
import { make } from "./dom.ts";
import { completed, undecidedFrom } from "./half.ts";
import { direct, morph, place } from "./morph.ts";
import { isLoose, itemParagraphs, nodesOf } from "./nodes.ts";
import { isClosedFence, OpenFence } from "./open_fence.ts";
import {
  drawApart,
  dropBegun,
  type OpenPart,
  prefixOf,
  TOGETHER,
  withoutBegun,
} from "./open_part.ts";
import {
  blocksOf,
  noReferences,
  normalize,
  parseInline,
  type References,
  type Token,
} from "./parser.ts";

/** So much text is looked at in one go. */
const SLICE = 8_000;

interface Waiting {
  readonly source: string;
  readonly missing: Set<string>;
}

/** What the document does with elements that are sealed, such as highlighting; `live` ones may go again. */
export type Finish = (element: HTMLElement, live: boolean) => void;

export class Markdown {
  readonly #boxes: Boxes;
  /** What cannot be taken before its other half is there: of a line end, or of a character. */
  #torn = "";
  /** The text that is not sealed. */
  #tail = "";
  /** The number of the block the tail begins with. */
  #number = 0;
  #open: OpenFence | OpenPart | null = null;
  #references = noReferences();
  /** Sealed blocks that use labels nobody has defined. */
  #waiting = new Map<number, Waiting>();
  /** So much of the tail has been looked at without a block to seal. */
  #tried = 0;
  #ended = false;
  /** Whether anything has come since it was drawn. */
  #fresh = false;

  constructor(
    /** Where the document is written, and nothing else. */
    readonly element: HTMLElement,
    private readonly finish: Finish = () => {},
  ) {
    this.#boxes = new Boxes(element);
  }

  /** Take more text; nothing is drawn yet. */
  append(text: string): void {
    if (!text) return;
    this.#reopen();
    const whole = this.#torn + text;
    const torn = /[\r\uD800-\uDBFF]$/.test(whole) ? 1 : 0;
    this.#torn = torn ? whole.slice(-1) : "";
    this.#tail += normalize(torn ? whole.slice(0, -1) : whole);
    this.#fresh = true;
  }

  /** The text is whole, unless more comes after all. */
  end(): void {
    if (this.#ended) return;
    this.#ended = this.#fresh = true;
    this.#tail += normalize(this.#torn);
    this.#torn = "";
  }

  /** Begin anew. */
  clear(): void {
    this.#boxes.truncate(0);
    this.#torn = this.#tail = "";
    this.#number = this.#tried = 0;
    this.#open = null;
    this.#references = noReferences();
    this.#waiting.clear();
    this.#ended = false;
  }

  /** Draw what is new while `inTime`; false when there is more to draw. */
  draw(inTime: () => boolean = () => true): boolean {
    if (!this.#fresh) return true;
    while (this.#seal()) if (!inTime()) return false;
    while (this.#sealBeginning()) if (!inTime()) return false;
    this.#drawTail();
    this.#fresh = false;
    return true;
  }

  /** What was taken for the end was not. */
  #reopen(): void {
    if (this.#ended && this.#open instanceof OpenFence) this.#rebuild();
    this.#ended = false;
  }

  /** Read the open block from its beginning again. */
  #rebuild(): void {
    this.#tail = (this.#open?.source ?? "") + this.#tail;
    this.#open = null;
    this.#tried = 0;
  }

  /** Seal what no later text can change; true when there may be more of it. */
  #seal(): boolean {
    if (this.#open instanceof OpenFence) return this.#feedFence(this.#open);
    const text = this.#slice();
    if (text.length <= this.#tried) return false;
    const lines = text.split("\n");
    const references: References = Object.create(this.#references);
    const tokens = this.#parse(text, references);
    const blocks = topBlocks(tokens);
    if (this.#isAnother(blocks[0])) return this.#again();
    const count = finalBlocks(blocks, lines);
    for (const block of blocks.slice(0, count)) this.#sealBlock(block, tokens, lines, references);
    const rest = blocks[count];
    const at = count && rest ? offsetOf(lines, rest.first) : 0;
    const inside =
      rest && blocks.length === count + 1 && this.#sealInside(rest, tokens, lines, references);
    if (inside) return true;
    this.#cut(at);
    this.#tried = text.length - at;
    return this.#tried < this.#wholeLines();
  }

  /** The tokens of the tail, or of a beginning of it. */
  #parse(text: string, references: References): Token[] {
    const open = this.#open as OpenPart | null;
    const tokens = blocksOf((open?.prefix ?? "") + text, references);
    return open?.kind === "list" ? withoutBegun(tokens) : tokens;
  }

  #isPart(kind: OpenPart["kind"]): boolean {
    return this.#open?.kind === kind;
  }

  /** Whether the open block is not what it was taken for, as when its last line makes it a heading. */
  #isAnother(first: Block | undefined): boolean {
    if (!this.#open || !first) return false;
    return this.#open.kind === "paragraph"
      ? first.type !== "paragraph"
      : !first.type.endsWith("_list");
  }

  #again(): true {
    this.#rebuild();
    return true;
  }

  /** Whole lines from the beginning of the tail; more of them where nothing could be sealed in less. */
  #slice(): string {
    const end = this.#tail.lastIndexOf("\n", Math.max(SLICE, this.#tried * 2)) + 1;
    const next = end > this.#tried ? end : this.#tail.indexOf("\n", this.#tried) + 1;
    return this.#tail.slice(0, next);
  }

  #wholeLines(): number {
    return this.#tail.lastIndexOf("\n") + 1;
  }

  /** Take away the beginning of the tail. */
  #cut(at: number): void {
    this.#tail = this.#tail.slice(at);
    this.#tried = 0;
  }

  #feedFence(fence: OpenFence): boolean {
    const { taken, closed } = fence.feed(this.#tail);
    this.#cut(taken);
    if (!closed) return false;
    this.#open = null;
    this.finish(fence.block.element, false);
    this.#number++;
    return true;
  }

  #sealBlock(block: Block, tokens: Token[], lines: string[], all: References): void {
    const own = tokens.slice(block.from, block.to);
    this.#define(own, all);
    if (block.type === "reference_definition") return;
    const open = this.#open as OpenPart | null;
    this.#open = null;
    const source = (open?.source ?? "") + lines.slice(block.first, block.last).join("\n");
    const fresh = this.#nodeOf(own, source, open !== null);
    const element = open ? this.#join(open, fresh, own) : this.#boxes.put(this.#number, fresh);
    this.finish(element, false);
    this.#number++;
    if (open) this.#revise(new Set(Object.keys(this.#references)), this.#references);
  }

  /** The element of a block that is final; it will be made again when a label it uses is defined. */
  #nodeOf(own: Token[], source: string, begun: boolean): HTMLElement {
    this.#note(parseInline(own, this.#references), source);
    if (begun && this.#begunWith(own)) dropBegun(own);
    return nodesOf(own)[0] ?? make("div", "nothing");
  }

  #begunWith(own: Token[]): boolean {
    return own[0]?.type === "paragraph_open";
  }

  #note(missing: Set<string>, source: string): void {
    const known = this.#waiting.get(this.#number)?.missing ?? [];
    const all = new Set([...known, ...missing]);
    if (all.size > 0) this.#waiting.set(this.#number, { source, missing: all });
  }

  /** Put the last part of a block behind those that are sealed. */
  #join(open: OpenPart, fresh: HTMLElement, own: Token[]): HTMLElement {
    if (open.direction === "auto") direct(open.element, fresh);
    morph(open.element, open.kept, [...fresh.childNodes]);
    if (open.kind === "list") drawApart(open, own);
    return open.element;
  }

  /** What is defined in these blocks counts from now on, also for blocks that were sealed before. */
  #define(own: Token[], all: References): void {
    const labels = new Set<string>();
    for (const { type, meta } of own) {
      const label = type === "reference_definition" ? String(meta?.["label"]) : "";
      const found = all[label];
      if (!label || !found || this.#references[label]) continue;
      this.#references[label] = found;
      labels.add(label);
    }
    if (labels.size > 0) this.#revise(labels, this.#references);
  }

  #revise(labels: Set<string>, references: References): void {
    for (const [number, { source, missing }] of [...this.#waiting]) {
      if (![...labels].some((label) => missing.has(label))) continue;
      if (number >= this.#number) continue;
      const tokens = blocksOf(source, noReferences());
      const left = parseInline(tokens, references);
      const [fresh] = nodesOf(tokens);
      this.#waiting.delete(number);
      if (left.size > 0) this.#waiting.set(number, { source, missing: left });
      if (fresh) this.finish(this.#boxes.put(number, fresh), false);
    }
  }

  /** Seal the part of the last block that is final, if it is a fence or a list. */
  #sealInside(block: Block, tokens: Token[], lines: string[], all: References): boolean {
    const first = tokens[block.from];
    if (!first) return false;
    if (block.type === "fence") return this.#openFence(first, block, lines);
    if (!block.type.endsWith("_list")) return false;
    return this.#sealItems(block, tokens, lines, all);
  }

  #openFence(token: Token, block: Block, lines: string[]): boolean {
    const opening = lines[block.first] ?? "";
    if (!opening.startsWith(token.markup) || isClosedFence(token, lines)) return false;
    this.#cut(offsetOf(lines, block.first + 1));
    this.#open = new OpenFence(token, `${opening}\n`);
    this.#boxes.replace(this.#number, this.#open.block.element);
    this.#boxes.truncate(this.#number + 1);
    return true;
  }

  #sealItems(list: Block, tokens: Token[], lines: string[], all: References): boolean {
    const items = itemsOf(tokens, list);
    const last = items.at(-1) ?? 0;
    const line = tokens[last]?.map?.[0] ?? 0;
    const sealed = lines.slice(list.first, line);
    // The parser tells whether items stand apart by their paragraphs alone.
    const paragraphs = itemParagraphs(tokens, list.from).length > 0;
    const told = this.#open !== null || paragraphs;
    if (items.length < 2 || (!told && sealed.some(isEmpty))) return false;
    const own = tokens.slice(list.from, last);
    const apart = isLoose(tokens, list.from);
    this.#define(own, all);
    const open = this.#part("list", own, `${sealed.join("\n")}\n`);
    open.apart ||= apart;
    open.paragraphs ||= itemParagraphs(own, 0).length > 0;
    this.#cut(offsetOf(lines, line));
    return true;
  }

  /** Add the children made from these tokens to those of the open block that are sealed. */
  #part(kind: OpenPart["kind"], own: Token[], source: string): OpenPart {
    const known = this.#open as OpenPart | null;
    const begun = kind === "paragraph" && known !== null;
    const fresh = this.#nodeOf(own, (known?.source ?? "") + source, begun);
    const nodes = [...fresh.childNodes];
    const open = known ?? this.#begin(kind, fresh, own);
    if (open.direction === "auto") {
      direct(open.element, fresh);
      open.direction = fresh.dir || "auto";
    }
    const asks = own.some(asksForMore);
    for (const node of nodes) {
      const at = open.kept ? open.kept.nextSibling : open.element.firstChild;
      open.kept = place(open.element, at, node);
      if (asks && open.kept instanceof HTMLElement) this.finish(open.kept, false);
    }
    open.source += source;
    this.#open = open;
    return open;
  }

  #begin(kind: OpenPart["kind"], fresh: HTMLElement, own: Token[]): OpenPart {
    const shell = fresh.cloneNode(false) as HTMLElement;
    const standing = this.#boxes.at(this.#number);
    const element = standing?.nodeName === shell.nodeName ? standing : shell;
    if (element === shell) this.#boxes.replace(this.#number, shell);
    return { kind, element, prefix: prefixOf(own[0]), kept: null, source: "", ...TOGETHER };
  }

  /** Draw what may still change. */
  #drawTail(): void {
    if (this.#open instanceof OpenFence) {
      if (this.#ended) this.#endFence(this.#open);
      return;
    }
    const references: References = Object.create(this.#references);
    let tokens = this.#parse(this.#shown(), references);
    if (this.#isAnother(topBlocks(tokens)[0]) || (this.#ended && this.#isOutdated(references))) {
      this.#rebuild();
      tokens = this.#parse(this.#shown(), references);
    }
    if (this.#ended) this.#revise(new Set(Object.keys(references)), references);
    parseInline(this.#ended ? tokens : this.#completed(tokens), references, !this.#ended);
    if (this.#isPart("paragraph")) dropBegun(tokens);
    this.#drawBlocks(nodesOf(tokens), tokens);
  }

  /** Whether the sealed part of the open block uses what is defined only now. */
  #isOutdated(references: References): boolean {
    const missing = this.#waiting.get(this.#number)?.missing ?? new Set();
    return this.#open !== null && [...missing].some((label) => references[label]);
  }

  #endFence(fence: OpenFence): void {
    fence.end(this.#tail);
    this.#cut(this.#tail.length);
    this.finish(fence.block.element, false);
  }

  /** The tail without what cannot be shown yet. */
  #shown(): string {
    const held = this.#ended ? this.#tail.length : undecidedFrom(this.#tail);
    if (held === this.#tail.length) return this.#tail;
    // A row of a table that has begun is shown as it comes.
    const blocks = topBlocks(this.#parse(this.#tail, noReferences()));
    return blocks.at(-1)?.type === "table" ? this.#tail : this.#tail.slice(0, held);
  }

  /** The same tokens; what is open at the end of the text has got its end. */
  #completed(tokens: Token[]): Token[] {
    const words = tokens.filter(({ type, content }) => content && type !== "reference_definition");
    const last = words.at(-1);
    const over = /\n[ \t]*\n[ \t]*$/.test(this.#tail.slice(-200));
    if (last?.type === "inline" && !over) last.content = completed(last.content);
    return tokens;
  }

  #drawBlocks(nodes: HTMLElement[], tokens: Token[]): void {
    const open = this.#open as OpenPart | null;
    const [first, ...rest] = nodes;
    if (open) this.#join(open, first ?? make("div", "nothing"), tokens);
    for (const [index, node] of (open ? rest : nodes).entries()) {
      this.#boxes.put(this.#number + index + (open ? 1 : 0), node);
    }
    this.#boxes.truncate(this.#number + (open ? Math.max(1, nodes.length) : nodes.length));
    if (tokens.some(asksForMore)) this.#finishTail(open);
  }

  #finishTail(open: OpenPart | null): void {
    const first = open ? (open.kept?.nextSibling ?? open.element.firstChild) : null;
    for (let node: Node | null = first; node; node = node.nextSibling) {
      if (node instanceof HTMLElement) this.finish(node, !this.#ended);
    }
    for (let number = this.#number + (open ? 1 : 0); ; number++) {
      const element = this.#boxes.at(number);
      if (!element) return;
      this.finish(element, !this.#ended);
    }
  }

  /** Seal the beginning of a paragraph that has grown long; true when there may be more of it. */
  #sealBeginning(): boolean {
    if (this.#ended || this.#tail.length < LONG || !this.#isParagraph()) return false;
    const at = cutOf(this.#tail, !this.#open, this.#references);
    if (at === 0) return false;
    const source = this.#tail.slice(0, at);
    this.#part("paragraph", this.#parse(source, noReferences()), source);
    this.#cut(at);
    return true;
  }

  /** Whether all of the tail is one paragraph. */
  #isParagraph(): boolean {
    if (this.#open && !this.#isPart("paragraph")) return false;
    if (this.#open && !this.#tail.includes("\n")) return true;
    const blocks = topBlocks(this.#parse(this.#tail, noReferences()));
    return blocks.length === 1 && blocks[0]?.type === "paragraph";
  }
}

/** Whether something can be done for what is made of it: for code, and formulas. */
function asksForMore({ type, children }: Token): boolean {
  return type === "formula" || type === "fence" || (children?.some(asksForMore) ?? false);
}

/** Where a line begins. */
function offsetOf(lines: readonly string[], line: number): number {
  let offset = 0;
  for (let index = 0; index < line; index++) offset += (lines[index] ?? "").length + 1;
  return offset;
}
