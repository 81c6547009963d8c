import { beforeEach, describe, expect, it } from "vitest";
import { sumOf } from "../src/checksum.ts";
import { joined } from "../src/message.ts";
import type { FromKernel, JsonObject, Patch } from "../src/protocol.ts";
import { PATIENCE, SILENCE, Store } from "../src/store.ts";
import { FakeClock, flat, say, set, think } from "./fakes.ts";

let clock: FakeClock;
let asked: number[];
let store: Store;

beforeEach(() => {
  clock = new FakeClock();
  asked = [];
  store = new Store(clock, (have) => asked.push(have));
  store.take({ seq: 0, document: flat() });
});

const answer = () => joined(store.message.content);
const patch = (seq: number, ...patches: Patch[]) => store.patch(seq, patches);
const snapshot = (seq: number, content: string, more: JsonObject = {}) =>
  store.take({ seq, document: flat({ content, ...more }) });
const end = (
  seq: number,
  content: string,
  thinking = "",
): Extract<FromKernel, { type: "end" }> => ({
  type: "end",
  seq,
  ...sumOf(thinking, content),
});

describe("batches in order", () => {
  it("are applied, and the last number is known", () => {
    patch(1, think("hm"), say("a"));
    patch(2, say("b"));
    expect([answer(), joined(store.message.thinking), store.have]).toEqual(["ab", "hm", 2]);
    expect(asked).toEqual([]);
  });

  it("may be empty", () => {
    patch(1);
    patch(2, say("a"));
    expect([answer(), store.have]).toEqual(["a", 2]);
  });

  it("tell every listener once, until it leaves", () => {
    let first = 0;
    let second = 0;
    const leave = store.subscribe(() => first++);
    store.subscribe(() => second++);
    patch(1, say("a"));
    leave();
    patch(2, say("b"));
    expect([first, second]).toEqual([1, 2]);
  });
});

describe("a batch that is known already", () => {
  it("is dropped, at once or late", () => {
    patch(1, say("a"));
    patch(1, say("a"));
    patch(2, say("b"));
    patch(1, say("a"));
    expect([answer(), store.have]).toEqual(["ab", 2]);
  });

  it("is dropped while it is parked, too", () => {
    patch(2, say("b"));
    patch(2, say("b"));
    patch(1, say("a"));
    expect(answer()).toBe("ab");
  });
});

describe("a gap", () => {
  it("that closes by itself in time asks nobody", () => {
    patch(2, say("b"));
    patch(3, say("c"));
    clock.advance(PATIENCE - 1);
    expect([answer(), store.have]).toEqual(["", 0]);
    patch(1, say("a"));
    clock.advance(PATIENCE);
    expect([answer(), store.have, asked]).toEqual(["abc", 3, []]);
  });

  it("that stays asks once, from where it stands, after 150 ms", () => {
    patch(1, say("a"));
    patch(3, say("c"));
    clock.advance(149);
    expect(asked).toEqual([]);
    patch(4, say("d"));
    clock.advance(1);
    expect(asked).toEqual([1]);
  });

  it("is asked about again, less and less often, until there is an answer", () => {
    patch(2, say("b"));
    clock.advance(150 + 300 + 600);
    expect(asked).toEqual([0, 0, 0]);
    snapshot(2, "ab", { status: "FINISHED" });
    clock.advance(60_000);
    expect([asked.length, answer()]).toEqual([3, "ab"]);
  });

  it("that opens as another closes gets its own time", () => {
    patch(2, say("b"));
    clock.advance(100);
    patch(4, say("d"));
    patch(1, say("a"));
    clock.advance(100);
    expect(asked).toEqual([]);
    clock.advance(50);
    expect(asked).toEqual([2]);
  });
});

describe("a snapshot", () => {
  it("replaces the document and drains what was parked after it", () => {
    patch(1, say("a"));
    patch(3, say("c"));
    patch(5, say("e"));
    snapshot(3, "abc");
    expect([answer(), store.have]).toEqual(["abc", 3]);
    patch(4, say("d"));
    expect([answer(), store.have]).toEqual(["abcde", 5]);
  });

  it("drops what was parked before it", () => {
    patch(3, say("c"));
    snapshot(4, "abcd");
    patch(5, say("e"));
    expect(answer()).toBe("abcde");
  });

  it("that is older than the document is not taken", () => {
    patch(1, say("a"));
    patch(2, say("b"));
    snapshot(1, "a");
    expect([answer(), store.have]).toEqual(["ab", 2]);
  });

  it("of the same moment is taken", () => {
    patch(1, say("wrong"));
    snapshot(1, "right");
    expect(answer()).toBe("right");
  });

  it("that comes before, between or after the batches it holds gives the same text", () => {
    const batches = ["a", "b", "c", "d"];
    for (let at = 0; at <= batches.length; at++) {
      for (let seq = 0; seq <= batches.length; seq++) {
        const fresh = new Store(clock, () => {});
        const take = () =>
          fresh.take({ seq, document: flat({ content: batches.slice(0, seq).join("") }) });
        batches.forEach((text, index) => {
          if (index === at) take();
          fresh.patch(index + 1, [say(text)]);
        });
        if (at === batches.length) take();
        expect([joined(fresh.message.content), fresh.have]).toEqual(["abcd", 4]);
      }
    }
  });
});

