import { expect, it } from "vitest";
import { Scroll } from "../src/panel_scroll.ts";

/** A box of 100 pixels, whose content is as high as told. */
function box() {
  const element = document.createElement("div");
  let height = 500;
  Object.defineProperties(element, {
    scrollHeight: { get: () => height },
    clientHeight: { value: 100 },
  });
  const scroll = new Scroll(element);
  const [, jump] = scroll.element.children;
  return {
    scroll,
    follows: () => (jump as HTMLElement).hidden,
    grow: (by: number) => {
      height += by;
    },
    scrollBy: (by: number) => {
      element.scrollTop += by;
      element.dispatchEvent(new Event("scroll"));
    },
    left: () => height - element.scrollTop - 100,
    move: (top: number) => {
      element.scrollTop = top;
      element.dispatchEvent(new Event("scroll"));
    },
  };
}

it("goes with the text until the reader takes a step up, however small, and again near the end", () => {
  const { scroll, follows, grow, scrollBy, left, move } = box();
  move(400);
  expect(follows()).toBe(true);
  scrollBy(-5);
  expect(follows()).toBe(false);
  grow(10);
  scrollBy(2);
  expect([follows(), left()]).toEqual([true, 13]);
  scrollBy(-3);
  grow(100);
  scrollBy(4);
  expect(follows()).toBe(false);
  scroll.close();
});
