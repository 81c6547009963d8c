/**
 * JupyterLab's share scope → the plugin that draws saved answers.
 *
 * A container of module federation, `init` and `get`, written by hand: all that is taken from JupyterLab is one
 * token. The answers of a notebook are Markdown wherever this is not installed.
 */
import styles from "./saved_answer.css";
import { drawAnswers, type Registry } from "./saved_answer.ts";

const NAME = "jupyter-ssechat";
const RENDERMIME = "@jupyterlab/rendermime";

/** A module's name → its versions → a promise of its exports, as webpack has it. */
type Scope = Record<string, Record<string, { get(): Promise<() => Record<string, unknown>> }>>;

let shared: Scope = {};

const container = {
  init(scope: Scope): void {
    shared = scope;
  },
  async get(module: string): Promise<() => object> {
    if (module !== "./extension") throw new Error(`${NAME} has no module ${module}`);
    const extension = { __esModule: true, default: await plugin() };
    return () => extension;
  },
};

async function plugin(): Promise<object> {
  // It is one for the whole page, and JupyterLab's own stands first.
  const [version] = Object.values(shared[RENDERMIME] ?? {});
  if (!version) throw new Error(`${NAME} finds no ${RENDERMIME} in this page`);
  const exports = (await version.get())();
  return {
    id: `${NAME}:saved-answers`,
    description: "Draws saved answers with their figures.",
    autoStart: true,
    requires: [exports["IRenderMimeRegistry"]],
    activate(_: unknown, registry: Registry): void {
      document.head.append(Object.assign(document.createElement("style"), { textContent: styles }));
      drawAnswers(registry);
    },
  };
}

const page = globalThis as { _JUPYTERLAB?: Record<string, unknown> };
page._JUPYTERLAB ??= {};
page._JUPYTERLAB[NAME] = container;
