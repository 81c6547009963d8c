"""HTTP → one message, one answer, as events for a browser's EventSource (protocols section 3, *Plain content*).

An EventSource can only GET, and it reconnects after every end of body, also after the last. So a stream goes on
where ``Last-Event-ID`` says, and one that has been received whole answers 204: nothing is generated twice. Any
worker of a store serves it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ..errors import InvalidRequest, NotFound
from ..wire_json import dumps
from .bodies import PlainMessage, read
from .conversations import Conversations
from .cursor import Cursor
from .endpoint import endpoint, user_of, with_place
from .event_stream import EventStream
from .sessions import Session
from .users import User

PATH = "/ai/chat/stream"
NO_STORE = {"cache-control": "no-store"}


class PlainAPI:
    """The addresses below ``/ai/chat/stream``."""

    def __init__(self, conversations: Conversations, keep_alive: float) -> None:
        self._conversations = conversations
        self._keep_alive = keep_alive

    def routes(self) -> list[Route]:
        """The three addresses."""
        return [
            _get(PATH, self._ask),
            Route(f"{PATH}/init", endpoint(self._init), methods=["POST"]),
            _get(f"{PATH}/{{session_id}}", self._read),
        ]

    async def _ask(self, http: Request) -> ASGIApp:
        after = _cursor(http)
        if after is not None:
            return await self._answer(await self._conversations.chats.find(after.chat), after)
        return await self._answer(await self._conversations.leave(_asked(http.query_params), user_of(http)))

    async def _init(self, user: User, raw: bytes) -> ASGIApp:
        chat = await self._conversations.leave(_not_empty(read(raw, PlainMessage)), user)
        return JSONResponse({"sessionId": chat.id}, headers=NO_STORE)

    async def _read(self, http: Request) -> ASGIApp:
        chat = await self._conversations.chats.find(http.path_params["session_id"])
        after = _cursor(http)
        if after is not None and after.chat != chat.id:
            raise _unknown(f"Last-Event-ID {str(after)[:80]!r} is of another stream than {chat.id}")
        return await self._answer(chat, after)

    async def _answer(self, chat: Session, after: Cursor | None = None) -> ASGIApp:
        place = await self._conversations.admission.reader(self._conversations.asker(chat))
        try:
            reader = await self._conversations.read(chat, after)
        except BaseException:
            place.leave()
            raise
        if reader is None:
            place.leave()
            return Response(status_code=204, headers=NO_STORE)
        return with_place(place, EventStream(reader, self._keep_alive))


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


def _cursor(http: Request) -> Cursor | None:
    """What the reader has had, by the id of the last event; polyfills say it in the address."""
    said = http.headers.get("last-event-id") or http.query_params.get("lastEventId")
    if not said:
        return None
    after = Cursor.read(said)
    if after is None:
        raise _unknown(f"Last-Event-ID {said[:80]!r} is none of ours")
    return after


def _unknown(message: str) -> NotFound:
    return NotFound(message, status=404, biz_code=26)


__all__ = ["PlainAPI"]
