/** Unknown input → the messages of the kernel ⇄ panel protocol that a single answer does not have. */
import { type Model, readSnapshot, type Snapshot } from "./protocol.ts";

/** A message of the conversation, and which of its versions it is: from 1, of how many. */
export interface Version {
  readonly number: number;
  readonly place: readonly [number, number];
}

export interface Turn {
  readonly prompt: Version & { readonly text: string };
  readonly answer: Version & {
    readonly status: string;
    /** The last batch there is, or all there is of it. */
    readonly seq: number;
    readonly snapshot: Snapshot | null;
  };
}

export interface Turns {
  readonly seq: number;
  /** How many of the turns shown before stay, before those that are told. */
  readonly keep: number;
  readonly turns: readonly Turn[];
}

export interface Acknowledged {
  readonly id: string;
  readonly ok: boolean;
  readonly message: string;
}

/** What this view uses of anywidget's model. */
export interface PanelModel extends Omit<Model, "send"> {
  set(name: string, value: unknown): void;
  save_changes(): void;
  send(message: unknown): void;
}

type Loose = Record<string, unknown>;

export const isObject = (value: unknown): value is Loose =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) >= 0;
const text = (value: unknown) => (typeof value === "string" ? value : "");

/** Read the turns of a state (no `keep`) or of a message; null when they are none. */
export function readTurns(value: unknown): Turns | null {
  if (!isObject(value) || !isCount(value["seq"]) || !Array.isArray(value["turns"])) return null;
  const turns = value["turns"].map(readTurn);
  if (!turns.every((turn) => turn !== null)) return null;
  return { seq: value["seq"], keep: isCount(value["keep"]) ? value["keep"] : 0, turns };
}

function readTurn(value: unknown): Turn | null {
  if (!isObject(value) || !isObject(value["prompt"]) || !isObject(value["answer"])) return null;
  const prompt = readVersion(value["prompt"]);
  const answer = readVersion(value["answer"]);
  if (!prompt || !answer) return null;
  const snapshot = readSnapshot(value["answer"]["snapshot"]);
  const seq = value["answer"]["seq"];
  return {
    prompt: { ...prompt, text: text(value["prompt"]["text"]) },
    answer: {
      ...answer,
      status: text(value["answer"]["status"]),
      seq: isCount(seq) ? seq : (snapshot?.seq ?? 0),
      snapshot,
    },
  };
}

function readVersion({ number, place }: Loose): Version | null {
  if (!isCount(number) || !Array.isArray(place)) return null;
  const [at, count] = place;
  return { number, place: isCount(at) && isCount(count) ? [at, count] : [1, 1] };
}

/** Read an acknowledgement, of whatever action. */
export function readAcknowledged({ id, ok, message }: Loose): Acknowledged | null {
  return typeof id === "string" ? { id, ok: ok === true, message: text(message) } : null;
}
