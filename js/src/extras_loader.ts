/** The kernel's copy of the heavy part → one module per page, asked for when it is first needed. */
import { version } from "../package.json";

/** Code in coloured words; `open` is whether its last one would go on, as a string that is not closed. */
export interface Coloured {
  readonly words: Node[];
  readonly open: boolean;
}

export interface Extras {
  /** The code in colours; null for a language it does not know. */
  highlight(code: string, language: string): Coloured | null;
  /** The formula as MathML; null for what cannot be read. */
  typeset(tex: string, display: boolean): Element | null;
}

export type Import = (module: Blob) => Promise<Extras>;

/** Imports a module that came over the wire; a page whose policy refuses that stays without. */
const importBlob: Import = async (module) => {
  const address = URL.createObjectURL(module);
  try {
    return await import(/* @vite-ignore */ address);
  } finally {
    URL.revokeObjectURL(address);
  }
};

/** The heavy part of one page. */
export class ExtrasLoader {
  /** Null until it has come. */
  extras: Extras | null = null;
  #wanted = false;
  #received = false;
  readonly #sources = new Set<() => void>();
  readonly #listeners = new Set<() => void>();

  constructor(private readonly load: Import = importBlob) {}

  /** Somebody who can ask a kernel for it; returns the way out. */
  offer(ask: () => void): () => void {
    this.#sources.add(ask);
    if (this.#wanted && !this.#received) ask();
    return () => this.#sources.delete(ask);
  }

  /** Call back once it is there, perhaps never; returns the way out. */
  want(listener: () => void): () => void {
    this.#listeners.add(listener);
    const [ask] = this.#sources;
    if (!this.#wanted) ask?.();
    this.#wanted = true;
    return () => this.#listeners.delete(listener);
  }

  /** Take a message of a kernel; false when it is not about this. */
  take(content: unknown, buffers: unknown): boolean {
    if ((content as { type?: unknown } | null)?.type !== "extras") return false;
    const [bytes] = Array.isArray(buffers) ? buffers : [];
    if (bytes && !this.#received) void this.#open(new Blob([bytes], { type: "text/javascript" }));
    return true;
  }

  async #open(module: Blob): Promise<void> {
    this.#received = true;
    try {
      this.extras = await this.load(module);
    } catch {
      // Code and formulas stay as they were written.
      return;
    }
    for (const listener of [...this.#listeners]) listener();
    this.#listeners.clear();
  }
}

/** The one of this page, also when several copies of this bundle run in it. */
export function loaderOfPage(): ExtrasLoader {
  const page = globalThis as unknown as Record<symbol, ExtrasLoader>;
  const key = Symbol.for(`jupyter_ssechat.extras.${version}`);
  page[key] ??= new ExtrasLoader();
  return page[key];
}
