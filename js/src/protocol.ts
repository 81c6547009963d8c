/** Unknown input → the messages of the kernel ⇄ browser protocol. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/** One explicit, absolute patch (protocols section 1). */
export interface Patch {
  readonly p: string;
  readonly o: "SET" | "APPEND";
  readonly v: Json;
}

export interface Snapshot {
  readonly seq: number;
  readonly document: JsonObject;
}

export const ACTIONS = ["stop", "resume", "regenerate", "edit"] as const;
export type Action = (typeof ACTIONS)[number];

/** How the view itself may call `stop_stream`; kept in memory, never in a synced trait. */
export interface Grant {
  readonly url: string;
  readonly token: string;
  readonly chat_session_id: Json;
  readonly message_id: Json;
  readonly stream_id: Json;
}

export type FromKernel =
  | { readonly type: "patches"; readonly seq: number; readonly patches: readonly Patch[] }
  | ({ readonly type: "snapshot" } & Snapshot)
  | {
      readonly type: "end";
      readonly seq: number;
      readonly length: number;
      readonly checksum: number;
    }
  | {
      readonly type: "ack";
      readonly id: string;
      readonly action: Action;
      readonly ok: boolean;
      readonly message: string;
    }
  | ({ readonly type: "control" } & Grant);

export type ToKernel =
  | { readonly type: "hello"; readonly origin: string }
  | { readonly type: "sync"; readonly have: number }
  | { readonly type: "extras" }
  | { readonly type: "placed" }
  | { readonly type: Action; readonly id: string; readonly prompt?: string };

/** Custom messages come with the binary parts they have. */
export type Callback = (value: unknown, buffers?: unknown) => void;

/** What this view uses of anywidget's model. */
export interface Model {
  get(name: string): unknown;
  on(name: string, callback: Callback): void;
  off(name: string, callback: Callback): void;
  send(message: ToKernel): void;
  /** The host's own; what it is differs from host to host. */
  readonly widget_manager?: unknown;
}

type Loose = Record<string, unknown>;

const isObject = (value: unknown): value is Loose =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) >= 0;
const isPatch = (value: unknown): value is Patch =>
  isObject(value) &&
  typeof value["p"] === "string" &&
  (value["o"] === "SET" || value["o"] === "APPEND") &&
  value["v"] !== undefined;

/** Read a `{seq, document}`, or null when it is not one. */
export function readSnapshot(value: unknown): Snapshot | null {
  if (!isObject(value) || !isCount(value["seq"]) || !isObject(value["document"])) return null;
  return { seq: value["seq"], document: value["document"] as JsonObject };
}

/** Read one custom message of the kernel; null for what this view does not know. */
export function readMessage(value: unknown): FromKernel | null {
  if (!isObject(value)) return null;
  switch (value["type"]) {
    case "patches":
      return readPatches(value);
    case "snapshot": {
      const snapshot = readSnapshot(value);
      return snapshot && { type: "snapshot", ...snapshot };
    }
    case "end":
      return readEnd(value);
    case "ack":
      return readAck(value);
    case "control":
      return readControl(value);
    default:
      return null;
  }
}

function readPatches({ seq, patches }: Loose): FromKernel | null {
  if (!isCount(seq) || !Array.isArray(patches)) return null;
  return { type: "patches", seq, patches: patches.filter(isPatch) };
}

function readEnd({ seq, length, checksum }: Loose): FromKernel | null {
  if (!isCount(seq) || !isCount(length) || !isCount(checksum)) return null;
  return { type: "end", seq, length, checksum };
}

function readAck({ id, action, ok, message }: Loose): FromKernel | null {
  const known = ACTIONS.find((one) => one === action);
  if (typeof id !== "string" || !known) return null;
  return {
    type: "ack",
    id,
    action: known,
    ok: ok === true,
    message: typeof message === "string" ? message : "",
  };
}

function readControl(value: Loose): FromKernel | null {
  const { url, token } = value;
  if (typeof url !== "string" || !/^https?:\/\//.test(url) || typeof token !== "string")
    return null;
  const id = (name: string) => (value[name] ?? null) as Json;
  return {
    type: "control",
    url: url.replace(/\/+$/, ""),
    token,
    chat_session_id: id("chat_session_id"),
    message_id: id("message_id"),
    stream_id: id("stream_id"),
  };
}
