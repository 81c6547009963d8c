import { beforeEach, describe, expect, it, vi } from "vitest";
import { sumOf } from "../src/checksum.ts";
import type { JsonObject, Patch } from "../src/protocol.ts";
import widget, { type Widget } from "../src/widget.ts";
import { FakeClock, FakeModel, flat, say, set, think } from "./fakes.ts";

let clock: FakeClock;
let model: FakeModel;
let view: Widget;

beforeEach(() => {
  document.body.replaceChildren();
  clock = new FakeClock();
  open({});
});

/** A new model in a new widget, as after a reload. */
function open(state: Record<string, unknown>) {
  model = new FakeModel(state);
  view = widget(clock, () => new Promise(() => {}));
  view.initialize({ model: model.proxy() });
}

function render(signal?: AbortSignal) {
  const el = document.createElement("div");
  document.body.append(el);
  const clean = view.render({ model: model.proxy(), el, ...(signal && { signal }) });
  const find = (name: string) => el.querySelector(`.ssechat-${name}`) as HTMLElement;
  return { el, clean, find, root: find("root") };
}

const batch = (seq: number, ...patches: Patch[]) => {
  model.deliver({ type: "patches", seq, patches });
  clock.paint();
};
/** How the kernel ends an answer: the wire's status, then its own phase. */
const over = (wire: string, phase: string) => [set("response/status", wire), set("phase", phase)];
const standing = (response: JsonObject, more: JsonObject = {}) => ({
  seq: 7,
  document: { ...flat(response), ...more },
});
const visible = (element: HTMLElement) => !element.closest("[hidden]");

describe("a model that is opened", () => {
  it("says hello with the page's origin, once, and asks for what it may have missed", () => {
    render();
    render();
    expect(model.sent).toEqual([
      { type: "hello", origin: location.origin },
      { type: "sync", have: 0 },
    ]);
  });

  it("asks for nothing when its answer is over", () => {
    open({ snapshot: standing({ status: "FINISHED" }), status: "finished" });
    expect(model.sent.map(({ type }) => type)).toEqual(["hello"]);
  });

  it("shows the snapshot it was opened with, and goes on from there", () => {
    open({ snapshot: standing({ content: "abc" }) });
    const { find, root } = render();
    expect([find("answer").textContent, root.dataset["seq"]]).toEqual(["abc", "7"]);
    batch(8, say("d"));
    expect([find("answer").textContent, root.dataset["seq"]]).toEqual(["abcd", "8"]);
  });

  it("takes a new snapshot trait, as when the kernel was reconnected", () => {
    const { find } = render();
    model.set("snapshot", standing({ content: "whole" }));
    clock.paint();
    expect(find("answer").textContent).toBe("whole");
  });

  it("gets over anything the kernel may say", () => {
    const { root } = render();
    for (const message of [null, 7, "x", {}, { type: "patches", seq: "1" }, { type: "tomorrow" }]) {
      model.deliver(message);
    }
    batch(1, say("a"));
    expect(root.dataset["seq"]).toBe("1");
  });

  it("gets over a kernel that is gone", () => {
    const { find } = render();
    vi.spyOn(model, "send").mockImplementation(() => {
      throw new Error("no comm");
    });
    expect(() => find("stop").click()).not.toThrow();
  });
});

describe("an answer whose kernel is gone", () => {
  const disconnect = (el: HTMLElement) => {
    el.classList.add("jupyter-widgets-disconnected");
    model.tell("comm_live_update");
    clock.paint();
  };

  it("is interrupted, keeps its text, and offers nothing that needs a kernel", () => {
    const { el, find, root } = render();
    batch(1, say("as far as it came"), set("phase", "answering"));
    disconnect(el);
    expect(root.dataset["status"]).toBe("interrupted");
    expect(find("state").textContent).toBe("Interrupted: the kernel is gone; run the cell again");
    expect(find("answer").textContent).toBe("as far as it came");
    expect([find("stop"), find("resume")].map(visible)).toEqual([false, false]);
    expect(visible(find("copy"))).toBe(true);
    expect(clock.idle).toBe(true);
  });

  it("says so beside an end that leaves something to be done, not beside a whole answer", () => {
    const told = (status: string, prompt: string) => {
      open({ snapshot: standing({ status: "WIP", content: "x" }), status, prompt });
      const { el, find } = render();
      disconnect(el);
      const buttons = ["resume", "edit", "again"].map((name) => visible(find(name)));
      return [find("seen").textContent, ...buttons];
    };
    const clause = "the kernel is gone; run the cell again";
    expect(told("stopped", "")).toEqual([`Stopped${clause}`, false, false, false]);
    expect(told("finished", "What?")).toEqual([`Finished${clause}`, false, false, false]);
    expect(told("finished", "")).toEqual(["Finished", false, false, false]);
  });

  it("listens to its host no more when it is closed", () => {
    const before = model.listeners;
    render().clean();
    expect(model.listeners).toBe(before);
  });
});

