/** Which version of a message is shown, of how many → ‹2/3›. */
import type { Version } from "./conversation_protocol.ts";
import { make, makeButton, write } from "./dom.ts";

export class Switcher {
  readonly element: HTMLElement;
  readonly #earlier: HTMLButtonElement;
  readonly #later: HTMLButtonElement;
  readonly #place = make("span", "place");

  constructor(what: string, step: (by: 1 | -1) => void) {
    this.#earlier = makeButton("quiet ssechat-earlier", () => step(-1));
    this.#later = makeButton("quiet ssechat-later", () => step(1));
    write(this.#earlier, "‹");
    write(this.#later, "›");
    this.#earlier.setAttribute("aria-label", `Previous version of the ${what}`);
    this.#later.setAttribute("aria-label", `Next version of the ${what}`);
    const label = `Versions of the ${what}`;
    const attributes = { role: "group", "aria-label": label };
    this.element = make("span", "switcher", attributes, this.#earlier, this.#place, this.#later);
    this.element.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by) step(by as 1 | -1);
    });
  }

  show({ place: [at, count] }: Version, rests: boolean): void {
    this.element.hidden = count < 2;
    write(this.#place, `${at}/${count}`);
    this.#earlier.setAttribute("aria-disabled", String(at === 1 || !rests));
    this.#later.setAttribute("aria-disabled", String(at === count || !rests));
  }
}
