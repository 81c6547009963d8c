import { beforeEach, describe, expect, it, vi } from "vitest";
import { BUSY_AFTER } from "../src/conversation.ts";
import widget from "../src/widget.ts";
import { FakeClock, say, set, think } from "./fakes.ts";
import { ended, FakePanelModel, turn } from "./panel_fakes.ts";

let clock: FakeClock;
let model: FakePanelModel;
let close: () => void;
let el: HTMLElement;

function open(state: Record<string, unknown> = {}) {
  document.body.replaceChildren();
  clock = new FakeClock();
  model = new FakePanelModel(state);
  const panel = widget(clock, () => new Promise(() => {}));
  const end = panel.initialize({ model: model.proxy() });
  el = document.createElement("div");
  document.body.append(el);
  const clean = panel.render({ model: model.proxy(), el });
  close = () => {
    clean();
    end();
  };
  clock.paint();
}

beforeEach(() => open());

const all = (name: string) => [...el.querySelectorAll<HTMLElement>(`.ssechat-${name}`)];
const one = (name: string) => {
  const found = all(name).at(-1);
  if (!found) throw new Error(`there is no ${name}`);
  return found;
};
const box = () => one("composer").querySelector("textarea") as HTMLTextAreaElement;
const texts = (name: string) => all(name).map((element) => element.textContent);
const isVisible = (element: HTMLElement) => !element.closest("[hidden]");
const isOff = (element: HTMLElement) => element.getAttribute("aria-disabled") === "true";
const tell = (seq: number, keep: number, ...turns: unknown[]) => {
  model.deliver({ type: "turns", seq, keep, turns });
  clock.paint();
};
const batch = (number: number, seq: number, ...patches: unknown[]) => {
  model.deliver({ type: "patches", number, seq, patches });
  clock.paint();
};
const finish = (number: number, seq: number, wire = "FINISHED", status = "finished") => {
  batch(number, seq, set("response/status", wire), set("phase", status));
  model.deliver({ type: "status", number, status });
  clock.paint();
};
const acknowledge = (type: string, message = "") => {
  model.acknowledge(type, message);
  clock.paint();
};
function type(text: string, area = box()) {
  area.value = text;
  area.dispatchEvent(new Event("input", { bubbles: true }));
  clock.paint();
}
function press(key: string, more: KeyboardEventInit = {}, target: HTMLElement = box()) {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more });
  target.dispatchEvent(event);
  clock.paint();
  return event;
}
const two = { conversation: { seq: 2, turns: [ended(1, "one", "Hi"), ended(3, "two", "Ho")] } };

describe("the conversation", () => {
  it("is a log of the turns, oldest first, that announces no text", () => {
    open(two);
    const log = el.querySelector("[role=log]");
    expect(log?.getAttribute("aria-live")).toBe("off");
    expect(texts("prompt-text")).toEqual(["one", "two"]);
    expect(all("answer").map((answer) => answer.textContent?.trim())).toEqual(["Hi", "Ho"]);
    expect(all("prompt-text").map(({ dir }) => dir)).toEqual(["auto", "auto"]);
  });

  it("grows with each batch, and touches nothing that stands", () => {
    open(two);
    const before = all("turn");
    tell(3, 2, turn(5, "three"));
    batch(6, 1, think("Hm"), set("phase", "thinking"));
    expect(texts("thinking-text").at(-1)).toBe("Hm");
    batch(6, 2, say("So"), set("phase", "answering"));
    expect(one("answer").textContent?.trim()).toBe("So");
    expect(one("reply").dataset["status"]).toBe("streaming");
    expect(all("turn").slice(0, 2)).toEqual(before);
    finish(6, 3);
    expect(one("reply").dataset["status"]).toBe("finished");
  });

  it("says in words what is going on, politely", () => {
    tell(1, 0, turn(1, "one"));
    const spoken = one("reply").querySelector(".ssechat-spoken") as HTMLElement;
    expect([spoken.getAttribute("aria-live"), spoken.textContent]).toEqual([
      "polite",
      "Connecting…",
    ]);
    finish(2, 1, "INCOMPLETE", "stopped");
    expect(spoken.textContent).toBe("Stopped");
  });

  it("shows no text as HTML", () => {
    open({ conversation: { seq: 1, turns: [ended(1, "<img src=x onerror=alert(1)>", "Hi")] } });
    expect(one("prompt-text").children).toHaveLength(0);
  });

  it("is drawn anew for nothing when a draft is typed", () => {
    open(two);
    const observer = new MutationObserver(() => {});
    observer.observe(one("talk"), {
      subtree: true,
      childList: true,
      attributes: true,
      characterData: true,
    });
    type("draft");
    expect(observer.takeRecords()).toEqual([]);
  });
});

