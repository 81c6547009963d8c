/** Character references → characters: markdown-it asks for this under the name of entities. */
import { ENTITY_NAMES } from "./entity_names.ts";

let known: Map<string, string> | null = null;

/** A line end is also the value of one name: a line begins with a name and a space. */
const read = (): Map<string, string> =>
  new Map(
    ENTITY_NAMES.split(/\n(?=[A-Za-z0-9]+ )/).map((line) => {
      const space = line.indexOf(" ");
      return [line.slice(0, space), line.slice(space + 1)];
    }),
  );

/** What a whole `&name;` stands for; an unknown one stands for itself. */
export function decodeHTMLStrict(reference: string): string {
  known ??= read();
  return known.get(reference.slice(1, -1)) ?? reference;
}
