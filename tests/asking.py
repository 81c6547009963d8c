"""A question to an upstream and what it yields, for the tests."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from jupyter_ssechat.message import Message
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.request import Request, Turn
from jupyter_ssechat.upstream import Upstream

T = TypeVar("T")
KEY = "sk-a-secret-of-ours-0123456789"


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, 30))


def asking(prompt: str = "hello", **more: Any) -> Request:
    return Request(turns=(Turn("user", prompt),), **more)


async def gather(upstream: Upstream, request: Request, found: list[Patch]) -> None:
    try:
        async with aclosing(upstream.stream(request)) as stream:
            async for patches in stream:
                found += patches
    finally:
        await upstream.aclose()


def patches_of(upstream: Upstream, request: Request | None = None) -> list[Patch]:
    found: list[Patch] = []
    run(gather(upstream, request or asking(), found))
    return found


def message_of(patches: list[Patch]) -> Message:
    message = Message()
    for patch in patches:
        message.apply(patch)
    return message
