"""A gateway of the user's own, in a process of its own: found by its runtime file, or started.

The first kernel that needs it starts it; it lives on when that kernel is busy, restarted or gone, and ends by itself
when nobody has used it for a while. The runtime file says where it listens, and can be read by the user alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import urlsplit

from jupyter_core.paths import jupyter_runtime_dir

from .client import GatewayClient
from .consumer import shared_consumer
from .errors import ConnectionFailed, SSEChatError
from .wire_json import as_object, as_text

try:
    import fcntl
except ImportError:  # on Windows two kernels that start at the same moment may start two
    fcntl = None

WIRE = 1
"""What kernels and their gateway say to each other; one that says something else has another runtime file."""

START_SECONDS = 20.0
ANSWER_SECONDS = 5.0
CONNECT_SECONDS = 2.0
IDLE_SECONDS = 8 * 3600.0


class Whereabouts(NamedTuple):
    """Where a gateway listens, and its token."""

    url: str
    token: str

    def __repr__(self) -> str:
        return f"Whereabouts({self.url!r})"


def own_gateway() -> Whereabouts:
    """The user's own gateway on this machine, started where there is none.

    Raises ConnectionFailed, one line, where it cannot be started.
    """
    file = runtime_file()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _one_at_a_time(file.with_suffix(".lock")):
        there = read_whereabouts(file)
        return there if there is not None and _answers(there) else _started(file)


def runtime_file() -> Path:
    """Where the gateway says where it listens."""
    return Path(jupyter_runtime_dir()) / f"jupyter-ssechat-{WIRE}.json"


def read_whereabouts(file: Path) -> Whereabouts | None:
    """What a runtime file says; None where it says nothing."""
    try:
        said = as_object(json.loads(file.read_text()))
    except (OSError, ValueError):
        return None
    url, token = as_text(said.get("url")), as_text(said.get("token"))
    return Whereabouts(url, token) if url and token else None


def listens(there: str) -> bool:
    """Whether anything listens at the address of a gateway of this machine."""
    parts = urlsplit(there)
    try:
        socket.create_connection((parts.hostname, parts.port), CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


@contextmanager
def told_in(file: Path, whereabouts: Whereabouts) -> Generator[None]:
    """Say in a runtime file where a gateway of this process listens, for as long as it does."""
    said = {**whereabouts._asdict(), "pid": os.getpid()}
    fresh = file.with_suffix(f".{os.getpid()}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        json.dump(said, out)
    fresh.replace(file)
    try:
        yield
    finally:
        if read_whereabouts(file) == whereabouts:  # and not that of another one, which came after it
            with suppress(OSError):
                file.unlink()


@contextmanager
def _one_at_a_time(lock: Path) -> Generator[None]:
    with open(os.open(lock, os.O_WRONLY | os.O_CREAT, 0o600), "w") as held:
        if fcntl is not None:
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _answers(there: Whereabouts) -> bool:
    async def ask() -> None:
        client = GatewayClient(there.url, there.token)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await client.sessions()
        finally:
            await client.aclose()

    try:
        shared_consumer().submit(ask()).result()
    except (SSEChatError, TimeoutError):
        return False
    return True


def _started(file: Path) -> Whereabouts:
    """Start one that outlives this process; its own session, or it would be killed with the kernel's group."""
    log = file.with_suffix(".log")
    command = [
        sys.executable,
        "-m",
        "jupyter_ssechat",
        "serve",
        "--own",
        str(file),
        "--idle",
        f"{IDLE_SECONDS:g}",
    ]
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            text=True,
        )
    assert process.stdout is not None
    with process.stdout:
        ready = _line(process.stdout)
    there = read_whereabouts(file) if ready else None
    if there is None:
        process.kill()
        process.wait()
        raise ConnectionFailed(f"the gateway did not start: {_last_line(log)}")
    threading.Thread(target=process.wait, daemon=True).start()  # no zombie, should it end before this kernel
    return there


def _line(output: IO[str]) -> str:
    """The first line, if one comes in time."""
    lines: list[str] = []
    reading = threading.Thread(target=lambda: lines.append(output.readline()), daemon=True)
    reading.start()
    reading.join(START_SECONDS)
    return lines[0] if lines else ""


def _last_line(log: Path) -> str:
    said = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next(
        (line.strip() for line in reversed(said) if line.strip()), f"nothing came in {START_SECONDS:g} s"
    )


__all__ = ["Whereabouts", "listens", "own_gateway", "read_whereabouts", "runtime_file", "told_in"]
