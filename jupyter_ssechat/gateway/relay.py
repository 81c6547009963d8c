"""An upstream → its patches through a bounded queue: a reader that stalls holds the upstream up, and nothing grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from ..errors import UpstreamError
from ..patches import Patch

DEPTH = 8
CUT = "the model server's stream ended before the answer was complete; what arrived of it is no whole answer"


class Relay:
    """Reads `stream` ahead of its reader by at most `depth` events, each what one read of the network brought.

    Leaving the block ends the upstream generation at once, whatever it waits for. Lives on one event loop.
    """

    def __init__(self, stream: AsyncGenerator[list[Patch]], depth: int = DEPTH) -> None:
        self._queue: asyncio.Queue[list[Patch] | Exception] = asyncio.Queue(depth)
        self._pumping = asyncio.create_task(self._pump(stream))

    async def take(self, patience: float | None = None) -> list[Patch] | None:
        """Return the next patches, or None when none come within `patience` seconds.

        Raises what the upstream raises, after all that it gave before; UpstreamError when it ends. Whoever
        reads an answer that is whole stops at its terminal status.
        """
        if self._queue.empty():
            try:
                async with asyncio.timeout(patience):
                    item = await self._queue.get()
            except TimeoutError:
                return None
        else:
            await asyncio.sleep(0)  # an answer in a hurry shall not outrun the news that its reader has left
            item = self._queue.get_nowait()
        if isinstance(item, Exception):
            raise item
        return item

    async def aclose(self) -> None:
        """End the upstream generation, and wait until its connection is closed. Safe to call twice."""
        self._pumping.cancel()
        await asyncio.wait([self._pumping])

    async def __aenter__(self) -> Relay:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _pump(self, stream: AsyncGenerator[list[Patch]]) -> None:
        try:
            async with aclosing(stream):
                async for patches in stream:
                    await self._queue.put(patches)
            last: Exception = UpstreamError(CUT, type="upstream_interrupted")
        except Exception as error:  # the reader's to judge
            last = error
        await self._queue.put(last)


__all__ = ["DEPTH", "Relay"]