describe("the input box", () => {
  it("sends with Enter, and is cleared when the kernel has taken it", () => {
    type("What?");
    expect(press("Enter").defaultPrevented).toBe(true);
    expect(model.last("send")).toMatchObject({ prompt: "What?" });
    expect([box().value, box().readOnly]).toEqual(["What?", true]);
    acknowledge("send");
    expect([box().value, box().readOnly, model.get("value")]).toEqual(["", false, ""]);
  });

  it("keeps the text, and tells why, when it was refused", () => {
    type("What?");
    press("Enter");
    acknowledge("send", "the panel is disabled");
    expect(box().value).toBe("What?");
    expect(texts("problem").at(-1)).toBe("the panel is disabled");
  });

  it.each([
    ["Shift+Enter", { shiftKey: true }],
    ["a composition", { isComposing: true }],
    ["the last key of an input method", { keyCode: 229 }],
  ])("does not send with %s", (_, more) => {
    type("你");
    expect(press("Enter", more).defaultPrevented).toBe(false);
    expect(model.asked.map((message) => message.type)).not.toContain("send");
  });

  it("is as high as its text, and a line high where nothing is laid out", () => {
    expect(box().style.height).toBe("auto");
    Object.defineProperty(box(), "scrollHeight", { value: 60 });
    type("one\ntwo");
    expect(box().style.height).toBe("62px");
  });

  it("leaves a text that is being composed alone", () => {
    type("你");
    box().dispatchEvent(new CompositionEvent("compositionstart"));
    model.set("value", "from elsewhere");
    clock.paint();
    expect(box().value).toBe("你");
    box().dispatchEvent(new CompositionEvent("compositionend"));
    model.set("value", "again");
    clock.paint();
    expect(box().value).toBe("again");
  });

  it.each([[""], ["  \n"]])("sends nothing when there is nothing: %j", (text) => {
    type(text);
    press("Enter");
    one("send").click();
    expect(model.asked.map((message) => message.type)).not.toContain("send");
    expect(isOff(one("send"))).toBe(true);
  });

  it("says that the kernel is busy when it takes long", () => {
    type("What?");
    press("Enter");
    clock.advance(BUSY_AFTER);
    clock.paint();
    expect(one("hint").textContent).toBe("The kernel is busy: it takes this when it is free");
    acknowledge("send");
    expect(one("hint").textContent).toMatch(/^Enter sends/);
  });

  it("keeps a prompt back while an answer streams, and says so", () => {
    tell(1, 0, turn(1, "one"));
    type("next");
    press("Enter");
    expect(one("hint").textContent).toMatch(/^Not sent yet/);
    expect(one("composer").querySelector("[role=status]")?.textContent).toMatch(/^Not sent yet/);
    expect(model.asked.map((message) => message.type)).not.toContain("send");
    expect(box().value).toBe("next");
    finish(2, 1);
    expect(one("hint").textContent).toMatch(/^Enter sends/);
  });

  it("has Stop in the place of Send while an answer streams, from before its first token", () => {
    one("send").focus();
    tell(1, 0, turn(1, "one"));
    const stop = one("composer").querySelector<HTMLElement>(".ssechat-stop") as HTMLElement;
    expect([isVisible(one("send")), isVisible(stop), document.activeElement]).toEqual([
      false,
      true,
      stop,
    ]);
    stop.click();
    expect(model.last("stop")).toMatchObject({ number: 2 });
    finish(2, 1, "INCOMPLETE", "stopped");
    expect([isVisible(one("send")), isVisible(stop)]).toEqual([true, false]);
  });

  it("does not take the second half of a double click on Send for Stop", () => {
    tell(1, 0, turn(1, "one"));
    const stop = one("composer").querySelector(".ssechat-stop");
    stop?.dispatchEvent(new MouseEvent("click", { detail: 2, bubbles: true }));
    expect(model.asked.map((message) => message.type)).not.toContain("stop");
  });

  it("stops with Escape, wherever the focus is", () => {
    tell(1, 0, turn(1, "one"));
    press("Escape", {}, one("talk"));
    expect(model.last("stop")).toMatchObject({ number: 2 });
  });

  it("is off when the panel is disabled", () => {
    open({ ...two, disabled: true });
    expect(box().disabled).toBe(true);
    one("again").click();
    one("edit").click();
    expect([isOff(one("again")), isOff(one("edit")), all("rewording")]).toEqual([true, true, []]);
  });
});

