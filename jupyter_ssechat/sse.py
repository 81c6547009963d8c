"""Bytes ↔ events: server-sent events exactly as the WHATWG writes them (protocols section 5).

The decoder looks for the blank line that ends a block in the raw bytes, decodes all complete blocks of a
chunk at once and splits them as text: most events are one ``data: `` line and never see the line parser.
Bytes of an unfinished block are only collected, and joined once, so time and space are linear however the
stream is cut; both are bounded by `max_event_bytes`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from .errors import EventTooLarge

MAX_EVENT_BYTES = 8 * 2**20
LONGEST_RETRY = 10**18

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(r"\r\n|\r|\n")
_SURROGATE = re.compile("[\ud800-\udfff]")


class ServerSentEvent(NamedTuple):
    """One dispatched event; `id` is the stream's last event id, `retry` is in milliseconds."""

    # A tuple and not a dataclass: frozen and equal by value too, and made in three quarters of the time.
    event: str = "message"
    data: str = ""
    id: str = ""
    retry: int | None = None


OnIgnored = Callable[[str, list[str]], ServerSentEvent | None]


class SSEDecoder:
    """Bytes → events, fed chunk by chunk (protocols section 5).

    An event counts the bytes of its field lines, line ends included; comments are free. Above
    `max_event_bytes` the decoder fails for good: `feed` first returns the events that were complete, and
    raises EventTooLarge from then on.

    `on_ignored(event_name, comments)` is called for a block that dispatches nothing but has an event name or
    comments, or a field ``error:``, which counts as both. An event that it returns takes the block's place among
    those of `feed`. `last_event_id`, to be sent when reconnecting, is committed at each blank line.
    """

    def __init__(
        self,
        max_event_bytes: int = MAX_EVENT_BYTES,
        lenient_end: bool = False,
        on_ignored: OnIgnored | None = None,
    ) -> None:
        if max_event_bytes < 1:
            raise ValueError(f"max_event_bytes is {max_event_bytes}; expected 1 or more")
        self.max_event_bytes = max_event_bytes
        self.lenient_end = lenient_end
        self._on_ignored = on_ignored
        self.last_event_id = ""
        self._retry: int | None = None
        self._error: str | None = None
        # The unfinished block, its line ends all LF; joined once, for joining at each feed is quadratic.
        self._parts: list[bytes] = []
        self._size = 0
        self._limit = max_event_bytes
        # What the next chunk must be looked at for; `_alert` is true while there is any such thing.
        self._head: bytes | None = b""
        self._swallow_lf = False
        self._alert = True

    @property
    def retry(self) -> int | None:
        """The reconnection time in milliseconds, as of the last complete line; None when never sent."""
        for line in b"".join(self._parts).split(b"\n")[:-1]:
            name, value = _field(line.decode("utf-8", "replace"))
            if name == "retry" and (retry := _milliseconds(value)) is not None:
                self._retry = retry
        return self._retry

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Take the next bytes and return the events they complete; raises EventTooLarge."""
        if self._alert:
            chunk = self._prepare(chunk)
        if 13 in chunk:  # a number, not b"\r": looking for bytes in bytes is seven times slower
            chunk = self._unify(chunk)
        if 10 in chunk:
            blocks, ended, rest = chunk.rpartition(b"\n\n")
            if ended:
                return self._complete(blocks, rest)
            if chunk[0] == 10 and self._at_line_start():
                return self._complete(b"", chunk[1:])
        elif not chunk:
            return []
        self._parts.append(chunk)
        self._size += len(chunk)
        if self._size > self._limit:
            self._compact()
        return []

    def finish(self) -> list[ServerSentEvent]:
        """Take the end of the body: the unfinished block is discarded, or dispatched when `lenient_end`."""
        if self._error is not None:
            raise EventTooLarge(self._error)
        self._retry = self.retry
        rest = b"".join(self._parts)
        self._hold(b"")
        return self._events(rest.decode("utf-8", "replace")) if rest and self.lenient_end else []

    def _prepare(self, chunk: bytes) -> bytes:
        """Raise if failed; drop the leading BOM, and the LF of a CRLF that was cut in two."""
        if self._error is not None:
            raise EventTooLarge(self._error)
        if self._head is not None:
            head = self._head + chunk
            if len(head) < len(_BOM) and _BOM.startswith(head):
                self._head = head
                return b""
            self._head = None
            chunk = head.removeprefix(_BOM)
        if self._swallow_lf and chunk:
            self._swallow_lf = False
            chunk = chunk.removeprefix(b"\n")
        self._alert = self._swallow_lf
        return chunk

    def _unify(self, chunk: bytes) -> bytes:
        """Make every line end LF; a CR ends its line at once, an LF that follows it is swallowed later."""
        self._swallow_lf = self._alert = chunk[-1] == 0x0D
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _complete(self, blocks: bytes, rest: bytes) -> list[ServerSentEvent]:
        """Dispatch the unfinished block and `blocks`, which end it; `rest` is the next unfinished one."""
        if self._parts:
            self._parts.append(blocks)
            blocks = b"".join(self._parts)
        self._parts = [rest]
        self._size = len(rest)
        self._limit = self.max_event_bytes
        if len(blocks) >= self._limit or self._size > self._limit:
            return self._events_within_cap(blocks)
        if 10 not in blocks and blocks[:6] == b"data: ":  # one short event in a chunk: the way tokens come
            return _plain([blocks[6:].decode("utf-8", "replace")], self.last_event_id)
        return self._events(blocks.decode("utf-8", "replace"))

    def _at_line_start(self) -> bool:
        """Whether the unfinished block ends with a line end, so that another one is its blank line."""
        return bool(self._parts) and self._parts[-1][-1:] == b"\n"

    def _hold(self, rest: bytes) -> None:
        self._parts = [rest] if rest else []
        self._size = len(rest)
        self._limit = self.max_event_bytes

    def _events_within_cap(self, blocks: bytes) -> list[ServerSentEvent]:
        """Dispatch the blocks before the first that is too large, and fail if there is one."""
        small: list[bytes] = []
        for block in blocks.split(b"\n\n"):
            if len(block) >= self.max_event_bytes and _field_bytes(block) >= self.max_event_bytes:
                self._fail()
                break
            small.append(block)
        events = self._events(b"\n\n".join(small).decode("utf-8", "replace"))
        if self._size > self._limit:
            self._compact(raises=False)
        if self._error is not None and not events:
            raise EventTooLarge(self._error)
        return events

    def _compact(self, *, raises: bool = True) -> None:
        """Drop the unfinished block's comments, which are free; fail if its fields are too large."""
        *lines, last = b"".join(self._parts).lstrip(b"\n").split(b"\n")
        fields = [line for line in lines if not line.startswith(b":")]
        in_comment = last.startswith(b":")
        self._hold(b"\n".join([*fields, b":" if in_comment else last]))
        # Room for as much again: a flood of comments then costs one pass per max_event_bytes, not per chunk.
        self._limit += self._size
        if self._size - in_comment > self.max_event_bytes:
            self._fail()
            if raises:
                raise EventTooLarge(self._error)

    def _fail(self) -> None:
        self._error = (
            f"an event is larger than {self.max_event_bytes:,} bytes; "
            "if the server really sends such events, raise max_event_bytes"
        )
        self._hold(b"")
        self._alert = True

    def _events(self, text: str) -> list[ServerSentEvent]:
        """Dispatch all blocks of `text`; where each is a single ``data: `` line, none needs the line parser."""
        if text[:6] == "data: ":
            datas = text[6:].split("\n\ndata: ")
            if text.count("\n") == 2 * (len(datas) - 1):
                return _plain(datas, self.last_event_id)
        parsed = [self._block(block) for block in text.split("\n\n") if block]
        return [event for event in parsed if event is not None]

    def _block(self, block: str) -> ServerSentEvent | None:
        """Interpret one block line by line, and dispatch it as its blank line says."""
        name, retry = "", None
        data: list[str] = []
        comments: list[str] = []
        for line in block.split("\n"):
            field, value = _field(line)
            if field == "data":
                data.append(value)
            elif field == "event":
                name = value
            elif field == "id":
                if "\0" not in value:
                    self.last_event_id = value
            elif field == "retry":
                retry = _milliseconds(value, retry)
            elif line[:1] == ":":
                comments.append(value)
            elif field == "error":  # no field of the specification, but what llama.cpp tells errors in
                name = name or field
                comments.append(value)
        if retry is not None:
            self._retry = retry
        if data:
            return ServerSentEvent(name or "message", "\n".join(data), self.last_event_id, retry)
        if self._on_ignored is not None and (name or comments):
            return self._on_ignored(name, comments)
        return None


