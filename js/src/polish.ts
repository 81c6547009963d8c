/** Code and formulas that stand as they were written → coloured and typeset, a little in each frame. */
import type { Clock } from "./clock.ts";
import { Colouring } from "./colouring.ts";
import { type Extras, type ExtrasLoader, loaderOfPage } from "./extras_loader.ts";
import type { Finish } from "./markdown.ts";

/** So long it works in one frame, in milliseconds. */
const AT_A_TIME = 6;
/** A block in which text is selected is left alone for so long. */
const LATER = 1_000;
/** So many formulas are kept to be shown again at once. */
const KEPT = 500;

export class Polish {
  readonly #waiting = new Set<HTMLElement>();
  /** Blocks of code that are coloured in part. */
  readonly #begun = new WeakMap<HTMLElement, Colouring>();
  readonly #failed = new WeakSet<HTMLElement>();
  readonly #typeset = new Map<string, Element>();
  #next: (() => void) | null = null;

  constructor(
    private readonly clock: Clock,
    private readonly loader: ExtrasLoader = loaderOfPage(),
  ) {}

  /** Do for an element of the document, soon, what it asks for. */
  readonly finish: Finish = (element, live) => {
    for (const formula of within(element, '.ssechat-formula[data-state="source"]')) {
      if (!this.#isDone(formula) && !this.#showAgain(formula)) this.#waiting.add(formula);
    }
    if (!live) {
      for (const code of within(element, ".ssechat-code:not([data-coloured])")) {
        if (isColourable(code)) this.#waiting.add(code);
      }
    }
    if (this.#waiting.size > 0) this.#wake();
  };

  close(): void {
    this.#next?.();
    this.#next = null;
    this.#waiting.clear();
  }

  #isDone(formula: HTMLElement): boolean {
    return this.#failed.has(formula) || formula.firstElementChild !== null;
  }

  #wake(): void {
    if (this.#next) return;
    const run = () => this.#run();
    this.#next = this.loader.extras
      ? this.clock.frame(run)
      : this.loader.want(() => {
          this.#next = this.clock.frame(run);
        });
  }

  #run(): void {
    this.#next = null;
    const { extras } = this.loader;
    if (!extras) return;
    const end = this.clock.now() + AT_A_TIME;
    const late = () => this.clock.now() >= end;
    for (const element of this.#waiting) {
      while (!isSelected(element)) {
        const done = !element.parentNode || this.#step(element, extras);
        if (done) this.#waiting.delete(element);
        if (done || late()) break;
      }
      if (late()) break;
    }
    if (this.#waiting.size > 0) this.#goOn(late());
  }

  #goOn(soon: boolean): void {
    const run = () => this.#run();
    this.#next = soon ? this.clock.frame(run) : this.clock.after(LATER, run);
  }

  /** Do a part of what an element asks for; true when that was all. */
  #step(element: HTMLElement, extras: Extras): boolean {
    if (!element.classList.contains("ssechat-code")) {
      if (!this.#isDone(element)) this.#typesetOne(element, extras);
      return true;
    }
    const colouring = this.#begun.get(element) ?? new Colouring(element);
    this.#begun.set(element, colouring);
    return colouring.step(extras);
  }

  #typesetOne(formula: HTMLElement, extras: Extras): void {
    const { tex = "", display } = formula.dataset;
    const math = extras.typeset(tex, display === "true");
    if (!math) {
      this.#failed.add(formula);
      return;
    }
    if (this.#typeset.size >= KEPT) this.#typeset.clear();
    this.#typeset.set(keyOf(formula), math);
    formula.replaceChildren(math.cloneNode(true));
  }

  /** A formula that was typeset before, as when its paragraph is drawn anew. */
  #showAgain(formula: HTMLElement): boolean {
    const known = this.#typeset.get(keyOf(formula));
    if (known) formula.replaceChildren(known.cloneNode(true));
    return known !== undefined;
  }
}

const keyOf = ({ dataset }: HTMLElement) => `${dataset["display"]} ${dataset["tex"]}`;

function within(element: HTMLElement, selector: string): HTMLElement[] {
  const found = [...element.querySelectorAll<HTMLElement>(selector)];
  return element.matches(selector) ? [element, ...found] : found;
}

function isColourable(code: HTMLElement): boolean {
  return !!code.dataset["language"] && code.querySelector(".ssechat-code-group") !== null;
}

/** Whether the reader has selected something in it. */
function isSelected(element: HTMLElement): boolean {
  const selection = element.ownerDocument.getSelection();
  return !!selection && !selection.isCollapsed && selection.containsNode(element, true);
}
