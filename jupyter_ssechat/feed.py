"""One answer of a conversation → numbered batches for its browsers, and a snapshot for who asks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from .batches import Batches, Tell
from .consumer import sendable
from .message import Message, Status
from .panel_text import Said
from .patches import Document, Patch
from .presentation import markdown, plain
from .reply import Reply


class Feed:
    """The view of one answer in a conversation; its messages carry the answer's `number`.

    `heard` is called after its reply has begun, got its ids, or ended, on the thread where that happens.
    """

    def __init__(
        self, number: int, lock: threading.RLock, tell: Tell, heard: Callable[[Feed, str], object]
    ) -> None:
        def tell_numbered(message: dict[str, Any]) -> None:
            tell({**message, "number": number})

        self.number = number
        self.status: Status = "streaming"
        self._lock = lock
        self._tell = tell_numbered
        self._heard = heard
        self._batches = Batches(tell_numbered)
        self._words: tuple[object, Said] | None = None

    @property
    def seq(self) -> int:
        """The number of the last batch."""
        return self._batches.seq

    @property
    def reply(self) -> Reply | None:
        """The reply that is shown; None for an answer of before."""
        return self._batches.reply

    @property
    def message(self) -> Message:
        """The answer as its browsers have it."""
        return self._batches.message

    @property
    def said(self) -> bool:
        """Whether there is any answer yet."""
        return bool(self.message.content)

    def recall(self, record: dict[str, Any]) -> None:
        """Stand for an answer of `history_messages`; one that still runs elsewhere can be taken up."""
        self._batches.message = message = Message(Document({"response": sendable(record), "timing": {}}))
        message.interrupt()
        self.status = message.status

    def in_words(self, prompt: str) -> Said:
        """The answer as it stands, to be kept; projected once, until it changes."""
        state = (self.seq, self.status, prompt)
        if self._words is None or self._words[0] != state:
            one = self.reply or self.message
            self._words = state, Said(prompt, markdown(one), plain(one))
        return self._words[1]

    def snapshot(self) -> dict[str, Any]:
        """The document and the number of the last batch in it."""
        return self._batches.snapshot()

    def begin(self, reply: Reply) -> None:
        """The answer streams, for the first time or again."""
        with self._lock:
            self._batches.reply = reply
            self._say(reply.status)
            self._heard(self, "begin")

    def ready(self, reply: Reply) -> None:
        """The answer has its ids."""
        with self._lock:
            self._heard(self, "ready")

    def push(self, patches: list[Patch]) -> None:
        """Apply a batch here and send it to every browser."""
        with self._lock:
            self._batches.push(patches)

    def end(self, reply: Reply) -> None:
        """Tell every browser how the text ought to read now."""
        with self._lock:
            self._batches.check()
            self._say(reply.status)
            self._heard(self, "end")

    def close(self) -> None:
        """The conversation keeps what was said."""

    def let_control(self, origin: str) -> None:
        """Tell the pages at `origin` how to stop this one stream by themselves; it is never saved."""
        if self.reply is None or self.reply.done:
            return
        self.reply.grant(origin, lambda grant: self._tell({"type": "control", **grant}))

    def _say(self, status: Status) -> None:
        self.status = status
        self._tell({"type": "status", "status": status})
