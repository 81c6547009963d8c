"""One answer of a conversation → numbered batches for its browsers, and a snapshot for who asks."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from typing import Any

from .consumer import sendable
from .message import Message, Status
from .patches import Document, Patch
from .reply import Reply

Tell = Callable[[dict[str, Any]], object]


class Feed:
    """The view of one answer in a conversation; its messages carry the answer's `number`.

    `heard` is called after its reply has begun, got its ids, or ended, on the thread where that happens.
    """

    def __init__(
        self, number: int, lock: threading.RLock, tell: Tell, heard: Callable[[Feed, str], object]
    ) -> None:
        self.number = number
        self.seq = 0
        self.reply: Reply | None = None
        self.status: Status = "streaming"
        self._lock = lock
        self._tell = tell
        self._heard = heard
        self._message = Message(Document({"response": {}, "phase": "connecting", "timing": {}}))

    @property
    def said(self) -> bool:
        """Whether there is any answer yet."""
        return bool(self._message.content)

    def recall(self, record: dict[str, Any]) -> None:
        """Stand for an answer of `history_messages`; one that still runs elsewhere can be taken up."""
        self._message = Message(Document({"response": sendable(record), "timing": {}}))
        status = self._message.status
        self.status = "interrupted" if status == "streaming" else status

    def snapshot(self) -> dict[str, Any]:
        """The document and the number of the last batch in it."""
        document = self._message.document.snapshot()
        if self.reply is not None:  # so that a page that comes late shows the same clock
            document.setdefault("timing", {})["elapsed"] = round(self.reply.elapsed, 3)
        return {"seq": self.seq, "document": document}

    def begin(self, reply: Reply) -> None:
        """The answer streams, for the first time or again."""
        with self._lock:
            self.reply = reply
            self._say(reply.status)
            self._heard(self, "begin")

    def ready(self, reply: Reply) -> None:
        """The answer has its ids."""
        with self._lock:
            self._heard(self, "ready")

    def push(self, patches: list[Patch]) -> None:
        """Apply a batch here and send it to every browser."""
        with self._lock:
            for patch in patches:
                self._message.apply(patch)
            self.seq += 1
            wire = [{"p": patch.path, "o": patch.op, "v": patch.value} for patch in patches]
            self._tell({"type": "patches", "number": self.number, "seq": self.seq, "patches": wire})

    def end(self, reply: Reply) -> None:
        """Tell every browser how the text ought to read now."""
        with self._lock:
            text = f"{self._message.thinking}\0{self._message.content}".encode()
            check = {"length": len(text), "checksum": zlib.crc32(text)}
            self._tell({"type": "end", "number": self.number, "seq": self.seq, **check})
            self._say(reply.status)
            self._heard(self, "end")

    def close(self) -> None:
        """The conversation keeps what was said."""

    def let_control(self, origin: str) -> None:
        """Tell the pages at `origin` how to stop this one stream by themselves; it is never saved."""
        if self.reply is None or self.reply.done:
            return
        if grant := self.reply.grant(origin):
            self._tell({"type": "control", "number": self.number, **grant})

    def _say(self, status: Status) -> None:
        self.status = status
        self._tell({"type": "status", "number": self.number, "status": status})
