"""Readers that see how long each token was on its way, in a process of their own."""

from __future__ import annotations

import asyncio
import re
import threading
import time

from .processes import Serve

APART = 0.001
SECONDS = 100.0
STAMP = re.compile(rb"<(\d+\.\d{6})>")


class Stopwatch(asyncio.Protocol):
    """One reader: sends its request and notes the seconds that each token took."""

    def __init__(self, request: bytes) -> None:
        self.taken: list[float] = []
        self.ended = threading.Event()
        self._request = request
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Read the stamps; one that is cut in two waits for its rest."""
        now, text = time.monotonic(), self._rest + data
        self.taken += [now - float(stamp) for stamp in STAMP.findall(text)]
        self._rest = text[-20:].rpartition(b">")[2]
        if text.endswith(b"0\r\n\r\n"):
            self.ended.set()


class Readers:
    """Reads all `requests` from `port`, begun a little apart."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self._watches = [Stopwatch(request) for request in requests]
        threading.Thread(target=asyncio.run, args=(self._read(port),), daemon=True).start()

    async def _read(self, port: int) -> None:
        for watch in self._watches:
            await asyncio.get_running_loop().create_connection(lambda watch=watch: watch, "127.0.0.1", port)
            await asyncio.sleep(APART)
        await asyncio.Event().wait()

    def taken(self) -> list[float]:
        """The seconds of all tokens of all readers, when all have ended."""
        for watch in self._watches:
            if not watch.ended.wait(SECONDS):
                raise TimeoutError(f"a stream did not end within {SECONDS:g} s")
        return [seconds for watch in self._watches for seconds in watch.taken]


def readers(serve: Serve, port: int, requests: list[bytes]) -> None:
    """Be the process of readers."""
    serve(None, {"taken": Readers(port, requests).taken})