describe("an answer as it streams", () => {
  it("is drawn once per frame, however many batches came", () => {
    const { find } = render();
    for (let seq = 1; seq <= 50; seq++) {
      model.deliver({ type: "patches", seq, patches: [say("x")] });
    }
    expect(find("answer").textContent).toBe("");
    expect(clock.paint()).toBe(1);
    expect(find("answer").textContent).toBe("x".repeat(50));
  });

  it("thinks in an open panel, folds it when the answer begins, and tells how long", () => {
    const { find, root } = render();
    const panel = find("thinking") as HTMLDetailsElement;
    batch(1, think("hm"), set("phase", "thinking"));
    expect([root.dataset["phase"], panel.open, visible(panel)]).toEqual(["thinking", true, true]);
    clock.advance(3_200);
    clock.paint();
    expect(find("thinking-title").textContent).toBe("Thinking… 3 s");
    batch(2, say("So"), set("phase", "answering"));
    expect([panel.open, find("thinking-title").textContent]).toEqual([false, "Thought for 3 s"]);
    batch(3, set("response/thinking_elapsed_secs", 12));
    expect(find("thinking-title").textContent).toBe("Thought for 12 s");
  });

  it("keeps the thinking as the reader has it, also when the answer goes on after a stop", () => {
    const { find } = render();
    const panel = find("thinking") as HTMLDetailsElement;
    batch(1, think("hm"), say("So"), set("phase", "answering"));
    panel.querySelector("summary")?.click();
    panel.open = true;
    batch(2, ...over("INCOMPLETE", "stopped"));
    model.set("status", "stopped");
    model.set("status", "streaming");
    batch(3, set("phase", "connecting"));
    batch(4, set("", flat({ thinking_content: "hm", content: "So it" })));
    expect([panel.open, find("answer").textContent]).toEqual([true, "So it"]);
  });

  it("keeps the text nodes that stand, also over a sync", () => {
    const { find } = render();
    batch(1, say("ab"));
    const node = find("answer").firstChild?.firstChild;
    batch(2, say("c"));
    model.deliver({ type: "snapshot", seq: 3, document: flat({ content: "abcd" }) });
    clock.paint();
    expect(find("answer").firstChild?.firstChild).toBe(node);
    expect(node?.textContent).toBe("abcd");
  });

  it("can be taken back by a content filter", () => {
    open({
      snapshot: {
        seq: 1,
        document: { response: { fragments: [{ type: "RESPONSE", content: "bad" }] } },
      },
    });
    const { find, root } = render();
    batch(
      2,
      set("response/fragments", [
        { type: "TEMPLATE_RESPONSE", content: "Let us talk of something else." },
      ]),
      set("response/status", "CONTENT_FILTER"),
    );
    expect(find("answer").textContent).toBe("Let us talk of something else.");
    expect(root.dataset["status"]).toBe("filtered");
    expect([find("replaced").textContent, visible(find("replaced"))]).toEqual([
      "The server took its answer back and put this in its place:",
      true,
    ]);
  });

  it("has searches above it and calls of tools below, never as its text", () => {
    open({
      snapshot: standing({
        content: "So.",
        search_results: [{ title: "A", url: "https://a.example/" }],
        tool_calls: [{ function: { name: "weather", arguments: "{}" } }],
      }),
    });
    const { find } = render();
    const shown = [...find("body").children].filter((child) => !(child as HTMLElement).hidden);
    expect(shown.map(({ textContent }) => textContent)).toEqual([
      "Search resultsA",
      "So.",
      "Tool call: weather{}",
    ]);
  });

  it("may be nothing but calls of tools", () => {
    const { find } = render();
    expect(visible(find("body"))).toBe(false);
    batch(1, set("response/tool_calls", [{ function: { name: "f", arguments: "" } }]));
    expect([visible(find("body")), visible(find("answer"))]).toEqual([true, false]);
  });

  it("never becomes HTML, whatever the model writes", () => {
    const { el } = render();
    batch(1, think("<img src=x>"), say("<script>1</script>"), set("response/model", "<b>m</b>"));
    batch(2, set("response/error", { message: "<i>x</i>" }), ...over("FAILED", "failed"));
    expect(el.querySelector("img, script, b, i")).toBeNull();
    expect(el.textContent).toContain("Failed: <i>x</i>");
  });

  it("is called stalled after ten seconds of nothing, until it goes on", () => {
    const { find, root } = render();
    batch(1, say("a"), set("phase", "answering"));
    clock.advance(14_000);
    clock.paint();
    expect(root.dataset["phase"]).toBe("stalled");
    expect(find("seen").textContent).toMatch(/Stalled,.*nothing for 14 s/);
    batch(2, say("b"));
    expect(root.dataset["phase"]).toBe("answering");
  });

  it("ends checked against the kernel's own sum", () => {
    const { root } = render();
    batch(1, think("好"), say("😀"), ...over("FINISHED", "finished"));
    expect(root.dataset["verified"]).toBe("");
    model.deliver({ type: "end", seq: 1, ...sumOf("好", "😀") });
    clock.paint();
    expect([root.dataset["verified"], root.dataset["status"]]).toEqual(["true", "finished"]);
  });
});

