/** Tokens → elements, each made by hand: no text of the model is ever read as HTML. */
import { codeBlock } from "./code_block.ts";
import { directionOf } from "./direction.ts";
import { make } from "./dom.ts";
import { pictureOffer } from "./image.ts";
import { mayFollow } from "./links.ts";
import { infoOf, type Token } from "./parser.ts";

type Tag = keyof HTMLElementTagNameMap;

const AUTO = { dir: "auto" };
const CONTAINERS: Record<string, Tag> = {
  blockquote_open: "blockquote",
  bullet_list_open: "ul",
  paragraph_open: "p",
  table_open: "table",
  thead_open: "thead",
  tbody_open: "tbody",
  tr_open: "tr",
};
/** Their first letter tells where they begin; what stands in them only runs as its own letters ask. */
const DIRECTED = new Set<Tag>(["blockquote", "ul", "p", "table"]);
const HEADINGS: Record<string, Tag> = {
  h1: "h1",
  h2: "h2",
  h3: "h3",
  h4: "h4",
  h5: "h5",
  h6: "h6",
};
const MARKS: Record<string, Tag> = { em_open: "em", strong_open: "strong", s_open: "s" };
const ALIGNMENT = /^text-align:(left|center|right)$/;
/** Marks stand within each other up to here: of elements without end a browser makes heavy weather. */
const DEEPEST = 50;
/** Before the text of an item: `[ ]` or `[x]`. */
const TASK = /^\[([ xX])\](?=[ \t\n])/;

/** All blocks of these tokens, in order, at the top. */
export function nodesOf(tokens: readonly Token[]): HTMLElement[] {
  const root: HTMLElement = document.createElement("div");
  let parent = root;
  for (const [index, token] of tokens.entries()) {
    if (token.nesting > 0) parent = parent.appendChild(container(token, tokens, index, parent));
    else if (token.nesting < 0) parent = parent.parentElement ?? root;
    else leaf(token, parent);
  }
  return [...root.children] as HTMLElement[];
}

function container(
  token: Token,
  tokens: readonly Token[],
  index: number,
  parent: HTMLElement,
): HTMLElement {
  if (token.type === "heading_open") return make(HEADINGS[token.tag] ?? "h6", "heading", AUTO);
  if (token.type === "list_item_open") return make("li", "item");
  if (token.type === "paragraph_open" && /^(?:LI|BLOCKQUOTE)$/.test(parent.nodeName)) {
    return make("p", "md ssechat-p");
  }
  if (token.type === "th_open" || token.type === "td_open") return cell(token);
  const element =
    token.type === "ordered_list_open" ? numbered(token) : made(CONTAINERS[token.type] ?? "div");
  if (token.type.endsWith("_list_open") && isLoose(tokens, index)) {
    element.classList.add("ssechat-loose");
  }
  return element;
}

function made(tag: Tag): HTMLElement {
  return make(tag, `md ssechat-${tag}`, DIRECTED.has(tag) ? AUTO : {});
}

function numbered(token: Token): HTMLElement {
  const start = token.attrGet("start");
  return make("ol", "md ssechat-ol", start === null ? AUTO : { ...AUTO, start: `${start}` });
}

function cell(token: Token): HTMLElement {
  const align = ALIGNMENT.exec(`${token.attrGet("style") ?? ""}`)?.[1];
  return make(token.type === "th_open" ? "th" : "td", align ? `cell ssechat-${align}` : "cell");
}

/** The paragraphs that stand in the items of the list that begins at `index`. */
export function itemParagraphs(tokens: readonly Token[], index: number): Token[] {
  const level = (tokens[index]?.level ?? 0) + 2;
  const found: Token[] = [];
  for (let at = index + 1; at < tokens.length; at++) {
    const token = tokens[at];
    if (!token || token.level < level - 1) break;
    if (token.level === level && token.type === "paragraph_open") found.push(token);
  }
  return found;
}

/** Whether its items stand apart: some item has an empty line in it or after it. */
export function isLoose(tokens: readonly Token[], index: number): boolean {
  const known = tokens[index]?.meta?.["apart"];
  if (typeof known === "boolean") return known;
  return itemParagraphs(tokens, index).some(({ hidden }) => !hidden);
}

