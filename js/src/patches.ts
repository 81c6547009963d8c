/** Patches → document (protocols section 1): SET and APPEND on `/` paths. */
import type { Json, JsonObject, Patch } from "./protocol.ts";

/**
 * A text that grows. It keeps the pieces it was given and joins them when it is read,
 * so that a token costs its own length, not that of all tokens before it.
 */
export class Text {
  #parts: string[];
  #length: number;

  constructor(text: string) {
    this.#parts = text ? [text] : [];
    this.#length = text.length;
  }

  /** In UTF-16 units, as in `String.length`. */
  get length(): number {
    return this.#length;
  }

  append(piece: string): void {
    if (!piece) return;
    this.#parts.push(piece);
    this.#length += piece.length;
  }

  /** The text from `start` on, without joining what stands before it. */
  from(start: number): string {
    let rest = this.#length - start;
    if (rest <= 0) return "";
    const pieces: string[] = [];
    for (let index = this.#parts.length - 1; rest > 0 && index >= 0; index--) {
      const piece = this.#parts[index] ?? "";
      pieces.push(piece.length > rest ? piece.slice(piece.length - rest) : piece);
      rest -= piece.length;
    }
    return pieces.reverse().join("");
  }

  toString(): string {
    if (this.#parts.length > 1) this.#parts = [this.#parts.join("")];
    return this.#parts[0] ?? "";
  }
}

/** A `Map` for an object: a key such as `__proto__` is only a key. */
export type Node = null | boolean | number | Text | Node[] | Map<string, Node>;

/** The document of one answer; what is put in is copied, never shared. */
export class Document {
  #root = new Map<string, Node>();
  /** How many patches could not be applied. */
  ignored = 0;

  constructor(value: JsonObject = {}) {
    this.#merge(value);
  }

  /** Apply one patch; false when its path or value cannot be, and then nothing has changed. */
  apply({ p, o, v }: Patch): boolean {
    const done = p === "" ? o === "SET" && this.#merge(v) : this.#write(p.split("/"), o, v);
    if (!done) this.ignored++;
    return done;
  }

  /** The node at a path, undefined when there is none. */
  get(path: string): Node | undefined {
    let node: Node | undefined = this.#root;
    for (const step of path === "" ? [] : path.split("/")) node = child(node, step);
    return node;
  }

  /** The whole document as plain JSON, texts joined. */
  snapshot(): JsonObject {
    return toJson(this.#root) as JsonObject;
  }

  #merge(value: Json): boolean {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
    for (const [key, item] of Object.entries(value)) this.#root.set(key, fromJson(item));
    return true;
  }

  #write(steps: string[], op: Patch["o"], value: Json): boolean {
    let node: Node = this.#root;
    for (const [depth, step] of steps.entries()) {
      const next: Node | undefined = child(node, step);
      if (next === undefined || next === null) return graft(node, steps.slice(depth), op, value);
      if (depth === steps.length - 1) {
        return op === "APPEND" ? extend(next, value) : assign(node, step, fromJson(value));
      }
      node = next;
    }
    return false;
  }
}

const NUMBER = /^-?\d+$/;
const INDEX = /^-?\d{1,9}$/;

function position(list: Node[], step: string): number {
  if (!INDEX.test(step)) return -1;
  const index = Number(step);
  const at = index < 0 ? list.length + index : index;
  return at < list.length ? at : -1;
}

function child(node: Node | undefined, step: string): Node | undefined {
  if (node instanceof Map) return node.get(step);
  if (Array.isArray(node)) return node[position(node, step)];
  return undefined;
}

function assign(node: Node, step: string, value: Node): boolean {
  if (node instanceof Map) {
    node.set(step, value);
    return true;
  }
  if (!Array.isArray(node)) return false;
  const at = position(node, step);
  if (at < 0) return false;
  node[at] = value;
  return true;
}

function extend(present: Node, value: Json): boolean {
  if (present instanceof Text && typeof value === "string") {
    present.append(value);
    return true;
  }
  if (!Array.isArray(present) || !Array.isArray(value)) return false;
  for (const item of value) present.push(fromJson(item));
  return true;
}

/** Put a value where nothing is yet, with the objects that lead there. */
function graft(node: Node, steps: string[], op: Patch["o"], value: Json): boolean {
  if (op === "APPEND" && typeof value !== "string" && !Array.isArray(value)) return false;
  const [first = "", ...rest] = steps;
  // A number asks for a list, and a new list has no such index: it never grows to reach one.
  if (rest.some((step) => NUMBER.test(step))) return false;
  const grown = rest.reduceRight<Node>((inner, step) => new Map([[step, inner]]), fromJson(value));
  return assign(node, first, grown);
}

function fromJson(value: Json): Node {
  if (typeof value === "string") return new Text(value);
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(fromJson);
  return new Map(Object.entries(value).map(([key, item]) => [key, fromJson(item)]));
}

function toJson(node: Node): Json {
  if (node instanceof Text) return node.toString();
  if (Array.isArray(node)) return node.map(toJson);
  if (!(node instanceof Map)) return node;
  return Object.fromEntries([...node].map(([key, item]) => [key, toJson(item)]));
}
