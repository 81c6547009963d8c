/** Document → what an answer has beside its texts: calls of tools, searches, pages read, tips. */
import { type Document, type Node, Text } from "./patches.ts";

export interface Source {
  readonly title: string;
  readonly url: string;
}

/** One labelled block; `text` is null where it has none. */
export interface Part {
  readonly label: string;
  readonly text: Text | null;
  readonly sources: readonly Source[];
  /** Whether it is shown unfolded until the reader folds it. */
  readonly open: boolean;
}

type Fields = Map<string, Node>;

const TEXTS = new Set(["THINK", "RESPONSE", "TEMPLATE_RESPONSE"]);
const NAMES: Record<string, string> = {
  TOOL_SEARCH: "Search",
  TOOL_OPEN: "Page read",
  TIP: "Note of the server",
};

/** What was done on the way to the answer, in its order. */
export function stepsOf(document: Document): Part[] {
  const steps = objects(document.get("response/fragments")).flatMap(step);
  const sources = sourcesOf(document.get("response/search_results"));
  if (sources.length === 0) return steps;
  return [
    ...steps,
    { label: counted("Search results", sources), text: null, sources, open: false },
  ];
}

/** The calls of tools that the model asks for. */
export function callsOf(document: Document): Part[] {
  return objects(document.get("response/tool_calls")).map((call) => {
    const called = call.get("function");
    const { name, text } = called instanceof Map ? signature(called) : signature(new Map());
    return { label: name ? `Tool call: ${name}` : "Tool call", text, sources: [], open: true };
  });
}

/** Whether the server has put another text in the place of the answer. */
export function isReplaced(document: Document): boolean {
  return objects(document.get("response/fragments")).some(
    (one) => string(one, "type") === "TEMPLATE_RESPONSE",
  );
}

function step(fragment: Fields): Part[] {
  const type = string(fragment, "type");
  if (TEXTS.has(type)) return [];
  const asked = objects(fragment.get("queries")).map((one) => string(one, "query"));
  const sources = [...sourcesOf(fragment.get("results")), ...sourcesOf([fragment.get("result")])];
  const about = asked.filter(Boolean).join(", ") || string(fragment, "query");
  const name = counted(NAMES[type] ?? words(type), sources);
  const label = about ? `${name}: ${about}` : name;
  return [{ label, text: leaf(fragment.get("content")), sources, open: type === "TIP" }];
}

const signature = (called: Fields) => ({
  name: string(called, "name"),
  text: leaf(called.get("arguments")),
});

const counted = (name: string, sources: readonly Source[]) =>
  sources.length > 1 ? `${name} (${sources.length})` : name;

/** `TOOL_READ_FILE` → `Tool read file`. */
function words(type: string): string {
  const lower = type.replaceAll("_", " ").toLowerCase();
  return lower.charAt(0).toUpperCase() + lower.slice(1) || "Step";
}

function sourcesOf(node: Node | undefined | (Node | undefined)[]): Source[] {
  return objects(node)
    .map((one) => ({ title: string(one, "title"), url: string(one, "url") }))
    .filter(({ title, url }) => title || url);
}

function objects(node: Node | undefined | (Node | undefined)[]): Fields[] {
  const list: readonly (Node | undefined)[] = Array.isArray(node) ? node : [];
  return list.filter((one) => one instanceof Map);
}

const leaf = (node: Node | undefined) => (node instanceof Text && node.length > 0 ? node : null);
const string = (fields: Fields, name: string) => leaf(fields.get(name))?.toString() ?? "";
