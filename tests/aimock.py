"""aimock, a model server by other people (npm, in `js/node_modules`), on a free port of loopback for a test."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

Fixture = dict[str, Any]

_PROGRAM = Path(__file__).parents[1] / "js" / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
_LISTENING = "listening on "


def missing() -> str | None:
    """What is not installed, as a sentence; None when the server can be started."""
    if shutil.which("node") is None:
        return "node is not installed; install Node.js 20 or newer"
    if not _PROGRAM.exists():
        return "@copilotkit/aimock is not installed; run `npm ci` in js/"
    return None


def reply_with(response: dict[str, Any], *, nth: int | None = None, **pacing: Any) -> Fixture:
    """Answer any request, or the n-th one (from 0), so.

    `response` and `pacing` are in aimock's words: content, reasoning, usage, toolCalls, error and status;
    latency in ms, chunkSize in characters, truncateAfterChunks, disconnectAfterMs, streamingProfile.
    """
    match = {} if nth is None else {"sequenceIndex": nth}
    return {"match": match, "response": response, **pacing}


def refusal(status: int, message: str, **more: Any) -> dict[str, Any]:
    """The response of a server that says no; `retryAfter` (seconds) goes into the header of a 429."""
    return {"status": status, "error": {"message": message, "type": "from_aimock"}, **more}


@dataclass(frozen=True, slots=True)
class Served:
    """One request as the server's own journal has it; `at` is in seconds of the server's clock."""

    at: float
    path: str
    status: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Aimock:
    """The running server."""

    address: str
    keys: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """The address that a user gives to `Chat`."""
        return f"{self.address}/v1"

    def wait_for_requests(self, count: int, timeout: float = 10) -> list[Served]:
        """The journal, when it has so many requests for an answer."""
        until = time.monotonic() + timeout
        while len(journal := self.journal()) < count:
            assert time.monotonic() < until, f"{len(journal)} requests in {timeout} s, expected {count}"
        return journal

    def journal(self) -> list[Served]:
        """Every request for an answer, oldest first, but for those whose key was refused."""
        headers = {"authorization": f"Bearer {self.keys[0]}"} if self.keys else {}
        request = urllib.request.Request(f"{self.address}/__aimock/journal", headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            rows = json.load(answer)
        return [
            Served(row["timestamp"] / 1000, row["path"], row["response"]["status"], row["body"])
            for row in rows
        ]


@contextmanager
def aimock(folder: Path, *fixtures: Fixture, keys: tuple[str, ...] = ()) -> Iterator[Aimock]:
    """Run the server on `fixtures`, of which the first that matches is served.

    With `keys`, whoever brings none of them gets a 401.
    """
    file = folder / "fixtures.json"
    file.write_text(json.dumps({"fixtures": fixtures}))
    command = ["node", str(_PROGRAM), "--port", "0", "--fixtures", str(file), "--validate-on-load"]
    with subprocess.Popen(
        command, env=_environment(keys), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        try:
            address = _address_in(process.stdout)
            with _read_on(process.stdout, process):
                yield Aimock(address, keys)
        finally:
            process.kill()


@contextmanager
def _read_on(output: IO[str], process: subprocess.Popen[str]) -> Iterator[None]:
    """Drop what the server says from now on: it would wait at a full pipe."""
    reader = threading.Thread(target=deque[str], args=(output, 0), daemon=True)
    reader.start()
    try:
        yield
    finally:
        process.kill()  # asked politely, it would wait for the connections that are kept alive
        reader.join(10)


def _environment(keys: tuple[str, ...]) -> dict[str, str]:
    """Our environment without settings of aimock's, and with the keys that it accepts."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AIMOCK_")}
    return {**ours, "AIMOCK_API_KEYS": ",".join(keys)} if keys else ours


def _address_in(output: IO[str]) -> str:
    """Wait for the line that says where it listens."""
    said: list[str] = []
    for line in output:
        said.append(line)
        if _LISTENING in line:
            return line.partition(_LISTENING)[2].strip()
    raise AssertionError("aimock ended before it listened:\n" + "".join(said))
