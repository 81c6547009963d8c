/** A block of code → coloured words, a few groups of lines at a time, so that no frame waits for it. */
import type { Extras } from "./extras_loader.ts";

/** So much code is coloured in one go, in units of UTF-16; what would need more stays plain. */
const AT_ONCE = 12_000;

/** The way through one block. A group that ends within a string or the like is coloured with the next ones. */
export class Colouring {
  readonly #language: string;
  readonly #groups: Element[];
  #from = 0;
  #count = 1;

  constructor(private readonly block: HTMLElement) {
    this.#language = block.dataset["language"] ?? "";
    this.#groups = [...block.querySelectorAll(".ssechat-code-group")];
  }

  /** Go one step; true when there is no more to do. */
  step({ highlight }: Extras): boolean {
    const groups = this.#groups.slice(this.#from, this.#from + this.#count);
    const code = groups.map(({ textContent }) => textContent ?? "").join("");
    const coloured = code.length <= AT_ONCE ? highlight(code, this.#language) : null;
    if (!coloured) return this.#end();
    const end = this.#from + groups.length;
    if (coloured.open && end < this.#groups.length) {
      this.#count *= 2;
      return false;
    }
    for (const group of groups) {
      group.replaceChildren(...taken(coloured.words, group.textContent?.length ?? 0));
    }
    this.#from = end;
    this.#count = 1;
    return end >= this.#groups.length && this.#end();
  }

  #end(): true {
    this.block.dataset["coloured"] = String(this.#from > 0);
    return true;
  }
}

/** Take so much text away from the beginning of these nodes; one that goes on is cut in two. */
function taken(nodes: Node[], length: number): Node[] {
  const first: Node[] = [];
  for (let left = length; left > 0 && nodes[0]; ) {
    const size = nodes[0].textContent?.length ?? 0;
    const node = size <= left ? (nodes.shift() as Node) : beginning(nodes[0], left);
    first.push(node);
    left -= size;
  }
  return first;
}

function beginning(node: Node, length: number): Node {
  const copy = node.cloneNode() as Text | Element;
  if (node instanceof Text) {
    copy.textContent = node.data.slice(0, length);
    node.data = node.data.slice(length);
  } else {
    const inner = [...node.childNodes];
    (copy as Element).replaceChildren(...taken(inner, length));
    (node as Element).replaceChildren(...inner);
  }
  return copy;
}
