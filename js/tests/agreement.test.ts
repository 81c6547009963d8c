/** The kernel's engine and this one must read every patch alike: what the kernel made of these is beside them. */
import { expect, it } from "vitest";
import { joined, Message } from "../src/message.ts";
import { Document } from "../src/patches.ts";
import type { JsonObject, Patch } from "../src/protocol.ts";
import cases from "./agreement.json";

interface Case {
  start: JsonObject;
  patches: Patch[];
  end: JsonObject;
  thinking: string;
  content: string;
  status: string;
}

it("reads every patch as the kernel does", () => {
  for (const { start, patches, ...expected } of cases as Case[]) {
    const document = new Document(start);
    for (const patch of patches) document.apply(patch);
    const { thinking, content, status } = new Message(document, "");
    const seen = {
      end: document.snapshot(),
      thinking: joined(thinking),
      content: joined(content),
      status,
    };
    expect({ patches, ...seen }).toEqual({ patches, ...expected });
  }
});
