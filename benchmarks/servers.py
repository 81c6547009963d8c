"""Servers as their users start them, each a process of its own: Debian's Redis, and ``jupyter ssechat serve``."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from redis import Redis
from redis.exceptions import ConnectionError as NotThereYet

SECONDS = 30.0
TOKEN = "the-token-of-all-workers"


class Server(NamedTuple):
    """A server that listens on a port of loopback, and its process."""

    port: int
    pid: int


def has_redis() -> bool:
    """Whether Debian's redis-server is installed."""
    return shutil.which("redis-server") is not None


@contextmanager
def redis_server() -> Iterator[Server]:
    """A Redis that writes all to an append-only file, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        options = {
            "port": str(port),
            "bind": "127.0.0.1",
            "dir": folder,
            "appendonly": "yes",
            "save": "",
            "logfile": str(Path(folder, "redis.log")),
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        process = subprocess.Popen(["redis-server", *words], stdout=subprocess.DEVNULL)
        try:
            _wait_until_it_answers(port)
            yield Server(port, process.pid)
        finally:
            process.kill()
            process.wait()


@contextmanager
def worker(upstream: int, store: str) -> Iterator[Server]:
    """One ``serve`` before the model server at the port `upstream`."""
    command = [sys.executable, "-m", "jupyter_ssechat", "serve", "--token", TOKEN, "--store", store]
    command += ["--upstream", f"http://127.0.0.1:{upstream}/v1", "--model", "bench"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        said = process.stdout.readline()  # listening on http://127.0.0.1:PORT/?token=TOKEN
        if not said:
            raise ChildProcessError(f"a worker ended before it listened, with status {process.wait()}")
        yield Server(int(said.rpartition(":")[2].partition("/")[0]), process.pid)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def _wait_until_it_answers(port: int) -> None:
    until = time.monotonic() + SECONDS
    with Redis(port=port) as client:
        while time.monotonic() < until:
            try:
                client.ping()
                return
            except NotThereYet:
                time.sleep(0.01)
    raise TimeoutError(f"Redis did not answer within {SECONDS:g} s")


__all__ = ["SECONDS", "TOKEN", "Server", "has_redis", "redis_server", "worker"]