describe("the buttons", () => {
  const offered = (find: (name: string) => HTMLElement) =>
    ["stop", "resume"].filter((name) => visible(find(name))).map((name) => find(name).textContent);

  it("offer Stop before the first token", () => {
    expect(offered(render().find)).toEqual(["Stop"]);
  });

  it.each([
    ["stopped", { status: "INCOMPLETE" }, ["Resume"]],
    ["interrupted", { status: "WIP" }, ["Resume"]],
    ["failed", { status: "FAILED" }, ["Resume"]],
    ["finished", { status: "FINISHED" }, []],
    ["filtered", { status: "CONTENT_FILTER" }, []],
    ["finished", { status: "FINISHED", finish_reason: "length" }, ["Continue"]],
    ["stopped", { status: "INCOMPLETE", finish_reason: "length" }, ["Continue"]],
  ])("offer what can be done when it is %s: %j", (status, response, buttons) => {
    open({ snapshot: standing(response), status });
    expect(offered(render().find)).toEqual(buttons);
  });

  it("send what was pressed, and say that it is under way", () => {
    const { find } = render();
    find("stop").click();
    clock.paint();
    expect(model.sent.at(-1)).toMatchObject({ type: "stop" });
    expect([find("state").textContent, find("stop").getAttribute("aria-disabled")]).toEqual([
      "Stopping…",
      "true",
    ]);
    batch(1, ...over("INCOMPLETE", "stopped"));
    expect([find("state").textContent, offered(find)]).toEqual(["Stopped", ["Resume"]]);
  });

  it("show in one line what went wrong", () => {
    const { find } = render();
    find("stop").click();
    const { id } = model.sent.at(-1) as { id: string };
    model.deliver({ type: "ack", id, action: "stop", ok: false, message: "no such stream" });
    clock.paint();
    expect([find("problem").textContent, visible(find("problem"))]).toEqual([
      "no such stream",
      true,
    ]);
  });

  it("hand the focus to the one that takes their place", () => {
    const { find } = render();
    find("stop").focus();
    batch(1, ...over("INCOMPLETE", "stopped"));
    expect(document.activeElement).toBe(find("resume"));
  });

  it("are buttons with names, and keep their keys from the notebook", () => {
    const { el } = render();
    const buttons = [...el.querySelectorAll("button")];
    expect(buttons.map(({ textContent, title }) => [textContent, title])).toEqual([
      ["Stop", "Stop the answer"],
      ["Resume", "Resume the answer"],
      ["Show", "Show the text here too"],
      ["Raw", "The Markdown as it was written"],
      ["Copy", "Copy the answer"],
      ["Edit", "Edit the prompt and ask again"],
      ["Regenerate", "Answer the same prompt once more"],
      ["Cancel", ""],
      ["Send", ""],
    ]);
    for (const button of buttons) {
      expect([button.type, button.dataset["lmSuppressShortcuts"]]).toEqual(["button", "true"]);
    }
  });
});

