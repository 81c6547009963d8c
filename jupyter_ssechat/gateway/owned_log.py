"""A generation → entries for the store: what is written here is seen when the store has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from ..message import ends, stopped
from ..patches import Patch, merge
from .mirror import Mirror
from .sessions import Record
from .stores.store import Append, Claim, Entry, Outcome, Position

MOST_PENDING_BYTES = 2**20
DOCUMENT_BYTES = 2**16
PATCH_BYTES = 64


class OwnedLog:
    """The log of a generation that this worker owns; `on_append` is called when there is something to append, and
    `on_settled` when there never will be again.

    `draft` is the answer as it is written, ahead of the mirror, which is what readers see.
    """

    def __init__(
        self,
        claim: Claim,
        mirror: Mirror,
        on_append: Callable[[OwnedLog], object],
        on_settled: Callable[[OwnedLog], object],
    ) -> None:
        self.claim = claim
        self.mirror = mirror
        self.draft: Record = mirror.record.copy()
        self.audience = mirror.stream.audience
        self.advice: str = mirror.stream.advice
        self.closed = False
        self.lost = False
        self.settled = asyncio.Event()
        self._on_append = on_append
        self._on_settled = on_settled
        self._seq = mirror.record.position.seq
        self._pending: list[Patch] = []
        self._bytes = 0
        self._in_flight: Append | None = None
        self._since_document = 0
        self._document_bytes = DOCUMENT_BYTES
        self._needs_document = False
        self._ended_at: float | None = None
        self._room = asyncio.Event()
        self._room.set()

    def write(self, patches: Sequence[Patch]) -> None:
        """Take patches to be appended."""
        if self.lost or not patches:
            return
        self.draft.apply(patches)
        self._pending += patches
        self._bytes += sum(map(_size, patches))
        if self._bytes > MOST_PENDING_BYTES:
            self._room.clear()
        if not any(map(ends, patches)):  # which are appended with the end
            self._on_append(self)

    async def room(self) -> None:
        """Wait until the store has taken most of what was written."""
        await self._room.wait()

    def end(self) -> None:
        """Append what is left, and the whole document with it."""
        self.closed = True
        self._ended_at = self.mirror.session.updated_at  # now: who looks at the session turns it back
        self._on_append(self)

    def next(self) -> Append | None:
        """The append that is due: all that is pending, or None when there is nothing."""
        due = self._pending or (self.closed and not self.settled.is_set())
        if due and self._in_flight is None and not self.lost:
            self._in_flight = self._append()
        return self._in_flight

    def _append(self) -> Append:
        patches = merge(self._pending)
        self._since_document += self._bytes
        self._pending, self._bytes, self._seq = [], 0, self._seq + 1
        document: dict[str, Any] | None = None
        if self.closed or self._needs_document or self._since_document > self._document_bytes:
            document = self.draft.document.snapshot()
            # As much again as there is: so all documents together are no more than twice the last one.
            self._document_bytes = max(self._document_bytes, DOCUMENT_BYTES) + self._since_document
            self._since_document, self._needs_document = 0, False
        return Append(self.claim, self._seq, patches, document, self._ended_at)

    def settle(self, outcome: Outcome) -> None:
        """Learn what became of the append, and show it."""
        append, self._in_flight = self._in_flight, None
        if append is None or self.lost:
            return
        match outcome.verdict:
            case "ok":
                self.mirror.take([Entry(Position(self.claim.fence, append.seq), append.patches)])
            case "behind":
                self._again(append)
            case "gone":
                self._finish_here(append)
            case "fenced":
                self.lose()
        if self._bytes <= MOST_PENDING_BYTES:
            self._room.set()
        if self.mirror.ended:
            self._settle()
        elif self._pending and not self.lost:
            self._on_append(self)

    def lose(self) -> None:
        """Write no more: somebody else owns the log."""
        self.lost = self.closed = True
        self._pending = []
        self._settle()

    def _settle(self) -> None:
        self._room.set()
        if not self.settled.is_set():
            self.settled.set()
            self._on_settled(self)

    def _again(self, append: Append) -> None:
        self._pending = [*append.patches, *self._pending]
        self._seq -= 1
        self._needs_document = True

    def _finish_here(self, append: Append) -> None:
        """The session was deleted: nobody but the readers who are here will ever see the end."""
        self.lost = self.closed = True
        end = [] if self.draft.message.terminal else stopped()
        self.mirror.end([*append.patches, *self._pending, *end])
        self._pending = []


class DirectLog(OwnedLog):
    """The log of a generation in a store that nobody else reads.

    Its readers see at once what is written, and the store gets the whole at the end.
    """

    def __init__(
        self,
        claim: Claim,
        mirror: Mirror,
        on_append: Callable[[OwnedLog], object],
        on_settled: Callable[[OwnedLog], object],
    ) -> None:
        super().__init__(claim, mirror, on_append, on_settled)
        self.draft = mirror.record

    def write(self, patches: Sequence[Patch]) -> None:
        """Show patches."""
        if not self.lost:
            self.mirror.stream.write(patches)


def _size(patch: Patch) -> int:
    return PATCH_BYTES + (len(patch.value) if isinstance(patch.value, str) else PATCH_BYTES)


__all__ = ["DirectLog", "OwnedLog"]