it("converges for every order of arrival, with a snapshot anywhere", () => {
  const batches = [say("a"), think("t"), set("response/content", "x"), say("b")];
  for (const order of permutations([0, 1, 2, 3, 4])) {
    const fresh = new Store(clock, () => {});
    for (const event of order) {
      if (event === 4)
        fresh.take({ seq: 2, document: flat({ content: "a", thinking_content: "t" }) });
      else fresh.patch(event + 1, [batches[event] as Patch]);
    }
    const { content, thinking } = fresh.message;
    expect([joined(content), joined(thinking), fresh.have, order]).toEqual(["xb", "t", 4, order]);
  }
});

describe("the end", () => {
  it("that agrees is the end", () => {
    patch(1, think("好"), say("a😀"));
    store.finish(end(1, "a😀", "好"));
    expect([store.verified, asked]).toEqual([true, []]);
  });

  it("that does not agree asks at once, and the snapshot is believed", () => {
    patch(1, say("a"));
    store.finish(end(1, "ab"));
    expect([store.verified, asked]).toEqual([false, [1]]);
    snapshot(1, "ab", { status: "FINISHED" });
    expect([store.verified, answer()]).toEqual([true, "ab"]);
    clock.advance(60_000);
    expect(asked).toEqual([1]);
  });

  it("never asks in a circle when not even a snapshot agrees", () => {
    patch(1, say("a"));
    store.finish(end(1, "ab"));
    for (let round = 0; round < 5; round++) snapshot(1, "a", { status: "FINISHED" });
    clock.advance(60_000);
    expect([store.verified, asked]).toEqual([false, [1]]);
  });

  it("that comes before the last batches waits for them", () => {
    store.finish(end(2, "ab"));
    patch(2, say("b"));
    patch(1, say("a"));
    clock.advance(PATIENCE);
    expect([store.verified, asked]).toEqual([true, []]);
  });

  it("whose last batches are lost asks after 150 ms", () => {
    patch(1, say("a"), set("response/status", "FINISHED"));
    store.finish(end(3, "abc"));
    clock.advance(149);
    expect(asked).toEqual([]);
    clock.advance(1);
    expect(asked).toEqual([1]);
    snapshot(3, "abc", { status: "FINISHED" });
    expect([store.verified, clock.idle]).toEqual([true, true]);
  });

  it("of an earlier run is passed over when the answer went on", () => {
    patch(1, say("a"));
    patch(2, say("b"));
    store.finish(end(1, "a"));
    expect([store.verified, asked]).toEqual([null, []]);
  });

  it("may come again after a resume", () => {
    patch(1, say("a"));
    store.finish(end(1, "a"));
    patch(2, say("b"));
    store.finish(end(2, "ab"));
    expect([store.verified, asked]).toEqual([true, []]);
  });
});

describe("silence", () => {
  it("of a streaming answer is asked about, for its last batches may be lost", () => {
    patch(1, say("a"));
    clock.advance(SILENCE);
    expect(asked).toEqual([1]);
    snapshot(1, "a");
    clock.advance(SILENCE);
    expect(asked).toEqual([1]);
    clock.advance(SILENCE);
    expect(asked).toEqual([1, 1]);
  });

  it("after the end is as it should be", () => {
    patch(1, say("a"), set("response/status", "FINISHED"));
    clock.advance(10 * SILENCE);
    expect([asked, clock.idle]).toEqual([[], true]);
  });

  it("is measured from the last thing that was new", () => {
    clock.advance(5_000);
    patch(1, say("a"));
    clock.advance(3_000);
    snapshot(1, "a");
    expect(clock.now() - store.lastChange).toBe(3_000);
  });
});

it("leaves nothing running when it is closed", () => {
  patch(2, say("b"));
  store.close();
  expect(clock.idle).toBe(true);
});

function permutations<Item>(items: Item[]): Item[][] {
  if (items.length < 2) return [items];
  return items.flatMap((item, index) =>
    permutations(items.filter((_, other) => other !== index)).map((rest) => [item, ...rest]),
  );
}