describe("a prompt", () => {
  const editing = () => one("rewording").querySelector("textarea") as HTMLTextAreaElement;

  it("is edited in its place with the arrow up in an empty box", () => {
    open(two);
    type("draft");
    press("ArrowUp");
    expect(all("rewording")).toEqual([]);
    type("");
    press("ArrowUp");
    expect([editing().value, document.activeElement === editing()]).toEqual(["two", true]);
    type("zwei", editing());
    press("Enter", {}, editing());
    expect(model.last("edit")).toMatchObject({ number: 3, prompt: "zwei" });
    acknowledge("edit");
    expect([all("rewording"), document.activeElement]).toEqual([[], box()]);
    expect(model.get("value")).toBe("");
  });

  it("stays as it is with Escape, with Cancel, and when nothing is changed", () => {
    open(two);
    for (const leave of [
      () => press("Escape", {}, editing()),
      () => one("cancel").click(),
      () => press("Enter", {}, editing()),
    ]) {
      one("edit").click();
      leave();
      expect(all("rewording")).toEqual([]);
      expect(document.activeElement).toBe(one("edit"));
    }
    expect(model.asked.map((message) => message.type)).not.toContain("edit");
  });

  it("stays open when the kernel refuses the change", () => {
    open(two);
    one("edit").click();
    type("zwei", editing());
    press("Enter", {}, editing());
    acknowledge("edit", "no");
    expect(editing().value).toBe("zwei");
  });

  it("cannot be edited while an answer streams", () => {
    tell(1, 0, turn(1, "one"));
    one("edit").click();
    expect([all("rewording"), isOff(one("edit"))]).toEqual([[], true]);
  });
});

describe("an answer", () => {
  it("is answered once more beside itself", () => {
    open(two);
    all("again")[0]?.click();
    expect(model.last("regenerate")).toMatchObject({ number: 2 });
  });

  it.each([
    ["INCOMPLETE", "stopped", "Resume"],
    ["FAILED", "failed", "Resume"],
    ["CONTEXT_LENGTH_EXCEEDED", "finished", "Continue"],
  ])("that ended as %s can go on", (wire, status, word) => {
    tell(1, 0, turn(1, "one"));
    finish(2, 1, wire, status);
    expect([isVisible(one("resume")), one("resume").textContent]).toEqual([true, word]);
    one("resume").click();
    expect(model.last("resume")).toMatchObject({ number: 2 });
  });

  it("can go on only at the end of the conversation", () => {
    tell(1, 0, turn(1, "one"));
    finish(2, 1, "INCOMPLETE", "stopped");
    tell(2, 1, turn(3, "two"));
    expect(all("resume").map(isVisible)).toEqual([false, false]);
  });

  it("that goes on when Resume is pressed leaves the focus to the input box", () => {
    const stopped = {
      ...ended(1, "one", "Hi"),
      answer: { ...ended(1, "one", "Hi").answer, status: "stopped" },
    };
    open({ conversation: { seq: 1, turns: [stopped] } });
    one("resume").focus();
    one("resume").click();
    batch(2, 2, set("response/status", "WIP"), set("phase", "waiting"));
    model.deliver({ type: "status", number: 2, status: "streaming" });
    clock.paint();
    expect(isVisible(one("resume"))).toBe(false);
    expect(document.activeElement).toBe(box());
  });

  it("that waits behind another has a Stop of its own", () => {
    tell(1, 0, turn(1, "one"), turn(3, "two"));
    const stops = all("reply").map((reply) => reply.querySelector(".ssechat-stop") as HTMLElement);
    expect(stops.map(isVisible)).toEqual([false, true]);
    stops[1]?.click();
    expect(model.last("stop")).toMatchObject({ number: 4 });
  });

  it("shows what it has beside its text: calls of tools, and that it was taken back", () => {
    tell(1, 0, turn(1, "one"));
    const call = { id: "1", type: "function", function: { name: "weather", arguments: "{}" } };
    batch(2, 1, set("response/tool_calls", [call]));
    expect(one("part").textContent).toContain("weather");
    expect(isVisible(one("replaced"))).toBe(false);
    const fragments = [{ type: "TEMPLATE_RESPONSE", content: "Let us talk of something else." }];
    batch(2, 2, set("response/status", "CONTENT_FILTER"), set("response/fragments", fragments));
    expect(isVisible(one("replaced"))).toBe(true);
    expect(one("answer").textContent?.trim()).toBe("Let us talk of something else.");
  });

  it("is copied as it was written", async () => {
    const written = vi.fn(async () => {});
    vi.stubGlobal("navigator", { clipboard: { writeText: written } });
    open({ conversation: { seq: 1, turns: [ended(1, "one", "**Hi**")] } });
    one("copy-answer").click();
    await vi.waitFor(() => expect(one("copy-answer").textContent).toBe("Copied"));
    expect(written).toHaveBeenCalledWith("**Hi**");
    vi.unstubAllGlobals();
  });
});

