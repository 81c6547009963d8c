"""Places that are taken and left, and calls that are counted: what the workers of a store agree on about limits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..limits import Rate


@dataclass(frozen=True, slots=True)
class Place:
    """One of the places in each of several pools; a pool has at most so many."""

    member: str
    pools: Mapping[str, int] = field(hash=False)


class Pools(Protocol):
    """Who is in which pool. A place that nobody holds for its seconds is free again: its holder is dead."""

    async def take(self, place: Place, seconds: float) -> str | None:
        """Take a place in all of its pools; or in none, and tell which one is full."""
        ...

    async def hold(self, places: Collection[Place], seconds: float) -> None:
        """Have places for so many more seconds, also where there is no room."""
        ...

    async def leave(self, places: Collection[Place]) -> None:
        """Leave places."""
        ...

    async def spend(self, pool: str, rate: Rate) -> float:
        """Count a call; or, where there were too many, tell how many seconds to wait for the next one."""
        ...


def spent(filled_until: float, now: float, rate: Rate) -> tuple[float, float]:
    """What a call makes of a bucket that leaks at `rate`: until when it is filled then, and the seconds to wait if
    there is no room for the call (the generic cell rate algorithm)."""
    step = rate.seconds / rate.calls
    then = max(filled_until, now) + step
    wait = then - rate.seconds - now
    return (filled_until, wait) if wait > 1e-9 else (then, 0.0)


__all__ = ["Place", "Pools", "spent"]
