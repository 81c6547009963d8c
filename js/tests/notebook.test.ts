import { beforeEach, describe, expect, it, vi } from "vitest";
import { codeBlock } from "../src/code_block.ts";
import {
  Notebook,
  type Outputs,
  offerCells,
  PendingOutputs,
  readOutputs,
} from "../src/notebook.ts";
import type { JsonObject } from "../src/protocol.ts";

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

describe("outputs that a kernel cannot reach any more", () => {
  const view = { "application/vnd.jupyter.widget-view+json": { model_id: "m" }, "text/plain": "" };
  const text = { "text/markdown": "So.", "text/plain": "So." };
  const stale = { "text/markdown": "Not so.", "text/plain": "Not so." };
  const empty = { "text/plain": "" };

  /** A cell with these outputs, shown by the first; and what the kernel says of them. */
  function standing(...data: JsonObject[]) {
    const outputs = [...data];
    const area = {
      get length() {
        return outputs.length;
      },
      get: (index: number) => ({ data: outputs[index] ?? {} }),
      set: (index: number, output: JsonObject) => {
        outputs[index] = output["data"] as JsonObject;
      },
      add: (output: JsonObject) => outputs.push(output["data"] as JsonObject),
    };
    document.body.innerHTML = row(cell("here"));
    const cells = { length: 1, get: () => ({ outputs: area }) };
    const book = new Notebook({ context: { model: { cells } } });
    const here = document.querySelector(".here") as Element;
    const write = (more: object = {}) =>
      book.write(here, { widget: "m", retired: false, data: text, metadata: {}, ...more });
    return { outputs, write };
  }

  it("take the place of what stands below the view", () => {
    for (const before of [stale, empty, text]) {
      const { outputs, write } = standing(empty, view, before, stale);
      expect(write()).toBe(true);
      expect(outputs).toEqual([empty, view, text, stale]);
    }
  });

  it("are added where there are none, once", () => {
    const { outputs, write } = standing(view);
    expect([write(), write()]).toEqual([true, true]);
    expect(outputs).toEqual([view, text]);
  });

  it("take no other output's place", () => {
    const other = { "image/png": "…", "text/plain": "<Figure>" };
    const { outputs, write } = standing(view, other);
    write();
    expect(outputs).toEqual([view, other, text]);
  });

  it("take the view away that has retired", () => {
    const { outputs, write } = standing(view, stale);
    write({ retired: true });
    expect(outputs).toEqual([empty, text]);
  });

  it("are left alone where the view has no output of its own, as in a layout", () => {
    const { outputs, write } = standing(view, stale);
    expect(write({ widget: "another" })).toBe(false);
    expect(outputs).toEqual([view, stale]);
    expect(new Notebook(undefined).write(document.body, readOutputs(told) as Outputs)).toBe(false);
  });

  const told = { type: "outputs", widget: "m", retired: true, data: text, metadata: {} };

  it("are written when the view stands in its page, if that is soon", () => {
    const { outputs } = standing(view);
    const area = { length: 1, get: () => ({ data: view }), set: vi.fn(), add: vi.fn() };
    const cells = { length: 1, get: () => ({ outputs: area }) };
    const placed = vi.fn();
    const pending = new PendingOutputs(new Notebook({ context: { model: { cells } } }), placed);
    const element = document.createElement("section");
    expect([pending.write(element), pending.take({ type: "patches" })]).toEqual([false, false]);
    expect([pending.take(told), pending.write(element)]).toEqual([true, true]);
    document.querySelector(".here")?.append(element);
    expect([pending.write(element), pending.write(element)]).toEqual([false, false]);
    expect([area.add.mock.calls.length, placed.mock.calls.length]).toEqual([1, 1]);
    pending.take(told);
    const elsewhere = Array.from({ length: 30 }, () => pending.write(document.body));
    expect([elsewhere[0], elsewhere.at(-1), outputs]).toEqual([true, false, [view]]);
  });

  it.each([null, {}, { ...told, widget: 1 }, { ...told, data: [] }, { ...told, metadata: null }])(
    "are not read from %j",
    (value) => {
      expect(readOutputs(value)).toBeNull();
    },
  );
});
