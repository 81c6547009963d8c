/** One conversation → one view of it: the turns, oldest first, and the input box. */
import type { Clock } from "./clock.ts";
import type { Conversation } from "./conversation.ts";
import type { Turn } from "./conversation_protocol.ts";
import { make, write } from "./dom.ts";
import { offerCells } from "./notebook.ts";
import { AnswerView } from "./panel_answer.ts";
import { Composer } from "./panel_composer.ts";
import { PromptView } from "./panel_prompt.ts";
import { Scroll } from "./panel_scroll.ts";

/** What cannot be done yet is tried again after so long, in milliseconds. */
const TICK = 250;

interface TurnView {
  readonly element: HTMLElement;
  prompt: PromptView;
  answer: AnswerView;
}

export class Panel {
  readonly element = make("section", "root ssechat-panel");
  readonly #talk = make("div", "talk", {
    role: "log",
    "aria-live": "off",
    "aria-label": "Conversation",
    tabindex: "0",
  });
  readonly #problem = make("div", "problem", { role: "alert" });
  readonly #scroll = new Scroll(this.#talk);
  readonly #composer: Composer;
  readonly #leave: () => void;
  #turns: TurnView[] = [];
  #shown: readonly Turn[] | null = null;
  #rests = true;
  #frame: (() => void) | null = null;
  #tick: (() => void) | null = null;

  constructor(
    private readonly conversation: Conversation,
    private readonly clock: Clock,
  ) {
    this.#composer = new Composer(
      conversation,
      () => this.#turns.at(-1)?.prompt.edit(),
      () => this.#scroll.toEnd(),
    );
    this.element.append(this.#scroll.element, this.#problem, this.#composer.element);
    offerCells(this.element, conversation.notebook);
    this.element.addEventListener("keydown", (event) => this.#escape(event));
    this.#leave = conversation.subscribe(() => this.#schedule());
    this.#draw();
    // Only what is laid out can be measured.
    this.#frame = clock.frame(() => {
      this.#frame = null;
      this.#composer.grow();
      this.#draw();
    });
  }

  close(): void {
    this.#leave();
    this.#frame?.();
    this.#tick?.();
    this.#scroll.close();
    for (const turn of this.#turns) turn.answer.close();
    this.element.remove();
  }

  #schedule(): void {
    this.#frame ??= this.clock.frame(() => {
      this.#frame = null;
      this.#draw();
    });
  }

  #draw(): void {
    const { turns, problem, label, busy } = this.conversation;
    this.element.setAttribute("aria-label", label || "Chat");
    this.element.dataset["busy"] = String(busy);
    this.#talk.hidden = turns.length === 0;
    this.#drawTurnsIfOthers(turns);
    write(this.#problem, problem);
    this.#problem.hidden = !problem;
    this.#composer.show();
    this.#tick?.();
    const again = this.conversation.outputs.write(this.element);
    this.#tick = again ? this.clock.after(TICK, () => this.#schedule()) : null;
  }

  /** Typing a draft changes nothing of the turns. */
  #drawTurnsIfOthers(turns: readonly Turn[]): void {
    const { rests } = this.conversation;
    if (turns === this.#shown && rests === this.#rests) return;
    this.#shown = turns;
    this.#rests = rests;
    this.#keepFocus(() => this.#drawTurns(turns, rests));
  }

  #drawTurns(turns: readonly Turn[], rests: boolean): void {
    for (const gone of this.#turns.splice(turns.length)) this.#remove(gone);
    for (const [index, turn] of turns.entries()) {
      const view = this.#turns[index] ?? this.#add(turn);
      this.#replace(view, turn);
      view.prompt.show(turn.prompt, rests);
      view.answer.show(turn.answer, index === turns.length - 1, rests);
    }
  }

  #add(turn: Turn): TurnView {
    const prompt = this.#prompt(turn);
    const answer = this.#answer(turn);
    const element = make("div", "turn", {}, prompt.element, answer.element);
    const view = { element, prompt, answer };
    this.#turns.push(view);
    this.#talk.append(element);
    this.#scroll.observe(element);
    return view;
  }

  #prompt({ prompt }: Turn): PromptView {
    return new PromptView(this.conversation, prompt, () => {
      this.#composer.focus();
      this.#scroll.toEnd();
    });
  }

  #answer({ answer }: Turn): AnswerView {
    return new AnswerView(this.conversation, answer, this.clock, () => this.#composer.focus());
  }

  /** Another version of the prompt or of the answer comes in the place of the one that is shown. */
  #replace(view: TurnView, turn: Turn): void {
    if (view.prompt.number !== turn.prompt.number) {
      const prompt = this.#prompt(turn);
      view.prompt.element.replaceWith(prompt.element);
      view.prompt = prompt;
    }
    if (view.answer.number === turn.answer.number) return;
    const answer = this.#answer(turn);
    view.answer.element.replaceWith(answer.element);
    view.answer.close();
    view.answer = answer;
  }

  #remove(view: TurnView): void {
    view.answer.close();
    view.element.remove();
  }

  /** A button that is drawn anew has the focus again; where it has gone, the input box gets it. */
  #keepFocus(draw: () => void): void {
    const focused = document.activeElement;
    const turn = this.#turns.findIndex(({ element }) => element.contains(focused));
    const names = focused?.className.split(" ").map((name) => `.${name}`) ?? [];
    const side = focused?.closest(".ssechat-prompt") ? ".ssechat-prompt" : ".ssechat-reply";
    draw();
    if (turn < 0 || focused?.isConnected) return;
    const same = this.#turns[turn]?.element.querySelector(`${side} ${names.join("")}`);
    if (same instanceof HTMLElement && !same.closest("[hidden]"))
      same.focus({ preventScroll: true });
    else this.#composer.focus();
  }

  #escape(event: KeyboardEvent): void {
    if (event.key !== "Escape" || event.isComposing || !this.conversation.busy) return;
    event.preventDefault();
    event.stopPropagation();
    this.conversation.stop();
  }
}
