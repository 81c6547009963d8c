"""The generations that one worker owns or shows, and what keeps them in step with its store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from typing import Any

from ..errors import GatewayError
from ..message import stopped
from .appender import Appender
from .ending import end
from .generation import Generation
from .journal import StoreHealth
from .mirror import Mirror
from .owned_log import DirectLog, OwnedLog
from .sessions import Record
from .stores.store import Claim, Key, Row, Standing, Store, StoreUnavailable

RETRY_SECONDS = 0.1
DRAIN_SECONDS = 2.0
HELD = 0.7
RENEWED = 0.2
LOOKED = 0.1
"""Parts of the lease: for how long the store lets an owner go on, how often it renews that, and how often
workers look for owners that are late. So a dead one is found within the lease."""


class Streams:
    """Everything that streams here; lives on one event loop. `lease` is in seconds, which `sleep` sleeps.

    `take_over` is called with the claim to a generation whose owner is dead.
    """

    def __init__(
        self,
        store: Store,
        owner: str,
        lease: float,
        take_over: Callable[[Claim], Awaitable[None]],
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.store = store
        self.owner = owner
        self.lease = lease * HELD
        self._period = lease
        self._take_over = take_over
        self._sleep = sleep
        self._health = StoreHealth()
        self._appender = Appender(store, self._health)
        self._mirrors: dict[Key, Mirror] = {}
        self._owned: dict[Key, Generation[OwnedLog]] = {}
        self._stopping: set[Key] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loops: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        """Begin to watch the store, if others use it too."""
        if self.store.shared and not self._loops:
            loops = (self._listen, self._hold, self._visit, self._look)
            self._loops = [asyncio.create_task(_again_and_again(each)) for each in loops]

    # ---- what is here ----

    def live(self, key: Key, row: Row) -> Record | None:
        """The message of a generation that is shown here, with all that the store says in `row`.

        Who has seen more at another worker must not see less here.
        """
        if (mirror := self.mirror(key)) is None:
            return None
        mirror.catch_up(row)
        return mirror.record

    def mirror(self, key: Key) -> Mirror | None:
        """A generation that is shown here and has not ended."""
        mirror = self._mirrors.get(key)
        return mirror if mirror and not mirror.ended else None

    def owned(self, key: Key) -> Generation[OwnedLog] | None:
        """A generation that is owned here and has not ended."""
        return self._owned.get(key)

    def of_session(self, session_id: str) -> tuple[list[Generation[OwnedLog]], list[Mirror]]:
        """What is owned and what is only shown here of one session."""
        owned = [one for key, one in self._owned.items() if key.session_id == session_id]
        shown = [one for key, one in self._mirrors.items() if key.session_id == session_id]
        return owned, [one for one in shown if one.key not in self._owned]

    # ---- begin and end ----

    def log(self, claim: Claim, mirror: Mirror) -> OwnedLog:
        """The log of a generation that is owned here from now on."""
        self._mirrors[claim.key] = mirror
        kind = OwnedLog if self.store.shared else DirectLog
        return kind(claim, mirror, self._appender.ready, self._settled)

    def own(self, generation: Generation[OwnedLog]) -> None:
        """Answer for a generation: renew its lease, and stop it when somebody asks for that."""
        self.begin()
        self._owned[generation.log.claim.key] = generation
        self._changed()

    def follow(self, mirror: Mirror) -> None:
        """Show a generation that somebody else owns, for as long as it has readers here."""
        self.begin()
        self._mirrors[mirror.key] = mirror
        self._changed()
        self._spawn(self._attend([mirror.key]))

    async def caught_up(self, key: Key) -> Mirror | None:
        """A generation that is shown here, with all that the store has of it; also one whose first reader comes
        meanwhile, who would else be shown what nobody writes to."""
        caught_up: Mirror | None = None
        while (mirror := self.mirror(key)) is not caught_up:
            if mirror is not None:
                await self._reload(mirror)
            caught_up = mirror
        return caught_up

    async def aclose(self) -> None:
        """Hand over what is owned to who comes next, and tell all readers to come again."""
        await end(self._loops)
        owned = tuple(self._owned.values())
        await asyncio.gather(*(generation.let_go() for generation in owned))
        await self._appender.drain(DRAIN_SECONDS)
        await self._appender.aclose()
        with contextlib.suppress(StoreUnavailable):  # then the leases run out by themselves
            if claims := [generation.log.claim for generation in owned]:
                await self.store.renew(claims, 0)
        for mirror in self._mirrors.values():
            if not mirror.ended:
                mirror.stream.hand_over()
        await end(self._tasks)

    # ---- what the store says ----

    async def _listen(self) -> None:
        while True:
            followed = {one.key: one.record.position for one in self._followed()}
            owned = self._owned.keys() - self._stopping
            try:
                news = await self.store.news(self.owner, followed, owned)
                for key, entries in news.entries.items():
                    mirror = self._mirrors.get(key)
                    if mirror and key not in self._owned and not mirror.take(entries):
                        await self._reload(mirror)
            except StoreUnavailable as error:
                self._health.away("watch", error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._health.back("watch")
                self._stop(news.stops)
            self._drop_ended()

    async def _hold(self) -> None:
        """Renew what is owned; nothing else is in its way, for a lease that runs out costs an answer."""
        while True:
            await self._sleep(self._period * RENEWED)
            with contextlib.suppress(StoreUnavailable):
                await self._renew()

    async def _visit(self) -> None:
        """Say where there are readers, and see whether what they read still goes on."""
        while True:
            await self._sleep(self._period * RENEWED)
            with contextlib.suppress(StoreUnavailable):
                await self._attend([one.key for one in self._followed()])
            self._drop_ended()

    async def _renew(self) -> None:
        owned = tuple(self._owned.items())
        if not owned:
            return
        standings = await self.store.renew([one.log.claim for _, one in owned], self.lease)
        for (key, generation), standing in zip(owned, standings, strict=True):
            if standing is None:
                self._spawn(generation.stop())  # its session was deleted
            elif standing.fence != generation.log.claim.fence:
                generation.log.lose()
            else:
                generation.log.audience.elsewhere(standing.attended)
                self._stop([key] if standing.stop else [])

    async def _attend(self, keys: Collection[Key]) -> None:
        mirrors = [mirror for key in keys if (mirror := self._mirrors.get(key))]
        for mirror in mirrors:
            if not mirror.stream.readers and mirror.key not in self._owned:
                self._mirrors.pop(mirror.key, None)
        shown = [mirror for mirror in mirrors if mirror.stream.readers]
        if not shown:
            return
        standings = await self.store.standing([one.key for one in shown], attend=self.lease)
        for mirror, standing in zip(shown, standings, strict=True):
            if _is_behind(mirror, standing) and mirror.key not in self._owned:
                await self._reload(mirror)

    async def _look(self) -> None:
        since_trouble = 0.0
        while True:
            await self._sleep(max(self._period * LOOKED, since_trouble))
            since_trouble = 0.0
            try:
                expired = await self.store.expired()
                self._health.back("watch")
                for key in expired:
                    if key not in self._owned and (
                        claim := await self.store.seize(key, self.owner, self.lease)
                    ):
                        self._spawn(self._take_over(claim))
            except StoreUnavailable as error:
                self._health.away("watch", error)
                since_trouble = self._period  # give those who are alive time to say so

    async def _reload(self, mirror: Mirror) -> None:
        """Show what the store has, also where entries are missing."""
        try:
            stored = await self.store.load(mirror.key.session_id)
        except StoreUnavailable:
            raise
        except GatewayError:
            mirror.end(stopped())
            return
        rows = [row for row in stored.rows if row.message_id == mirror.key.message_id]
        for row in rows:
            if row.epoch == mirror.key.epoch:
                mirror.catch_up(row)
        if not any(row.epoch == mirror.key.epoch for row in rows) and not mirror.ended:
            mirror.stream.hand_over()  # it has gone on as another generation: who reads comes again

    # ---- what follows from it ----

    def _stop(self, keys: Iterable[Key]) -> None:
        for key in keys:
            generation = self._owned.get(key)
            if generation and key not in self._stopping:
                self._stopping.add(key)
                self._spawn(generation.stop())

    def _settled(self, log: OwnedLog) -> None:
        """Answer for a generation no more: its end is in the store, or somebody else owns it."""
        generation = self._owned.pop(log.claim.key, None)
        self._stopping.discard(log.claim.key)
        if log.lost and generation is not None:
            self._spawn(generation.let_go())
            self._changed()
        self._drop_ended()

    def _followed(self) -> list[Mirror]:
        return [one for key, one in self._mirrors.items() if key not in self._owned and not one.ended]

    def _drop_ended(self) -> None:
        for key in [key for key, mirror in self._mirrors.items() if mirror.ended]:
            del self._mirrors[key]

    def _changed(self) -> None:
        if self.store.shared:
            self.store.wake(self.owner)
        self._drop_ended()

    def _spawn(self, doing: Coroutine[Any, Any, Any] | Awaitable[Any]) -> None:
        task = asyncio.ensure_future(doing)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _again_and_again(loop: Callable[[], Awaitable[None]]) -> None:
    """Run `loop`, which ends by no fault of the store; another fault is told, and does not end it either."""
    while True:
        try:
            await loop()
        except Exception as error:
            context = {"message": "a worker's watch over its store failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
            await asyncio.sleep(RETRY_SECONDS)


def _is_behind(mirror: Mirror, standing: Standing | None) -> bool:
    """Whether a mirror may have missed something for good: then the news would never tell it."""
    return standing is None or not standing.running or standing.position < mirror.record.position


__all__ = ["Streams"]
