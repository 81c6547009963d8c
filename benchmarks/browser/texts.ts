/** A seed → texts as models write them, the same in every run. */
const HAN =
  "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定行学法所民得经";
const WORDS =
  "stream token server client event buffer parse render block delta kernel widget cell python async await queue latency frame throughput memory cache patch request response".split(
    " ",
  );
const EMOJI = ["🎉", "👩‍👩‍👧", "✅", "🇨🇳"];

/** The text of so many UTF-16 units. */
export type Write = (length: number) => string;

/** Draws numbers, words and sentences from one seed. */
class Author {
  #seed = 12_345;

  chance(): number {
    this.#seed = (this.#seed * 1_103_515_245 + 12_345) & 0x7fffffff;
    return this.#seed / 0x7fffffff;
  }

  between(least: number, most: number): number {
    return least + Math.floor(this.chance() * (most - least + 1));
  }

  one<Item>(items: ArrayLike<Item>): Item {
    return items[this.between(0, items.length - 1)] as Item;
  }

  some<Item>(least: number, most: number, make: (index: number) => Item): Item[] {
    return Array.from({ length: this.between(least, most) }, (_, index) => make(index));
  }

  chinese(least: number, most = least): string {
    return this.some(least, most, () => this.one(HAN)).join("");
  }

  clause(): string {
    const kind = this.chance();
    if (kind < 0.5) return this.chinese(6, 18);
    if (kind < 0.62) return ` **${this.chinese(2, 5)}** `;
    if (kind < 0.72) return ` \`${this.one(WORDS)}_${this.one(WORDS)}()\` `;
    if (kind < 0.74) return ` ${this.one(EMOJI)} `;
    if (kind < 0.8) return ` [${this.chinese(4)}](https://example.com/${this.one(WORDS)}) `;
    if (kind < 0.86) return ` $x_${this.between(1, 9)}^2 + \\alpha_{${this.between(1, 9)}}$ `;
    return ` ${this.some(3, 8, () => this.one(WORDS)).join(" ")} `;
  }

  sentence(): string {
    return `${this.some(2, 5, () => this.clause()).join("，")}。`;
  }

  paragraph(): string {
    return this.some(2, 5, () => this.sentence()).join("");
  }

  codeLine(index: number): string {
    const line = this.one([
      `async def ${this.one(WORDS)}_${index}(x: int, y="s") -> dict:`,
      `for ${this.one(WORDS)} in range(${this.between(1, 99)}):  # ${this.chinese(5)}`,
      `return {"${this.one(WORDS)}": ${this.between(1, 999)}, 'v': None}`,
      `await ${this.one(WORDS)}.${this.one(WORDS)}(f"{x!r} ok")`,
    ]);
    return "    ".repeat(this.between(0, 2)) + line;
  }

  code(): string {
    const lines = this.some(8, 28, (index) => this.codeLine(index));
    return ["```python", ...lines, "```"].join("\n");
  }

  list(): string {
    const items = this.some(3, 8, (index) => {
      const marker = this.chance() < 0.5 ? "-" : `${index + 1}.`;
      return `${marker} ${this.sentence()}`;
    });
    return items.join("\n");
  }

  table(): string {
    const rows = this.some(
      3,
      8,
      () => `| \`${this.one(WORDS)}\` | ${this.between(1, 999)} | ${this.chinese(8)} |`,
    );
    return ["| 名称 | 值 | 说明 |", "|---|---:|---|", ...rows].join("\n");
  }

  formula(): string {
    const sum = `\\sum_{i=1}^{${this.between(2, 99)}} \\frac{x_i^2 + \\beta}{\\sqrt{${this.between(2, 9)}\\pi}}`;
    return `$$\n${sum} = \\int_0^1 f(t)\\,dt\n$$`;
  }

  block(): string {
    const kind = this.chance();
    if (kind < 0.12) return `## ${this.chinese(8)}`;
    if (kind < 0.5) return this.paragraph();
    if (kind < 0.66) return this.list();
    if (kind < 0.74) return this.table();
    if (kind < 0.9) return this.code();
    return kind < 0.95 ? this.formula() : `> ${this.sentence()}`;
  }
}

/** An answer with everything in it. */
export const mixed: Write = (length) => repeated(length, (author) => `${author.block()}\n\n`);

/** One paragraph in one line. */
export const paragraph: Write = (length) => repeated(length, (author) => author.sentence());

/** One list of short items. */
export const list: Write = (length) => repeated(length, (author) => `- ${author.sentence()}\n`);

/** One fence; it closes. */
export const fence: Write = (length) => {
  const open = "```python\n";
  const close = "\n```";
  const lines = repeated(
    length - open.length - close.length,
    (author, index) => `${author.codeLine(index)}\n`,
  );
  return open + lines + close;
};

function repeated(length: number, write: (author: Author, index: number) => string): string {
  const author = new Author();
  let text = "";
  for (let index = 0; text.length < length; index++) text += write(author, index);
  return text.slice(0, length);
}
