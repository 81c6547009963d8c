"""The outermost layer of the gateway's app: how many calls are open, and one line in the journal for each."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .access import FIGURES, HEALTH
from .journal import DEBUG, INFO, WARNING, is_heard, tell

CALL = "jupyter_ssechat.call"
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
WATCHERS = frozenset({HEALTH, FIGURES})
"""Asked every few seconds by those who watch over the gateway, so told only to who wants to know everything."""


class Call:
    """One call, as it is told: the status of its answer, and of a stream how much was sent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._began = time.monotonic()
        self._answered_at = self._began
        self._status: int | None = None
        self._sent: int | None = None

    async def send(self, message: Message) -> None:
        """Pass a message on; streams go by here with their heads alone."""
        if message["type"] == "http.response.start":
            self._status, self._answered_at = message["status"], time.monotonic()
        await self._send(message)

    def streamed(self, sent: int) -> None:
        """Note that the answer was a stream of so many bytes."""
        self._sent = sent

    def tell(self, method: str, route: str) -> None:
        """Tell how it went, when it is over."""
        now = time.monotonic()
        until_answer = (self._answered_at if self._status else now) - self._began
        stream = {} if self._sent is None else {"bytes": self._sent, "seconds": round(now - self._began, 3)}
        tell(
            "call",
            _level(route, self._status or 0),
            method=method if method in METHODS else "other",
            route=route,
            status=self._status,
            ms=round(until_answer * 1000, 1),
            **stream,
        )


class Calls:
    """The app for uvicorn: a call that it cancels as it goes has told its caller why, and is no error to log.

    `open` is how many are being answered, `last` when the last one ended (monotonic seconds). `route_of` gives the
    template of a path: what else stands there, such as an id, is not told.
    """

    def __init__(self, app: ASGIApp, route_of: Callable[[str], str]) -> None:
        self._app = app
        self._route_of = route_of
        self.open = 0
        self.last = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        call = Call(send) if is_heard(WARNING) else None
        self.open += 1
        try:
            with contextlib.suppress(asyncio.CancelledError):
                if call is not None:
                    scope[CALL], send = call, call.send
                await self._app(scope, receive, send)
        finally:
            self.open -= 1
            self.last = time.monotonic()
            if call is not None:
                call.tell(scope["method"], self._route_of(scope["path"]))


def _level(route: str, status: int) -> int:
    if status >= 500:
        return WARNING
    return DEBUG if route in WATCHERS and status < 400 else INFO


__all__ = ["CALL", "Call", "Calls"]