describe("a view that is kept", () => {
  const kept = { snapshot: standing({ status: "FINISHED", content: "**a**" }), status: "finished" };
  const offered = (el: Element) =>
    [...el.querySelectorAll("button")].filter(visible).map(({ textContent }) => textContent);
  const draft = (el: Element) => el.querySelector("textarea") as HTMLTextAreaElement;
  const type = (el: Element, text: string, key = "Enter") => {
    draft(el).value = text;
    draft(el).dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  };

  it("offers to ask anew only where the kernel has said what was asked", () => {
    open(kept);
    expect(offered(render().el)).toEqual(["Raw", "Copy"]);
    open({ ...kept, prompt: "What is a?" });
    expect(offered(render().el)).toEqual(["Raw", "Copy", "Edit", "Regenerate"]);
    open({ prompt: "What is a?" });
    expect(offered(render().el)).toEqual(["Stop"]);
  });

  it("asks for another answer, and hands the focus to Stop when it begins", () => {
    open({ ...kept, prompt: "What is a?" });
    const { find } = render();
    find("again").focus();
    find("again").click();
    clock.paint();
    expect(model.sent.at(-1)).toEqual({ type: "regenerate", id: expect.any(String) });
    expect(find("state").textContent).toBe("Asking again…");
    model.set("status", "streaming");
    batch(8, set("", { response: {}, phase: "connecting", timing: {} }));
    expect([find("state").textContent, document.activeElement]).toEqual([
      "Connecting…",
      find("stop"),
    ]);
  });

  it("sends the edited prompt, and keeps the draft until the answer begins", () => {
    open({ ...kept, prompt: "What is a?" });
    const { el, find } = render();
    find("edit").click();
    expect([visible(find("editing")), draft(el).value]).toEqual([true, "What is a?"]);
    expect(document.activeElement).toBe(draft(el));
    type(el, "What is b?");
    expect(model.sent.at(-1)).toMatchObject({ type: "edit", prompt: "What is b?" });
    const { id } = model.sent.at(-1) as { id: string };
    model.deliver({ type: "ack", id, action: "edit", ok: false, message: "no such turn" });
    clock.paint();
    expect([find("problem").textContent, draft(el).value]).toEqual(["no such turn", "What is b?"]);
    model.set("status", "streaming");
    batch(8, set("", { response: {}, phase: "connecting", timing: {} }));
    expect(visible(find("editing"))).toBe(false);
  });

  it("closes the box also for an answer that is over before it was drawn", () => {
    open({ ...kept, prompt: "What is a?" });
    const { find } = render();
    find("edit").click();
    model.set("status", "streaming");
    model.deliver({ type: "patches", seq: 8, patches: [set("", { response: {} })] });
    model.deliver({
      type: "patches",
      seq: 9,
      patches: [say("b"), ...over("FINISHED", "finished")],
    });
    model.set("status", "finished");
    clock.paint();
    expect([visible(find("editing")), find("answer").textContent]).toEqual([false, "b"]);
    expect(find("root").contains(document.activeElement)).toBe(true);
  });

  it("sends no empty prompt, and gives the focus back when the reader gives it up", () => {
    open({ ...kept, prompt: "What is a?" });
    const { el, find } = render();
    const before = model.sent.length;
    find("edit").click();
    type(el, " ");
    type(el, "never mind", "Escape");
    expect([model.sent.length, visible(find("editing"))]).toEqual([before, false]);
    expect(document.activeElement).toBe(find("edit"));
    find("edit").click();
    expect(draft(el).value).toBe("What is a?");
  });

  it("that is folded shows its text when the reader asks for it", () => {
    open({ ...kept, folded: true });
    const { el, find, root } = render();
    expect([visible(find("body")), offered(el)]).toEqual([false, ["Show", "Copy"]]);
    find("show").click();
    expect([visible(find("body")), root.dataset["folded"]]).toEqual([true, "false"]);
    expect(find("show").getAttribute("aria-expanded")).toBe("true");
    find("show").click();
    expect(visible(find("body"))).toBe(false);
  });
});

it("an answer is shown as it was written, and as Markdown again", () => {
  const { find } = render();
  batch(1, say("**a**"));
  find("raw").click();
  batch(2, say(" b"));
  expect([find("raw-text").textContent, visible(find("answer"))]).toEqual(["**a** b", false]);
  expect(find("raw").getAttribute("aria-pressed")).toBe("true");
  find("raw").click();
  expect([find("answer").textContent, visible(find("raw-text"))]).toEqual(["a b", false]);
});

