"""What lies between a model server and its reader: milliseconds and CPU for each token, ours beside litellm's proxy.

Each token is the time at which the model server wrote it, so a reader sees how long it was on its way. Model server,
proxies and readers are processes of their own on loopback; the roads take turns, after one that is not counted.
litellm is installed from PyPI into ``.bench/`` when this benchmark is asked for by its name.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
import venv
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError

import psutil

from jupyter_ssechat.gateway.server import Gateway
from jupyter_ssechat.profiles import open_upstream

from .calls import create_session, post_bytes
from .measure import Row, missing, row
from .model import model
from .processes import Process, Serve
from .stopwatch import readers

STREAMS = 20
RATE = 50
TOKENS = 200
RUNS = 3
SECONDS = 120.0
FOLDER = Path(__file__).resolve().parent.parent / ".bench" / "litellm"
READY = FOLDER / ".ready"
KEY = "sk-bench"
CONFIG = """\
model_list:
  - model_name: bench
    litellm_params: {{model: openai/bench, api_base: "http://127.0.0.1:{port}/v1", api_key: none}}
general_settings: {{master_key: {key}}}
litellm_settings: {{telemetry: false}}
"""


class Road(NamedTuple):
    """A way from the model server to a reader: where to ask what, and whose CPU it costs, in seconds."""

    port: int
    requests: list[bytes]
    cpu: Callable[[], float]


class Taken(NamedTuple):
    """What the tokens of one turn took: milliseconds, and microseconds of CPU for each."""

    p50: float
    p99: float
    cpu: float


def prepare() -> None:
    """Install litellm, once; it takes minutes."""
    if READY.exists():
        return
    print(
        f"installing litellm[proxy] from PyPI into {FOLDER.parent.name}/{FOLDER.name}, about 750 MB",
        flush=True,
    )
    venv.create(FOLDER, with_pip=True, clear=True)
    subprocess.run([FOLDER / "bin" / "pip", "install", "--quiet", "litellm[proxy]"], check=True)
    READY.touch()


def run() -> list[Row]:
    """Measure the roads in turns."""
    with ExitStack() as stack:
        server = stack.enter_context(Process(model, TOKENS, RATE))
        ours = stack.enter_context(Process(gateway, server.opened))
        port, token, sessions = ours.opened
        roads = {
            "no proxy": Road(server.opened, [_chat(server.opened, "none")] * STREAMS, server.cpu),
            "gateway, patches": Road(
                port, [_patches(port, token, session) for session in sessions], ours.cpu
            ),
            "gateway, chat completions": Road(port, [_chat(port, token)] * STREAMS, ours.cpu),
        }
        if READY.exists():
            roads["litellm, chat completions"] = stack.enter_context(_litellm(server.opened))
        for road in roads.values():
            _taken(road)  # the first calls load and connect
        taken: dict[str, list[Taken]] = {name: [] for name in roads}
        for _ in range(RUNS):
            for name, road in roads.items():
                taken[name].append(_taken(road))
    return _rows({name: _median(runs) for name, runs in taken.items()})


def _chat(port: int, token: str) -> bytes:
    turns = [{"role": "user", "content": "go"}]
    body = {"model": "bench", "messages": turns, "stream": True}
    return post_bytes(port, "/v1/chat/completions", token, body)


def _patches(port: int, token: str, session: str) -> bytes:
    body = {"chat_session_id": session, "parent_message_id": None, "prompt": "go", "model": "bench"}
    return post_bytes(port, "/api/v0/chat/completion", token, body)


def _taken(road: Road) -> Taken:
    before = road.cpu()
    with Process(readers, road.port, road.requests) as reading:
        seconds: list[float] = reading.ask("taken")
    if len(seconds) != STREAMS * TOKENS:
        raise AssertionError(f"{len(seconds)} tokens arrived; expected {STREAMS * TOKENS}")
    cuts = statistics.quantiles(seconds, n=100)
    return Taken(cuts[49] * 1e3, cuts[98] * 1e3, (road.cpu() - before) * 1e6 / len(seconds))


def _median(runs: list[Taken]) -> Taken:
    return Taken(*(statistics.median(each) for each in zip(*runs, strict=True)))


def _rows(taken: dict[str, Taken]) -> list[Row]:
    direct, chat = taken["no proxy"], taken["gateway, chat completions"]
    rows = [row("no proxy, p50", direct.p50, "ms"), row("no proxy, p99", direct.p99, "ms")]
    for name in list(taken)[1:]:
        rows += [
            row(f"{name}, added p50", taken[name].p50 - direct.p50, "ms"),
            row(f"{name}, added p99", taken[name].p99 - direct.p99, "ms"),
            row(f"{name}, CPU", taken[name].cpu, "µs/token"),
        ]
    theirs = taken.get("litellm, chat completions")
    if theirs is None:
        return [*rows, missing("litellm is not installed: `python -m benchmarks latency` does that")]
    return [
        *rows,
        row(
            "gateway / litellm, added p50",
            (chat.p50 - direct.p50) / (theirs.p50 - direct.p50),
            "×",
            at_most=1,
        ),
        row("gateway / litellm, added p99", (chat.p99 - direct.p99) / (theirs.p99 - direct.p99), "×"),
        row("gateway / litellm, CPU", chat.cpu / theirs.cpu, "×", at_most=1),
    ]


def gateway(serve: Serve, port: int) -> None:
    """Be the process of a gateway before the model server at `port`, with a session for each stream."""
    with Gateway(open_upstream(f"http://127.0.0.1:{port}/v1")) as opened:
        sessions = [create_session(opened.access.port, opened.token) for _ in range(STREAMS)]
        serve((opened.access.port, opened.token, sessions), {})


@contextmanager
def _litellm(upstream: int) -> Iterator[Road]:
    """Run litellm's proxy, with no telemetry, database or page, and nothing fetched from elsewhere."""
    with tempfile.TemporaryDirectory() as home, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        config = Path(home, "config.yaml")
        config.write_text(CONFIG.format(port=upstream, key=KEY))
        quiet = {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_TELEMETRY": "False",
            "DISABLE_ADMIN_UI": "True",
        }
        where = ["--config", config, "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
        process = subprocess.Popen(
            [FOLDER / "bin" / "litellm", *where],
            env={"PATH": os.defpath, "HOME": home, **quiet},
            cwd=home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/health/liveliness", process)
            yield Road(port, [_chat(port, KEY)] * STREAMS, partial(_cpu, psutil.Process(process.pid)))
        finally:
            process.terminate()
            process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            opener.open(url, timeout=5).close()
            return
        except (URLError, OSError):
            time.sleep(0.2)
    raise TimeoutError(
        f"litellm did not become healthy within {SECONDS:g} s; its exit status is {process.poll()}"
    )


def _cpu(process: psutil.Process) -> float:
    """CPU seconds of a process and of those it has started."""
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(one.user + one.system for one in times)
