"""Pools in the memory of this process."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ..limits import Rate
from .pools import Place, spent

MOST_RATES = 10_000


class MemoryPools:
    """Who is where, and until when; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pools: dict[str, dict[str, float]] = {}
        self._filled: dict[str, float] = {}

    async def take(self, place: Place, seconds: float) -> str | None:
        """Take a place in all of its pools; or in none, and tell which one is full."""
        for pool, most in place.pools.items():
            members = self._members(pool)
            if len(members) >= most and place.member not in members:
                return pool
        await self.hold([place], seconds)
        return None

    async def hold(self, places: Collection[Place], seconds: float) -> None:
        """Have places for so many more seconds."""
        until = self._clock() + seconds
        for place in places:
            for pool in place.pools:
                self._pools.setdefault(pool, {})[place.member] = until

    async def leave(self, places: Collection[Place]) -> None:
        """Leave places."""
        for place in places:
            for pool in place.pools:
                members = self._pools.get(pool, {})
                members.pop(place.member, None)
                if not members:
                    self._pools.pop(pool, None)

    async def spend(self, pool: str, rate: Rate) -> float:
        """Count a call; or tell how many seconds to wait."""
        now = self._clock()
        if len(self._filled) > MOST_RATES:
            self._filled = {name: until for name, until in self._filled.items() if until > now}
        self._filled[pool], wait = spent(self._filled.get(pool, 0.0), now, rate)
        return wait

    def _members(self, pool: str) -> dict[str, float]:
        now = self._clock()
        found = {name: until for name, until in self._pools.get(pool, {}).items() if until > now}
        if found:
            self._pools[pool] = found
        else:
            self._pools.pop(pool, None)
        return found


__all__ = ["MemoryPools"]
