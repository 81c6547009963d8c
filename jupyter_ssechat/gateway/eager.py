"""An awaitable → as much of it as can be done without waiting, now and without a task."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Generator
from typing import Any


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
    return _rest(waits_for, steps)


@types.coroutine
def _rest(waits_for: object, steps: Generator[Any, Any, None]) -> Generator[Any, Any, None]:
    try:
        yield waits_for
        yield from steps
    finally:
        steps.close()


__all__ = ["at_once"]
