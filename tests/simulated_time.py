"""Time that only a test lets pass: hours in minutes, and everybody who sleeps wakes in turn."""

from __future__ import annotations

import asyncio
import heapq
from typing import Any


class SimulatedTime:
    """A clock, in seconds, and what sleeps by it. A woken task has its turn until it sleeps again, or ends."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now
        self._sleeping: list[tuple[float, int, asyncio.Task[Any], asyncio.Future[None]]] = []
        self._asleep: set[asyncio.Task[Any]] = set()
        self._count = 0
        self._changed = asyncio.Event()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Sleep until so much time has passed here."""
        task, woken = asyncio.current_task(), asyncio.get_running_loop().create_future()
        assert task is not None
        self._count += 1
        heapq.heappush(self._sleeping, (self.now + seconds, self._count, task, woken))
        self._asleep.add(task)
        self._changed.set()
        try:
            await woken
        finally:
            self._asleep.discard(task)

    async def passes(self, seconds: float) -> None:
        """Let time pass, moment by moment."""
        until = self.now + seconds
        while self._sleeping and self._sleeping[0][0] <= until:
            moment, _, task, woken = heapq.heappop(self._sleeping)
            if woken.done():
                continue  # who slept is no more
            self.now = max(self.now, moment)
            self._asleep.discard(task)
            task.add_done_callback(self._ended)
            woken.set_result(None)
            while not (task in self._asleep or task.done()):
                self._changed.clear()
                await self._changed.wait()
            task.remove_done_callback(self._ended)
        self.now = until

    def _ended(self, _: asyncio.Task[Any]) -> None:
        self._changed.set()


__all__ = ["SimulatedTime"]
