/** Parts of an answer → small labelled blocks that unfold. */
import { make, write } from "./dom.ts";
import { mayShow } from "./links.ts";
import type { Part, Source } from "./parts.ts";
import { Transcript } from "./transcript.ts";

/** A list of blocks that only grows, as long as the parts do. */
export class PartsView {
  readonly element = make("div", "parts");
  #blocks: Block[] = [];

  show(parts: readonly Part[]): void {
    for (const block of this.#blocks.splice(parts.length)) block.element.remove();
    for (const [index, part] of parts.entries()) {
      const block = this.#blocks[index] ?? this.#add(part.open);
      block.show(part);
    }
    this.element.hidden = parts.length === 0;
  }

  #add(open: boolean): Block {
    const block = new Block(open);
    this.#blocks.push(block);
    this.element.append(block.element);
    return block;
  }
}

class Block {
  readonly element: HTMLDetailsElement;
  readonly #label = make("summary", "summary", {
    "data-lm-suppress-shortcuts": "true",
    dir: "auto",
  });
  readonly #text = new Transcript("part-text", "Text");
  readonly #sources = make("ol", "sources");
  #shown = "";

  constructor(open: boolean) {
    this.element = make("details", "part", {}, this.#label, this.#text.element, this.#sources);
    this.element.open = open;
  }

  show({ label, text, sources }: Part): void {
    write(this.#label, label);
    this.#text.show(text ? [text] : []);
    this.#text.element.hidden = !text;
    this.#sources.hidden = sources.length === 0;
    const key = JSON.stringify(sources);
    if (key === this.#shown) return;
    this.#shown = key;
    this.#sources.replaceChildren(...sources.map(listed));
  }
}

/** Only http and https can be followed; any other address stands as text. */
function listed({ title, url }: Source): HTMLElement {
  if (!mayShow(url)) return make("li", "source", { dir: "auto" }, title || url);
  const leads = { href: url, title: url, target: "_blank", rel: "noopener noreferrer" };
  return make("li", "source", { dir: "auto" }, make("a", "link", leads, title || url));
}
