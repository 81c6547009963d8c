"""A call that takes its user and a raw body → a Starlette endpoint; the body is bounded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import InvalidRequest
from .access import USER
from .admission import Taken
from .users import NAMELESS, User

MAX_BODY_BYTES = 64 * 2**20
PATIENCE_BYTES = 4 * MAX_BODY_BYTES


Call = Callable[[User, bytes], Awaitable[ASGIApp]]


def endpoint(call: Call) -> Callable[[Request], Awaitable[Any]]:
    """Let `call` answer with what it makes of the body."""

    async def answer(request: Request) -> Any:
        return await call(user_of(request), await body_of(request))

    return answer


def user_of(request: Request) -> User:
    """Whose token the request has."""
    return request.scope.get(USER, NAMELESS)


def with_place(place: Taken, app: ASGIApp) -> ASGIApp:
    """Have a place for as long as `app` answers."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        finally:
            place.leave()

    return answer


async def body_of(request: Request) -> bytes:
    """Read the body, up to the limit; a caller who leaves in the middle of it gets nothing.

    Of one that is too large the rest is let go by, for a while: most callers listen only when they have sent all.
    """
    body, size = bytearray(), 0
    most = min(user_of(request).limits.request or MAX_BODY_BYTES, MAX_BODY_BYTES)
    async for chunk in request.stream():
        size += len(chunk)
        if size <= most:
            body += chunk
        elif size > PATIENCE_BYTES:
            break
    if size > most:
        said = f"{most // 2**20} MiB" if most % 2**20 == 0 else f"{most} bytes"
        raise InvalidRequest(f"body: larger than {said}; send less", status=413, code=42200)
    return bytes(body)
