/** Streamdown gets the whole text once in a frame. */
import { createElement } from "react";
import { flushSync } from "react-dom";
import { createRoot } from "react-dom/client";
import { Streamdown } from "streamdown";
import type { Contender } from "./contender.ts";

export function open(root: HTMLElement): Contender {
  const react = createRoot(root);
  let text = "";
  const draw = () => flushSync(() => react.render(createElement(Streamdown, null, text)));
  return {
    push: (delta) => {
      text += delta;
    },
    draw,
    end: draw,
  };
}
