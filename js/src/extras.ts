/** What is heavy and comes only when it is needed: code → coloured words, TeX → MathML. */
import hljs from "highlight.js/lib/common";
import temml from "temml";
import type { Extras } from "./extras_loader.ts";

/** What highlight.js tells about a text, written as elements: it hands out no HTML that is read. */
class Emitter {
  readonly root = document.createElement("span");
  readonly #open: HTMLElement[] = [this.root];

  get #top(): HTMLElement {
    return this.#open[this.#open.length - 1] ?? this.root;
  }

  addText(text: string): void {
    if (text) this.#top.append(text);
  }

  startScope(scope: string): void {
    const span = document.createElement("span");
    span.className = `ssechat-hl-${scope.replace(/\..*$/, "")}`;
    this.#top.append(span);
    this.#open.push(span);
  }

  endScope(): void {
    this.#open.pop();
  }

  openNode(scope: string): void {
    this.startScope(scope);
  }

  closeNode(): void {
    this.endScope();
  }

  __addSublanguage(emitter: Emitter): void {
    this.#top.append(...emitter.root.childNodes);
  }

  finalize(): void {}

  toHTML(): string {
    return "";
  }
}

// The one option for this that highlight.js has; its types call it private.
hljs.configure({ __emitter: Emitter } as object);

export const highlight: Extras["highlight"] = (code, language) => {
  if (!hljs.getLanguage(language)) return null;
  const { _emitter, _top } = hljs.highlight(code, { language, ignoreIllegals: true });
  const { root } = _emitter as unknown as Emitter;
  // Where it stumbles it ends early, and says nothing.
  if (root.textContent !== code) return null;
  return { words: [...root.childNodes], open: _top !== undefined && "parent" in _top };
};

export const typeset: Extras["typeset"] = (tex, display) => {
  const place = document.createElement("span");
  try {
    temml.render(tex, place, { displayMode: display, throwOnError: true, trust: false });
  } catch {
    return null;
  }
  const math = place.firstElementChild;
  return math && [math, ...math.querySelectorAll("*")].every(isHarmless) ? math : null;
};

/** Only MathML, and nothing in it that leads anywhere or acts. */
function isHarmless(element: Element): boolean {
  const acts = /^(?:on|href|src|xlink|action|id$|name$)/i;
  return (
    element.namespaceURI === "http://www.w3.org/1998/Math/MathML" &&
    element.getAttributeNames().every((name) => !acts.test(name))
  );
}
