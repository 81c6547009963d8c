/** One answer of a conversation → its thinking, its text, its state and what can be done with it. */
import { AnswerText } from "./answer_text.ts";
import type { Clock } from "./clock.ts";
import type { Conversation, LiveAnswer } from "./conversation.ts";
import type { Turn } from "./conversation_protocol.ts";
import { copy } from "./copy.ts";
import { hides, make, makeButton, write } from "./dom.ts";
import { hasText, joined } from "./message.ts";
import { Switcher } from "./panel_switcher.ts";
import { PartsView } from "./parts_view.ts";
import { Figures, type Moment, momentOf, StatusLine } from "./status.ts";
import { ThinkingPanel } from "./transcript.ts";

/** Clocks that run are looked at so often, in milliseconds. */
const TICK = 250;
const COPIED_FOR = 2_000;
const REPLACED = "The server took its answer back and put this in its place:";
const RESUMABLE = new Set(["stopped", "interrupted", "failed"]);

export class AnswerView {
  readonly element: HTMLElement;
  readonly number: number;
  readonly #answer: LiveAnswer;
  readonly #thinking = new ThinkingPanel();
  readonly #steps = new PartsView();
  readonly #replaced = make("div", "replaced", {}, REPLACED);
  readonly #text: AnswerText;
  readonly #calls = new PartsView();
  readonly #status = new StatusLine();
  readonly #figures = new Figures();
  readonly #problem = make("div", "problem", { role: "alert" });
  readonly #switcher: Switcher;
  readonly #stop: HTMLButtonElement;
  readonly #resume: HTMLButtonElement;
  readonly #again: HTMLButtonElement;
  readonly #copy: HTMLButtonElement;
  readonly #leave: () => void;
  #version: Turn["answer"];
  #last = false;
  #rests = true;
  #frame: (() => void) | null = null;
  #tick: (() => void) | null = null;
  #uncopied: (() => void) | null = null;

  constructor(
    private readonly conversation: Conversation,
    version: Turn["answer"],
    private readonly clock: Clock,
    /** What had the focus has gone. */
    private readonly unfocused: () => void,
  ) {
    const { number } = version;
    this.#version = version;
    this.number = number;
    this.#answer = conversation.answer(number);
    this.#text = new AnswerText(clock, () => this.#draw());
    this.#switcher = new Switcher("answer", (step) => {
      if (conversation.rests) conversation.ask("switch", { kind: "answer", number, step });
    });
    this.#stop = makeButton("stop", () => this.#answer.controls.press("stop"));
    this.#resume = makeButton("resume", () => {
      if (conversation.rests) this.#answer.controls.press("resume");
    });
    this.#again = makeButton("quiet ssechat-again", () => {
      if (conversation.rests) conversation.ask("regenerate", { number });
    });
    this.#copy = makeButton("quiet ssechat-copy-answer", () => this.#copyAnswer());
    write(this.#stop, "Stop");
    write(this.#again, "Regenerate");
    write(this.#copy, "Copy");
    this.#again.title = "Answer once more, beside this answer";
    this.#copy.title = "Copy the answer";
    this.element = this.#build();
    this.#leave = this.#answer.store.subscribe(() => this.#schedule());
  }

  /** `last` says whether it ends the conversation, `rests` whether anything but a stop can be asked for. */
  show(version: Turn["answer"], last: boolean, rests: boolean): void {
    this.#version = version;
    this.#last = last;
    this.#rests = rests;
    this.#draw();
  }

  close(): void {
    this.#leave();
    this.#frame?.();
    this.#tick?.();
    this.#uncopied?.();
    this.#text.close();
    this.element.remove();
  }

  #build(): HTMLElement {
    const buttons = [this.#text.button, this.#copy, this.#again, this.#stop, this.#resume];
    const row = make("div", "row", {}, this.#switcher.element, ...buttons);
    const foot = make("div", "foot", {}, this.#status.element, this.#figures.element, row);
    const body = make(
      "div",
      "said",
      {},
      this.#thinking.element,
      this.#steps.element,
      this.#replaced,
      ...this.#text.elements,
      this.#calls.element,
    );
    const attributes = { "aria-label": "Answer" };
    return make("article", "reply", attributes, body, this.#problem, foot);
  }

  #schedule(): void {
    this.#frame ??= this.clock.frame(() => {
      this.#frame = null;
      this.#draw();
    });
  }

  #draw(): void {
    const moment = this.#moment();
    const focused = document.activeElement;
    const { dataset, classList } = this.element;
    const live = moment.message.status === "streaming";
    dataset["status"] = moment.message.status;
    dataset["phase"] = moment.phase;
    dataset["verified"] = String(this.#answer.store.verified ?? "");
    this.element.toggleAttribute("data-cut", moment.message.cut);
    classList.toggle("ssechat-live", live);
    this.#drawTexts(moment);
    this.#drawButtons(moment, live);
    this.#status.show(moment);
    this.#figures.show(moment);
    if (hides(this.element, focused)) this.unfocused();
    this.#tick?.();
    this.#tick = live ? this.clock.after(TICK, () => this.#schedule()) : null;
  }

  #moment(): Moment {
    return momentOf(this.#answer, this.clock.now(), "");
  }

  #drawTexts({ message, phase }: Moment): void {
    const { thinking, content } = message;
    const answered = hasText(content);
    const live = message.status === "streaming";
    const thinks = live && !answered && (phase === "thinking" || hasText(thinking));
    const seconds = this.#answer.store.timing.thinking(message, this.clock.now());
    this.#thinking.show(thinking, thinks, !answered, seconds);
    this.#text.show(content, !live);
    this.#replaced.hidden = !message.replaced;
    this.#steps.show(message.steps);
    this.#calls.show(message.calls);
  }

  #drawButtons({ message, pending }: Moment, live: boolean): void {
    const { cut } = message;
    this.#switcher.show(this.#version, this.#rests);
    this.#copy.hidden = !hasText(message.content);
    this.#again.hidden = live;
    this.#stop.hidden = !live || this.conversation.running === this.#answer;
    this.#resume.hidden = live || !this.#last || !(cut || RESUMABLE.has(message.status));
    write(this.#resume, cut ? "Continue" : "Resume");
    this.#resume.title = cut ? "Let the answer go on" : "Let the answer go on where it stood";
    this.#stop.setAttribute("aria-disabled", String(pending === "stop"));
    this.#again.setAttribute("aria-disabled", String(!this.#rests));
    this.#resume.setAttribute("aria-disabled", String(!this.#rests || pending === "resume"));
    write(this.#problem, this.#answer.controls.problem);
    this.#problem.hidden = !this.#answer.controls.problem;
  }

  async #copyAnswer(): Promise<void> {
    const done = await copy(joined(this.#answer.store.message.content));
    write(this.#copy, done ? "Copied" : "Not copied");
    this.#uncopied?.();
    this.#uncopied = this.clock.after(COPIED_FOR, () => write(this.#copy, "Copy"));
  }
}
