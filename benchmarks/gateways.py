"""The gateway in a thread of the kernel, and as a process of the user's own: start-up, memory, time on the way.

Each token is the time at which the model server wrote it; it has arrived when the kernel's loop over the answer gets
it. Kernel, model server and the own gateway are processes on loopback. *Busy* is a kernel that computes in Python
meanwhile, in another thread.
"""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from .measure import Row, row
from .model import model
from .processes import Process, Serve

TOKENS, RATE = 300, 100
_TOKEN = re.compile(r"<(\d+\.\d+)>")


def run() -> list[Row]:
    """Measure both; the process is started once and found once."""
    with tempfile.TemporaryDirectory() as runtime, Process(model, TOKENS, RATE) as server:
        try:
            found: list[Row] = []
            for case, gateway in (
                ("thread", "thread"),
                ("process, started", "process"),
                ("process, found", "process"),
            ):
                with Process(kernel, gateway, runtime, server.opened) as started:
                    found += _rows(case, started)
            return found + _own(runtime)
        finally:
            _end(runtime)


def _rows(case: str, started: Process) -> list[Row]:
    seconds, before, after = started.ask("begin")
    rows = [
        row(f"{case}: to the first answer", 1000 * seconds, "ms"),
        row(f"{case}: memory of the kernel for it", (after - before) / 2**20, "MB"),
    ]
    for state in ("idle", "busy"):
        late = sorted(started.ask(state))
        rows.append(row(f"{case}: a token, {state} kernel, p50", 1000 * statistics.median(late), "ms"))
        rows.append(row(f"{case}: a token, {state} kernel, p99", 1000 * late[int(len(late) * 0.99)], "ms"))
    return rows


def _own(runtime: str) -> list[Row]:
    return [row("process: its own memory", psutil.Process(_pid(runtime)).memory_info().rss / 2**20, "MB")]


def _pid(runtime: str) -> int:
    [file] = Path(runtime).glob("jupyter-ssechat-*.json")
    number: int = json.loads(file.read_text())["pid"]
    return number


def _end(runtime: str) -> None:
    with suppress(ValueError, ProcessLookupError):
        process = psutil.Process(_pid(runtime))
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def kernel(serve: Serve, gateway: str, runtime: str, port: int) -> None:
    """Be a kernel that asks through a gateway."""
    os.environ["JUPYTER_RUNTIME_DIR"] = runtime
    from jupyter_ssechat import Chat
    from jupyter_ssechat.magics import ChatMagics  # what a notebook has loaded before it asks

    assert ChatMagics is not None
    chats: list[Any] = []

    def begin() -> tuple[float, int, int]:
        memory = psutil.Process().memory_info().rss
        since = time.perf_counter()
        Chat("demo", gateway=gateway, pace=0).ask("hello")
        seconds = time.perf_counter() - since
        chats.append(Chat(f"http://127.0.0.1:{port}/v1", gateway=gateway, model="bench"))
        return seconds, memory, psutil.Process().memory_info().rss

    def idle() -> list[float]:
        late: list[float] = []
        for delta in chats[0].stream("go"):
            now = time.monotonic()
            late += [now - float(written) for written in _TOKEN.findall(delta.text)]
        return late

    def busy() -> list[float]:
        done = threading.Event()

        def compute() -> None:
            while not done.is_set():
                sum(range(10_000))

        computing = threading.Thread(target=compute)
        computing.start()
        try:
            return idle()
        finally:
            done.set()
            computing.join()

    serve(None, {"begin": begin, "idle": idle, "busy": busy})
