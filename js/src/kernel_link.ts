/** What the host says of the kernel behind a model → whether anything can still come from it. */

/** Statuses of JupyterLab's kernels after which nobody hears this model any more, in words. */
const ENDS: Record<string, string> = {
  restarting: "the kernel was restarted",
  autorestarting: "the kernel died and was restarted",
  terminating: "the kernel was shut down",
  dead: "the kernel is dead",
};
const GONE = "the kernel is gone";
/** ipywidgets says so of a view whose model has no comm: also of one that was saved with the notebook. */
const DISCONNECTED = "jupyter-widgets-disconnected";

type Slot = (sender: unknown, value: unknown) => void;

interface Signal {
  connect(slot: Slot): void;
  disconnect(slot: Slot): void;
}

/** A kernel, or the session it runs in, as JupyterLab, Notebook and voila have them. */
interface Source {
  readonly statusChanged?: Signal;
  readonly connectionStatusChanged?: Signal;
  readonly kernelChanged?: Signal;
}

/** The manager of widgets that anywidget hands on; other hosts have others, or none. */
interface Manager {
  readonly context?: { readonly sessionContext?: Source };
  readonly kernel?: Source;
}

export class KernelLink {
  /** Whether the line to the kernel is down for now. */
  away = false;
  #ended = "";
  #silent = false;
  readonly #leave: (() => void)[] = [];

  constructor(
    manager: unknown,
    private readonly changed: () => void,
  ) {
    const { context, kernel } = (manager ?? {}) as Manager;
    const source = context?.sessionContext ?? kernel;
    this.#follow(source?.statusChanged, (_, status) => this.#end(ENDS[`${status}`] ?? ""));
    this.#follow(source?.kernelChanged, (_, change) => this.#replaced(change));
    this.#follow(source?.connectionStatusChanged, (_, status) => {
      this.away = status !== "connected";
      changed();
    });
  }

  /** What has become of the kernel, as a clause; "" while it is there. */
  get lost(): string {
    return this.#ended || (this.#silent ? GONE : "");
  }

  /** Look at the element that the host has given to a view. */
  heed(host: Element): void {
    const silent = host.classList.contains(DISCONNECTED);
    if (silent === this.#silent) return;
    this.#silent = silent;
    this.changed();
  }

  close(): void {
    for (const leave of this.#leave.splice(0)) leave();
  }

  #follow(signal: Signal | undefined, slot: Slot): void {
    if (!signal?.connect) return;
    signal.connect(slot);
    this.#leave.push(() => signal.disconnect(slot));
  }

  #replaced(change: unknown): void {
    const { oldValue, newValue } = (change ?? {}) as { oldValue?: unknown; newValue?: unknown };
    if (oldValue) this.#end(newValue ? "the notebook has another kernel now" : GONE);
  }

  /** A comm ends with its kernel: one that was restarted knows nothing of it. */
  #end(how: string): void {
    // Of a death the host says "restarting" first, then why.
    const known = this.#ended !== "" && how !== ENDS["autorestarting"];
    if (known || !how) return;
    this.#ended = how;
    this.changed();
  }
}
