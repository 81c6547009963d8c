"""Done at once where nothing has to be waited for, else in a task from there on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from jupyter_ssechat.gateway.eager import at_once

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, 30))


class Work:
    """Does one thing, waits for `gate` if there is one, twice, and does another."""

    def __init__(self, gate: asyncio.Event | None = None) -> None:
        self.done: list[str] = []
        self._gate = gate

    async def __call__(self) -> None:
        try:
            self.done.append("one")
            if self._gate is not None:
                await self._gate.wait()
                await asyncio.sleep(0)
            self.done.append("two")
        finally:
            self.done.append("left")


def test_what_need_not_wait_is_done_without_a_loop() -> None:
    work = Work()
    assert at_once(work()) is None
    assert work.done == ["one", "two", "left"]


def test_what_has_to_wait_goes_on_in_a_task() -> None:
    async def wait() -> None:
        work = Work(gate := asyncio.Event())
        rest = at_once(work())
        assert rest is not None and work.done == ["one"]
        task = asyncio.ensure_future(rest)
        await asyncio.sleep(0)
        assert work.done == ["one"]
        gate.set()
        await task
        assert work.done == ["one", "two", "left"]

    run(wait())


def test_a_wait_that_is_over_before_the_task_begins_is_over() -> None:
    async def wait() -> None:
        work = Work(gate := asyncio.Event())
        rest = at_once(work())
        gate.set()
        assert rest is not None
        await rest
        assert work.done == ["one", "two", "left"]

    run(wait())


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_a_rest_that_is_cancelled_leaves_what_it_is_in(turns: int) -> None:
    async def cancel() -> None:
        work = Work(asyncio.Event())
        rest = at_once(work())
        assert rest is not None
        task = asyncio.ensure_future(rest)
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        del rest, task
        assert work.done == ["one", "left"]

    run(cancel())


def test_what_goes_wrong_at_once_is_raised_at_once_and_later_in_the_task() -> None:
    async def fail(gate: asyncio.Event) -> None:
        if not gate.is_set():
            await gate.wait()
        raise ValueError("said")

    async def both() -> None:
        gate = asyncio.Event()
        rest = at_once(fail(gate))
        gate.set()
        with pytest.raises(ValueError, match="said"):
            at_once(fail(gate))
        assert rest is not None
        with pytest.raises(ValueError, match="said"):
            await rest

    run(both())
