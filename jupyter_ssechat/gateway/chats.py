"""A message for a browser's EventSource → a session of the store that nobody can name but by its id.

A *chat* is one message and one answer. Its session belongs to an owner whom no token names, so that no list and no
call of the patch API finds it; its id cannot be guessed and is all that a reader needs. It stands for a while
after its answer has ended, or unread, and is then deleted by a worker that had to do with it.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable

from ..errors import Expired, GatewayError, LimitExceeded, NotFound
from .bodies import Asking, PlainMessage
from .ending import end
from .sessions import Record, Session
from .settings import Settings
from .stored_sessions import StoredSessions
from .users import User

PROMPT, ANSWER = 1, 2
MOST_CHATS = 10_000
"""How many chats one worker sees to."""

_OWNER = "stream/"  # no name of a user has a slash
_ID = re.compile(r"[\w-]{22}", re.ASCII)


def owner_of(user: User) -> str:
    """To whom the chats of a user belong."""
    return f"{_OWNER}{user.name}"


def is_chat(session: Session) -> bool:
    """Whether a session is a chat."""
    return session.user.startswith(_OWNER)


def asker_of(session: Session) -> str:
    """The name of the user who has opened a session, whomever it belongs to."""
    return session.user.removeprefix(_OWNER)


class Chats:
    """The chats among `sessions`; lives on one event loop. `now` gives seconds since the epoch."""

    def __init__(self, sessions: StoredSessions, settings: Settings, now: Callable[[], float]) -> None:
        self._sessions = sessions
        self._settings = settings
        self._now = now
        self._watched: dict[str, asyncio.TimerHandle] = {}
        self._adopted: set[str] = set()
        self._looking: set[asyncio.Task[None]] = set()

    async def open(self, message: PlainMessage, user: User) -> Session:
        """Take a message; LimitExceeded when there are too many."""
        if len(self._watched) >= MOST_CHATS:
            full = LimitExceeded(f"{MOST_CHATS} chats are open; try again later", status=429, code=42900)
            full.retry_after = 1.0
            raise full
        owner, chat_id = owner_of(user), secrets.token_urlsafe(16)
        await self._adopt(owner)
        self._watch(chat_id, self._settings.session_seconds)
        left = self._settings.when_left
        asked = Asking(
            chat_session_id=chat_id,
            model=message.model,
            thinking_enabled=message.thinking,
            on_disconnect=left.action,
            grace=left.grace,
        )

        def leave(session: Session) -> None:
            session.add_prompt(message.message, None).asked = asked

        return await self._sessions.open(leave, owner, chat_id)

    async def find(self, chat_id: str) -> Session:
        """Find a chat as it is now; Expired if it was there once, NotFound if it never was."""
        if not _ID.fullmatch(chat_id):
            raise _unknown(chat_id)
        try:
            session = await self._sessions.find(chat_id)
        except Expired:
            raise _expired(chat_id) from None
        except NotFound:
            raise _unknown(chat_id) from None
        if not is_chat(session):
            raise _unknown(chat_id)
        self.must_stand(session)
        return session

    def must_stand(self, session: Session) -> None:
        """Raise Expired where the time of a chat is over."""
        if self._left(session) <= 0:
            raise _expired(session.id)

    def asked(self, session: Session) -> tuple[Record, Asking] | None:
        """The prompt of a chat and how it is to be answered; None when the answer was begun before."""
        if ANSWER in session.records:
            return None
        self.must_stand(session)
        prompt = session.get(PROMPT)
        assert prompt.asked is not None, "it was kept with the prompt"
        return prompt, prompt.asked

    def ended(self, session: Session) -> None:
        """See to it that a session is deleted in time, if it is a chat whose answer has ended here."""
        if is_chat(session):
            self._watch(session.id, self._settings.session_seconds)

    async def aclose(self) -> None:
        """See to nothing any more."""
        for timer in self._watched.values():
            timer.cancel()
        await end(self._looking)

    async def _adopt(self, owner: str) -> None:
        """See also to what others have left of the same owner, once: those workers may be dead."""
        if owner in self._adopted:
            return
        for head in await self._sessions.all(owner):
            if head.id not in self._watched:
                self._watch(head.id, self._settings.session_seconds)
        self._adopted.add(owner)

    def _left(self, session: Session) -> float:
        """For how many seconds a chat may stand, at least."""
        answer = session.records.get(ANSWER)
        if answer is not None and answer.running:
            return self._settings.session_seconds
        return session.updated_at + self._settings.session_seconds - self._now()

    def _watch(self, chat_id: str, seconds: float) -> None:
        self._unwatch(chat_id)
        self._watched[chat_id] = asyncio.get_running_loop().call_later(seconds, self._look, chat_id)

    def _unwatch(self, chat_id: str) -> None:
        if timer := self._watched.pop(chat_id, None):
            timer.cancel()

    def _look(self, chat_id: str) -> None:
        task = asyncio.ensure_future(self._forget(chat_id))
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    async def _forget(self, chat_id: str) -> None:
        """Delete a chat whose time is over; look again later at another one."""
        try:
            session = await self._sessions.find(chat_id)
            if (left := self._left(session)) <= 0:
                # Under its version: who wants to begin the answer at this moment learns that it is too late.
                session, left = await self._sessions.change(chat_id, self._left, session.user)
            if left <= 0:
                await self._sessions.delete(chat_id, session.user)
        except (Expired, NotFound):
            left = 0.0
        except GatewayError:
            left = self._settings.session_seconds
        self._unwatch(chat_id)
        if left > 0:
            self._watch(chat_id, left)


def _unknown(chat_id: str) -> NotFound:
    said = f"chat {chat_id[:80]!r} is unknown here; ask anew, or POST /ai/chat/stream/init first"
    return NotFound(said, status=404, biz_code=26)


def _expired(chat_id: str) -> Expired:
    return Expired(f"chat {chat_id} has expired; ask again", status=410, biz_code=27)


__all__ = ["ANSWER", "MOST_CHATS", "Chats", "asker_of", "is_chat", "owner_of"]
