"""Done at once where nothing has to be waited for, else in a task or with a deadline from there on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

import pytest

from jupyter_ssechat.eager import at_once, within

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


def in_time(doing: Coroutine[Any, Any, T], seconds: float) -> Coroutine[Any, Any, T]:
    return within(doing, lambda: asyncio.get_running_loop().time() + seconds)


def test_what_is_there_already_needs_no_deadline() -> None:
    async def there() -> str:
        return "it"

    def never_asked() -> float:
        raise AssertionError("there is nothing to wait for")

    assert run(within(there(), never_asked)) == "it"


def test_what_has_to_wait_comes_within_its_deadline() -> None:
    async def wait() -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        return "it"

    assert run(in_time(wait(), 30)) == "it"


def test_what_is_overdue_is_told_so_where_it_waits() -> None:
    said: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            said.append("told")
            raise

    with pytest.raises(TimeoutError):
        run(in_time(wait(), 0.001))
    assert said == ["told"]


def test_an_iterator_that_is_overdue_can_be_closed() -> None:
    closed: list[str] = []

    async def numbers() -> AsyncGenerator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            closed.append("closed")

    async def read() -> None:
        async with aclosing(numbers()) as each:
            assert await in_time(anext(each), 30) == 1
            with pytest.raises(TimeoutError):
                await in_time(anext(each), 0.001)
        with pytest.raises(StopAsyncIteration):
            await in_time(anext(each), 30)

    run(read())
    assert closed == ["closed"]


@pytest.mark.parametrize("turns", [1, 2])
def test_who_is_cancelled_from_outside_is_cancelled(turns: int) -> None:
    async def cancel() -> None:
        work = Work(asyncio.Event())
        task = asyncio.ensure_future(in_time(work(), 30))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert work.done == ["one", "left"]

    run(cancel())
