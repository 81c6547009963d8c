"""A store in an SQLite file: durable on one machine, for one process or for several."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from .sqlite_pools import SQLitePools
from .sqlite_rows import (
    ONE,
    ROW,
    Connection,
    drop_old_logs,
    drop_quiet_logs,
    forget,
    head_of,
    insert,
    row_of,
    tail_of,
    write,
)
from .sqlite_schema import SCHEMA
from .sqlite_thread import SQLiteThread
from .store import (
    Append,
    Change,
    Claim,
    Head,
    Key,
    News,
    Outcome,
    Position,
    Standing,
    Stored,
)

LOOK_SECONDS = 0.025
LINGER_SECONDS = 60.0
_STANDING = "fence, end_fence, end, running, stop, attended"


class SQLiteStore:
    """The file at `path`. `clock` gives seconds; sessions that nobody changes for `keep` seconds expire."""

    flush_seconds = 0.02
    shared = True

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Callable[[], float] = time.time,
        keep: float | None = None,
    ) -> None:
        path = Path(path).expanduser()
        self._clock = clock
        self._keep = keep
        self._writer = SQLiteThread(path, schema=SCHEMA)
        self._reader = SQLiteThread(path, writes=False)
        self.pools = SQLitePools(self._writer, clock)
        self._bell = asyncio.Event()
        self._seen = -1
        self._tidy_at = 0.0

    async def create(self, head: Head) -> None:
        """Open an empty session."""

        def work(db: Connection) -> None:
            self._let_expire(db)
            row = (head.id, head.title, head.updated_at, head.user, self._clock())
            columns = "id, title, updated_at, user, touched"
            db.execute(f"INSERT INTO sessions ({columns}) VALUES (?, ?, ?, ?, ?)", row)

        await self._writer.call(work)

    async def heads(self, user: str = "") -> list[Head]:
        """Every session of a user, the newest first."""
        query = "SELECT id, title, updated_at, version, user FROM sessions WHERE user = ? AND NOT gone"

        def work(db: Connection) -> list[Head]:
            self._let_expire(db)
            return [Head(*row) for row in db.execute(f"{query} ORDER BY updated_at DESC", (user,))]

        return await self._writer.call(work)

    async def stored(self, user: str | None) -> int:
        """Tell how many bytes the documents of sessions are."""
        query = "SELECT coalesce(sum(size), 0) FROM sessions WHERE NOT gone AND (user = ?1 OR ?1 IS NULL)"

        def work(db: Connection) -> int:
            self._let_expire(db)
            return db.execute(query, (user,)).fetchone()[0]

        return await self._writer.call(work)

    async def load(self, session_id: str, since: int = 0) -> Stored:
        """Give the rows that were changed after version `since`, and those that run."""

        def work(db: Connection) -> Stored:
            self._let_expire(db)
            head = head_of(db, session_id)
            query = f"SELECT {ROW} FROM messages WHERE session = ? AND (version > ? OR running) ORDER BY id"
            found = db.execute(query, (session_id, since)).fetchall()
            return Stored(head, [row_of(db, session_id, fields) for fields in found])

        return await self._writer.call(work)

    async def commit(self, change: Change) -> int:
        """Change a session, if it is still as it was."""

        def work(db: Connection) -> int:
            self._let_expire(db)
            if head_of(db, change.head.id).version != change.head.version:
                return 0
            version = self._touch(db, change.head)
            drop_old_logs(db, change.head.id)
            self._tidy(db)
            lease = self._clock() + change.lease
            for row in change.rows:
                insert(db, change, row, version, lease)
            return version

        return await self._writer.call(work)

    async def delete(self, session_id: str) -> None:
        """Forget a session, but for that it was there."""

        def work(db: Connection) -> None:
            head_of(db, session_id)
            forget(db, session_id)

        await self._writer.call(work)

    async def append(self, appends: Sequence[Append]) -> list[Outcome]:
        """Write to logs."""
        return await self._writer.call(lambda db: [self._append(db, one) for one in appends])

    def _append(self, db: Connection, append: Append) -> Outcome:
        key, fence = append.claim.key, append.claim.fence
        standing = self._stands(db, key)
        if standing is None or standing.fence != fence:
            there = db.execute("SELECT 1 FROM sessions WHERE id = ? AND NOT gone", key[:1]).fetchone()
            return Outcome("fenced" if there else "gone")
        if standing.position.seq >= append.seq:
            return Outcome("ok", standing.stop)
        if not standing.running:
            return Outcome("fenced")
        if standing.position.seq + 1 < append.seq and append.document is None:
            return Outcome("behind", standing.stop)
        write(db, append)
        if append.ended_at is not None:
            head = head_of(db, key.session_id)
            version = self._touch(db, Head(head.id, head.title, append.ended_at, head.version))
            db.execute(f"UPDATE messages SET running = 0, version = ? WHERE {ONE}", (version, *key))
        return Outcome("ok", standing.stop)

    async def stop(self, session_id: str, message_id: int, stream_id: str | None) -> None:
        """Ask the owner to stop it."""
        query = "UPDATE messages SET stop = 1 WHERE session = ? AND id = ? AND running AND stream = coalesce(?, stream)"

        def work(db: Connection) -> None:
            head_of(db, session_id)
            db.execute(query, (session_id, message_id, stream_id))

        await self._writer.call(work)

    async def standing(self, keys: Sequence[Key], attend: float = 0.0) -> list[Standing | None]:
        """Tell where generations are."""
        if not attend:
            return await self._reader.call(lambda db: [self._stands(db, key) for key in keys])
        return await self._update(keys, "attended", attend)

    async def renew(self, claims: Sequence[Claim], lease: float) -> list[Standing | None]:
        """Hold claims, where they still hold."""
        return await self._update([claim.key for claim in claims], "lease", lease, claims)

    async def _update(
        self, keys: Sequence[Key], column: str, seconds: float, claims: Sequence[Claim] = ()
    ) -> list[Standing | None]:
        until = self._clock() + seconds
        only = " AND fence = ?" if claims else ""
        rows = [(until, *key, *((claims[n].fence,) if claims else ())) for n, key in enumerate(keys)]

        def work(db: Connection) -> list[Standing | None]:
            db.executemany(f"UPDATE messages SET {column} = ? WHERE {ONE}{only}", rows)
            return [self._stands(db, key) for key in keys]

        return await self._writer.call(work)

    async def expired(self) -> list[Key]:
        """The generations whose owner is late."""
        query = "SELECT session, id, epoch FROM messages WHERE running AND lease <= ?"
        now = self._clock()
        return await self._reader.call(lambda db: [Key(*row) for row in db.execute(query, (now,))])

    async def seize(self, key: Key, owner: str, lease: float) -> Claim | None:
        """Own a generation whose lease is over."""
        now = self._clock()
        query = f"UPDATE messages SET fence = fence + 1, owner = ?, lease = ? WHERE {ONE} AND running AND lease <= ?"

        def work(db: Connection) -> Claim | None:
            if not db.execute(query, (owner, now + lease, *key, now)).rowcount:
                return None
            version = self._touch(db, head_of(db, key.session_id))
            db.execute(f"UPDATE messages SET version = ? WHERE {ONE}", (version, *key))
            standing = self._stands(db, key)
            return standing and Claim(key, standing.fence, owner)

        return await self._writer.call(work)

    async def news(self, owner: str, followed: Mapping[Key, Position], owned: Collection[Key]) -> News:
        """Look whether the file has changed, again and again, while there is something to look for."""
        look = partial(self._look, dict(followed), tuple(owned))
        while True:
            news = await self._reader.call(look)
            if news.entries or news.stops:
                return news
            if await self._rung(LOOK_SECONDS if followed or owned else None):
                self._bell.clear()
                self._seen = -1
                return news

    async def _rung(self, seconds: float | None) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        except TimeoutError:
            return False
        return True

    def _look(self, followed: Mapping[Key, Position], owned: Iterable[Key], db: Connection) -> News:
        [version] = db.execute("PRAGMA data_version").fetchone()
        if version == self._seen:
            return News()
        self._seen = version
        stops = [key for key in owned if (standing := self._stands(db, key)) and standing.stop]
        entries = {key: tail for key, after in followed.items() if (tail := tail_of(db, key, after))}
        return News(entries, stops)

    def wake(self, owner: str) -> None:
        """Let `news` return."""
        self._bell.set()

    async def secret(self) -> str:
        """Give what all workers of this store know and nobody else."""

        def work(db: Connection) -> str:
            made = "INSERT INTO secret SELECT ? WHERE NOT EXISTS (SELECT 1 FROM secret)"
            db.execute(made, (secrets.token_hex(32),))
            return db.execute("SELECT value FROM secret").fetchone()[0]

        return await self._writer.call(work)

    async def aclose(self) -> None:
        """Close the file."""
        await self._reader.aclose()
        await self._writer.aclose()

    def _stands(self, db: Connection, key: Key) -> Standing | None:
        query = f"SELECT {_STANDING} FROM messages WHERE {ONE}"
        found = db.execute(query, key).fetchone()
        if found is None:
            return None
        fence, end_fence, end, running, stop, attended = found
        position = Position(end_fence, end)
        return Standing(fence, position, bool(running), bool(stop), attended > self._clock())

    def _touch(self, db: Connection, head: Head) -> int:
        changes = "title = ?, updated_at = ?, touched = ?, version = version + 1"
        query = f"UPDATE sessions SET {changes} WHERE id = ? RETURNING version"
        [version] = db.execute(query, (head.title, head.updated_at, self._clock(), head.id)).fetchone()
        return version

    def _tidy(self, db: Connection) -> None:
        """Drop the logs of answers that ended some time ago, once in a while."""
        now = self._clock()
        if now >= self._tidy_at:
            self._tidy_at = now + LINGER_SECONDS
            drop_quiet_logs(db, now - LINGER_SECONDS)

    def _let_expire(self, db: Connection) -> None:
        if self._keep is None:
            return
        running = "SELECT 1 FROM messages WHERE session = sessions.id AND running"
        query = f"SELECT id FROM sessions WHERE NOT gone AND touched <= ? AND NOT EXISTS ({running})"
        for [session_id] in db.execute(query, (self._clock() - self._keep,)).fetchall():
            forget(db, session_id)


__all__ = ["SQLiteStore"]
