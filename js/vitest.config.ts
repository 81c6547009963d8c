import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const source = (name: string) => fileURLToPath(new URL(`src/${name}`, import.meta.url));

export default defineConfig({
  // As in the build: four libraries of markdown-it that are smaller here.
  resolve: {
    alias: {
      entities: source("entities.ts"),
      "linkify-it": source("addresses.ts"),
      "punycode.js": source("hosts.ts"),
      "uc.micro": source("unicode.ts"),
    },
  },
  test: {
    environment: "happy-dom",
    include: ["tests/**/*.test.ts"],
    restoreMocks: true,
    server: { deps: { inline: ["markdown-it"] } },
  },
});