describe("versions", () => {
  const places = {
    places: [
      [1, 1],
      [2, 3],
    ] as [[number, number], [number, number]],
  };
  const second = { conversation: { seq: 1, turns: [ended(1, "one", "Hi", places)] } };

  it("are told where there are several, and switched with their buttons and the arrow keys", () => {
    open(second);
    expect(all("switcher").map(isVisible)).toEqual([false, true]);
    expect(one("place").textContent).toBe("2/3");
    one("later").click();
    expect(model.last("switch")).toMatchObject({ kind: "answer", number: 2, step: 1 });
    acknowledge("switch");
    press("ArrowLeft", {}, one("earlier"));
    expect(model.last("switch")).toMatchObject({ step: -1 });
  });

  it("keep the focus on the button that was pressed", () => {
    open(second);
    one("later").focus();
    one("later").click();
    acknowledge("switch");
    const other = turn(1, "one", {
      places: [
        [1, 1],
        [2, 3],
      ],
      status: "finished",
    });
    tell(2, 0, { ...other, answer: { ...other.answer, number: 9, place: [3, 3] } });
    expect(document.activeElement).toBe(one("later"));
    expect([isOff(one("later")), isOff(one("earlier"))]).toEqual([true, false]);
  });
});

it("leaves nothing behind when it is closed", () => {
  tell(1, 0, turn(1, "one"));
  batch(2, 1, say("text"));
  close();
  clock.paint();
  expect([el.children.length, model.listeners, clock.idle]).toEqual([0, 0, true]);
});

describe("a panel whose kernel is gone", () => {
  it("keeps the conversation, says what to do, and takes no more questions", () => {
    open({ conversation: { seq: 1, turns: [ended(1, "one", "Hi")] }, busy: true });
    tell(2, 1, turn(3, "two"));
    batch(4, 1, say("as far as"));
    el.classList.add("jupyter-widgets-disconnected");
    model.tell("comm_live_update");
    clock.paint();
    expect(texts("state")).toEqual(["Finished", "Interrupted: the kernel is gone"]);
    expect(one("hint").textContent).toBe(
      "The kernel is gone; run the cell that shows this panel to begin anew",
    );
    expect([isVisible(one("hint")), box().disabled, isOff(one("send"))]).toEqual([
      true,
      true,
      true,
    ]);
    expect(all("stop").some(isVisible)).toBe(false);
    expect([...all("again"), ...all("edit")].every(isOff)).toBe(true);
    expect(all("answer").map((answer) => answer.textContent)).toEqual(["Hi", "as far as"]);
  });
});

describe("an answer of a panel", () => {
  it("is shown as it was written, and as Markdown again", () => {
    open({ conversation: { seq: 1, turns: [ended(1, "one", "**Hi**")] } });
    const [answer, raw] = [one("answer"), one("raw-text")];
    const shown = () => [answer, raw].map(isVisible);
    expect([shown(), answer.textContent]).toEqual([[true, false], "Hi"]);
    one("raw").click();
    expect([shown(), raw.textContent]).toEqual([[false, true], "**Hi**"]);
    expect(one("raw").getAttribute("aria-pressed")).toBe("true");
    one("raw").click();
    expect(shown()).toEqual([true, false]);
  });
});
