"""Events → patches: one pure file for each wire, named after the wire; one contract for all."""

from __future__ import annotations

from typing import Protocol

from ..errors import StreamError
from ..patches import Patch
from ..sse import ServerSentEvent
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
        """Translate the end of the body: what the wire leaves unsaid; [] when the answer was cut."""
        ...


class Translation:
    """One HTTP body: its events through one dialect, and what the decoder ignored with them.

    `broken` is the error of an event that could not be read; the patches before it are not lost.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.broken: StreamError | None = None
        self._dialect = dialect
        self._ignored: list[Patch] = []

    def ignore(self, event_name: str, comments: list[str]) -> None:
        """Take a block that dispatched nothing; for `SSEDecoder(on_ignored=…)`."""
        self._ignored += self._dialect.ignored(event_name, comments)

    def feed(self, events: list[ServerSentEvent]) -> list[Patch]:
        """Translate the events of one chunk, as far as they can be read."""
        patches: list[Patch] = []
        try:
            for event in events:
                patches += self._dialect.feed(event)
        except StreamError as error:
            self.broken = error
        ignored, self._ignored = self._ignored, []
        return patches + ignored

    def finish(self) -> list[Patch]:
        """Translate the end of the body."""
        return self._ignored + self._dialect.finish()


DIALECTS: dict[str, type[DeepSeek] | type[OpenAIChat]] = {"deepseek": DeepSeek, "openai_chat": OpenAIChat}

__all__ = ["DIALECTS", "DeepSeek", "Dialect", "OpenAIChat", "Translation"]
