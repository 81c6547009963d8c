"""A call that takes a raw body → a Starlette endpoint; the body is bounded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp

from ..errors import InvalidRequest

MAX_BODY_BYTES = 64 * 2**20
PATIENCE_BYTES = 4 * MAX_BODY_BYTES


def endpoint(call: Callable[[bytes], Awaitable[ASGIApp]]) -> Callable[[Request], Awaitable[Any]]:
    """Let `call` answer with what it makes of the body."""

    async def answer(request: Request) -> Any:
        return await call(await body_of(request))

    return answer


async def body_of(request: Request) -> bytes:
    """Read the body, up to the limit; a caller who leaves in the middle of it gets nothing.

    Of one that is too large the rest is let go by, for a while: most callers listen only when they have sent all.
    """
    body, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MAX_BODY_BYTES:
            body += chunk
        elif size > PATIENCE_BYTES:
            break
    if size > MAX_BODY_BYTES:
        limit = MAX_BODY_BYTES // 2**20
        raise InvalidRequest(f"body: larger than {limit} MiB; send less", status=413, code=42200)
    return bytes(body)
