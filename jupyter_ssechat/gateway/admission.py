"""Limits → who is let in: streams, readers, stored bytes and calls, counted over all workers of a store."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from ..errors import LimitExceeded
from .ending import end
from .limits import Limits
from .stores.pools import Place
from .stores.store import Store, StoreUnavailable
from .users import User

Kind = Literal["streams", "readers"]
BUSY_SECONDS, FULL_SECONDS = 5.0, 60.0
RENEWED = 0.2
"""How often a place is held, in parts of the lease: who dies leaves all places within one."""

_SAID = {
    ("streams", "user"): "{most} of your answers are being generated, the most at a time; stop one, or wait",
    ("streams", "all"): "{most} answers are being generated, the most of this gateway; wait",
    ("readers", "user"): "{most} of your connections are open, the most at a time; close one, or wait",
    ("readers", "all"): "{most} readers are connected, the most of this gateway; wait",
}


class Taken:
    """A place until it is left; leaving it twice is leaving it once."""

    def __init__(self, leave: Callable[[], object] = lambda: None) -> None:
        self._leave: Callable[[], object] | None = leave

    def leave(self) -> None:
        """Give it to somebody else."""
        leave, self._leave = self._leave, None
        if leave:
            leave()


class Admission:
    """Lets each user in up to their own limits, and all together up to `in_all`; LimitExceeded says what is full.

    Where there is no limit, nothing is counted. Places are held for `lease` seconds at a time. Lives on one event
    loop.
    """

    def __init__(self, store: Store, in_all: Limits | None = None, *, lease: float = 10.0) -> None:
        self._store = store
        self._in_all = in_all or Limits()
        self._lease = lease
        self._held: dict[str, Place] = {}
        self._holding: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[Any]] = set()

    async def call(self, user: User) -> None:
        """Let a user call, unless that was too often."""
        for limits, pool in ((user.limits, f"user/{user.name}"), (self._in_all, "all")):
            if limits.rate and (wait := await self._store.pools.spend(pool, limits.rate)):
                whose = "you" if limits is user.limits else "all together"
                raise _refused(f"more calls than the {limits.rate} that {whose} may make; slow down", wait)

    async def room(self, user: User, *also: str) -> None:
        """Let a user have something stored, unless there is too much already, with what belongs to `also`."""
        for limits, names in ((user.limits, (user.name, *also)), (self._in_all, (None,))):
            if limits.stored is None:
                continue
            stored = [await self._store.stored(name) for name in names]
            if sum(stored) >= limits.stored:
                whose = "all conversations" if limits is self._in_all else "your conversations"
                size = f"{limits.stored / 1e6:g} MB"
                raise _refused(f"{whose} take the {size} that they may; delete some", FULL_SECONDS)

    async def stream(self, user: User, stream_id: str) -> Taken:
        """Let a user have one more answer generated."""
        return await self._take("streams", user, stream_id)

    async def reader(self, user: User) -> Taken:
        """Let a user open one more connection that reads."""
        return await self._take("readers", user, uuid.uuid4().hex)

    def keep(self, user: User, stream_id: str) -> Taken:
        """Count an answer that goes on here, whatever the limits."""
        place = self._place("streams", user, stream_id)
        return self._hold(place) if place else Taken()

    async def aclose(self) -> None:
        """Leave every place."""
        await end([self._holding] if self._holding else [])
        held, self._held = list(self._held.values()), {}
        await asyncio.gather(*self._leaving, self._leave(held))

    async def _take(self, kind: Kind, user: User, member: str) -> Taken:
        place = self._place(kind, user, member)
        if place is None:
            return Taken()
        full = await self._store.pools.take(place, self._lease)
        if full is not None:
            whose = full.split("/")[1]
            raise _refused(_SAID[kind, whose].format(most=place.pools[full]), BUSY_SECONDS)
        return self._hold(place)

    def _place(self, kind: Kind, user: User, member: str) -> Place | None:
        mine, all_together = getattr(user.limits, kind), getattr(self._in_all, kind)
        most = {f"{kind}/user/{user.name}": mine, f"{kind}/all": all_together}
        pools = {pool: limit for pool, limit in most.items() if limit is not None}
        return Place(member, pools) if pools else None

    def _hold(self, place: Place) -> Taken:
        self._held[place.member] = place
        if self._holding is None:
            self._holding = asyncio.create_task(self._hold_on())
        return Taken(lambda: self._let_go(place))

    async def _hold_on(self) -> None:
        while True:
            await asyncio.sleep(self._lease * RENEWED)
            with contextlib.suppress(StoreUnavailable):
                await self._store.pools.hold(list(self._held.values()), self._lease)

    def _let_go(self, place: Place) -> None:
        if self._held.pop(place.member, None):
            self._spawn(self._leave([place]))

    async def _leave(self, places: list[Place]) -> None:
        with contextlib.suppress(StoreUnavailable):  # then they are free when the lease is over
            await self._store.pools.leave(places)

    def _spawn(self, doing: Awaitable[None]) -> None:
        task = asyncio.ensure_future(doing)
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


def _refused(message: str, wait: float) -> LimitExceeded:
    error = LimitExceeded(message, status=429, code=42900)
    error.retry_after = wait
    return error


__all__ = ["Admission", "Taken"]
