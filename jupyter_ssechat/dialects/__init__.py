"""Events → patches: one pure file for each wire, named after the wire; one contract for all."""

from __future__ import annotations

from typing import Protocol

from ..patches import Patch
from ..sse import ServerSentEvent
from .body import Body
from .deepseek import DeepSeek
from .openai_chat import OpenAIChat


class Dialect(Protocol):
    """What every wire's file offers; one object for each HTTP body.

    All patches are absolute, below ``response``. After a terminal status only figures follow. Data that is
    not JSON raises InvalidData.
    """

    def feed(self, event: ServerSentEvent) -> list[Patch]:
        """Translate one event."""
        ...

    def ignored(self, event_name: str, comments: list[str]) -> list[Patch]:
        """Translate a block that dispatches nothing: an ``event: error`` with only a comment is a failure."""
        ...

    def finish(self) -> list[Patch]:
        """Translate the end of the body: what the wire leaves unsaid; nothing terminal when it was cut."""
        ...


DIALECTS: dict[str, type[DeepSeek] | type[OpenAIChat]] = {"deepseek": DeepSeek, "openai_chat": OpenAIChat}

__all__ = ["DIALECTS", "Body", "DeepSeek", "Dialect", "OpenAIChat"]