# Past the constructor, which would sort out its arguments.
_new: Any = cast("Any", tuple).__new__


def _plain(datas: list[str], last_event_id: str) -> list[ServerSentEvent]:
    """Make events that are data and nothing else."""
    return [_new(ServerSentEvent, ("message", data, last_event_id, None)) for data in datas]


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value[1:] if value[:1] == " " else value


def _milliseconds(value: str, default: int | None = None) -> int | None:
    """Read ASCII digits; a number that no clock can wait for is cut, since int() is quadratic."""
    if not (value.isascii() and value.isdigit()):
        return default
    digits = value.lstrip("0")
    return min(int(digits or "0"), LONGEST_RETRY) if len(digits) < 20 else LONGEST_RETRY


def _field_bytes(block: bytes) -> int:
    """Size of a complete block without its comments and without its last line end."""
    return len(b"\n".join(line for line in block.strip(b"\n").split(b"\n") if line[:1] != b":"))


def encode(
    sent: ServerSentEvent | None = None,
    /,
    *,
    data: str | None = None,
    event: str = "message",
    id: str = "",
    retry: int | None = None,
) -> bytes:
    r"""Encode one event, ending in its blank line (protocols section 5, "Sending").

    Line ends are LF; data is split on CR, LF and CRLF. Raises ValueError for a newline in `event` or `id`.
    """
    if sent is not None:
        data, event, id, retry = sent.data, sent.event, sent.id, sent.retry
    head = ""
    if event != "message":
        head = f"event: {_one_line('event', event)}\n"
    if id:
        head += f"id: {_one_line('id', id)}\n"
    if retry is not None:
        head += f"retry: {retry}\n"
    return _utf8(head + _data_lines(data) + "\n")


def comment(text: str) -> bytes:
    """Encode a comment line with one newline, so that buggy clients do not see an event in it."""
    return _utf8(f": {_one_line('comment', text)}\n")


def _data_lines(data: str | None) -> str:
    if data is None:
        return ""
    if "\n" not in data and "\r" not in data:
        return f"data: {data}\n"
    return "".join(f"data: {line}\n" for line in _LINE_END.split(data))


def _one_line(what: str, text: str) -> str:
    if "\n" in text or "\r" in text or "\0" in text:
        raise ValueError(
            f"{what} {text[:80]!r} holds a newline or a NUL; it must fit on one line of the stream"
        )
    return text


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a surrogate pair: UTF-8 has no bytes for it
        return _SURROGATE.sub("\ufffd", text).encode()


__all__ = [
    "LONGEST_RETRY",
    "MAX_EVENT_BYTES",
    "OnIgnored",
    "SSEDecoder",
    "ServerSentEvent",
    "comment",
    "encode",
]
