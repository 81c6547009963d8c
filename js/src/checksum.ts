/** Texts → length and CRC-32 of their UTF-8 bytes, as Python's `zlib.crc32` counts them. */
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** Go on from `previous`, so that a long text may come in pieces. */
export function crc32(bytes: Uint8Array, previous = 0): number {
  let crc = ~previous;
  for (const byte of bytes) crc = (crc >>> 8) ^ (TABLE[(crc ^ byte) & 0xff] ?? 0);
  return ~crc >>> 0;
}

export interface Sum {
  readonly length: number;
  readonly checksum: number;
}

/** The sum an `end` message carries: of thinking, a zero byte, and the answer. */
export function sumOf(thinking: string, content: string): Sum {
  const bytes = new TextEncoder().encode(`${thinking}\0${content}`);
  return { length: bytes.length, checksum: crc32(bytes) };
}
