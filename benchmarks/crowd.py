"""Many sockets that read one stream and count, as cheaply as asyncio can."""

from __future__ import annotations

import asyncio
import threading

from .processes import Serve

SECONDS = 100.0
END_OF_BODY = b"0\r\n\r\n"


class Crowd:
    """`size` readers that send `request` to `port`, on a loop in a thread of their own."""

    def __init__(self, port: int, request: bytes, size: int) -> None:
        self.request = request
        self.attached = threading.Semaphore(0)
        self.arrived = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)
        self._readers = [Counting(self) for _ in range(size)]
        threading.Thread(target=asyncio.run, args=(self._read(port),), daemon=True).start()

    async def _read(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        for reader in self._readers:
            await loop.create_connection(lambda reader=reader: reader, "127.0.0.1", port)
        await asyncio.Event().wait()

    def wait(self, happening: threading.Semaphore) -> None:
        """Wait until it has happened once for each reader."""
        for _ in self._readers:
            if not happening.acquire(timeout=SECONDS):
                raise TimeoutError(f"a reader got nothing for {SECONDS:g} s")

    def count(self) -> tuple[int, int]:
        """How many events have come after the first piece, and in how many chunks of HTTP: all readers together."""
        events = [reader.events for reader in self._readers]
        if min(events) != max(events):
            raise AssertionError(f"readers of one stream got {min(events)} to {max(events)} events")
        return sum(events), sum(reader.line_ends // 2 for reader in self._readers)


class Counting(asyncio.Protocol):
    """One reader: sends its request and counts."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._attached = False
        self.events = 0
        self.line_ends = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._crowd.request)

    def data_received(self, data: bytes) -> None:
        """Count; the events themselves hold no CRLF, and are too small to be cut in two."""
        events = data.count(b"\n\n")
        if not self._attached:  # the head, then the first piece with all that stands
            if events:
                self._attached = True
                self._crowd.attached.release()
            return
        self.events += events
        self.line_ends += data.count(b"\r\n")
        if events:
            self._crowd.arrived.release(events)
        if data.endswith(END_OF_BODY):
            self._crowd.ended.release()


def crowd(serve: Serve, port: int, request: bytes, size: int) -> None:
    """Be the process of a crowd."""
    readers = Crowd(port, request, size)
    serve(
        None,
        {
            "attached": lambda: readers.wait(readers.attached),
            "arrived": lambda: readers.wait(readers.arrived),
            "ended": lambda: readers.wait(readers.ended),
            "count": readers.count,
        },
    )
