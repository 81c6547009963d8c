import { expect, it } from "vitest";
import { crc32, sumOf } from "../src/checksum.ts";

// As Python's zlib.crc32(text.encode()) has them.
const KNOWN: [string, number][] = [
  ["", 0x00000000],
  ["123456789", 0xcbf43926],
  ["好的，我现在", 0x6f23967d],
  ["emoji 👩‍👩‍👧‍👦🎉", 0xd94b0aca],
  ["\0", 0xd202ef8d],
  ["é".repeat(5_000), 0x6b6fb5fd],
];

it.each(KNOWN)("is the CRC-32 of the UTF-8 bytes: %j", (text, checksum) => {
  expect(crc32(new TextEncoder().encode(text))).toBe(checksum);
});

it("may be taken in pieces", () => {
  const bytes = new TextEncoder().encode("那么 stream on 🎉");
  for (let cut = 0; cut <= bytes.length; cut++) {
    expect(crc32(bytes.subarray(cut), crc32(bytes.subarray(0, cut)))).toBe(crc32(bytes));
  }
});

it("sums up thinking and answer, with a zero byte between, in bytes", () => {
  expect(sumOf("好", "a😀")).toEqual({ length: 9, checksum: 0xb5fc2327 });
  expect(sumOf("", "")).toEqual({ length: 1, checksum: 0xd202ef8d });
});
