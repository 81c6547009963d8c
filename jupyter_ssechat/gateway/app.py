"""HTTP → conversations → SSE: the routes of protocols section 6, the one door to Starlette."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import GatewayError, InvalidRequest
from .access import Access, Guard
from .bodies import (
    Completion,
    Continue,
    EditMessage,
    Nothing,
    OfMessage,
    OfSession,
    Regenerate,
    StopStream,
    read,
)
from .conversations import Conversations
from .envelope import envelope_response, refusal
from .log import Reader

KEEP_ALIVE_SECONDS = 15.0
MAX_BODY_BYTES = 64 * 2**20
STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
Call = Callable[[bytes], Awaitable[Response] | ASGIApp]


class EventStream:
    """A reader as an ASGI answer; a lost connection is noticed at once, not at the next token."""

    def __init__(self, reader: Reader, keep_alive: float) -> None:
        self._reader = reader
        self._keep_alive = keep_alive

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send frames until the stream ends or the connection is lost."""
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait([sending, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            leaving.cancel()
            self._reader.close()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
        async with contextlib.aclosing(self._reader.frames(self._keep_alive)) as frames:
            async for frame in frames:
                await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Routes:
    """One method per address; each takes the raw body and gives an answer."""

    def __init__(self, conversations: Conversations, keep_alive: float) -> None:
        self._conversations = conversations
        self._keep_alive = keep_alive

    def table(self) -> list[Route]:
        """Every address of the gateway."""
        calls: dict[str, Any] = {
            "chat_session/create": self._create,
            "chat_session/list": self._list,
            "chat_session/delete": self._delete,
            "chat/history_messages": self._history,
            "chat/completion": self._stream(Completion, self._conversations.complete),
            "chat/edit_message": self._stream(EditMessage, self._conversations.edit),
            "chat/regenerate": self._stream(Regenerate, self._conversations.regenerate),
            "chat/continue": self._stream(Continue, self._conversations.go_on),
            "chat/resume_stream": self._stream(
                OfMessage, lambda body: self._conversations.resume(body.chat_session_id, body.message_id)
            ),
            "chat/stop_stream": self._stop,
        }
        routes = [Route(f"/api/v0/{path}", _endpoint(call), methods=["POST"]) for path, call in calls.items()]
        return [Route("/", _greet, methods=["GET"]), *routes]

    def _stream(
        self, kind: type[Any], open_reader: Callable[[Any], Reader]
    ) -> Callable[[bytes], Awaitable[ASGIApp]]:
        async def call(raw: bytes) -> ASGIApp:
            return EventStream(open_reader(read(raw, kind)), self._keep_alive)

        return call

    async def _create(self, raw: bytes) -> ASGIApp:
        read(raw, Nothing)
        return envelope_response(biz_data={"id": self._conversations.sessions.create().id})

    async def _list(self, raw: bytes) -> ASGIApp:
        read(raw, Nothing)
        rows = [session.to_wire() for session in self._conversations.sessions.all()]
        return envelope_response(biz_data={"chat_sessions": rows})

    async def _delete(self, raw: bytes) -> ASGIApp:
        await self._conversations.delete(read(raw, OfSession).chat_session_id)
        return envelope_response()

    async def _history(self, raw: bytes) -> ASGIApp:
        session = self._conversations.sessions.get(read(raw, OfSession).chat_session_id)
        messages = [record.to_wire() for record in session.records.values()]
        return envelope_response(biz_data={"chat_session": session.to_wire(), "chat_messages": messages})

    async def _stop(self, raw: bytes) -> ASGIApp:
        body = read(raw, StopStream)
        await self._conversations.stop(body.chat_session_id, body.message_id, body.stream_id)
        return envelope_response()


def create_app(
    conversations: Conversations, access: Access, *, keep_alive: float = KEEP_ALIVE_SECONDS
) -> Starlette:
    """Build the ASGI app of one gateway; `keep_alive` is in seconds."""
    app = Starlette(
        routes=Routes(conversations, keep_alive).table(),
        middleware=[Middleware(Guard, access)],
        exception_handlers={
            GatewayError: _refuse,
            HTTPException: _refuse_http,
            ClientDisconnect: _nobody,
            Exception: _fail,
        },
    )
    app.router.redirect_slashes = False
    return app


def _endpoint(call: Callable[[bytes], Awaitable[ASGIApp]]) -> Callable[[Request], Awaitable[Any]]:
    async def endpoint(request: Request) -> Any:
        return await call(await _body(request))

    return endpoint


async def _body(request: Request) -> bytes:
    """Read the body, up to the limit; a caller who leaves in the middle of it gets nothing."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            limit = MAX_BODY_BYTES // 2**20
            raise InvalidRequest(f"body: larger than {limit} MiB; send less", status=413, code=42200)
    return bytes(body)


async def _greet(_: Request) -> Response:
    return envelope_response(biz_data={"name": "jupyter_ssechat gateway"})


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)
    return refusal(error)


async def _refuse_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return envelope_response(error.status_code, code=error.status_code * 100, message=str(error.detail))


async def _nobody(_: Request, __: Exception) -> Response:
    return Response(status_code=400)


async def _fail(_: Request, error: Exception) -> Response:
    return envelope_response(500, code=50000, message=f"the gateway failed: {type(error).__name__}")
