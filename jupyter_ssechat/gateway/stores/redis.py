"""A store in Redis: for many workers, on one machine or on many.

Names: ``ssechat:{SESSION}`` the session, ``…:MESSAGE:EPOCH`` a log, a Redis stream; ``…:known`` outlives it.
``ssechat:sessions``, ``ssechat:sessions:USER`` and ``ssechat:leases`` are indexes, which may name what is gone;
``ssechat:{usage}:…`` is how large sessions are; ``ssechat:inbox:WORKER`` wakes a worker.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ...wire_json import dumps
from .redis_calls import Command, script
from .redis_cluster import calls_at
from .redis_pools import RedisPools
from .redis_rows import (
    FIELDS,
    LEASES,
    SECRET,
    SIZES,
    UNTILS,
    USED,
    entries_of,
    entry_id,
    head_of,
    inbox_name,
    key_of,
    log_name,
    member,
    missing,
    names_of,
    row_of,
    session_name,
    sessions_name,
    standing_of,
    values_of,
)
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
    spell,
)

KEEP_SECONDS = 30 * 86400.0
GATHER_SECONDS = 0.02
OVERLAP = 64
GONE = -1
INBOX_SECONDS, INBOX_ENTRIES = 60, 1000


class RedisStore:
    """The Redis server, or cluster, at `url`. Sessions that nobody changes for `keep` seconds expire.

    `clock` gives seconds, for tests; without one the server's own clock counts.
    """

    flush_seconds = 0.025
    shared = True

    def __init__(
        self, url: str, *, clock: Callable[[], float] | None = None, keep: float = KEEP_SECONDS
    ) -> None:
        self.calls = calls_at(url)
        self._clock = clock
        self._keep = max(int(keep), 1)
        self.pools = RedisPools(self.calls, self._now)
        self._heard = "0-0"
        self._told_at = 0.0
        self._waking: set[asyncio.Task[Any]] = set()

    async def create(self, head: Head) -> None:
        """Open an empty session."""
        named = script("create", names_of(head.id), head.title, head.updated_at, self._keep, head.user)
        await self.calls.one(*named)
        await self._index(
            [("ZADD", sessions_name(head.user), head.updated_at, head.id)], head.id, head.user, 0
        )

    async def heads(self, user: str = "") -> list[Head]:
        """Every session of a user, the newest first."""
        ids: list[str] = await self.calls.one("ZREVRANGE", sessions_name(user), 0, -1)
        if not ids:
            return []
        found = await self.calls.all(
            *(("HMGET", session_name(one), "title", "updated_at", "version", "user") for one in ids)
        )
        gone = [one for one, fields in zip(ids, found, strict=True) if fields[2] is None]
        if gone:
            await self.calls.one("ZREM", sessions_name(user), *gone)
        heads = [
            head_of(one, fields) for one, fields in zip(ids, found, strict=True) if fields[2] is not None
        ]
        return sorted(heads, key=lambda head: -head.updated_at)

    async def stored(self, user: str | None) -> int:
        """Tell how many bytes the documents of sessions are."""
        field = "all" if user is None else f"user:{user}"
        while await self._index([]):
            pass
        return int(await self.calls.one("HGET", USED, field) or 0)

    async def _index(self, commands: Sequence[Command], *weights: str | int) -> int:
        """Write to the indexes, and how large sessions are: for each its id, its user, its bytes.

        Some of what has expired is forgotten each time; returns how many sessions.
        """
        weigh = script("weigh", (SIZES, USED, UNTILS), self._now(), self._keep, *weights)
        *_, expired = await self.calls.all(*commands, weigh)
        if expired:
            await self.calls.all(*(("ZREM", sessions_name(user), one) for one, user in expired))
        return len(expired)

    async def load(self, session_id: str, since: int = 0) -> Stored:
        """Give the rows that were changed after version `since`, and those that run."""
        found = await self.calls.one(*script("load", names_of(session_id), since, *FIELDS))
        if isinstance(found, int):
            raise missing(session_id, found)
        head, rows = found
        return Stored(head_of(session_id, head), [row_of(*row) for row in rows])

    async def commit(self, change: Change) -> int:
        """Change a session, if it is still as it was."""
        head, now, nonce = change.head, self._now(), uuid.uuid4().hex
        rows = [value for row in change.rows for value in values_of(row)]
        said = (head.version, nonce, head.title, head.updated_at, now, change.lease, change.owner, self._keep)
        commit = script("commit", names_of(head.id), *said, len(FIELDS), *FIELDS, *rows)
        # The index goes first: what it names too early does no harm, what it lacks would never end.
        until = await self._time() + change.lease
        running = [member(Key(head.id, row.message_id, row.epoch)) for row in change.rows if row.running]
        leases = [("ZADD", LEASES, until, one) for one in running]
        *_, result = await self.calls.in_order(leases, [commit])
        if isinstance(result, int):
            if result < 0:
                raise missing(head.id, -1 - result)
            return 0
        version, user, size = result
        await self._index([_place(head.id, head.updated_at, user)], head.id, user, size)
        return version

    async def delete(self, session_id: str) -> None:
        """Forget a session, but for that it was there."""
        result = await self.calls.one(*script("delete", names_of(session_id)))
        if isinstance(result, int):
            raise missing(session_id, -1 - result)
        [user] = result
        await self._index([("ZREM", sessions_name(user), session_id)], session_id, user, GONE)

    async def append(self, appends: Sequence[Append]) -> list[Outcome]:
        """Write to logs, all of them in one round trip."""
        results = await self.calls.all(*map(self._append, appends))
        commands: list[Command] = []
        weights: list[str] = []
        for one, (_, _, *weight) in zip(appends, results, strict=True):
            if one.ended_at is not None and weight:
                key, [user, size] = one.claim.key, weight
                commands += [("ZREM", LEASES, member(key)), _place(key.session_id, one.ended_at, user)]
                weights += [key.session_id, user, size]
        if commands:
            await self._index(commands, *weights)
        return [Outcome(verdict, stop == "1") for verdict, stop, *_ in results]

    def _append(self, append: Append) -> Command:
        key, fence = append.claim.key, append.claim.fence
        session, known = names_of(key.session_id)
        document = "" if append.document is None else dumps(append.document)
        ended_at = "" if append.ended_at is None else append.ended_at
        said = (
            append.seq,
            spell(append.patches),
            document,
            ended_at,
            self._keep,
            OVERLAP,
            append.claim.owner,
        )
        return script("append", (session, log_name(key), known), key.message_id, key.epoch, fence, *said)

    async def stop(self, session_id: str, message_id: int, stream_id: str | None) -> None:
        """Ask the owner to stop it."""
        found = await self.calls.one(*script("stop", names_of(session_id), message_id, stream_id or ""))
        if not isinstance(found, int):
            owner, epoch = found
            await self._post(owner, stop=member(Key(session_id, message_id, int(epoch))))
        elif found < 0:
            raise missing(session_id, -1 - found)

    async def standing(self, keys: Sequence[Key], attend: float = 0.0) -> list[Standing | None]:
        """Tell where generations are."""
        field = "attended" if attend else ""
        return await self._stand([self._stands(key, field, attend) for key in keys])

    async def renew(self, claims: Sequence[Claim], lease: float) -> list[Standing | None]:
        """Hold claims, where they still hold."""
        until = await self._time() + lease
        standings = await self._stand([self._stands(one.key, "lease", lease, one.fence) for one in claims])
        held = [
            member(claim.key)
            for claim, standing in zip(claims, standings, strict=True)
            if standing and standing.running and standing.fence == claim.fence
        ]
        if held:
            await self.calls.all(*(("ZADD", LEASES, until, one) for one in held))
        return standings

    def _stands(self, key: Key, field: str = "", seconds: float = 0.0, fence: int | str = "") -> Command:
        said = (key.message_id, key.epoch, self._now(), field, seconds, fence)
        return script("stand", names_of(key.session_id), *said)

    async def _stand(self, asked: Sequence[Command]) -> list[Standing | None]:
        return [standing_of(result) for result in await self.calls.all(*asked)] if asked else []

    async def expired(self) -> list[Key]:
        """The generations whose owner is late; the index is set right where it errs."""
        now = await self._time()
        late: list[str] = await self.calls.one("ZRANGEBYSCORE", LEASES, "-inf", now)
        if not late:
            return []
        keys = list(map(key_of, late))
        results = await self.calls.all(*map(self._stands, keys))
        over = [one for one, is_now in zip(late, results, strict=True) if not is_now or is_now[2] != "1"]
        if over:
            await self.calls.one("ZREM", LEASES, *over)
        alive = zip(keys, results, strict=True)
        return [key for key, is_now in alive if is_now and is_now[2] == "1" and float(is_now[5]) <= now]

    async def seize(self, key: Key, owner: str, lease: float) -> Claim | None:
        """Own a generation whose lease is over."""
        said = (key.message_id, key.epoch, self._now(), owner, lease)
        until = await self._time() + lease
        fence, _ = await self.calls.all(
            script("seize", names_of(key.session_id), *said), ("ZADD", LEASES, "XX", until, member(key))
        )
        return Claim(key, fence, owner) if fence else None

    async def news(self, owner: str, followed: Mapping[Key, Position], owned: Collection[Key]) -> News:
        """Wait in one blocking read over all that is followed."""
        await asyncio.sleep(max(self._told_at + GATHER_SECONDS - time.monotonic(), 0))
        inbox = inbox_name(owner)
        logs = {log_name(key): key for key in followed}
        after = {log_name(key): entry_id(position) for key, position in followed.items()}
        found = await self.calls.read({inbox: self._heard, **after})
        self._told_at = time.monotonic()
        letters = found.pop(inbox, [])
        if letters:
            self._heard = letters[-1][0]
        stops = [key_of(fields["stop"]) for _, fields in letters if "stop" in fields]
        entries = {logs[name]: entries_of(lines) for name, lines in found.items()}
        return News(entries, stops)

    def wake(self, owner: str) -> None:
        """Let `news` return."""
        task = asyncio.create_task(self._wake(owner))
        self._waking.add(task)
        task.add_done_callback(self._waking.discard)

    async def _wake(self, owner: str) -> None:
        try:
            await self._post(owner, wake="1")
        except Exception:  # `news` returns by itself before long
            return

    async def _post(self, owner: str, **letter: str) -> None:
        [(name, said)] = letter.items()
        inbox = inbox_name(owner)
        add = ("XADD", inbox, "MAXLEN", "~", INBOX_ENTRIES, "*", name, said)
        await self.calls.all(add, ("EXPIRE", inbox, INBOX_SECONDS))

    async def secret(self) -> str:
        """Give what all workers of this store know and nobody else."""
        _, secret = await self.calls.all(("SET", SECRET, secrets.token_hex(32), "NX"), ("GET", SECRET))
        return secret

    async def aclose(self) -> None:
        """Close every connection."""
        for task in tuple(self._waking):
            task.cancel()
        await asyncio.gather(*self._waking, return_exceptions=True)
        await self.calls.aclose()

    def _now(self) -> float | str:
        return "" if self._clock is None else self._clock()

    async def _time(self) -> float:
        if self._clock is not None:
            return self._clock()
        seconds, micros = await self.calls.one("TIME")
        return float(seconds) + float(micros) / 1e6


def _place(session_id: str, updated_at: float, user: str) -> Command:
    """What puts a session that has changed in its place among those of its user."""
    return ("ZADD", sessions_name(user), "XX", updated_at, session_id)


__all__ = ["RedisStore"]
