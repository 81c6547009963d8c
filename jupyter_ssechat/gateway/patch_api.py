"""HTTP → conversations → SSE in the patch protocol: the addresses of protocols section 6."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.routing import Route
from starlette.types import ASGIApp

from .bodies import (
    Completion,
    Continue,
    EditMessage,
    ImportedSession,
    Nothing,
    OfMessage,
    OfSession,
    Regenerate,
    StopStream,
    read,
)
from .conversations import Conversations
from .endpoint import Call, endpoint, with_place
from .envelope import envelope_response
from .event_stream import EventStream
from .log import Reader
from .users import User


class PatchAPI:
    """One method per address; each takes the raw body and gives an answer."""

    def __init__(self, conversations: Conversations, keep_alive: float) -> None:
        self._conversations = conversations
        self._keep_alive = keep_alive

    def routes(self) -> list[Route]:
        """Every address below ``/api/v0``."""
        calls: dict[str, Any] = {
            "chat_session/create": self._create,
            "chat_session/import": self._import,
            "chat_session/list": self._list,
            "chat_session/delete": self._delete,
            "chat/history_messages": self._history,
            "chat/completion": self._stream(Completion, self._conversations.complete),
            "chat/edit_message": self._stream(EditMessage, self._conversations.edit),
            "chat/regenerate": self._stream(Regenerate, self._conversations.regenerate),
            "chat/continue": self._stream(Continue, self._conversations.go_on),
            "chat/resume_stream": self._stream(OfMessage, self._resumed),
            "chat/stop_stream": self._stop,
        }
        return [Route(f"/api/v0/{path}", endpoint(call), methods=["POST"]) for path, call in calls.items()]

    def _stream(self, kind: type[Any], open_reader: Callable[[Any, User], Awaitable[Reader]]) -> Call:
        async def call(user: User, raw: bytes) -> ASGIApp:
            body = read(raw, kind)
            place = await self._conversations.admission.reader(user)
            try:
                reader = await open_reader(body, user)
            except BaseException:
                place.leave()
                raise
            return with_place(place, EventStream(reader, self._keep_alive))

        return call

    async def _resumed(self, body: OfMessage, user: User) -> Reader:
        return await self._conversations.resume(body.chat_session_id, body.message_id, user)

    async def _create(self, user: User, raw: bytes) -> ASGIApp:
        read(raw, Nothing)
        return envelope_response(biz_data={"id": (await self._conversations.sessions.create(user.name)).id})

    async def _import(self, user: User, raw: bytes) -> ASGIApp:
        messages = read(raw, ImportedSession).chat_messages
        await self._conversations.admission.room(user)
        session = await self._conversations.sessions.restore(messages, user.name)
        return envelope_response(biz_data=session.to_wire())

    async def _list(self, user: User, raw: bytes) -> ASGIApp:
        read(raw, Nothing)
        heads = await self._conversations.sessions.all(user.name)
        rows = [{"id": head.id, "title": head.title, "updated_at": head.updated_at} for head in heads]
        return envelope_response(biz_data={"chat_sessions": rows})

    async def _delete(self, user: User, raw: bytes) -> ASGIApp:
        await self._conversations.delete(read(raw, OfSession).chat_session_id, user)
        return envelope_response()

    async def _history(self, user: User, raw: bytes) -> ASGIApp:
        session = await self._conversations.sessions.get(read(raw, OfSession).chat_session_id, user.name)
        messages = [record.to_wire() for record in session.records.values()]
        return envelope_response(biz_data={"chat_session": session.to_wire(), "chat_messages": messages})

    async def _stop(self, user: User, raw: bytes) -> ASGIApp:
        body = read(raw, StopStream)
        await self._conversations.stop(body.chat_session_id, body.message_id, body.stream_id, user)
        return envelope_response()
