"""Tasks that find their work waiting → turns of the event loop that stay short, however much work there is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

SLICE_SECONDS = 0.01


class TimeSlice:
    """The time that many tasks share in one turn of their loop; `clock` gives seconds.

    A task that finds more to read whenever it looks never waits, and so never lets go. Of a few hundred such each
    turn of the loop would take as long as all that has piled up, and whatever needs several turns, such as an
    answer of the store, would take minutes.
    """

    def __init__(self, seconds: float = SLICE_SECONDS, clock: Callable[[], float] = monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._ends = 0.0
        self._running = False

    async def share(self) -> None:
        """Let the others go on where this turn has lasted long enough."""
        if not self._running:
            self._running = True
            self._ends = self._clock() + self._seconds
            asyncio.get_running_loop().call_soon(self._over)
        elif self._clock() >= self._ends:
            await asyncio.sleep(0)

    def _over(self) -> None:
        self._running = False


__all__ = ["SLICE_SECONDS", "TimeSlice"]
