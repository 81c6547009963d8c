import { describe, expect, it, vi } from "vitest";
import { highlight, typeset } from "../src/extras.ts";
import { type Extras, ExtrasLoader } from "../src/extras_loader.ts";

const CODES: [string, string][] = [
  [
    "python",
    "@d\nasync def f(x: int) -> str:\n    '''doc'''\n    return f\"{x!r} <b>&amp;</b>\"  # 好 🎉\n",
  ],
  ["javascript", "const x = `a$" + "{1 + y(() => <b>hi</b>)}`; /re[/]x/g // end"],
  ["html", "<script>let x = '<img onerror=1>'</script><style>a { b: c }</style>"],
  ["bash", 'for f in *; do echo "$f"; done <<EOF\nx\nEOF'],
  ["json", '{"a": [1, null, "x"]'],
  ["php", "<?php echo '<b>'; ?>"],
  ["sql", "select * from t where a = 'x'"],
];

describe("code", () => {
  it.each(CODES)("in %s keeps every character, and some are coloured", (language, code) => {
    const root = document.createElement("code");
    root.append(...(highlight(code, language)?.words ?? []));
    expect(root.textContent).toBe(code);
    expect(root.querySelector("[class^=ssechat-hl-]")).not.toBeNull();
    expect([...root.querySelectorAll("*")].every(({ nodeName }) => nodeName === "SPAN")).toBe(true);
  });

  it("in a language nobody knows stays as it is", () => {
    expect(highlight("x", "klingon")).toBeNull();
    expect(highlight("x", "__proto__")).toBeNull();
  });
});

describe("a formula", () => {
  it("that cannot be read stays as it is", () => {
    expect(typeset("\\frac{1}{", false)).toBeNull();
  });

  it.each(["\\href{javascript:1}{x}", "\\includegraphics{http://x/y}", "\\url{http://x}"])(
    "leads nowhere: %s",
    (tex) => {
      const math = typeset(tex, true);
      const names = [...(math?.querySelectorAll("*") ?? [])].flatMap((one) =>
        one.getAttributeNames(),
      );
      expect(names.filter((name) => /^(href|src|xlink|on)/.test(name))).toEqual([]);
    },
  );
});

describe("the loader of a page", () => {
  const module: Extras = { highlight: () => null, typeset: () => null };
  const answer = [{ type: "extras" }, [new DataView(new ArrayBuffer(1))]] as const;

  it("asks one kernel, once, when something is first wanted", async () => {
    const loader = new ExtrasLoader(async () => module);
    const [first, second, listener] = [vi.fn(), vi.fn(), vi.fn()];
    loader.offer(first);
    loader.offer(second);
    expect(first).not.toHaveBeenCalled();
    loader.want(listener);
    loader.want(listener);
    expect([first.mock.calls.length, second.mock.calls.length]).toEqual([1, 0]);
    expect(loader.take(...answer)).toBe(true);
    await vi.waitFor(() => expect(listener).toHaveBeenCalledTimes(1));
    expect(loader.extras).toBe(module);
  });

  it("asks the next kernel, too, while none has answered", async () => {
    const loader = new ExtrasLoader(async () => module);
    const [gone, there] = [vi.fn(), vi.fn()];
    loader.want(() => {});
    loader.offer(gone);
    loader.offer(there);
    loader.take(...answer);
    const late = vi.fn();
    loader.offer(late);
    expect([gone, there, late].map(({ mock }) => mock.calls.length)).toEqual([1, 1, 0]);
  });

  it("gives up quietly where the page refuses the module", async () => {
    const load = vi.fn(() => Promise.reject(new Error("CSP")));
    const loader = new ExtrasLoader(load);
    const listener = vi.fn();
    loader.want(listener);
    loader.take(...answer);
    await vi.waitFor(() => expect(load).toHaveBeenCalled());
    expect([loader.extras, listener.mock.calls.length]).toEqual([null, 0]);
  });

  it("takes nothing else for its own", () => {
    const loader = new ExtrasLoader(async () => module);
    expect([null, 7, {}, { type: "patches" }].map((message) => loader.take(message, []))).toEqual([
      false,
      false,
      false,
      false,
    ]);
    expect(loader.take({ type: "extras" }, undefined)).toBe(true);
  });
});
