/** Text → the whole addresses in it: markdown-it asks for them under the name of linkify-it. */
export interface Address {
  readonly schema: string;
  readonly index: number;
  readonly lastIndex: number;
  readonly text: string;
  readonly url: string;
}

/** Chinese sentences end without a space before them: their marks are no part of an address. */
const ADDRESS = /\b(https?:\/\/|mailto:)[^\s<>"`\u3000-\u303f\uff00-\uff0f\uff1a-\uff1f]+/gi;
const MARKS = /[?!.,:;*_~'|]+$/;

/** Only what says where it leads: a bare `main.py` is a file, not a host in Paraguay. */
export class LinkifyIt {
  test(text: string): boolean {
    return this.match(text) !== null;
  }

  match(text: string): Address[] | null {
    const found = [...text.matchAll(ADDRESS)].map(addressOf).filter((one) => one !== null);
    return found.length > 0 ? found : null;
  }

  matchAtStart(text: string): Address | null {
    const [first] = text.slice(0, 2_000).matchAll(ADDRESS);
    return first?.index === 0 ? addressOf(first) : null;
  }
}

function addressOf(match: RegExpExecArray): Address | null {
  const schema = match[1] ?? "";
  const text = withoutEnd(match[0]);
  if (text.length <= schema.length) return null;
  return { schema, index: match.index, lastIndex: match.index + text.length, text, url: text };
}

/** Without the marks of the sentence, and the bracket that closes what was opened before. */
function withoutEnd(address: string): string {
  const text = address.replace(MARKS, "");
  const bracket = /[)\]}]$/.exec(text)?.[0];
  if (!bracket) return text;
  const opening = { ")": "(", "]": "[", "}": "{" }[bracket] ?? "";
  return text.split(opening).length < text.split(bracket).length
    ? withoutEnd(text.slice(0, -1))
    : text;
}
