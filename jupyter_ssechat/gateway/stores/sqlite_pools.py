"""Pools in an SQLite file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from ..limits import Rate
from .pools import Place, spent
from .sqlite_rows import Connection
from .sqlite_thread import SQLiteThread


class SQLitePools:
    """The tables `pools` and `rates` of the file that `thread` writes; `clock` gives seconds."""

    def __init__(self, thread: SQLiteThread, clock: Callable[[], float]) -> None:
        self._thread = thread
        self._clock = clock

    async def take(self, place: Place, seconds: float) -> str | None:
        """Take a place in all of its pools; or in none, and tell which one is full."""
        now = self._clock()

        def work(db: Connection) -> str | None:
            db.execute("DELETE FROM pools WHERE until <= ?", (now,))
            for pool, most in place.pools.items():
                query = "SELECT count(*), coalesce(sum(member = ?), 0) FROM pools WHERE pool = ?"
                taken, mine = db.execute(query, (place.member, pool)).fetchone()
                if taken >= most and not mine:
                    return pool
            _put(db, [place], now + seconds)
            return None

        return await self._thread.call(work)

    async def hold(self, places: Collection[Place], seconds: float) -> None:
        """Have places for so many more seconds."""
        until = self._clock() + seconds
        await self._thread.call(lambda db: _put(db, places, until))

    async def leave(self, places: Collection[Place]) -> None:
        """Leave places."""
        gone = [(pool, place.member) for place in places for pool in place.pools]

        def work(db: Connection) -> None:
            db.executemany("DELETE FROM pools WHERE pool = ? AND member = ?", gone)

        await self._thread.call(work)

    async def spend(self, pool: str, rate: Rate) -> float:
        """Count a call; or tell how many seconds to wait."""
        now = self._clock()

        def work(db: Connection) -> float:
            db.execute("DELETE FROM rates WHERE filled <= ?", (now,))
            found = db.execute("SELECT filled FROM rates WHERE pool = ?", (pool,)).fetchone()
            filled, wait = spent(found[0] if found else 0.0, now, rate)
            db.execute("INSERT OR REPLACE INTO rates VALUES (?, ?)", (pool, filled))
            return wait

        return await self._thread.call(work)


def _put(db: Connection, places: Iterable[Place], until: float) -> None:
    rows = [(pool, place.member, until) for place in places for pool in place.pools]
    db.executemany("INSERT OR REPLACE INTO pools VALUES (?, ?, ?)", rows)


__all__ = ["SQLitePools"]
