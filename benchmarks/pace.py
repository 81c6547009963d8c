"""Tokens at a steady rate or one by one, and an upstream that gives them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from jupyter_ssechat.message import finished
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.request import Request


class Source:
    """Gives `tokens`, `rate` a second from the first `step` on, or without a rate one for each `step`.

    The rate is that of a clock, not of the length of sleeps: who was late catches up.
    """

    def __init__(self, tokens: Sequence[str], rate: float | None) -> None:
        self._tokens = tokens
        self._rate = rate
        self._steps = asyncio.Semaphore(0)

    async def stream(self) -> AsyncGenerator[str]:
        """Yield the tokens, once."""
        self._loop = asyncio.get_running_loop()
        if self._rate is None:
            for token in self._tokens:
                await self._steps.acquire()
                yield token
        else:
            await self._steps.acquire()
            async for token in paced(self._tokens, self._rate):
                yield token

    def step(self) -> None:
        """Go on; any thread may call it, once the stream is being read."""
        self._loop.call_soon_threadsafe(self._steps.release)


async def paced(tokens: Sequence[str], rate: float) -> AsyncGenerator[str]:
    """Yield `rate` tokens a second."""
    clock = asyncio.get_running_loop().time
    begun = clock()
    for number, token in enumerate(tokens):
        if (wait := begun + number / rate - clock()) > 0:
            await asyncio.sleep(wait)
        yield token


class SourceUpstream:
    """An upstream with one answer, from a source."""

    name = "source"

    def __init__(self, source: Source) -> None:
        self._source = source

    async def stream(self, request: Request) -> AsyncGenerator[list[Patch]]:
        """Yield the tokens, each in a patch."""
        async for token in self._source.stream():
            yield [Patch("response/content", "APPEND", token)]
        yield finished()

    async def models(self) -> list[str]:
        """No list."""
        return []

    async def aclose(self) -> None:
        """Nothing to let go of."""
