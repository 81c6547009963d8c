"""The events of one HTTP body → patches, through one dialect, losing nothing when one cannot be read."""

from __future__ import annotations

from .dialects import Dialect
from .errors import StreamError
from .patches import Patch
from .sse import ServerSentEvent


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
