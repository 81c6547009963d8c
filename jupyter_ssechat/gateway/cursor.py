"""How much of an answer a reader has had ↔ the id of an event for a browser's EventSource.

The id says what was received, and not which of the events that were once sent was the last: so whoever has the
text can go on after it, and nobody has to keep events.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple
from zlib import crc32

Heard = Literal["text", "error", "close"]

_CURSOR = re.compile(
    r"(?P<chat>[\w-]+)-(?P<thinking>[0-9]{1,12}\.[0-9a-f]{1,8})\.(?P<content>[0-9]{1,12}\.[0-9a-f]{1,8})"
    r"\.(?P<version>[0-9a-f]{1,8})\.(?P<heard>text|error|close)",
    re.ASCII,
)


class Mark(NamedTuple):
    """The beginning of a text: its length in units of UTF-16, as JavaScript counts, and its CRC-32."""

    length: int = 0
    crc: int = 0

    @classmethod
    def read(cls, spelt: str) -> Mark:
        """Read what `str` gives."""
        length, crc = spelt.split(".")
        return cls(int(length), int(crc, 16))

    def __str__(self) -> str:
        return f"{self.length}.{self.crc:x}"

    def after(self, text: str) -> Mark:
        """The mark when `text` came after it."""
        units = _units(text)
        return Mark(self.length + len(units) // 2, crc32(units, self.crc))

    def rest(self, text: str) -> str | None:
        """What follows in `text`; None if that does not begin with what was received."""
        units, had = _units(text), 2 * self.length
        if had > len(units) or crc32(units[:had]) != self.crc:
            return None
        return units[had:].decode("utf-16-le", "surrogatepass")


class Cursor(NamedTuple):
    """What a reader of `chat` has had: so much of both texts, and the last event that it `heard`.

    `version` tells apart the ids of texts that were taken back and came again; it says nothing to who reads it.
    """

    chat: str
    thinking: Mark = Mark()
    content: Mark = Mark()
    version: str = "0"
    heard: Heard = "text"

    @classmethod
    def read(cls, id: str) -> Cursor | None:
        """Read the id of an event; None if it is not one of ours."""
        found = _CURSOR.fullmatch(id)
        if found is None:
            return None
        heard: Heard = (
            "close" if found["heard"] == "close" else "error" if found["heard"] == "error" else "text"
        )
        marks = Mark.read(found["thinking"]), Mark.read(found["content"])
        return cls(found["chat"], *marks, found["version"], heard)

    def __str__(self) -> str:
        return f"{self.chat}-{self.thinking}.{self.content}.{self.version}.{self.heard}"


def _units(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass")


__all__ = ["Cursor", "Heard", "Mark"]
