"""A request → patches of an answer: what every source of answers offers, and the built-in one."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol, runtime_checkable

from . import demo
from .errors import BadInput
from .message import finished
from .patches import Patch
from .request import Request
from .response_format import schema_in

THINKING, CONTENT = "response/thinking_content", "response/content"


class Upstream(Protocol):
    """A source of answers."""

    name: str

    def stream(self, request: Request) -> AsyncGenerator[list[Patch]]:
        """Yield patches as they arrive, the last one terminal; [] may say that an answer has begun.

        Ending without a terminal status means that the answer was cut. Raises UpstreamError when the
        server refuses, ConnectionFailed when it cannot be reached.
        Closing the generator ends the generation at the server.
        """
        ...

    async def models(self) -> list[str]:
        """The names of the models that can be asked for; [] where there is no list."""
        ...

    async def aclose(self) -> None:
        """Let go of every connection."""
        ...


class Take(Protocol):
    """One answer that stands on record, or is being recorded; for one use.

    It has its own time and its own stop, so that what was recorded comes out the same however fast it replays.
    """

    def stream(self) -> AsyncGenerator[list[Patch]]:
        """Yield patches; see `Upstream.stream`."""
        ...

    def now(self) -> float:
        """The seconds from the beginning to what was yielded last, as they were when it was recorded."""
        ...

    @property
    def stopped(self) -> bool:
        """Whether the stream, which has ended without a terminal status, ended where it once was stopped."""
        ...

    def stop(self) -> bool:
        """Take note of a stop; True if the stream goes on, without waiting, to the place where it once was stopped."""
        ...


@runtime_checkable
class Recorded(Protocol):
    """What an upstream offers beside `Upstream` if its answers are takes."""

    def take(self, request: Request) -> Take:
        """Begin an answer."""
        ...


class Demo:
    """The built-in model as an upstream; `pace` multiplies its waiting, 0 answers at once."""

    name = "demo"

    def __init__(self, pace: float = 1.0) -> None:
        if not (math.isfinite(pace) and pace >= 0):
            raise BadInput(f"pace is {pace:g}; expected 0 (at once) or more, 1 is the pace of a real model")
        self.pace = pace

    async def stream(self, request: Request) -> AsyncGenerator[list[Patch]]:
        """Think, then answer, token by token; a continued answer goes on exactly where it stood."""
        turn = sum(1 for one in request.turns if one.role == "user")
        schema = schema_in(request)
        script = demo.script(
            request.prompt, thinking=request.thinking, turn=turn, system=request.system, schema=schema
        )
        begun = [Patch("response/model", "SET", "demo")]
        yield [*begun, Patch("response/continuation", "SET", "native")] if request.continues else begun
        tokens = demo.stream(
            request.prompt,
            thinking=request.thinking,
            turn=turn,
            system=request.system,
            schema=schema,
            pace=self.pace,
            skip=len(request.content_so_far),
            skip_thinking=len(request.thinking_so_far),
        )
        async with aclosing(tokens):
            async for token in tokens:
                path = THINKING if token.kind == "thinking" else CONTENT
                yield [Patch(path, "APPEND", token.text)]
        usage = demo.usage(request.prompt, script, system=request.system)
        yield [
            Patch("response/usage", "SET", usage),
            Patch("response/accumulated_token_usage", "SET", usage["total_tokens"]),
            *finished(),
        ]

    async def models(self) -> list[str]:
        """Its own name."""
        return ["demo"]

    async def aclose(self) -> None:
        """Nothing to let go of."""


__all__ = ["CONTENT", "THINKING", "Demo", "Recorded", "Take", "Upstream"]
