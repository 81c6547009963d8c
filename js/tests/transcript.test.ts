import { beforeEach, describe, expect, it } from "vitest";
import { Text } from "../src/patches.ts";
import { ThinkingPanel, Transcript } from "../src/transcript.ts";

const nodesOf = (element: HTMLElement): Node[] =>
  [...element.childNodes].flatMap((node) => (node instanceof HTMLElement ? nodesOf(node) : [node]));

describe("a text that grows", () => {
  let transcript: Transcript;
  const shown = () => transcript.element.textContent;

  beforeEach(() => {
    transcript = new Transcript("text", "Thinking");
  });

  it("is written as it is, character for character", () => {
    const leaf = new Text("");
    let whole = "";
    for (const piece of ["好的", "，\n\n", "  x", "\n", "🎉", "<b>&amp;</b>\n"]) {
      leaf.append(piece);
      whole += piece;
      transcript.show([leaf]);
      expect(shown()).toBe(whole);
    }
  });

  it("keeps every node it has written, so that a selection survives", () => {
    const leaf = new Text("first ");
    transcript.show([leaf]);
    const [first] = nodesOf(transcript.element);
    const parent = first?.parentNode;
    for (let count = 0; count < 2_000; count++) {
      leaf.append(`token ${count}\n`);
      transcript.show([leaf]);
    }
    const nodes = nodesOf(transcript.element);
    expect([nodes[0] === first, first?.parentNode === parent, first?.isConnected]).toEqual([
      true,
      true,
      false,
    ]);
    expect(nodes.length).toBeGreaterThan(3);
    expect(shown()).toBe(String(leaf));
  });

  it("is cut into groups at line ends only", () => {
    const text = Array.from({ length: 2_000 }, (_, line) => `line ${line} 中文\n`).join("");
    transcript.show([new Text(text)]);
    const groups = [...transcript.element.children];
    expect(groups.length).toBeGreaterThan(4);
    expect(groups.every((group) => group.textContent?.endsWith("\n"))).toBe(true);
    expect(shown()).toBe(text);
  });

  it("that comes again in a snapshot is not written again", () => {
    transcript.show([new Text("ab")]);
    const before = nodesOf(transcript.element);
    expect(transcript.show([new Text("ab")])).toBe(false);
    transcript.show([new Text("abc")]);
    expect(nodesOf(transcript.element)).toEqual(before);
    expect(shown()).toBe("abc");
  });

  it("that was replaced is replaced, also by nothing", () => {
    transcript.show([new Text("a secret")]);
    transcript.show([new Text("withdrawn")]);
    expect(shown()).toBe("withdrawn");
    transcript.show([]);
    expect(shown()).toBe("");
  });

  it("may go on in further leaves", () => {
    const [first, second] = [new Text("a"), new Text("")];
    transcript.show([first]);
    transcript.show([first, second]);
    second.append("b");
    transcript.show([first, second]);
    expect(shown()).toBe("ab");
  });

  it("is right when an earlier leaf grows, too", () => {
    const [first, second] = [new Text("a"), new Text("c")];
    transcript.show([first, second]);
    first.append("b");
    transcript.show([first, second]);
    expect(shown()).toBe("abc");
  });

  it("is never taken for HTML", () => {
    transcript.show([new Text('<img src=x onerror="alert(1)"><script>alert(2)</script>')]);
    expect(transcript.element.querySelector("img, script")).toBeNull();
    expect(shown()).toContain("<script>");
  });

  it("is a log that does not speak every token, each text in its own direction", () => {
    const { element } = transcript;
    expect(
      ["role", "aria-live", "aria-label", "dir"].map((name) => element.getAttribute(name)),
    ).toEqual(["log", "off", "Thinking", "auto"]);
  });
});

describe("the thinking panel", () => {
  let panel: ThinkingPanel;
  const leaf = () => [new Text("hm")];
  const title = () => panel.element.querySelector("summary")?.textContent;
  const toggle = () => {
    panel.element.open = !panel.element.open;
    panel.element.querySelector("summary")?.dispatchEvent(new MouseEvent("click"));
  };

  beforeEach(() => {
    panel = new ThinkingPanel();
  });

  it("is not there without thinking", () => {
    panel.show([], false, true, null);
    expect(panel.element.hidden).toBe(true);
  });

  it("is open with a clock while it thinks, and folds when the answer begins", () => {
    panel.show(leaf(), true, true, 3.7);
    expect([panel.element.hidden, panel.element.open, title()]).toEqual([
      false,
      true,
      "Thinking… 3 s",
    ]);
    panel.show(leaf(), false, false, 12.2);
    expect([panel.element.open, title()]).toEqual([false, "Thought for 12 s"]);
  });

  it("tells what it knows of the time", () => {
    const titles = [null, 0.3, 72].map((seconds) => {
      panel.show(leaf(), false, false, seconds);
      return title();
    });
    expect(titles).toEqual(["Thought", "Thought briefly", "Thought for 1 min 12 s"]);
  });

  it("that the reader closed stays closed", () => {
    panel.show(leaf(), true, true, 1);
    toggle();
    panel.show(leaf(), true, true, 2);
    expect(panel.element.open).toBe(false);
  });

  it("that the reader opened again stays open", () => {
    panel.show(leaf(), true, true, 1);
    panel.show(leaf(), false, false, 2);
    toggle();
    panel.show(leaf(), false, false, 2);
    expect(panel.element.open).toBe(true);
  });

  it("that a search in the page has opened stays open", () => {
    panel.show(leaf(), false, false, 2);
    panel.element.open = true;
    panel.element.dispatchEvent(new Event("toggle"));
    panel.show(leaf(), false, false, 2);
    expect(panel.element.open).toBe(true);
  });

  it("scrolls with the text only while the reader is at its end", () => {
    const text = new Text("a");
    panel.show([text], true, true, 1);
    const box = panel.element.querySelector("[role=log]") as HTMLElement;
    Object.defineProperties(box, { scrollHeight: { value: 500 }, clientHeight: { value: 100 } });
    const grow = () => {
      text.append("b");
      panel.show([text], true, true, 1);
    };
    grow();
    expect(box.scrollTop).toBe(500);
    box.scrollTop = 200;
    box.dispatchEvent(new Event("scroll"));
    grow();
    expect(box.scrollTop).toBe(200);
    box.scrollTop = 396;
    box.dispatchEvent(new Event("scroll"));
    grow();
    expect(box.scrollTop).toBe(500);
  });
});
