"""Patches → frames → readers: the stream log of one generation (protocols section 4).

Each frame is encoded once. A reader is an index into the list of frames, told once of all that is written in
one turn of the loop, so a thousand readers cost a thousand writes and little more. A reader attaches in one
step: the snapshot at this moment, then the frames from this moment on; no gap, no duplicate. Since a late reader
starts from the snapshot, frames that every reader has passed are dropped: memory is bounded by the text and
by the slowest reader's lag, and a reader that lags too far is detached (it can resume).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from ..patches import Document, Patch, PatchEncoder, snapshot_data
from ..sse import comment, encode
from ..wire_json import dumps
from .audience import Audience
from .journal import WARNING, Field, tell

KEEP_ALIVE = comment("keep-alive")
MAX_LAG_BYTES = 8 * 2**20
PIECE_BYTES = 2**16
TRIM_EVERY = 256


class Reader:
    """One open connection: what it gets first, then its place among the frames.

    `on_more` is called when there is more to take, or when it has ended.
    """

    __slots__ = ("_first", "_log", "detached", "on_more", "position")

    def __init__(self, log: StreamLog, first: bytes, position: int) -> None:
        self._log = log
        self._first = first
        self.position = position
        self.detached = False
        self.on_more: Callable[[], object] = _nobody

    def take(self) -> bytes:
        """Return the next piece to send; empty when there is none now."""
        if first := self._first:
            self._first = b""
            return first
        return b"" if self.detached else self._log.take(self)

    @property
    def ended(self) -> bool:
        """Whether nothing comes any more, once there is nothing to take."""
        return self.detached or self._log.closed

    async def frames(self, keep_alive: float) -> AsyncGenerator[bytes]:
        """Yield bytes to send until the stream ends; a comment after `keep_alive` seconds of silence."""
        more = asyncio.Event()
        self.on_more = more.set
        try:
            while True:
                more.clear()
                while piece := self.take():
                    yield piece
                if self.ended:
                    return
                if not await _happens(more, keep_alive):
                    yield KEEP_ALIVE
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the log, also of one of which nothing was read."""
        self._log.detach(self)


class StreamLog:
    """The frames of one generation, numbered ``<epoch>-<seq>``, and its readers; lives on one event loop.

    `about` is what the journal says of it.
    """

    about: Mapping[str, Field] = {}

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
        self._opening = opening
        self._encoder = PatchEncoder()
        self._frames: list[bytes] = []
        self._start = 0
        self._size = 0
        self._max_lag = max_lag
        self._readers: set[Reader] = set()
        self._rung = False
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
        """Return what `reader` has not had, as one piece that ends with the frame that fills PIECE_BYTES."""
        frames, begin, size = self._frames, reader.position - self._start, 0
        end = begin
        while end < len(frames) and size < PIECE_BYTES:
            size += len(frames[end])
            end += 1
        reader.position += end - begin
        return frames[begin] if end == begin + 1 else b"".join(frames[begin:end])

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
                slow.on_more()
                tell("reader too slow", WARNING, **self.about, epoch=self.epoch)
            self._drop_until(keep)

    def _drop_until(self, position: int) -> None:
        dropped = self._frames[: position - self._start]
        self._size -= sum(map(len, dropped))
        del self._frames[: len(dropped)]
        self._start += len(dropped)

    def _end(self) -> int:
        return self._start + len(self._frames)

    def _ring(self) -> None:
        # In the next turn of the loop: a writer in a hurry makes one piece for each reader, and not many.
        if self._readers and not self._rung:
            self._rung = True
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._rung = False
        for reader in tuple(self._readers):
            reader.on_more()


def opening(ready: dict[str, Any], updated_at: float) -> bytes:
    """The two events before the snapshot."""
    return encode(event="ready", data=dumps(ready)) + encode(
        event="update_session", data=dumps({"updated_at": updated_at})
    )


def _nobody() -> None:
    """Do nothing: nobody listens yet."""


async def _happens(wake: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        return False
    return True
