"""Patches → numbered batches for browsers, a snapshot for who asks, and at the end how the texts ought to read."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from .message import Message
from .patches import Document, Patch
from .reply import Reply

Tell = Callable[[dict[str, Any]], object]


def empty_document() -> dict[str, Any]:
    """The document of an answer that has not begun."""
    return {"response": {}, "phase": "connecting", "timing": {}}


class Batches:
    """The document of one answer, as its browsers follow it; `tell` sends them a message.

    Its owner holds the lock that its browsers' state is made under.
    """

    def __init__(self, tell: Tell) -> None:
        self.seq = 0
        self.message = Message(Document(empty_document()))
        self.reply: Reply | None = None
        self._tell = tell

    def push(self, patches: list[Patch]) -> None:
        """Apply a batch here and send it to every browser."""
        for patch in patches:
            self.message.apply(patch)
        self.seq += 1
        wire = [{"p": patch.path, "o": patch.op, "v": patch.value} for patch in patches]
        self._tell({"type": "patches", "seq": self.seq, "patches": wire})

    def check(self) -> None:
        """Tell every browser the length in bytes and the CRC-32 of the texts after the last batch."""
        text = f"{self.message.thinking}\0{self.message.content}".encode()
        self._tell({"type": "end", "seq": self.seq, "length": len(text), "checksum": zlib.crc32(text)})

    def snapshot(self) -> dict[str, Any]:
        """The document and the number of the last batch in it."""
        document = self.message.document.snapshot()
        if self.reply is not None:  # so that a page that comes late shows the same clock
            document.setdefault("timing", {})["elapsed"] = round(self.reply.elapsed, 3)
        return {"seq": self.seq, "document": document}
