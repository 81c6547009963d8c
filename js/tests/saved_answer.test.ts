import { beforeEach, describe, expect, it } from "vitest";
import { ANSWER, drawAnswers, type Factory, MARKDOWN, type Model } from "../src/saved_answer.ts";

/** A registry with one factory, which writes Markdown as it is. */
function registry(known: string[] = [MARKDOWN]) {
  const factories = new Map<string, Factory>();
  const addFactory = (factory: Factory) => {
    for (const mime of factory.mimeTypes) factories.set(mime, factory);
  };
  const createRenderer = ({ mimeType }: { mimeType: string }) => {
    const node = document.createElement("div");
    return {
      node,
      renderModel: async ({ data }: Model) => {
        node.innerHTML = `${data[mimeType]}`;
      },
    };
  };
  addFactory({ safe: true, mimeTypes: known, createRenderer });
  return { addFactory, getFactory: (mime: string) => factories.get(mime) };
}

async function drawn(model: Partial<Model>, times = 1): Promise<HTMLElement> {
  const host = registry();
  drawAnswers(host);
  const renderer = host.getFactory(ANSWER)?.createRenderer({ mimeType: ANSWER });
  if (!renderer) throw new Error("nobody draws answers");
  for (let n = 0; n < times; n++) await renderer.renderModel({ data: {}, metadata: {}, ...model });
  return renderer.node;
}

const figures = (node: HTMLElement) =>
  [...node.querySelectorAll(".ssechat-figure")].map((one) => one.textContent);
const saved = (text: string, plain = text) => ({ [MARKDOWN]: text, "text/plain": plain });
const FINISHED = {
  status: "finished",
  model: "m",
  ttft: 0.5,
  elapsed: 2.5,
  thinking_seconds: 3.4,
  usage: { prompt_tokens: 7, completion_tokens: 20, total_tokens: 27 },
};
const THINKING = "<details><summary>Thinking</summary>hm</details>";

describe("a saved answer", () => {
  it("is the Markdown of its host, with its figures and Copy below it, however often it is drawn", async () => {
    const node = await drawn({ data: saved("<p>so</p>"), metadata: { ssechat: FINISHED } }, 2);
    expect(node.firstElementChild?.textContent).toBe("so");
    expect(node.querySelectorAll(".ssechat-small-print").length).toBe(1);
    expect(figures(node)).toEqual([
      "m",
      "7 in",
      "20 out",
      "10 tokens/s",
      "first token 0.5 s",
      "total 2.5 s",
    ]);
    expect(node.querySelector("button")?.textContent).toBe("Copy");
  });

  it("says how long it thought, where that is known", async () => {
    const title = async (seconds: unknown) =>
      (
        await drawn({
          data: saved(THINKING),
          metadata: { ssechat: { ...FINISHED, thinking_seconds: seconds } },
        })
      ).querySelector("summary")?.textContent;
    expect(await title(3.4)).toBe("Thought for 3 s");
    expect(await title(0.4)).toBe("Thought briefly");
    expect(await title(null)).toBe("Thinking");
    expect(await title("<b>")).toBe("Thinking");
  });

  it("leaves a summary alone that is not of the thinking", async () => {
    const data = saved("<p>x</p><details><summary>Thinking</summary></details>");
    const node = await drawn({ data, metadata: { ssechat: FINISHED } });
    expect(node.querySelector("summary")?.textContent).toBe("Thinking");
  });

  it.each([
    ["no metadata", undefined],
    ["metadata of another kind", 5],
    ["a list", [1]],
    ["fields of other kinds", { model: 1, usage: "x", ttft: [], elapsed: "1", status: {} }],
    ["a prototype", JSON.parse('{"__proto__": {"model": "m"}, "usage": {"__proto__": 1}}')],
  ])("stands without figures for %s", async (_, ssechat) => {
    const node = await drawn({ data: saved("<p>so</p>"), metadata: { ssechat } });
    expect(node.firstElementChild?.textContent).toBe("so");
    expect(figures(node)).toEqual([]);
  });

  it("shows what metadata says as text", async () => {
    const metadata = { ssechat: { model: "<img src=x onerror=alert(1)>" } };
    const node = await drawn({ data: saved("x"), metadata });
    expect(figures(node)).toEqual(["<img src=x onerror=alert(1)>"]);
    expect(node.querySelector("img")).toBeNull();
  });

  it("is plain text where the Markdown is missing", async () => {
    const node = await drawn({ data: { "text/plain": "<b>so</b>" } });
    expect(node.querySelector("pre")?.textContent).toBe("<b>so</b>");
  });
});

describe("Copy", () => {
  let copied: string[];

  beforeEach(() => {
    copied = [];
    const writeText = async (text: string) => {
      copied.push(text);
    };
    Object.defineProperty(navigator, "clipboard", { value: { writeText }, configurable: true });
  });

  const pressed = async (plain: string, ssechat: object) => {
    const node = await drawn({ data: saved("x", plain), metadata: { ssechat } });
    node.querySelector("button")?.click();
    await Promise.resolve();
    return copied;
  };

  it("gives the answer as it was written", async () => {
    expect(await pressed("a **b**\n\n[1]", FINISHED)).toEqual(["a **b**\n\n[1]"]);
  });

  it("leaves out the line that says how it ended", async () => {
    const stopped = { ...FINISHED, status: "stopped" };
    expect(await pressed("half\n\n[Stopped: this answer is not complete.]", stopped)).toEqual([
      "half",
    ]);
    const cut = { ...FINISHED, finish_reason: "length" };
    expect(await pressed("long\n\n[Cut: the limit of tokens was reached.]", cut)).toEqual([
      "half",
      "long",
    ]);
  });

  it("is not there where there is no text", async () => {
    const data = saved("", "\n\n[Failed: no]");
    const node = await drawn({ data, metadata: { ssechat: { status: "failed" } } });
    expect(node.querySelector("button")).toBeNull();
    expect(node.querySelector(".ssechat-small-print")).toBeNull();
  });
});

it("nothing is added to a host that knows no Markdown", () => {
  const host = registry(["text/html"]);
  drawAnswers(host);
  expect(host.getFactory(ANSWER)).toBeUndefined();
});
