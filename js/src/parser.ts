/** Markdown → tokens, in two steps: the blocks, then what stands in them. */
import MarkdownIt, {
  type Env,
  type MarkdownIt as Parser,
  type StateInline,
  type Token,
} from "markdown-it";
import { mayFollow } from "./links.ts";
import { formulas } from "./math.ts";

export type { Token };
export type References = NonNullable<Env["references"]>;

/** CommonMark with tables, strikethrough and formulas; HTML is text unless `html`. */
export function parserOf(follows: (address: string) => boolean, html = false): Parser {
  const parser = new MarkdownIt({ html, xhtmlOut: true });
  parser.use(formulas);
  parser.validateLink = follows;
  return parser;
}

const parser = parserOf(mayFollow);
parser.set({ linkify: true });
const INLINE_STEPS = ["inline", "linkify", "text_join"];
parser.core.ruler.enableOnly(INLINE_STEPS);

/** No definitions; keys are labels, which are the model's words, so there is no prototype. */
export const noReferences = (): References => Object.create(null);

/** As CommonMark wants the text before it is parsed. */
export const normalize = (text: string): string =>
  text.replace(/\r\n?/g, "\n").replace(/\0/g, "\u{FFFD}");

/** What stands after a fence, its escapes undone. */
export const infoOf = (token: Token): string => parser.utils.unescapeAll(token.info);

/** The tokens of the blocks, definitions among them; what is defined goes into `references`. */
export function blocksOf(text: string, references: References): Token[] {
  const tokens: Token[] = [];
  parser.block.parse(text, parser, { references }, tokens);
  return tokens;
}

/**
 * Parse what stands in the blocks; returns the labels that were looked up and not found.
 * With `half`, what ends in the middle of something is read as if its end were there.
 */
export function parseInline(tokens: Token[], references: References, half = false): Set<string> {
  const missing = new Set<string>();
  const watched = new Proxy(references, {
    get(known, label) {
      const found = known[label as string];
      if (!found) missing.add(label as string);
      return found;
    },
  });
  const state = new parser.core.State("", parser, { references: watched, half });
  state.tokens = tokens;
  parser.core.process(state);
  return missing;
}

/**
 * Whether nothing in this text can be changed by what follows a space after it;
 * `formulas` is whether a formula that began in it may still end.
 */
export function isClosed(text: string, references: References, formulas: boolean): boolean {
  const state: StateInline = new parser.inline.State(text, parser, { references }, []);
  parser.inline.tokenize(state);
  const pairs = parser.inline.ruler2.getRules("")[0];
  pairs?.(state);
  const closers = new Set(state.delimiters.map(({ end }) => end));
  const waits = state.delimiters.some(
    ({ open, end }, index) => open && end < 0 && !closers.has(index),
  );
  return !waits && !state.tokens.some((token) => isOpen(token, formulas));
}

/** A lone backtick or bracket may find its other half at any distance, a dollar at some. */
function isOpen({ type, content }: Token, formulas: boolean): boolean {
  if (type === "text_special") return formulas && /[([]/.test(content);
  if (type !== "text") return false;
  const bracket = content.lastIndexOf("[") > content.lastIndexOf("]");
  return bracket || content.includes("`") || (formulas && content.includes("$"));
}
