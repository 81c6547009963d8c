"""Content with inline ``<think>`` tags → patches: thinking and answer told apart (protocols section 2)."""

from __future__ import annotations

from typing import Literal

from ..patches import Patch

THINKING = "response/thinking_content"
CONTENT = "response/content"
OPEN, CLOSE = "<think>", "</think>"


class ThinkTags:
    """Splits content that begins with ``<think>``, or that began inside one and only closes it.

    Later tags are text. While the tags are undecided at most a tag's length is held back; an answer that
    turns out to have been thinking is moved by a SET, but never one that `continues` an older text.
    """

    def __init__(self, *, continues: bool = False) -> None:
        self._continues = continues
        self._state: Literal["start", "opened", "thinking", "closed", "answer", "plain"] = "start"
        self._held = ""
        # The plain answer so far: a lone </think> makes thinking of it.
        self._shown: list[str] = []
        self._tail = ""

    def feed(self, text: str) -> list[Patch]:
        """Take more content."""
        match self._state:
            case "plain":
                return _append(CONTENT, text)
            case "answer":
                return self._answer(text)
            case "start":
                return self._start(self._held + text)
            case "thinking":
                return self._thinking(self._held + text)
            case "opened":
                return self._opened(text)
            case "closed":
                return self._closed(text)

    def off(self) -> None:
        """Stop looking for tags: the thinking comes in a field of its own."""
        self._state = "plain"
        self._shown.clear()

    def flush(self) -> list[Patch]:
        """Give back what is held: no tag came of it."""
        held, self._held = self._held, ""
        return _append(THINKING if self._state == "thinking" else CONTENT, held)

    def _start(self, text: str) -> list[Patch]:
        self._held = ""
        begun = text.lstrip()
        if begun.startswith(OPEN):
            return self._opened(begun.removeprefix(OPEN))
        if OPEN.startswith(begun) and len(text) < 64:
            self._held = text
            return []
        self._state = "plain" if self._continues else "answer"
        return self.feed(text)

    def _opened(self, text: str) -> list[Patch]:
        """Drop the blank lines that belong to the opening tag."""
        text = text.lstrip("\r\n")
        self._state = "thinking" if text else "opened"
        return self._thinking(text) if text else []

    def _thinking(self, text: str) -> list[Patch]:
        before, tag, after = text.partition(CLOSE)
        if tag:
            self._state, self._held = "closed", ""
            return _append(THINKING, before) + self._closed(after)
        keep = _begun_tag(text)
        self._held = text[len(text) - keep :]
        return _append(THINKING, text[: len(text) - keep])

    def _closed(self, text: str) -> list[Patch]:
        """Drop the blank lines between the thinking and the answer."""
        if not (text := text.lstrip("\r\n")):
            return []
        self.off()
        return _append(CONTENT, text)

    def _answer(self, text: str) -> list[Patch]:
        """Show the answer, but look out for a </think> whose beginning never came."""
        seen = self._tail + text
        at = seen.find(CLOSE)
        opened = seen.find(OPEN)
        if opened >= 0 and not 0 <= at < opened:
            self.off()
        if self._state == "plain" or at < 0:
            self._shown.append(text)
            self._tail = seen[1 - len(CLOSE) :]
            return _append(CONTENT, text)
        whole = "".join(self._shown) + text
        before, _, after = whole.partition(CLOSE)
        if before.endswith("`"):  # quoted: it speaks of the tag
            self.off()
            return _append(CONTENT, text)
        self._state = "closed"
        return [Patch(THINKING, "SET", before), Patch(CONTENT, "SET", ""), *self._closed(after)]


def _begun_tag(text: str) -> int:
    """How many characters at the end of `text` may be the beginning of ``</think>``."""
    return next((n for n in range(min(len(CLOSE) - 1, len(text)), 0, -1) if CLOSE.startswith(text[-n:])), 0)


def _append(path: str, text: str) -> list[Patch]:
    return [Patch(path, "APPEND", text)] if text else []


__all__ = ["ThinkTags"]
