"""Patches → numbered events, all of them kept: one answer for browsers' EventSource (protocols section 3).

A browser reconnects by itself and names the last event that it has had; what it needs then are the very events
after that one. So nothing is dropped and nothing merged for as long as the log stands, which has a bound in bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import BodyTooLarge
from ..message import Delta
from ..patches import Patch
from ..sse import encode
from ..wire_json import dumps
from .audience import Audience
from .log import Reader, StreamLog
from .sessions import Record

MAX_LOG_BYTES = 64 * 2**20


class EventLog(StreamLog):
    """The events of the answer in `record`, numbered ``<name>-<n>`` from 1; `retry` is in milliseconds.

    The first event, ``ready``, is there before the model server has said anything: a browser that is cut off
    after it knows what to ask for.
    """

    advice = "ask again"

    def __init__(
        self, name: str, record: Record, *, retry: int, audience: Audience, max_bytes: int = MAX_LOG_BYTES
    ) -> None:
        # A block without data would be an event to some clients: so the line is the beginning of the next one.
        opening = f"retry: {retry}\n".encode()
        super().__init__(record.document, epoch=record.epoch, opening=opening, audience=audience)
        self.name = name
        self._record = record
        self._max_bytes = max_bytes
        self.event("ready", {"sessionId": name})

    @property
    def last(self) -> int:
        """The number of the newest event."""
        return len(self._frames)

    def write(self, patches: Sequence[Patch]) -> None:
        """Apply patches to the record, and tell of the text; BodyTooLarge when the log is full."""
        for patch in patches:
            for delta in self._record.message.apply(patch):
                self.event(_name(delta), {"content": delta.text})
                if self._size > self._max_bytes:
                    limit = f"{self._max_bytes / 2**20:g} MiB"
                    raise BodyTooLarge(f"the answer is larger than {limit} as events, so it was ended")

    async def room(self) -> None:
        """There is always room, up to the bound."""

    def event(self, name: str, data: object) -> None:
        """Append an event with its number."""
        self._push(encode(event=name, data=dumps(data), id=f"{self.name}-{self.last + 1}"))
        self._ring()

    def end(self) -> None:
        """Say how the answer ended; nothing comes after that."""
        message = self._record.message
        if message.error is not None:
            self.event("error", {"error": message.error.to_dict()})
        self.event("close", {"status": message.status, "finish_reason": message.finish_reason})
        self.close()

    def attach(self, after: int = 0) -> Reader:
        """Open a reader that gets every event after the one with this number."""
        return self._admit(Reader(self, self._opening, after))

    def _trim(self) -> None:
        """Keep all."""


def _name(delta: Delta) -> str:
    match delta.kind, delta.replaces:
        case "content", False:
            return "message"
        case "content", True:
            return "replace"
        case "thinking", False:
            return "thinking"
        case _:
            return "replace_thinking"


__all__ = ["MAX_LOG_BYTES", "EventLog"]
