"""A log in the store → one local stream: what the store has is what the readers of this worker see."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..patches import Patch
from .audience import Audience
from .patch_stream import PatchStream
from .sessions import Record, Session
from .stores.store import Entry, Key, Row
from .text_stream import TextStream

Stream = PatchStream | TextStream
Show = Callable[[Session, Record, Audience], Stream]
"""How the readers of a generation are told of it."""


class Mirror:
    """One generation of `record` as this worker knows it, and its stream; each entry counts once."""

    def __init__(
        self, session: Session, record: Record, audience: Audience, show: Show = PatchStream
    ) -> None:
        self.key = Key(session.id, record.message_id, record.epoch)
        self.session = session
        self.record = record
        self.stream = show(session, record, audience)

    @property
    def ended(self) -> bool:
        """Whether its readers have been told how it ended."""
        return self.stream.closed

    def take(self, entries: Sequence[Entry]) -> bool:
        """Show new entries; False when some before them are missing, which the store has in the row."""
        for entry in entries:
            if self.ended:
                return True
            if entry.position.seq <= self.record.position.seq:
                if entry.position.fence > self.record.position.fence:
                    return False  # the store has lost what we have seen, and somebody has written it anew
            elif entry.position.seq == self.record.position.seq + 1:
                self._show(entry)
            else:
                return False
        return True

    def catch_up(self, row: Row) -> None:
        """Show what the row says, in small steps if they are known, and as a whole if not."""
        reaches_back = row.running and row.position.seq <= self.record.position.seq
        if not (reaches_back and self.take(row.tail)):
            self._replace(Record.stored(row))

    def end(self, patches: Sequence[Patch]) -> None:
        """Let it end like this, whatever the store says."""
        if not self.ended:
            self.record.running = False
            self.stream.write(patches)
            self.stream.end()

    def _show(self, entry: Entry) -> None:
        self.record.position = entry.position
        self.stream.write(entry.patches)
        if self.record.message.terminal:
            self.record.running = False
            self.stream.end()

    def _replace(self, record: Record) -> None:
        if self.ended:
            return
        self.record.position, self.record.running = record.position, record.running
        self.stream.write([Patch("", "SET", record.document.snapshot())])
        if self.record.message.terminal:
            self.stream.end()


__all__ = ["Mirror", "Show", "Stream"]
