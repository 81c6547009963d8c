"""A record → its stream as events of text, for a browser's EventSource (protocols section 3, *Plain content*).

A browser reconnects by itself and names the last event that it has had. Its id says how much text that was, so
that any worker goes on there with what the record has; nothing is kept for those who may come back.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from itertools import chain

from ..message import Delta, Kind
from ..patches import Patch
from ..sse import encode
from ..wire_json import dumps
from .audience import Audience
from .cursor import Cursor, Heard, Mark
from .log import Reader, StreamLog
from .sessions import Record, Session

MOST_TEXT = 2**16
"""Characters in one event."""


class TextStream(StreamLog):
    """One generation of one answer, or an answer that has ended, for who says what they have had of it.

    `retry`: the milliseconds after which an EventSource shall reconnect.
    """

    advice = "ask again"

    def __init__(
        self, session: Session, record: Record, audience: Audience | None = None, *, retry: int
    ) -> None:
        # A block without data would be an event to some clients: so the line is the beginning of the next one.
        opening = f"retry: {retry}\n".encode()
        super().__init__(record.document, epoch=record.epoch, opening=opening, audience=audience)
        self._record = record
        self._teller = Teller(Cursor(session.id, version=_version()))
        self._teller.catch_up(record)

    def write(self, patches: Sequence[Patch]) -> None:
        """Apply patches to the record, and tell of the text."""
        for patch in patches:
            for delta in self._record.message.apply(patch):
                self._push_all(self._teller.tell(delta))
        self._ring()

    async def room(self) -> None:
        """There is always room."""

    def end(self) -> None:
        """Say how the answer ended; nothing comes after that."""
        self._push_all(self._teller.end(self._record))
        self.close()

    def hand_over(self) -> None:
        """Let the readers come again, as they do by themselves: the answer goes on elsewhere."""
        self.close()

    def attach(self, after: Cursor | None = None) -> Reader:
        """Open a reader that gets what there is after a cursor, or all of it, and what is still coming."""
        now, first = self._teller.at, [self._opening]
        heard = after.heard if after and self.closed else "text"
        teller = Teller((after or Cursor(now.chat))._replace(version=now.version, heard=heard))
        if after is None:
            first.append(teller.event("ready", {"sessionId": now.chat}))
        first += teller.catch_up(self._record)
        if self.closed:
            first += teller.end(self._record)
        return self._admit(Reader(self, b"".join(first), self._end()))

    def _push_all(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            self._push(frame)


class Teller:
    """Deltas → events with ids, from what somebody has had, which is `at`."""

    def __init__(self, at: Cursor) -> None:
        self.at = at

    def event(self, name: str, data: object) -> bytes:
        """An event after what was told."""
        return encode(event=name, data=dumps(data), id=str(self.at))

    def tell(self, delta: Delta) -> list[bytes]:
        """Tell of text; of much in several events, of which only the first one can replace."""
        if delta.replaces:
            self._mark(delta.kind, Mark())
            self.at = self.at._replace(version=_version())
        pieces = [delta.text[n : n + MOST_TEXT] for n in range(0, len(delta.text), MOST_TEXT)] or [""]
        return [self._piece(delta.kind, piece, delta.replaces and not n) for n, piece in enumerate(pieces)]

    def _piece(self, kind: Kind, text: str, replaces: bool) -> bytes:
        self._mark(kind, self._had(kind).after(text))
        return self.event(_NAMES[kind, replaces], {"content": text})

    def catch_up(self, record: Record) -> list[bytes]:
        """Tell all that a record says beyond what was told; what differs from that is replaced."""
        return list(chain.from_iterable(map(self.tell, self._news(record))))

    def _news(self, record: Record) -> Iterator[Delta]:
        kinds: tuple[Kind, ...] = ("thinking", "content")
        for kind in kinds:
            text = record.message.told(kind)
            rest = self._had(kind).rest(text)
            if rest is None:
                yield Delta(kind, text, replaces=True)
            elif rest:
                yield Delta(kind, rest)

    def end(self, record: Record) -> list[bytes]:
        """Tell how a record ended."""
        message = record.message
        events: list[bytes] = []
        if message.error is not None and self.at.heard == "text":
            events.append(self._last("error", {"error": message.error.to_dict()}))
        return [
            *events,
            self._last("close", {"status": message.status, "finish_reason": message.finish_reason}),
        ]

    def _last(self, name: Heard, data: object) -> bytes:
        self.at = self.at._replace(heard=name)
        return self.event(name, data)

    def _had(self, kind: Kind) -> Mark:
        return self.at.thinking if kind == "thinking" else self.at.content

    def _mark(self, kind: Kind, mark: Mark) -> None:
        self.at = self.at._replace(**{kind: mark})


_NAMES: dict[tuple[Kind, bool], str] = {
    ("content", False): "message",
    ("content", True): "replace",
    ("thinking", False): "thinking",
    ("thinking", True): "replace_thinking",
}


def _version() -> str:
    return f"{secrets.randbits(32):x}"


__all__ = ["MOST_TEXT", "TextStream"]
