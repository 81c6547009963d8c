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

it.each((cases as Case[]).map((each, index) => [index, each] as const))(
  "agrees in case %i",
  (_, each) => {
    const document = new Document(each.start);
    for (const patch of each.patches) document.apply(patch);
    const { thinking, content, status } = new Message(document, "");
    expect({
      end: document.snapshot(),
      thinking: joined(thinking),
      content: joined(content),
      status,
    }).toEqual({
      end: each.end,
      thinking: each.thinking,
      content: each.content,
      status: each.status,
    });
  },
);
