/** One model → its store and controls, shared by all its views. */
import type { Clock } from "./clock.ts";
import { Controls, type RemoteStop } from "./controls.ts";
import { loaderOfPage } from "./extras_loader.ts";
import { KernelLink } from "./kernel_link.ts";
import { Notebook, PendingOutputs } from "./notebook.ts";
import { type Callback, type Model, readMessage, readSnapshot, type ToKernel } from "./protocol.ts";
import { Store } from "./store.ts";

export class Session {
  readonly store: Store;
  readonly controls: Controls;
  readonly kernel: KernelLink;
  readonly notebook: Notebook;
  readonly outputs: PendingOutputs;
  readonly #handlers: [string, Callback][];
  readonly #withdraw: () => void;

  constructor(
    private readonly model: Model,
    clock: Clock,
    stopRemotely?: RemoteStop,
  ) {
    const send = (message: ToKernel) => this.#send(message);
    this.store = new Store(clock, (have) => send({ type: "sync", have }));
    this.controls = new Controls(clock, send, () => this.store.notify(), stopRemotely);
    this.notebook = new Notebook(model.widget_manager);
    this.outputs = new PendingOutputs(this.notebook, () => send({ type: "placed" }));
    this.kernel = new KernelLink(model.widget_manager, () =>
      this.store.heed(this.lost, this.kernel.away),
    );
    this.#handlers = [
      ["msg:custom", (value, buffers) => this.#receive(value, buffers)],
      ["change:snapshot", () => this.#open()],
      ["change:status", () => this.store.setStatus(model.get("status"))],
      ["change:folded", () => this.store.notify()],
      ["change:label", () => this.store.notify()],
      ["change:prompt", () => this.store.notify()],
    ];
    this.store.subscribe(() => this.controls.observe(this.store.message.status));
    for (const [name, handler] of this.#handlers) model.on(name, handler);
    this.store.setStatus(model.get("status"));
    this.#open();
    send({ type: "hello", origin: location.origin });
    this.#withdraw = loaderOfPage().offer(() => send({ type: "extras" }));
    // What was sent before this view could hear is lost, perhaps all that was left to send.
    if (this.store.message.status === "streaming") send({ type: "sync", have: this.store.have });
  }

  /** What has become of the kernel, and what to do about it; "" while it is there. */
  get lost(): string {
    return this.kernel.lost && `${this.kernel.lost}; run the cell again`;
  }

  get folded(): boolean {
    return this.model.get("folded") === true;
  }

  get label(): string {
    return String(this.model.get("label") ?? "");
  }

  /** What was asked, where it can be asked anew from here; else "". */
  get prompt(): string {
    return String(this.model.get("prompt") ?? "");
  }

  close(): void {
    for (const [name, handler] of this.#handlers) this.model.off(name, handler);
    this.#withdraw();
    this.kernel.close();
    this.controls.close();
    this.store.close();
  }

  #open(): void {
    const snapshot = readSnapshot(this.model.get("snapshot"));
    if (snapshot) this.store.take(snapshot);
  }

  #receive(value: unknown, buffers: unknown): void {
    if (loaderOfPage().take(value, buffers)) return;
    if (this.outputs.take(value)) this.store.notify();
    const message = readMessage(value);
    if (!message) return;
    if (message.type === "patches") this.store.patch(message.seq, message.patches);
    else if (message.type === "snapshot") this.store.take(message);
    else if (message.type === "end") this.store.finish(message);
    else if (message.type === "ack") this.controls.acknowledge(message);
    else this.controls.allow(message);
  }

  #send(message: ToKernel): void {
    try {
      this.model.send(message);
    } catch {
      // No kernel behind this model any more: what stands, stands.
    }
  }
}
