/** Growing texts → elements that only grow: a selection made in them survives. */
import { make, write } from "./dom.ts";
import { joined } from "./message.ts";
import type { Text as Leaf } from "./patches.ts";
import { clockText } from "./timing.ts";

/** A group is closed at the first line end after so many units, and not laid out again. */
const GROUP = 4_000;

/** One text, written into groups of lines. */
export class Transcript {
  readonly element: HTMLElement;
  #open: globalThis.Text | null = null;
  #known: { readonly leaf: Leaf; readonly length: number }[] = [];

  constructor(name: string, label: string) {
    this.element = make("div", name, {
      role: "log",
      "aria-live": "off",
      "aria-label": label,
      dir: "auto",
    });
  }

  /** Show the leaves, one after the other; true when anything was written. */
  show(leaves: Leaf[]): boolean {
    const added = this.#added(leaves) ?? this.#changed(joined(leaves));
    this.#known = leaves.map((leaf) => ({ leaf, length: leaf.length }));
    this.#append(added);
    return added !== "";
  }

  /** What has grown at the end of the very leaves that are shown; null if it is otherwise. */
  #added(leaves: Leaf[]): string | null {
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

  /** What is left to write of a text that came by SET or snapshot; all of it if it differs. */
  #changed(whole: string): string {
    const shown = this.element.textContent ?? "";
    if (whole.startsWith(shown)) return whole.slice(shown.length);
    this.element.replaceChildren();
    this.#open = null;
    return whole;
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

/** The thinking: open while it lasts, folded when the answer begins, then as the reader likes. */
export class ThinkingPanel {
  readonly element: HTMLDetailsElement;
  readonly #transcript = new Transcript("thinking-text", "Thinking");
  readonly #summary: HTMLElement;
  readonly #title = make("span", "thinking-title");
  #toggled = false;
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
