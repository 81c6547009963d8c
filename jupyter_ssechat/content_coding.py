"""Compressed bytes → bytes, in pieces of bounded size (RFC 9110, section 8.4).

A small chunk may expand a thousandfold: zlib is asked for a piece at a time, so that whoever takes the pieces
can stop. What a server has flushed comes out at once, token by token.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

from .errors import UndecodableBody

PIECE_BYTES = 64 * 1024

_GZIP, _ZLIB, _RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS
_CODINGS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}


class ContentDecoder:
    """One body in the coding that its ``Content-Encoding`` names; raises UndecodableBody for an unknown one.

    gzip and deflate are known; nobody asked for any other, nor for several at once.
    """

    def __init__(self, content_encoding: str) -> None:
        named = [name.strip().lower() for name in content_encoding.split(",")]
        codings = [name for name in named if name not in ("", "identity")]
        if len(codings) > 1 or not set(codings) <= set(_CODINGS):
            raise UndecodableBody(
                f"the server sent a body in the coding {', '.join(codings)[:60]!r}, which nobody asked for;"
                " expected none, gzip or deflate"
            )
        self._window = _CODINGS[codings[0]] if codings else None
        self._sniffed = self._window != _ZLIB
        self._head = b""
        self._member: Any = None
        self._over = False

    @property
    def complete(self) -> bool:
        """Whether the body may end here."""
        return self._member is None and not self._head

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes, and yield what they say; raises UndecodableBody."""
        if self._window is None:
            yield data
            return
        rest, full = self._prepared(data), False
        while (rest or full) and not self._over:
            piece, rest = self._inflated(rest)
            # A full piece may leave more inside zlib, also when it has taken all bytes.
            full = len(piece) == PIECE_BYTES and self._member is not None
            if piece:
                yield piece

    def _inflated(self, data: bytes) -> tuple[bytes, bytes]:
        """The next piece, and the bytes that are not looked at yet."""
        if self._member is None and self._window == _GZIP:
            data = data.lstrip(b"\0")  # members may be padded
            if not data:
                return b"", b""
        member = self._member or zlib.decompressobj(self._window or _GZIP)
        try:
            piece = member.decompress(data, PIECE_BYTES)
        except zlib.error as error:
            raise UndecodableBody(f"the compressed body is broken: {error}") from None
        self._member = None if member.eof else member
        if not member.eof:
            return piece, member.unconsumed_tail
        self._over = self._window != _GZIP  # only gzip may go on with another member
        return piece, member.unused_data

    def _prepared(self, data: bytes) -> bytes:
        """Tell by its first two bytes whether a deflate body has the header that it ought to have."""
        if self._sniffed:
            return data
        self._head += data
        if len(self._head) < 2:
            return b""
        self._sniffed = True
        first, second = self._head[:2]
        if first & 0x0F != 8 or (first << 8 | second) % 31:
            self._window = _RAW
        head, self._head = self._head, b""
        return head


__all__ = ["PIECE_BYTES", "ContentDecoder"]
