/** The page around a view → the notebook it stands in, where the host lets us write into it. */

/** What we use of JupyterLab's and Notebook 7's document, which their manager of widgets knows. */
interface NotebookModel {
  readonly readOnly?: boolean;
  readonly cells?: { readonly length: number };
  readonly sharedModel?: {
    insertCell?(index: number, cell: { cell_type: string; source: string }): unknown;
  };
}

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

/** Let the code blocks in a view be put into cells; its styles show their buttons in a cell only. */
export function offerCells(view: HTMLElement, notebook: Notebook): void {
  view.classList.toggle("ssechat-inserts", notebook.takesCells);
  view.addEventListener(INSERT, (event) => {
    const source = String((event as CustomEvent).detail);
    if (notebook.insertBelow(view, source)) event.preventDefault();
  });
}
