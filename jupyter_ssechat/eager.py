"""An awaitable → as much of it as can be done without waiting, now and without a task or a timer."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

T = TypeVar("T")


def at_once(doing: Awaitable[None]) -> Awaitable[None] | None:
    """Do it now; where it has to wait, return the rest, to be awaited in a task.

    This is what eager tasks do (Python 3.12), but a task is made only where there is a rest. What is done here
    must not ask for its task, as `asyncio.timeout` does: it would get that of the caller.
    """
    steps = doing.__await__()
    try:
        waits_for = next(steps)
    except StopIteration:
        return None
    return _begun(waits_for, steps)


async def within(doing: Awaitable[T], due: Callable[[], float | None]) -> T:
    """Await it, until the moment that `due` tells when there is something to wait for; TimeoutError then.

    Moments are those of the loop's clock, None is never. A timer costs more than to take what has arrived already.
    """
    steps = doing.__await__()
    try:
        waits_for = next(steps)
    except StopIteration as done:
        return done.value
    async with asyncio.timeout_at(due()):
        return await _begun(waits_for, steps)


@types.coroutine
def _begun(waits_for: object, steps: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
    try:
        return (yield from _Rest(waits_for, steps))
    finally:
        steps.close()


class _Rest(Generator[Any, Any, T]):
    """Steps of which the first is done; who is cancelled while waiting for it is told so where it waits."""

    def __init__(self, waits_for: object, steps: Generator[Any, Any, T]) -> None:
        self._waits_for = waits_for  # None is a turn of the loop
        self._told = False
        self._steps = steps

    def send(self, value: Any) -> Any:
        if self._told:
            return self._steps.send(value)
        self._told = True
        return self._waits_for

    def throw(self, *error: Any) -> Any:
        self._told = True
        return self._steps.throw(*error)


__all__ = ["at_once", "within"]
