"""Patches → frames → readers: the stream log of one generation (protocols section 4).

Each frame is encoded once. A reader is an index into the list of frames and shares one wake-up with all
others, so a thousand readers cost a thousand writes and nothing more. A reader attaches in one step: the
snapshot at this moment, then the frames from this moment on; no gap, no duplicate. Since a late reader
starts from the snapshot, frames that every reader has passed are dropped: memory is bounded by the text and
by the slowest reader's lag, and a reader that lags too far is detached (it can resume).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from ..patches import Document, Patch, PatchEncoder, snapshot_data
from ..sse import comment, encode
from ..wire_json import dumps
from .audience import Audience

KEEP_ALIVE = comment("keep-alive")
MAX_LAG_BYTES = 8 * 2**20
TRIM_EVERY = 256


class Reader:
    """One open connection: what it gets first, then its place among the frames."""

    def __init__(self, log: StreamLog, first: bytes, position: int) -> None:
        self._log = log
        self._first = first
        self.position = position
        self.detached = False

    async def frames(self, keep_alive: float) -> AsyncGenerator[bytes]:
        """Yield bytes to send until the stream ends; a comment after `keep_alive` seconds of silence."""
        try:
            yield self._first
            while not self.detached:
                wake = self._log.wake
                if ready := self._log.take(self):
                    yield ready
                elif self._log.closed:
                    return
                elif not await _happens(wake, keep_alive):
                    yield KEEP_ALIVE
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the log, also of one of which nothing was read."""
        self._log.detach(self)


class StreamLog:
    """The frames of one generation, numbered ``<epoch>-<seq>``, and its readers; lives on one event loop."""

    def __init__(
        self,
        document: Document,
        *,
        epoch: int,
        opening: bytes,
        max_lag: int = MAX_LAG_BYTES,
        audience: Audience | None = None,
    ) -> None:
        self.document = document
        self.epoch = epoch
        self.seq = 0
        self.closed = False
        self.wake = asyncio.Event()
        self._opening = opening
        self._encoder = PatchEncoder()
        self._frames: list[bytes] = []
        self._start = 0
        self._size = 0
        self._max_lag = max_lag
        self._readers: set[Reader] = set()
        self.audience = audience or Audience()

    def write(self, patches: Sequence[Patch]) -> None:
        """Append patches that the document has taken."""
        for patch in patches:
            self.seq += 1
            data = dumps(self._encoder.encode(patch))
            self._push(encode(data=data, id=self._cursor()))
        self._ring()

    def event(self, name: str, data: object) -> None:
        """Append a named event."""
        self._push(encode(event=name, data=dumps(data)))
        self._ring()

    def close(self) -> None:
        """End the stream; readers get what is left and then the end of the body."""
        self.closed = True
        self._ring()

    def attach(self) -> Reader:
        """Open a reader at this moment: it starts with the snapshot and misses nothing after it."""
        data = dumps(snapshot_data(self.document))
        first = self._opening + encode(data=data, id=self._cursor())
        if sync := self._encoder.sync():
            first += encode(data=dumps(sync))
        return self._admit(Reader(self, first, self._start + len(self._frames)))

    def _admit(self, reader: Reader) -> Reader:
        self._readers.add(reader)
        self.audience.came(reader)
        return reader

    def detach(self, reader: Reader) -> None:
        """Let a reader go; what that means for the generation is not the log's business."""
        reader.detached = True
        self._readers.discard(reader)
        self.audience.left(reader, whole=self.closed and reader.position == self._end())

    def take(self, reader: Reader) -> bytes:
        """Everything that `reader` has not had, as one piece."""
        ready = self._frames[reader.position - self._start :]
        reader.position += len(ready)
        return ready[0] if len(ready) == 1 else b"".join(ready)

    @property
    def readers(self) -> int:
        """How many connections are open."""
        return len(self._readers)

    def _cursor(self) -> str:
        return f"{self.epoch}-{self.seq}"

    def _push(self, frame: bytes) -> None:
        self._frames.append(frame)
        self._size += len(frame)
        if self._size > self._max_lag or len(self._frames) % TRIM_EVERY == 0:
            self._trim()

    def _trim(self) -> None:
        self._drop_until(min((reader.position for reader in self._readers), default=self._end()))
        if self._size > self._max_lag:
            keep = self._end() - len(self._frames) // 2
            for slow in [reader for reader in self._readers if reader.position < keep]:
                self.detach(slow)
            self._drop_until(keep)

    def _drop_until(self, position: int) -> None:
        dropped = self._frames[: position - self._start]
        self._size -= sum(map(len, dropped))
        del self._frames[: len(dropped)]
        self._start += len(dropped)

    def _end(self) -> int:
        return self._start + len(self._frames)

    def _ring(self) -> None:
        # A fresh Event for those who wait next: nobody has to clear the one that was rung.
        rung, self.wake = self.wake, asyncio.Event()
        rung.set()


def opening(ready: dict[str, Any], updated_at: float) -> bytes:
    """The two events before the snapshot."""
    return encode(event="ready", data=dumps(ready)) + encode(
        event="update_session", data=dumps({"updated_at": updated_at})
    )


async def _happens(wake: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        return False
    return True
