/** A saved answer's outputs → JupyterLab's own Markdown, its thinking titled, its figures and Copy below it. */
import { browserClock } from "./clock.ts";
import { copy } from "./copy.ts";
import { make, makeButton, write } from "./dom.ts";
import { Message } from "./message.ts";
import { Document } from "./patches.ts";
import type { Json, JsonObject } from "./protocol.ts";
import { Figures, type Moment } from "./status.ts";
import { clockText } from "./timing.ts";

/** It stands for the whole bundle: the text is that of the Markdown beside it, the figures are metadata. */
export const ANSWER = "application/vnd.jupyter-ssechat.answer.v1+json";
export const MARKDOWN = "text/markdown";

const PLAIN = "text/plain";
const COPIED_FOR = 2_000;

// What of JupyterLab's rendermime is used here; the rest of the objects is passed on as it is.
export interface Model {
  readonly data: { readonly [mime: string]: unknown };
  readonly metadata: { readonly [name: string]: unknown };
}
export interface Renderer {
  readonly node: HTMLElement;
  renderModel(model: Model): Promise<void>;
}
export interface Factory {
  readonly safe: boolean;
  readonly mimeTypes: readonly string[];
  readonly defaultRank?: number;
  createRenderer(options: { readonly mimeType: string }): Renderer;
}
export interface Registry {
  getFactory(mime: string): Factory | undefined;
  addFactory(factory: Factory): void;
}

/** Have answers drawn by whatever draws Markdown here, sanitizer and all, and add what is theirs. */
export function drawAnswers(registry: Registry): void {
  const standard = registry.getFactory(MARKDOWN);
  if (!standard) return;
  registry.addFactory({
    safe: true,
    mimeTypes: [ANSWER],
    defaultRank: 50, // before Markdown, which has 60
    createRenderer(options) {
      const markdown = registry.getFactory(MARKDOWN) ?? standard;
      return dressed(markdown.createRenderer({ ...options, mimeType: MARKDOWN }));
    },
  });
}

function dressed(renderer: Renderer): Renderer {
  const draw = renderer.renderModel.bind(renderer);
  renderer.renderModel = async (model) => {
    if (typeof model.data[MARKDOWN] === "string") await draw(model);
    else renderer.node.replaceChildren(make("pre", "plain", {}, textIn(model.data[PLAIN])));
    dress(renderer.node, model);
  };
  return renderer;
}

function dress(node: HTMLElement, { data, metadata }: Model): void {
  const message = messageOf(metadata["ssechat"]);
  node.classList.add("ssechat-saved");
  nameThinking(node, message.thinkingSeconds);
  node.querySelector(":scope > .ssechat-small-print")?.remove();
  const print = smallPrint(message, answerIn(data[PLAIN], message));
  if (print.textContent) node.append(print);
}

/** The metadata of anybody's notebook, read as the view reads what a server sends. */
function messageOf(metadata: unknown): Message {
  const fields = objectIn(metadata);
  const { status, ttft, elapsed, thinking_seconds, ...response } = fields;
  const document = new Document({
    response: { ...response, thinking_elapsed_secs: thinking_seconds ?? null },
    timing: { ttft: ttft ?? null, elapsed: elapsed ?? null },
  });
  return new Message(document, textIn(status));
}

function objectIn(value: unknown): JsonObject {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  return isObject ? (value as { [key: string]: Json }) : {};
}

function nameThinking(node: HTMLElement, seconds: number | null): void {
  const summary = node.querySelector(":scope > details:first-child > summary");
  if (summary?.textContent !== "Thinking" || seconds === null) return;
  const time = clockText(Math.round(seconds));
  write(summary, seconds < 1 ? "Thought briefly" : `Thought for ${time}`);
}

const textIn = (value: unknown) => (typeof value === "string" ? value : "");

/** The answer alone, without the line below it that says how it ended. */
function answerIn(plain: unknown, message: Message): string {
  const text = textIn(plain);
  if (message.status === "finished" && !message.cut) return text;
  return text.replace(/(^|\n\n)\[[^\n]*\]$/, "");
}

function smallPrint(message: Message, answer: string): HTMLElement {
  const figures = new Figures();
  // Of a moment, figures are the message and the time only.
  figures.show({ message, elapsed: message.elapsed } as Moment);
  const actions = answer ? [copyButton(answer)] : [];
  return make("div", "small-print mathjax_ignore", {}, figures.element, ...actions);
}

function copyButton(answer: string): HTMLButtonElement {
  const button = makeButton("copy", async () => {
    write(button, (await copy(answer)) ? "Copied" : "Not copied");
    browserClock.after(COPIED_FOR, () => write(button, "Copy"));
  });
  write(button, "Copy");
  button.title = "Copy the answer";
  return button;
}
