"""HTTP → one message, one answer, as events for a browser's EventSource (protocols section 3, *Plain content*).

An EventSource can only GET, and it reconnects after every end of body, also after the last. So a stream goes on
where ``Last-Event-ID`` says, and one that has been received whole answers 204: nothing is generated twice.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from .. import request as asking
from ..errors import Expired, InvalidRequest, LimitExceeded, NotFound
from ..wire_json import dumps
from .admission import Taken
from .bodies import PlainMessage, read
from .conversations import Conversations
from .endpoint import endpoint, user_of, with_place
from .event_log import EventLog
from .event_stream import EventStream
from .sessions import Session
from .settings import Settings
from .users import User

PATH = "/ai/chat/stream"
MOST_CHATS = 10_000
REMEMBERED = 10_000

NO_STORE = {"cache-control": "no-store"}


class Chat:
    """A message that was left here, and from its first reader on the events of its answer."""

    def __init__(self, message: PlainMessage, user: User) -> None:
        self.id = secrets.token_urlsafe(16)
        self.message = message
        self.user = user
        self.log: EventLog | None = None
        self.expiry: asyncio.TimerHandle | None = None


class Chats:
    """Every chat until it has stood for `lifetime` seconds, unread or ended; then its id is remembered as expired."""

    def __init__(self, lifetime: float) -> None:
        self._lifetime = lifetime
        self._chats: dict[str, Chat] = {}
        self._expired: dict[str, None] = {}

    def open(self, message: PlainMessage, user: User) -> Chat:
        """Take a message; LimitExceeded when there are too many."""
        if len(self._chats) >= MOST_CHATS:
            full = LimitExceeded(f"{MOST_CHATS} chats are open; try again later", status=429, code=42900)
            full.retry_after = 1.0
            raise full
        chat = Chat(message, user)
        self._chats[chat.id] = chat
        self.let_expire(chat)
        return chat

    def get(self, session_id: str) -> Chat:
        """Find a chat; Expired if it was there once, NotFound if it never was."""
        chat = self._chats.get(session_id)
        if chat is not None:
            return chat
        if session_id in self._expired:
            raise Expired(f"chat {session_id} has expired; ask again", status=410, biz_code=27)
        raise _unknown(f"chat {session_id[:80]!r} is unknown here; ask anew, or POST {PATH}/init first")

    def let_expire(self, chat: Chat) -> None:
        """Forget a chat when its time is over, counted from now."""
        self.keep(chat)
        chat.expiry = asyncio.get_running_loop().call_later(self._lifetime, self._forget, chat)

    def keep(self, chat: Chat) -> None:
        """Let a chat stand for as long as it is being answered."""
        if chat.expiry is not None:
            chat.expiry.cancel()

    def _forget(self, chat: Chat) -> None:
        del self._chats[chat.id]
        self._expired[chat.id] = None
        if len(self._expired) > REMEMBERED:
            del self._expired[next(iter(self._expired))]


class PlainAPI:
    """The addresses below ``/ai/chat/stream``."""

    def __init__(self, conversations: Conversations, settings: Settings) -> None:
        self._conversations = conversations
        self._settings = settings
        self._chats = Chats(settings.session_seconds)

    def routes(self) -> list[Route]:
        """The three addresses."""
        return [
            _get(PATH, self._ask),
            Route(f"{PATH}/init", endpoint(self._init), methods=["POST"]),
            _get(f"{PATH}/{{session_id}}", self._read),
        ]

    async def _ask(self, http: Request) -> ASGIApp:
        cursor = _cursor(http)
        if cursor is not None:
            return await self._answer(self._chats.get(cursor[0]), cursor[1])
        return await self._answer(self._chats.open(_asked(http.query_params), user_of(http)))

    async def _init(self, user: User, raw: bytes) -> ASGIApp:
        chat = self._chats.open(_not_empty(read(raw, PlainMessage)), user)
        return JSONResponse({"sessionId": chat.id}, headers=NO_STORE)

    async def _read(self, http: Request) -> ASGIApp:
        chat = self._chats.get(http.path_params["session_id"])
        name, after = _cursor(http) or (chat.id, 0)
        if name != chat.id:
            raise _unknown(f"Last-Event-ID {name[:80]!r} is of another stream than {chat.id}")
        return await self._answer(chat, after)

    async def _answer(self, chat: Chat, after: int = 0) -> ASGIApp:
        admission = self._conversations.admission
        place = await admission.reader(chat.user)
        try:
            if chat.log is None:
                taken = await admission.stream(chat.user, chat.id)
                self._generate(chat, taken)
            else:
                self._conversations.metrics.saw_resume()
            return with_place(place, self._events(chat, after))
        except BaseException:
            place.leave()
            raise

    def _events(self, chat: Chat, after: int) -> ASGIApp:
        log = chat.log
        assert log is not None, "it was begun before"
        if after > log.last:
            raise _unknown(f"event {after} is not there; the newest one is {log.last}")
        if log.closed and after == log.last:
            return Response(status_code=204, headers=NO_STORE)
        return EventStream(log.attach(after), self._settings.keep_alive)

    def _generate(self, chat: Chat, taken: Taken) -> None:
        if chat.log is not None:  # somebody was quicker
            taken.leave()
            return
        session = Session(chat.id, time.time)
        asked = chat.message
        prompt = session.add_prompt(asked.message, None)
        record = session.add_answer(
            prompt.message_id, model=asked.model or "", thinking=asked.thinking, search=False
        )
        audience = self._conversations.audience("plain")
        log = EventLog(chat.id, record, retry=self._settings.retry, audience=audience)
        generation = self._conversations.generation(
            "plain", session, record, log, on_end=lambda: (taken.leave(), self._chats.let_expire(chat))
        )
        chat.log = log
        self._chats.keep(chat)
        turn = asking.Turn("user", asked.message)
        request = asking.Request(turns=(turn,), model=asked.model, thinking=asked.thinking)
        generation.start(self._conversations.upstream, request, self._settings.when_left)


def _get(path: str, answer: Callable[[Request], Awaitable[ASGIApp]]) -> Route:
    route = Route(path, answer, methods=["GET"])
    route.methods = {"GET"}  # a HEAD would generate an answer for nobody
    return route


def _asked(query: QueryParams) -> PlainMessage:
    """A message in an address, where all is text; what else stands there is for others."""
    fields: dict[str, object] = {name: query[name] for name in ("message", "model") if name in query}
    if "thinking" in query:
        fields["thinking"] = {"true": True, "false": False}.get(query["thinking"], query["thinking"])
    return _not_empty(read(dumps(fields).encode(), PlainMessage))


def _not_empty(asked: PlainMessage) -> PlainMessage:
    if not asked.message.strip():
        raise InvalidRequest("message: it is empty; expected what to ask", status=422, code=42200)
    return asked


def _cursor(http: Request) -> tuple[str, int] | None:
    """The stream and the number of the last event that the reader has had; polyfills say it in the address."""
    said = http.headers.get("last-event-id") or http.query_params.get("lastEventId")
    if not said:
        return None
    name, _, number = said.rpartition("-")
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise _unknown(f"Last-Event-ID {said[:80]!r} is none of ours")
    return name, int(number)


def _unknown(message: str) -> NotFound:
    return NotFound(message, status=404, biz_code=26)


__all__ = ["PlainAPI"]
