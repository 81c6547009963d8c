"""A reader of a stream log → an HTTP answer: the one place where events go out (protocols section 5, *Sending*)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from time import monotonic

from starlette.types import ASGIApp, Receive, Scope, Send

from ..eager import at_once
from .calls import CALL
from .log import KEEP_ALIVE, Reader

STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
DIRECT = "jupyter_ssechat.send"


class Direct:
    """ASGI middleware, to be the outermost: hands the server's own `send` to the event streams.

    The layers between watch how an answer begins; each of them costs a call for each frame and each reader.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one call on."""
        scope[DIRECT] = send
        await self._app(scope, receive, send)


class EventStream:
    """A reader as an ASGI answer; a lost connection is noticed at once, not at the next token.

    Frames go out when the log tells of them, without waking a task for each connection, which costs as much as
    sending. Only where a connection is full does a task wait for it, and nobody else does.
    """

    def __init__(self, reader: Reader, keep_alive: float) -> None:
        self._reader = reader
        self._keep_alive = keep_alive
        self._waiting: asyncio.Task[None] | None = None
        self._sent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send frames until the stream ends or the connection is lost."""
        sending = asyncio.ensure_future(self._answer(send, scope.get(DIRECT, send)))
        leaving = asyncio.ensure_future(left(receive))
        try:
            await asyncio.wait([sending, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._reader.close()
            tasks = [task for task in (sending, leaving, self._waiting) if task]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if call := scope.get(CALL):
                call.streamed(self._sent)

    async def _answer(self, send: Send, direct: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
        self._send, self._ended = direct, asyncio.get_running_loop().create_future()
        silence = asyncio.ensure_future(self._fill_silence())
        try:
            self._reader.on_more = self._send_on
            self._send_on()
            await self._ended
        finally:
            silence.cancel()
        await send({"type": "http.response.body", "body": b""})

    def _send_on(self) -> None:
        """Send all that the connection takes now, and the end when it has come."""
        while self._waiting is None and (piece := self._reader.take()):
            self._send_piece(piece)
        if self._reader.ended and self._waiting is None and not self._ended.done():
            self._ended.set_result(None)

    def _send_piece(self, piece: bytes) -> None:
        self._sent_at = monotonic()
        self._sent += len(piece)
        try:
            rest = at_once(self._send({"type": "http.response.body", "body": piece, "more_body": True}))
        except Exception as error:  # this connection's own: the log goes on telling the others
            self._reader.close()
            self._ended.set_exception(error)
        else:
            if rest is not None:
                self._waiting = asyncio.ensure_future(self._wait(rest))

    async def _wait(self, rest: Awaitable[None]) -> None:
        try:
            await rest
        except Exception as error:
            self._reader.close()
            self._ended.set_exception(error)
        self._waiting = None
        self._send_on()

    async def _fill_silence(self) -> None:
        while True:
            await asyncio.sleep(self._sent_at + self._keep_alive - monotonic())
            if monotonic() >= self._sent_at + self._keep_alive:
                self._sent_at = monotonic()
                if self._waiting is None and not self._ended.done():
                    self._send_piece(KEEP_ALIVE)


async def left(receive: Receive) -> None:
    """Return when the caller has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
