"""Pools in Redis: ``ssechat:{pools}:POOL``, a sorted set of members by their time, and ``…:rate:POOL``, a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from ..limits import Rate
from .pools import Place
from .redis_calls import script
from .redis_cluster import Calls
from .redis_rows import PREFIX

POOLS = f"{PREFIX}{{pools}}:"
NO_LIMIT = 10**15


class RedisPools:
    """Pools at the server of `calls`; `now` gives seconds, or "" for the server's own clock."""

    def __init__(self, calls: Calls, now: Callable[[], float | str]) -> None:
        self._calls = calls
        self._now = now

    async def take(self, place: Place, seconds: float) -> str | None:
        """Take a place in all of its pools; or in none, and tell which one is full."""
        pools = list(place.pools)
        said = (self._now(), seconds, place.member, *place.pools.values())
        full: int = await self._calls.one(*script("take", _names(pools), *said))
        return pools[full - 1] if full else None

    async def hold(self, places: Collection[Place], seconds: float) -> None:
        """Have places for so many more seconds."""
        now = self._now()
        held = [
            script("take", _names(place.pools), now, seconds, place.member, *[NO_LIMIT] * len(place.pools))
            for place in places
        ]
        if held:
            await self._calls.all(*held)

    async def leave(self, places: Collection[Place]) -> None:
        """Leave places."""
        if gone := [("ZREM", name, place.member) for place in places for name in _names(place.pools)]:
            await self._calls.all(*gone)

    async def spend(self, pool: str, rate: Rate) -> float:
        """Count a call; or tell how many seconds to wait."""
        said = (self._now(), rate.seconds / rate.calls, rate.seconds)
        return float(await self._calls.one(*script("spend", _names([f"rate:{pool}"]), *said)))


def _names(pools: Iterable[str]) -> list[str]:
    return [f"{POOLS}{pool}" for pool in pools]


__all__ = ["RedisPools"]
