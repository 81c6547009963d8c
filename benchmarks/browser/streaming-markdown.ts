/** streaming-markdown writes each delta into the page at once. */
import { default_renderer, parser, parser_end, parser_write } from "streaming-markdown";
import type { Contender } from "./contender.ts";

export function open(root: HTMLElement): Contender {
  const written = parser(default_renderer(root));
  return {
    push: (delta) => parser_write(written, delta),
    draw: () => {},
    end: () => parser_end(written),
  };
}
