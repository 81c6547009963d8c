/** The page around a view → the notebook it stands in, where the host lets us write into it. */
import { isObject } from "./conversation_protocol.ts";
import type { JsonObject } from "./protocol.ts";

/** What we use of JupyterLab's and Notebook 7's document, which their manager of widgets knows. */
interface NotebookModel {
  readonly readOnly?: boolean;
  readonly cells?: {
    readonly length: number;
    get(index: number): { readonly outputs?: OutputArea };
  };
  readonly sharedModel?: {
    insertCell?(index: number, cell: { cell_type: string; source: string }): unknown;
  };
}

interface OutputArea {
  readonly length: number;
  get(index: number): { readonly data: JsonObject };
  set(index: number, output: JsonObject): void;
  add(output: JsonObject): unknown;
}

/** What a kernel has displayed with a widget: a page that was opened since cannot know. */
export interface Outputs {
  /** The id of the widget's model, as its output has it. */
  readonly widget: string;
  /** Whether its output is empty by now. */
  readonly retired: boolean;
  /** What stands below it. */
  readonly data: JsonObject;
  readonly metadata: JsonObject;
}

const WIDGET = "application/vnd.jupyter.widget-view+json";
const NOTHING: JsonObject = { "text/plain": "" };

/** A code block's wish for a cell of its own: the code is in `detail`; who grants it prevents the default. */
export const INSERT = "ssechat-insert";

export class Notebook {
  readonly #model: NotebookModel | undefined;

  constructor(manager: unknown) {
    const { context } = (manager ?? {}) as { context?: { model?: NotebookModel } };
    this.#model = context?.model;
  }

  /** Whether cells can be put into it. */
  get takesCells(): boolean {
    return !this.#model?.readOnly && typeof this.#model?.sharedModel?.insertCell === "function";
  }

  /** Put a cell with this code below the one that shows `element`; false where that cannot be done. */
  insertBelow(element: Element, source: string): boolean {
    const index = this.#indexOf(element);
    if (index === null || !this.takesCells) return false;
    this.#model?.sharedModel?.insertCell?.(index + 1, { cell_type: "code", source });
    return true;
  }

  /** Let the outputs of the cell around `element` be those; false where they cannot be found. */
  write(element: Element, { widget, retired, data, metadata }: Outputs): boolean {
    const index = this.#indexOf(element);
    const area = index === null ? undefined : this.#model?.cells?.get(index).outputs;
    const own = area ? placeOf(area, widget) : -1;
    if (!area?.set || own < 0) return false;
    const next = own + 1 < area.length ? area.get(own + 1).data : undefined;
    const text = { output_type: "display_data", data, metadata };
    if (!next || !isText(next)) area.add(text);
    else if (JSON.stringify(next) !== JSON.stringify(data)) area.set(own + 1, text);
    if (retired) area.set(own, { ...text, data: NOTHING, metadata: {} });
    return true;
  }

  /** The place of the cell around this element; null in a sidecar, a console, a view of an output. */
  #indexOf(element: Element): number | null {
    const cell = element.closest<HTMLElement>(".jp-Notebook .jp-Cell");
    if (!cell?.parentElement) return null;
    const shown = [...cell.parentElement.children].filter((one) => one.matches(".jp-Cell"));
    if (shown.length === this.#model?.cells?.length) return shown.indexOf(cell);
    // Of a long notebook the page holds a part; JupyterLab numbers what it holds.
    const index = Number(cell.dataset["windowedListIndex"] ?? Number.NaN);
    return Number.isInteger(index) ? index : null;
  }
}

function placeOf(area: OutputArea, widget: string): number {
  const known = Array.from({ length: area.length }, (_, index) => area.get(index).data[WIDGET]);
  return known.findIndex((one) => isObject(one) && one["model_id"] === widget);
}

/** Whether this is the text below a widget, or its empty place. */
const isText = (data: JsonObject) => "text/markdown" in data || data["text/plain"] === "";

/** Read what a kernel tells of its outputs; null when it is not that. */
export function readOutputs(value: unknown): Outputs | null {
  if (!isObject(value) || value["type"] !== "outputs" || typeof value["widget"] !== "string")
    return null;
  const { widget, retired, data, metadata } = value;
  if (!isObject(data) || !isObject(metadata)) return null;
  return {
    widget,
    retired: retired === true,
    data: data as JsonObject,
    metadata: metadata as JsonObject,
  };
}

/** Let the code blocks in a view be put into cells; its styles show their buttons in a cell only. */
export function offerCells(view: HTMLElement, notebook: Notebook): void {
  view.classList.toggle("ssechat-inserts", notebook.takesCells);
  view.addEventListener(INSERT, (event) => {
    const source = String((event as CustomEvent).detail);
    if (notebook.insertBelow(view, source)) event.preventDefault();
  });
}

/** A host may hand out views before they stand in its page; this often is looked again. */
const TRIES = 20;

/** Outputs to be written once a view stands in its notebook; `placed` is called when they are. */
export class PendingOutputs {
  #pending: Outputs | null = null;
  #tries = 0;

  constructor(
    private readonly notebook: Notebook,
    private readonly placed: () => void,
  ) {}

  /** Take a message of the kernel; false when it is not about outputs. */
  take(value: unknown): boolean {
    const outputs = readOutputs(value);
    if (outputs) this.#pending = outputs;
    if (outputs) this.#tries = 0;
    return outputs !== null;
  }

  /** Write them beside this view; true where that is to be tried again, since it may not stand there yet. */
  write(view: Element): boolean {
    if (!this.#pending) return false;
    if (!this.notebook.write(view, this.#pending)) return this.#tries++ < TRIES;
    this.#pending = null;
    this.placed();
    return false;
  }
}
