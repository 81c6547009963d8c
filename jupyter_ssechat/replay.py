"""Bytes of a recorded answer → its final message (protocols section 6)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .dialects import DIALECTS, Body, Dialect, OpenAIChat
from .dialects.deepseek import whole_message
from .errors import BadInput, EventTooLarge, InvalidData, NotAnEventStream, StreamError
from .message import Message, failed
from .patches import Patch, PatchDecoder
from .sse import MAX_EVENT_BYTES, ServerSentEvent
from .wire_json import as_object, excerpt, is_object, loads

_SNIFFED = 2**16
_SUCCESS = ("finished", "stopped", "filtered")


def replay(
    chunks: Iterable[bytes],
    dialect: str | type[Dialect] | None = None,
    *,
    max_event_bytes: int = MAX_EVENT_BYTES,
) -> Message:
    """Read a recorded body to its end and return the message, interrupted if it was cut.

    The body is a stream in `dialect` (a name of ours, or any class), or in the one that its first event speaks;
    or the JSON that servers send in place of a stream. Chunks are read one by one, and only the text is kept.
    """
    message = Message()
    for patches in _patches(chunks, _named(dialect), max_event_bytes):
        for patch in patches:
            message.apply(patch)
    message.interrupt()
    return message


def exit_status(message: Message) -> int:
    """Return the exit status for a message (protocols section 6)."""
    return 0 if message.status in _SUCCESS else 1


def _named(dialect: str | type[Dialect] | None) -> type[Dialect] | None:
    if not isinstance(dialect, str):
        return dialect
    if dialect not in DIALECTS:
        raise BadInput(f"{dialect!r} is not a dialect; expected one of {', '.join(sorted(DIALECTS))}")
    return DIALECTS[dialect]


def _patches(chunks: Iterable[bytes], dialect: type[Dialect] | None, cap: int) -> Iterator[list[Patch]]:
    chunks = iter(chunks)
    head, first = b"", b""
    for chunk in chunks:
        head += chunk
        first = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        if first or len(head) > _SNIFFED:
            break
    if first in (b"{", b"["):
        yield _json_patches(_chain(head, chunks), dialect, cap)
    elif first == b"<":
        error = NotAnEventStream(f"not an event stream: {excerpt(head[:400].decode('utf-8', 'replace'))}")
        yield failed(error.type, str(error))
    else:
        body = Body(dialect() if dialect else None, max_event_bytes=cap)
        yield body.feed(head)
        yield from map(body.feed, chunks)
        yield body.finish()


def _chain(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from chunks


def _json_patches(chunks: Iterable[bytes], dialect: type[Dialect] | None, cap: int) -> list[Patch]:
    """Read a body that is one JSON value: an envelope, a snapshot, or a whole completion."""
    try:
        return _whole_answer(_gathered(chunks, cap).decode("utf-8-sig", "replace"), dialect)
    except StreamError as error:
        return failed(error.type, str(error))


def _gathered(chunks: Iterable[bytes], cap: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size > cap:
            raise EventTooLarge(f"a JSON answer is larger than {cap:,} bytes; expected an event stream")
    return b"".join(parts)


def _whole_answer(text: str, dialect: type[Dialect] | None) -> list[Patch]:
    value = loads(text)
    if not is_object(value):
        raise InvalidData(f"a JSON answer that is no object: {excerpt(text)}")
    if "v" in value:
        return PatchDecoder().decode(value)
    if is_object(value.get("response")):
        return [Patch("", "SET", value)]
    readers = [dialect] if dialect else DIALECTS.values()
    if whole := next((found for one in readers if (found := one().whole(value))), None):
        return whole
    if "error" in value and not as_object(value.get("data")):
        chat = OpenAIChat()
        return chat.feed(ServerSentEvent(data=text)) + chat.finish()
    return whole_message(value)


__all__ = ["exit_status", "replay"]
