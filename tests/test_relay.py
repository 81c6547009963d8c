"""The bounded queue between an upstream and its reader: order, bounds, silence, and who ends whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar

import pytest

from jupyter_ssechat.errors import ConnectionFailed, UpstreamError
from jupyter_ssechat.gateway.relay import DEPTH, Relay
from jupyter_ssechat.patches import Patch

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, 10))


def text(number: int) -> list[Patch]:
    return [Patch("response/content", "APPEND", str(number))]


class Source:
    """An upstream that counts how far it was read, and knows when it was closed."""

    def __init__(self, length: int, last: Exception | None = None) -> None:
        self.given = 0
        self.closed = asyncio.Event()
        self._length = length
        self._last = last
        self.waiting = asyncio.Event()

    async def stream(self) -> AsyncGenerator[list[Patch]]:
        try:
            while self.given < self._length:
                self.given += 1
                yield text(self.given)
            if self._last is not None:
                raise self._last
        finally:
            self.closed.set()

    async def endless(self) -> AsyncGenerator[list[Patch]]:
        try:
            self.waiting.set()
            await asyncio.Event().wait()
            yield []
        finally:
            await asyncio.sleep(0)  # a connection takes a turn of the loop to close
            self.closed.set()


async def settled(reached: Callable[[], bool], turns: int = 50) -> None:
    """Let the loop turn until nothing more can happen without us."""
    for _ in range(turns):
        await asyncio.sleep(0)
    assert reached()


def test_patches_come_in_their_order_and_after_them_the_word_that_the_stream_broke_off() -> None:
    async def read() -> None:
        async with Relay(Source(30).stream()) as relay:
            assert [await relay.take() for _ in range(30)] == [text(n) for n in range(1, 31)]
            with pytest.raises(UpstreamError, match="ended before the answer was complete") as error:
                await relay.take()
            assert error.value.type == "upstream_interrupted"

    run(read())


def test_what_the_upstream_raises_comes_after_all_that_it_gave() -> None:
    async def read() -> None:
        async with Relay(Source(3, ConnectionFailed("cut")).stream()) as relay:
            assert [await relay.take() for _ in range(3)] == [text(1), text(2), text(3)]
            with pytest.raises(ConnectionFailed, match="cut"):
                await relay.take()

    run(read())


@pytest.mark.parametrize("depth", [1, DEPTH, 20])
def test_an_upstream_is_read_ahead_by_no_more_than_the_depth(depth: int) -> None:
    async def read() -> None:
        source = Source(1_000_000)
        async with Relay(source.stream(), depth) as relay:
            await settled(lambda: source.given == depth + 1)  # one waits in the hand
            for taken in range(1, 4):
                assert await relay.take() == text(taken)
                await settled(lambda taken=taken: source.given == depth + 1 + taken)

    run(read())


def test_silence_is_none_and_nothing_is_lost_by_it() -> None:
    async def read() -> None:
        go = asyncio.Event()

        async def stream() -> AsyncGenerator[list[Patch]]:
            await go.wait()
            yield text(1)

        async with Relay(stream()) as relay:
            assert await relay.take(0) is None
            assert await relay.take(0.01) is None
            go.set()
            assert await relay.take(10) == text(1)

    run(read())


def test_others_have_their_turn_between_two_events_that_are_there_already() -> None:
    async def main() -> None:
        source, turns = Source(DEPTH), list[int]()
        async with Relay(source.stream()) as relay:
            await settled(lambda: source.closed.is_set())
            for number in range(1, DEPTH + 1):
                asyncio.get_running_loop().call_soon(turns.append, number)
                assert await relay.take() == text(number)
                assert turns[-1] == number

    run(main())


def test_leaving_ends_an_upstream_that_waits_and_returns_when_it_is_closed() -> None:
    async def read() -> None:
        source = Source(0)
        async with Relay(source.endless()):
            await source.waiting.wait()
        assert source.closed.is_set()

    run(read())


def test_leaving_ends_an_upstream_that_is_held_up() -> None:
    async def read() -> None:
        source = Source(1_000_000)
        async with Relay(source.stream(), 2):
            await settled(lambda: source.given == 3)
        assert source.closed.is_set() and source.given == 3

    run(read())


def test_a_reader_that_is_cancelled_while_it_waits_ends_the_upstream() -> None:
    async def read(source: Source) -> None:
        async with Relay(source.endless()) as relay:
            await relay.take()

    async def main() -> None:
        source = Source(0)
        reading = asyncio.create_task(read(source))
        await source.waiting.wait()
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled() and source.closed.is_set()

    run(main())


def test_closing_twice_is_no_error() -> None:
    async def read() -> None:
        relay = Relay(Source(1).stream())
        await relay.aclose()
        await relay.aclose()

    run(read())
