"""A store in the memory of this process: gone with it, and as quick as no store at all."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

from .memory_pools import MemoryPools
from .store import (
    START,
    Append,
    Change,
    Claim,
    Entry,
    Head,
    Key,
    News,
    Outcome,
    Position,
    Row,
    Standing,
    Stored,
    expired,
    size_of,
    unknown,
)

REMEMBERED = 10_000
OVERLAP = 64


@dataclass(slots=True)
class _Message:
    """A row, the version at which it changed, the log since its document, and who owns it."""

    row: Row
    version: int
    end: Position = START
    log: list[Entry] = field(default_factory=list[Entry])
    owner: str = ""
    lease: float = 0.0
    attended: float = 0.0
    stop: bool = False
    size: int = 0

    def tail(self, after: Position) -> list[Entry]:
        """The entries after a position; they are numbered without gaps."""
        if not self.log:
            return []
        return self.log[max(after.seq + 1 - self.log[0].position.seq, 0) :]

    def whole(self) -> Row:
        return replace(self.row, tail=self.tail(self.row.position)) if self.row.running else self.row


@dataclass(slots=True)
class _Session:
    head: Head
    touched: float
    size: int = 0
    messages: dict[int, _Message] = field(default_factory=dict[int, _Message])


class MemoryStore:
    """Sessions as objects. `clock` gives seconds; sessions that nobody changes for `keep` seconds expire."""

    flush_seconds = 0.0

    def __init__(
        self,
        *,
        shared: bool = False,
        clock: Callable[[], float] = time.monotonic,
        keep: float | None = None,
    ) -> None:
        self.shared = shared
        self._clock = clock
        self._keep = keep
        self._sessions: dict[str, _Session] = {}
        self._gone: dict[str, None] = {}
        self._bells: dict[str, asyncio.Event] = {}
        self._stored: Counter[str] = Counter()
        self._secret = secrets.token_hex(32)
        self.pools = MemoryPools(clock)

    async def create(self, head: Head) -> None:
        """Open an empty session."""
        self._let_expire()
        self._sessions[head.id] = _Session(head, self._clock())

    async def heads(self, user: str = "") -> list[Head]:
        """Every session of a user, the newest first."""
        self._let_expire()
        heads = [session.head for session in self._sessions.values() if session.head.user == user]
        return sorted(heads, key=lambda head: -head.updated_at)

    async def stored(self, user: str | None) -> int:
        """Tell how many bytes the documents of sessions are."""
        self._let_expire()
        return self._stored.total() if user is None else self._stored[user]

    async def load(self, session_id: str, since: int = 0) -> Stored:
        """Give the rows that were changed after version `since`, and those that run."""
        session = self._get(session_id)
        rows = [one.whole() for one in session.messages.values() if one.version > since or one.row.running]
        return Stored(session.head, rows)

    async def commit(self, change: Change) -> int:
        """Change a session, if it is still as it was."""
        session = self._get(change.head.id)
        if session.head.version != change.head.version:
            return 0
        version = self._touch(session, change.head)
        for message in session.messages.values():
            if not message.row.running:
                message.log.clear()
        for row in change.rows:
            lease = self._clock() + change.lease
            replaced = session.messages.get(row.message_id)
            message = _Message(row, version, owner=change.owner, lease=lease, size=size_of(row.document))
            session.messages[row.message_id] = message
            self._weigh(session, message.size - (replaced.size if replaced else 0))
        return version

    async def delete(self, session_id: str) -> None:
        """Forget a session, but for that it was there."""
        self._forget(self._get(session_id))
        self._ring()

    async def append(self, appends: Sequence[Append]) -> list[Outcome]:
        """Write to logs."""
        outcomes = [self._append(one) for one in appends]
        if self.shared:
            self._ring()
        return outcomes

    def _append(self, append: Append) -> Outcome:
        claim = append.claim
        message = self._find(claim.key)
        if message is None or message.row.fence != claim.fence:
            return Outcome("fenced" if claim.key.session_id in self._sessions else "gone")
        if message.end.seq >= append.seq:
            return Outcome("ok", message.stop)
        if not message.row.running:
            return Outcome("fenced")
        if message.end.seq + 1 < append.seq and append.document is None:
            return Outcome("behind", message.stop)
        self._write(message, append)
        return Outcome("ok", message.stop)

    def _write(self, message: _Message, append: Append) -> None:
        message.end = Position(append.claim.fence, append.seq)
        message.log.append(Entry(message.end, append.patches))
        if append.document is not None:
            message.row = replace(message.row, document=append.document, position=message.end)
            del message.log[:-OVERLAP]
            before, message.size = message.size, size_of(append.document)
            self._weigh(self._sessions[append.claim.key.session_id], message.size - before)
        if append.ended_at is not None:
            session = self._sessions[append.claim.key.session_id]
            message.row = replace(message.row, running=False)
            message.version = self._touch(session, replace(session.head, updated_at=append.ended_at))

    async def stop(self, session_id: str, message_id: int, stream_id: str | None) -> None:
        """Ask the owner to stop it."""
        message = self._get(session_id).messages.get(message_id)
        if message and message.row.running and stream_id in (None, message.row.stream_id):
            message.stop = True
            self._ring()

    async def standing(self, keys: Sequence[Key], attend: float = 0.0) -> list[Standing | None]:
        """Tell where generations are."""
        if attend:
            for message in filter(None, map(self._find, keys)):
                message.attended = self._clock() + attend
        return [self._stands(self._find(key)) for key in keys]

    async def renew(self, claims: Sequence[Claim], lease: float) -> list[Standing | None]:
        """Hold claims, where they still hold."""
        for claim in claims:
            message = self._find(claim.key)
            if message and message.row.fence == claim.fence:
                message.lease = self._clock() + lease
        return [self._stands(self._find(claim.key)) for claim in claims]

    async def expired(self) -> list[Key]:
        """The generations whose owner is late."""
        now = self._clock()
        return [key for key, message in self._running() if message.lease <= now]

    async def seize(self, key: Key, owner: str, lease: float) -> Claim | None:
        """Own a generation whose lease is over."""
        message = self._find(key)
        if message is None or not message.row.running or message.lease > self._clock():
            return None
        message.row = replace(message.row, fence=message.row.fence + 1)
        message.owner, message.lease = owner, self._clock() + lease
        session = self._sessions[key.session_id]
        message.version = self._touch(session, session.head)
        return Claim(key, message.row.fence, owner)

    async def news(self, owner: str, followed: Mapping[Key, Position], owned: Collection[Key]) -> News:
        """Wait for what is new."""
        bell = self._bells.setdefault(owner, asyncio.Event())
        news = self._look(followed, owned)
        if not (news.entries or news.stops):
            await bell.wait()
            news = self._look(followed, owned)
        bell.clear()
        return news

    def _look(self, followed: Mapping[Key, Position], owned: Collection[Key]) -> News:
        entries = {
            key: tail
            for key, after in followed.items()
            if (message := self._find(key)) and (tail := message.tail(after))
        }
        stops = [key for key in owned if (message := self._find(key)) and message.stop]
        return News(entries, stops)

    def wake(self, owner: str) -> None:
        """Let `news` return."""
        self._bells.setdefault(owner, asyncio.Event()).set()

    def _ring(self) -> None:
        for bell in self._bells.values():
            bell.set()

    async def secret(self) -> str:
        """Give what all workers of this store know and nobody else."""
        return self._secret

    async def aclose(self) -> None:
        """Nothing to let go of: it is gone with the process."""

    def _get(self, session_id: str) -> _Session:
        self._let_expire()
        if session := self._sessions.get(session_id):
            return session
        raise expired(session_id) if session_id in self._gone else unknown(session_id)

    def _find(self, key: Key) -> _Message | None:
        session = self._sessions.get(key.session_id)
        message = session and session.messages.get(key.message_id)
        return message if message and message.row.epoch == key.epoch else None

    def _running(self) -> Iterator[tuple[Key, _Message]]:
        for session in self._sessions.values():
            for message in session.messages.values():
                if message.row.running:
                    yield Key(session.head.id, message.row.message_id, message.row.epoch), message

    def _stands(self, message: _Message | None) -> Standing | None:
        if message is None:
            return None
        attended = message.attended > self._clock()
        return Standing(message.row.fence, message.end, message.row.running, message.stop, attended)

    def _touch(self, session: _Session, head: Head) -> int:
        session.head = replace(head, version=session.head.version + 1)
        session.touched = self._clock()
        self._sessions[head.id] = self._sessions.pop(head.id)  # the order is that of the last change
        return session.head.version

    def _weigh(self, session: _Session, more: int) -> None:
        session.size += more
        self._stored[session.head.user] += more
        if not self._stored[session.head.user]:
            del self._stored[session.head.user]

    def _forget(self, session: _Session) -> None:
        self._weigh(session, -session.size)
        del self._sessions[session.head.id]
        self._gone[session.head.id] = None
        if len(self._gone) > REMEMBERED:
            del self._gone[next(iter(self._gone))]

    def _let_expire(self) -> None:
        if self._keep is None:
            return
        limit = self._clock() - self._keep
        old = takewhile(lambda one: one.touched <= limit, self._sessions.values())
        for session in tuple(old):
            if not any(message.row.running for message in session.messages.values()):
                self._forget(session)


__all__ = ["MemoryStore"]
