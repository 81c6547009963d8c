"""A reply → its text, piece by piece, for a loop: what `Chat.stream` and `Chat.astream` return."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from queue import SimpleQueue
from types import TracebackType

from .message import Delta
from .reply import Reply


class DeltaStream(Iterator[Delta]):
    """The text of a reply as it arrives; closing it early stops the answer.

    Raises AnswerFailed at the end of an answer that failed or was interrupted: a loop over the text never ends
    as if it were whole. `reply` is the reply itself.
    """

    def __init__(self) -> None:
        self.reply: Reply
        self._deltas: SimpleQueue[Delta | None] = SimpleQueue()
        self.put = self._deltas.put
        self._ended = False

    def __next__(self) -> Delta:
        if self._ended:
            raise StopIteration
        try:
            delta = self._deltas.get()
        except KeyboardInterrupt:
            self.close()
            raise
        if delta is not None:
            return delta
        self._ended = True
        if self.reply.refusal is not None:
            raise self.reply.refusal
        self.reply.raise_for_status()
        raise StopIteration

    def close(self) -> None:
        """Stop the answer, if it still runs."""
        self._ended = True
        self.reply.ask_to_stop()

    def __del__(self) -> None:
        if not self._ended and hasattr(self, "reply"):  # a loop that was left by `break`; else nothing began
            self.close()

    def __enter__(self) -> DeltaStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncDeltaStream(AsyncIterator[Delta]):
    """The async twin of `DeltaStream`, for the loop it is created on."""

    def __init__(self) -> None:
        self.reply: Reply
        self._deltas: asyncio.Queue[Delta | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._ended = False

    def put(self, delta: Delta | None) -> None:
        """Take a delta from the consumer's thread."""
        try:
            self._loop.call_soon_threadsafe(self._deltas.put_nowait, delta)
        except RuntimeError:  # its loop is closed: nobody will ever read this
            self.reply.ask_to_stop()

    async def __anext__(self) -> Delta:
        if self._ended:
            raise StopAsyncIteration
        try:
            delta = await self._deltas.get()
        except asyncio.CancelledError:
            await self.aclose()
            raise
        if delta is not None:
            return delta
        self._ended = True
        if self.reply.refusal is not None:
            raise self.reply.refusal
        self.reply.raise_for_status()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stop the answer, if it still runs."""
        self._ended = True
        self.reply.ask_to_stop()

    async def __aenter__(self) -> AsyncDeltaStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