function leaf(token: Token, parent: HTMLElement): void {
  switch (token.type) {
    case "inline":
      direct(token, parent);
      writeInline(token.children ?? [], withTask(token, parent));
      break;
    case "fence":
      parent.append(codeBlock(infoOf(token), token.content));
      break;
    case "code_block":
      parent.append(codeBlock("", token.content));
      break;
    case "formula":
      parent.append(formulaNode(token));
      break;
    case "hr":
      parent.append(make("hr", "md ssechat-hr"));
      break;
    case "reference_definition":
      break;
    default:
      parent.append(token.content);
  }
}

/** Settle where the innermost block begins that has a direction, unless a letter before has. */
function direct(token: Token, parent: HTMLElement): void {
  const block = parent.closest<HTMLElement>("[dir]");
  if (block?.dir !== "auto") return;
  const direction = directionOf(lettersOf(token.children ?? []));
  if (direction) block.dir = direction;
}

/** The words that tell the direction; a formula does not. */
const lettersOf = (tokens: readonly Token[]): string =>
  tokens.map(({ type, content }) => (type === "formula" ? "" : content)).join("");

/** Put the box of a task before the text; returns where the text goes. */
function withTask(token: Token, parent: HTMLElement): HTMLElement {
  const item = parent.parentElement;
  const first = token.children?.[0];
  const inItem = parent.nodeName === "P" && item?.nodeName === "LI" && item.firstChild === parent;
  const task = inItem && first?.type === "text" ? TASK.exec(first.content) : null;
  if (!task || !first) return parent;
  first.content = first.content.slice(task[0].length + 1);
  const box = make("input", "task-box", { type: "checkbox", disabled: "" });
  box.toggleAttribute("checked", task[1] !== " ");
  box.setAttribute("aria-label", task[1] === " " ? "to do" : "done");
  item?.classList.add("ssechat-task");
  parent.append(box);
  return parent;
}

/** Write inline tokens at the end of an element. */
export function writeInline(tokens: readonly Token[], root: HTMLElement): void {
  let parent = root;
  let depth = 0;
  for (const token of tokens) {
    if (token.nesting > 0) {
      if (depth++ < DEEPEST) parent = parent.appendChild(mark(token));
    } else if (token.nesting < 0) {
      if (--depth < DEEPEST) parent = parent.parentElement ?? root;
    } else if (token.content || token.type !== "text") parent.append(inlineNode(token));
  }
}

function mark(token: Token): HTMLElement {
  if (token.type !== "link_open") return make(MARKS[token.type] ?? "span", "md");
  const href = `${token.attrGet("href") ?? ""}`;
  // The parser has refused all others; this door stands for itself.
  if (!mayFollow(href)) return make("span", "md");
  const link = make("a", "link", { href, target: "_blank", rel: "noopener noreferrer nofollow" });
  const title = token.attrGet("title");
  if (title !== null) link.title = `${title}`;
  return link;
}

function inlineNode(token: Token): Node | string {
  switch (token.type) {
    case "softbreak":
      return "\n";
    case "hardbreak":
      return make("br", "md");
    case "code_inline":
      return make("code", "code-inline", {}, token.content);
    case "formula":
      return formulaNode(token);
    case "image":
      return pictureOffer(`${token.attrGet("src") ?? ""}`, textOf(token.children ?? []));
    default:
      return token.content;
  }
}

/** The words alone, as an image's other text wants them. */
function textOf(tokens: readonly Token[]): string {
  return tokens
    .map((token) =>
      token.type === "softbreak" ? " " : token.children ? textOf(token.children) : token.content,
    )
    .join("");
}

/** The formula as it was written, until it is typeset. */
function formulaNode(token: Token): HTMLElement {
  const display = token.meta?.["display"] === true;
  const tag = token.block ? "div" : "span";
  const half = token.meta?.["half"] === true;
  return make(
    tag,
    "formula",
    {
      "data-tex": token.content,
      "data-display": String(display),
      "data-state": half ? "half" : "source",
      dir: "ltr",
    },
    half ? token.content : token.markup,
  );
}
