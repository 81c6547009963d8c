"""A store → sessions as this worker knows them: loaded when somebody asks, changed all or nothing."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from ..errors import GatewayError
from .bodies import SavedMessage
from .sessions import Record, Session, restored
from .stores.store import Change, Head, Key, Row, Store, unknown

T = TypeVar("T")
MOST_KEPT = 256
ATTEMPTS = 100


class StoredSessions:
    """The sessions of `store`. `live` gives the message of a generation that this worker shows, if it does, when it has
    learnt what the store says.

    What is asked for by the name of a `user`, "" for who has none, is theirs, or not found. The last MOST_KEPT
    sessions are kept here too, and of those only what has changed is loaded again.
    """

    def __init__(
        self,
        store: Store,
        now: Callable[[], float],
        live: Callable[[Key, Row], Record | None],
        *,
        owner: str,
        lease: float,
    ) -> None:
        self._store = store
        self._now = now
        self._live = live
        self._owner = owner
        self._lease = lease
        self._kept: OrderedDict[str, Session] = OrderedDict()

    async def create(self, user: str = "") -> Session:
        """Open an empty session."""
        session = Session(str(uuid.uuid4()), self._now, user)
        await self._store.create(session.head)
        return session

    async def restore(self, messages: Iterable[SavedMessage], user: str = "") -> Session:
        """Open a session with a saved conversation; InvalidRequest says which message has no place in it."""
        return await self.open(lambda session: restored(session, messages), user)

    async def open(
        self, act: Callable[[Session], object], user: str = "", session_id: str | None = None
    ) -> Session:
        """Open a session with what `act` puts into it; if that raises, none is opened."""
        session = Session(session_id or str(uuid.uuid4()), self._now, user)
        act(session)
        await self._store.create(session.head)
        rows = [record.to_row() for record in session.changed.values()]
        session.version = await self._store.commit(Change(session.head, rows))
        session.changed.clear()
        return session

    async def get(self, session_id: str, user: str = "") -> Session:
        """Find a session of a user as it is now; Expired if it was deleted, NotFound if it never was."""
        session = await self.find(session_id)
        if session.user != user:
            raise unknown(session_id)
        return session

    async def find(self, session_id: str) -> Session:
        """Find a session as it is now, whose ever it is."""
        kept = self._kept.get(session_id)
        stored = await self._store.load(session_id, kept.version if kept else 0)
        session = self._kept.get(session_id) or kept or Session(session_id, self._now)
        if stored.head.version < session.version:  # somebody was quicker
            self._kept.pop(session_id, None)
            return await self.find(session_id)
        session.become(stored.head)
        session.know(self._record(session_id, row) for row in stored.rows)
        self._keep(session)
        return session

    async def change(self, session_id: str, act: Callable[[Session], T], user: str = "") -> tuple[Session, T]:
        """Let `act` change a session, which it may have to do more than once, and write what it has changed.

        What it raises leaves the session as it was.
        """
        for _ in range(ATTEMPTS):
            session = (await self.get(session_id, user)).fork()
            result = act(session)
            rows = [record.to_row() for record in session.changed.values()]
            version = await self._store.commit(Change(session.head, rows, self._owner, self._lease))
            if version:
                session.version = version
                self._keep(session)
                return session, result
        raise GatewayError(f"session {session_id} changes too fast; try again", status=503, code=50300)

    async def delete(self, session_id: str, user: str = "") -> None:
        """Forget a session and its messages."""
        await self.get(session_id, user)
        await self._store.delete(session_id)
        self._kept.pop(session_id, None)

    async def all(self, user: str = "") -> Sequence[Head]:
        """Every session of a user, the newest first."""
        return await self._store.heads(user)

    def _record(self, session_id: str, row: Row) -> Record:
        return self._live(Key(session_id, row.message_id, row.epoch), row) or Record.stored(row)

    def _keep(self, session: Session) -> None:
        self._kept[session.id] = session
        self._kept.move_to_end(session.id)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)


__all__ = ["StoredSessions"]
