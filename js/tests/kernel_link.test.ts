import { beforeEach, describe, expect, it, vi } from "vitest";
import { KernelLink } from "../src/kernel_link.ts";

/** A signal of JupyterLab's. */
class Signal {
  readonly #slots = new Set<(sender: unknown, value: unknown) => void>();

  connect(slot: (sender: unknown, value: unknown) => void): void {
    this.#slots.add(slot);
  }

  disconnect(slot: (sender: unknown, value: unknown) => void): void {
    this.#slots.delete(slot);
  }

  emit(value: unknown): void {
    for (const slot of [...this.#slots]) slot(this, value);
  }

  get heard(): number {
    return this.#slots.size;
  }
}

const source = () => ({
  statusChanged: new Signal(),
  connectionStatusChanged: new Signal(),
  kernelChanged: new Signal(),
});

let session: ReturnType<typeof source>;
let link: KernelLink;
const changed = vi.fn();

beforeEach(() => {
  session = source();
  changed.mockClear();
  link = new KernelLink({ context: { sessionContext: session } }, changed);
});

describe("the link to a kernel", () => {
  it.each([
    ["restarting", "the kernel was restarted"],
    ["autorestarting", "the kernel died and was restarted"],
    ["terminating", "the kernel was shut down"],
    ["dead", "the kernel is dead"],
  ])("is lost with the status %s", (status, words) => {
    session.statusChanged.emit(status);
    expect([link.lost, changed.mock.calls.length]).toEqual([words, 1]);
  });

  it.each(["busy", "idle", "starting", "unknown", undefined])("stands with %s", (status) => {
    session.statusChanged.emit(status);
    expect([link.lost, changed.mock.calls.length]).toEqual(["", 0]);
  });

  it("stays lost when another kernel is there: a comm ends with its own", () => {
    // As JupyterLab tells of a kernel that was killed.
    for (const status of ["restarting", "autorestarting", "unknown", "starting", "idle"]) {
      session.statusChanged.emit(status);
    }
    session.kernelChanged.emit({ oldValue: {}, newValue: {} });
    session.statusChanged.emit("restarting");
    expect([link.lost, changed.mock.calls.length]).toEqual([
      "the kernel died and was restarted",
      2,
    ]);
  });

  it("is lost with the kernel of the notebook, but not with its first one", () => {
    session.kernelChanged.emit({ oldValue: null, newValue: {} });
    expect(link.lost).toBe("");
    session.kernelChanged.emit({ oldValue: {}, newValue: {} });
    expect(link.lost).toBe("the notebook has another kernel now");
  });

  it("is away while the connection is down", () => {
    session.connectionStatusChanged.emit("connecting");
    expect([link.away, link.lost]).toEqual([true, ""]);
    session.connectionStatusChanged.emit("connected");
    expect([link.away, changed.mock.calls.length]).toEqual([false, 2]);
  });

  it("goes by the kernel itself where the host has no session", () => {
    const kernel = source();
    const other = new KernelLink({ kernel }, changed);
    kernel.statusChanged.emit("dead");
    expect(other.lost).toBe("the kernel is dead");
  });

  it("is lost where the host says that the view is disconnected, until it is not any more", () => {
    const host = document.createElement("div");
    link.heed(host);
    expect(changed).not.toHaveBeenCalled();
    host.className = "jupyter-widgets jupyter-widgets-disconnected";
    link.heed(host);
    expect(link.lost).toBe("the kernel is gone");
    host.className = "jupyter-widgets";
    link.heed(host);
    expect(link.lost).toBe("");
  });

  it("stands where the host says nothing, and is heard no more when it is closed", () => {
    expect(new KernelLink(undefined, changed).lost).toBe("");
    expect(new KernelLink({ kernel: {} }, changed).lost).toBe("");
    link.close();
    expect(Object.values(session).map(({ heard }) => heard)).toEqual([0, 0, 0]);
  });
});
