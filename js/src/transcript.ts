/** Growing texts → elements that only grow: a selection made in them survives. */
import type { Clock } from "./clock.ts";
import { make, write } from "./dom.ts";
import { Markdown } from "./markdown.ts";
import { joined } from "./message.ts";
import type { Text as Leaf } from "./patches.ts";
import { Polish } from "./polish.ts";
import { clockText } from "./timing.ts";

/** A group is closed at the first line end after so many units, and not laid out again. */
const GROUP = 4_000;

/** A view so long without a pause is one that holds up the page, in milliseconds. */
const AT_A_TIME = 12;
/** Drawing takes at most this part of the time, and what is quicker than this is not counted. */
const SHARE = 1 / 4;
const QUICK = 4;

interface Added {
  readonly text: string;
  /** Whether the text is another one: what was shown before has gone. */
  readonly anew: boolean;
}

/** Leaves, looked at now and then → what their text has grown by. */
class Growth {
  #known: { readonly leaf: Leaf; readonly length: number }[] = [];

  /** `shown` is all that was added so far. */
  look(leaves: Leaf[], shown: () => string): Added {
    const grown = this.#grown(leaves);
    const added = grown === null ? changed(shown(), joined(leaves)) : { text: grown, anew: false };
    this.#known = leaves.map((leaf) => ({ leaf, length: leaf.length }));
    return added;
  }

  /** What has grown at the end of the very leaves that are known; null if it is otherwise. */
  #grown(leaves: Leaf[]): string | null {
    const last = this.#known.length - 1;
    const same = this.#known.every(
      ({ leaf, length }, index) =>
        leaves[index] === leaf &&
        (leaf.length === length || (index === last && leaf.length > length)),
    );
    if (!same) return null;
    const grown = leaves[last]?.from(this.#known[last]?.length ?? 0) ?? "";
    return grown + joined(leaves.slice(last + 1));
  }
}

/** What is left to write of a text that came by SET or snapshot; all of it if it differs. */
function changed(shown: string, whole: string): Added {
  const anew = !whole.startsWith(shown);
  return { text: anew ? whole : whole.slice(shown.length), anew };
}

/** A text that is announced as a log, in the direction of its first letter. */
const log = (label: string) => ({
  role: "log",
  "aria-live": "off",
  "aria-label": label,
  dir: "auto",
});

/** One text, written into groups of lines. */
export class Transcript {
  readonly element: HTMLElement;
  #open: globalThis.Text | null = null;
  readonly #growth = new Growth();

  constructor(name: string, label: string) {
    this.element = make("div", name, log(label));
  }

  /** Show the leaves, one after the other; true when anything was written. */
  show(leaves: Leaf[]): boolean {
    const { text, anew } = this.#growth.look(leaves, () => this.element.textContent ?? "");
    if (anew) this.element.replaceChildren();
    if (anew) this.#open = null;
    this.#append(text);
    return text !== "";
  }

  #append(text: string): void {
    for (let rest = text; rest; ) {
      const open = this.#open ?? this.#openGroup();
      const end = rest.indexOf("\n", Math.max(0, GROUP - open.length)) + 1 || rest.length;
      open.appendData(rest.slice(0, end));
      if (open.length >= GROUP && open.data.endsWith("\n")) this.#open = null;
      rest = rest.slice(end);
    }
  }

  #openGroup(): globalThis.Text {
    const text = document.createTextNode("");
    this.element.append(make("div", "group", {}, text));
    this.#open = text;
    return text;
  }
}

/** The answer, drawn as Markdown while it grows. */
export class Answer {
  readonly element: HTMLElement;
  readonly #markdown: Markdown;
  readonly #polish: Polish;
  readonly #growth = new Growth();
  #text = "";
  /** Drawing has had its share until then, by the clock. */
  #rest = 0;
  #later: (() => void) | null = null;

  constructor(private readonly clock: Clock) {
    this.#polish = new Polish(clock);
    this.element = make("div", "answer", log("Answer"));
    // Its blocks have one each, and a browser would look for this one at each change in them.
    this.element.removeAttribute("dir");
    this.#markdown = new Markdown(this.element, this.#polish.finish);
  }

  /** Show the leaves, one after the other; `over` is whether nothing more is coming. */
  show(leaves: Leaf[], over: boolean): void {
    const { text, anew } = this.#growth.look(leaves, () => this.#text);
    if (anew) this.#markdown.clear();
    this.#text = anew ? text : this.#text + text;
    this.#markdown.append(text);
    if (over) this.#markdown.end();
    if (over || this.clock.now() >= this.#rest) this.#draw();
    else this.#later ??= this.clock.after(this.#rest - this.clock.now(), () => this.#draw());
  }

  close(): void {
    this.#rested();
    this.#polish.close();
  }

  #rested(): void {
    this.#later?.();
    this.#later = null;
  }

  #draw(): void {
    this.#rested();
    const began = this.clock.now();
    const spent = () => this.clock.now() - began;
    const done = this.#markdown.draw(() => spent() < AT_A_TIME);
    this.#later = done ? null : this.clock.frame(() => this.#draw());
    this.#rest = done && spent() > QUICK ? began + spent() / SHARE : 0;
  }
}

/** The thinking: open while it lasts, folded when the answer begins, then as the reader likes. */
export class ThinkingPanel {
  readonly element: HTMLDetailsElement;
  readonly #transcript = new Transcript("thinking-text", "Thinking");
  readonly #summary: HTMLElement;
  readonly #title = make("span", "thinking-title");
  #toggled = false;
  #wanted = false;
  #atBottom = true;

  constructor() {
    this.#summary = make(
      "summary",
      "summary",
      { "data-lm-suppress-shortcuts": "true" },
      this.#title,
    );
    this.element = make("details", "thinking", {}, this.#summary, this.#transcript.element);
    this.element.hidden = true;
    this.#summary.addEventListener("click", () => {
      this.#toggled = true;
    });
    // Also without a click, as a search in the page does.
    this.element.addEventListener("toggle", () => {
      if (this.element.open !== this.#wanted) this.#toggled = true;
    });
    const box = this.#transcript.element;
    box.tabIndex = 0;
    box.addEventListener("scroll", () => {
      this.#atBottom = box.scrollHeight - box.scrollTop - box.clientHeight < 8;
    });
  }

  /** `open` is what the panel does by itself until the reader has toggled it. */
  show(leaves: Leaf[], thinks: boolean, open: boolean, seconds: number | null): void {
    const grew = this.#transcript.show(leaves);
    this.element.hidden = !thinks && leaves.every((leaf) => leaf.length === 0);
    this.element.classList.toggle("ssechat-live", thinks);
    write(this.#title, thinkingTitle(thinks, seconds));
    this.#wanted = open;
    if (!this.#toggled && this.element.open !== open) this.element.open = open;
    // Also without growth: what was written while it was not laid out could not be scrolled.
    if ((grew || thinks) && this.#atBottom) {
      this.#transcript.element.scrollTop = this.#transcript.element.scrollHeight;
    }
  }
}

function thinkingTitle(thinks: boolean, seconds: number | null): string {
  if (thinks) return seconds === null ? "Thinking…" : `Thinking… ${clockText(seconds)}`;
  if (seconds === null) return "Thought";
  return seconds < 1 ? "Thought briefly" : `Thought for ${clockText(Math.round(seconds))}`;
}
