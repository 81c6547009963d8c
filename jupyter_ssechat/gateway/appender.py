"""Logs that have something to append → one call of the store for all of them, at most so many times a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from ..eager import at_once
from .ending import end
from .journal import StoreHealth
from .owned_log import OwnedLog
from .stores.store import Append, Outcome, Store, StoreUnavailable

RETRY_SECONDS = 0.1
BUSY_FACTOR = 2.0


class Appender:
    """What one worker writes to its store.

    A store without a pause takes it at once, before `ready` returns. One that is slow or busy gets larger
    appends and not more of them, and one that is away gets the same again until it is back.
    """

    def __init__(self, store: Store, health: StoreHealth) -> None:
        self._store = store
        self._health = health
        self._ready: dict[OwnedLog, None] = {}
        self._task: asyncio.Task[None] | None = None
        self._next = 0.0

    def ready(self, log: OwnedLog) -> None:
        """Append what `log` has, now or with the next call."""
        self._ready[log] = None
        if self._store.flush_seconds == 0 and self._task is None:
            if (rest := at_once(self._flush())) is not None:
                raise RuntimeError(f"a store without a pause has to answer at once; {rest!r} waits")
        elif self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def drain(self, seconds: float) -> None:
        """Wait until all is appended, or so long."""
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task], timeout=seconds)

    async def aclose(self) -> None:
        """Append no more."""
        if self._task is not None:
            await end([self._task])

    async def _run(self) -> None:
        while self._ready:
            await asyncio.sleep(max(self._next - time.monotonic(), 0))
            began = time.monotonic()
            await self._flush()
            ended = time.monotonic()
            self._next = ended + max(self._store.flush_seconds, BUSY_FACTOR * (ended - began))

    async def _flush(self) -> None:
        logs = [(log, append) for log in self._ready if (append := log.next()) is not None]
        self._ready.clear()
        if not logs:
            return
        outcomes = await self._append([append for _, append in logs])
        for (log, _), outcome in zip(logs, outcomes, strict=True):
            log.settle(outcome)

    async def _append(self, appends: Sequence[Append]) -> list[Outcome]:
        while True:
            try:
                outcomes = await self._store.append(appends)
            except StoreUnavailable as error:
                self._health.away("appender", error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._health.back("appender")
                return outcomes


__all__ = ["Appender"]