describe("Copy", () => {
  it("copies the answer, exactly, and says so for a while", async () => {
    const write = vi.spyOn(navigator.clipboard, "writeText").mockResolvedValue();
    const { find } = render();
    expect(visible(find("copy"))).toBe(false);
    batch(1, think("hm"), say("a **b** 😀\n"));
    find("copy").click();
    await vi.waitFor(() => expect(find("copy").textContent).toBe("Copied"));
    expect(write).toHaveBeenCalledWith("a **b** 😀\n");
    clock.advance(2_000);
    expect(find("copy").textContent).toBe("Copy");
  });

  it("falls back where the clipboard is closed, and is honest when that fails too", async () => {
    vi.spyOn(navigator.clipboard, "writeText").mockRejectedValue(new Error("denied"));
    const { find } = render();
    batch(1, say("a"));
    for (const [works, said] of [
      [true, "Copied"],
      [false, "Not copied"],
    ] as const) {
      document.execCommand = vi.fn(() => works);
      find("copy").click();
      await vi.waitFor(() => expect(find("copy").textContent).toBe(said));
      expect(document.execCommand).toHaveBeenCalledWith("copy");
    }
    expect(document.querySelector("textarea:not(.ssechat-draft)")).toBeNull();
  });
});

describe("the traits", () => {
  it("folded hides the texts and leaves the status and the buttons", () => {
    open({
      snapshot: standing({ content: "a", status: "INCOMPLETE" }),
      status: "stopped",
      folded: true,
    });
    const { find } = render();
    expect([visible(find("body")), visible(find("state")), visible(find("resume"))]).toEqual([
      false,
      true,
      true,
    ]);
    model.set("folded", false);
    clock.paint();
    expect(visible(find("answer"))).toBe(true);
  });

  it("label names the whole", () => {
    open({ label: "Answer to: why?" });
    const { root } = render();
    expect(root.getAttribute("aria-label")).toBe("Answer to: why?");
    model.set("label", "Another");
    clock.paint();
    expect(root.getAttribute("aria-label")).toBe("Another");
  });

  it("status tells what no patch can: that the connection was lost for good", () => {
    const { root } = render();
    batch(1, say("a"));
    model.set("status", "interrupted");
    clock.paint();
    expect([root.dataset["status"], root.dataset["phase"]]).toEqual(["interrupted", "interrupted"]);
  });
});

describe("a second view of the same model", () => {
  it("shows the same, from whenever it was opened", () => {
    const first = render();
    batch(1, think("hm"), say("a"));
    const second = render();
    batch(2, say("b"));
    expect(second.find("answer").textContent).toBe("ab");
    expect(second.root.textContent).toBe(first.root.textContent);
    expect(model.sent).toHaveLength(2);
  });

  it("shows that the other's Stop was pressed", () => {
    const [first, second] = [render(), render()];
    first.find("stop").click();
    clock.paint();
    expect(second.find("state").textContent).toBe("Stopping…");
  });

  it("stays when the other goes", () => {
    const [first, second] = [render(), render()];
    first.clean();
    batch(1, say("a"));
    expect([first.el.childElementCount, second.find("answer").textContent]).toEqual([0, "a"]);
  });
});

it("keeps the answers of two models apart", () => {
  const other = new FakeModel({ snapshot: standing({ content: "other" }) });
  const shared = widget(clock);
  for (const each of [model, other]) shared.initialize({ model: each });
  const texts = [model, other].map((each) => {
    const el = document.createElement("div");
    shared.render({ model: each, el });
    return el.querySelector(".ssechat-answer")?.textContent;
  });
  expect(texts).toEqual(["", "other"]);
});

describe("cleaning up", () => {
  it("takes a view away at its signal, with its frames and clocks", () => {
    const abort = new AbortController();
    clock = new FakeClock();
    open({ snapshot: standing({ status: "FINISHED" }), status: "finished" });
    const { el } = render(abort.signal);
    model.set("folded", true);
    abort.abort();
    expect([el.childElementCount, clock.idle]).toEqual([0, true]);
  });

  it("takes everything away when the model goes, once", () => {
    const abort = new AbortController();
    model = new FakeModel();
    const idle = new FakeClock();
    const own = widget(idle);
    const end = own.initialize({ model, signal: abort.signal });
    const el = document.createElement("div");
    own.render({ model, el, signal: abort.signal });
    el.querySelector<HTMLElement>(".ssechat-stop")?.click();
    abort.abort();
    end();
    expect([model.listeners, el.childElementCount, idle.idle]).toEqual([0, 0, true]);
  });
});
