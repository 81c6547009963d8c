/** The figures of an answer, and what can be done with its text. */
import type { Clock } from "./clock.ts";
import { copy } from "./copy.ts";
import { make, makeButton, write } from "./dom.ts";
import { hasText, joined } from "./message.ts";
import type { Session } from "./session.ts";
import { Figures, type Moment } from "./status.ts";

const COPIED_FOR = 2_000;

/** What the reader has chosen has changed, and the view is to be drawn anew. */
type Changed = () => void;

export class Footer {
  readonly element: HTMLElement;
  readonly #figures = new Figures();
  readonly #show: HTMLButtonElement;
  readonly #copy: HTMLButtonElement;
  readonly #edit: HTMLButtonElement;
  readonly #again: HTMLButtonElement;
  #unfolded = false;
  #uncopied: (() => void) | null = null;

  constructor(
    private readonly session: Session,
    private readonly clock: Clock,
    private readonly raw: HTMLButtonElement,
    edit: () => void,
    changed: Changed,
  ) {
    this.#show = quiet("show", "Show", "Show the text here too", () => {
      this.#unfolded = !this.#unfolded;
      changed();
    });
    this.#copy = quiet("copy", "Copy", "Copy the answer", () => this.#copyAnswer());
    this.#edit = quiet("edit", "Edit", "Edit the prompt and ask again", edit);
    this.#again = quiet("again", "Regenerate", "Answer the same prompt once more", () =>
      session.controls.press("regenerate"),
    );
    const actions = [this.#show, this.raw, this.#copy, this.#edit, this.#again];
    const row = make("div", "actions", {}, ...actions);
    this.element = make("div", "footer", {}, this.#figures.element, row);
  }

  /** Whether the text is hidden, since it stands beside the view already. */
  get folded(): boolean {
    return this.session.folded && !this.#unfolded;
  }

  show(moment: Moment): void {
    const { message, pending } = moment;
    const answered = hasText(message.content);
    const { prompt, lost } = this.session;
    const again = message.status !== "streaming" && prompt !== "" && !lost;
    if (!this.session.folded) this.#unfolded = false;
    this.#figures.show(moment);
    this.#show.hidden = !this.session.folded;
    this.#show.setAttribute("aria-expanded", String(this.#unfolded));
    this.raw.hidden = !answered || this.folded;
    this.#copy.hidden = !answered;
    this.#edit.hidden = this.#again.hidden = !again;
    this.#again.setAttribute("aria-disabled", String(pending === "regenerate"));
    const shown = [...this.element.querySelectorAll("button")].some((button) => !button.hidden);
    this.element.hidden = !shown && !this.#figures.element.firstChild;
  }

  /** Give the focus back to where the editing began. */
  focusEdit(): void {
    this.#edit.focus({ preventScroll: true });
  }

  close(): void {
    this.#uncopied?.();
  }

  async #copyAnswer(): Promise<void> {
    const done = await copy(joined(this.session.store.message.content));
    write(this.#copy, done ? "Copied" : "Not copied");
    this.#uncopied?.();
    this.#uncopied = this.clock.after(COPIED_FOR, () => write(this.#copy, "Copy"));
  }
}

function quiet(name: string, text: string, title: string, press: () => void): HTMLButtonElement {
  const button = makeButton(`quiet ssechat-${name}`, press);
  write(button, text);
  button.title = title;
  return button;
}
