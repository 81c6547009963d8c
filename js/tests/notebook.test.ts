import { beforeEach, describe, expect, it, vi } from "vitest";
import { codeBlock } from "../src/code_block.ts";
import { Notebook, offerCells } from "../src/notebook.ts";

const insertCell = vi.fn();
const notebook = (count: number, more: object = {}) =>
  new Notebook({
    context: { model: { cells: { length: count }, sharedModel: { insertCell }, ...more } },
  });

/** A view with a block of code, in the cell that JupyterLab has given this number. */
function place(cells: string, count: number, book = notebook(count)): HTMLElement {
  document.body.innerHTML = cells;
  const view = document.createElement("section");
  view.append(codeBlock("python", "print(1)\n\nprint('一')\n"));
  document.querySelector(".here")?.append(view);
  offerCells(view, book);
  return view.querySelector(".ssechat-code-insert") as HTMLElement;
}
const row = (...cells: string[]) => `<div class="jp-Notebook"><div>${cells.join("")}</div></div>`;
const cell = (name = "", index: number | string = "") =>
  `<div class="jp-Cell" data-windowed-list-index="${index}"><p class="${name}"></p></div>`;
const said = async (button: HTMLElement) => {
  await Promise.resolve();
  return [button.textContent, button.getAttribute("aria-label")];
};

beforeEach(() => insertCell.mockClear());

describe("code that is put into a cell", () => {
  it("stands below the cell of its view, without the line end of its fence", async () => {
    const button = place(row(cell(), cell("here"), cell()), 3);
    button.click();
    expect(insertCell).toHaveBeenCalledExactlyOnceWith(2, {
      cell_type: "code",
      source: "print(1)\n\nprint('一')",
    });
    expect(await said(button)).toEqual(["Inserted", "Inserted"]);
  });

  it("goes by JupyterLab's numbers where the page holds a part of the notebook", () => {
    place(row(cell("", 40), cell("here", 41)), 100).click();
    expect(insertCell.mock.calls[0]?.[0]).toBe(42);
  });

  it.each([
    ["a sidecar", '<div class="here"></div>'],
    ["a console", '<div class="jp-CodeConsole"><div class="jp-Cell here"></div></div>'],
    [
      "a part of a notebook without numbers",
      '<div class="jp-Notebook"><p class="jp-Cell here"></p></div>',
    ],
  ])("is not inserted from %s, and says so", async (_, page) => {
    const button = place(page, 7);
    button.click();
    expect(insertCell).not.toHaveBeenCalled();
    expect(await said(button)).toEqual(["Not inserted", "Not inserted"]);
  });

  it("is offered by hosts alone whose notebook can be written", () => {
    const offered = (book: Notebook) => {
      const view = document.createElement("section");
      offerCells(view, book);
      return view.classList.contains("ssechat-inserts");
    };
    expect(offered(notebook(1))).toBe(true);
    expect(offered(notebook(1, { readOnly: true }))).toBe(false);
    expect([undefined, {}, { context: {} }].map((each) => offered(new Notebook(each)))).toEqual([
      false,
      false,
      false,
    ]);
  });
});
