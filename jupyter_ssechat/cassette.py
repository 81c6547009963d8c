"""Requests and the exact streams that answered them ↔ the lines of a cassette, which are JSON.

An episode is a request, who answered, what came when, and how it ended::

    {"ask": {"turns": [{"user": "Why?"}], "thinking": true}}
    {"by": {"dialect": "openai_chat", "server": "http://127.0.0.1:8000/v1/chat/completions"}, "at": "2026-01-31T…"}
    {"open": {"status": 200, "type": "text/event-stream"}, "ms": 212}
    [15, "data: {\\"choices\\": …}\\n\\n"]
    {"close": "end", "ms": 3}
    {"end": "finished", "ms": 0, "answer": "Because."}

A time is in milliseconds since the line before. Bytes are text; what is not UTF-8 in them stands in base64.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from . import errors
from .errors import InvalidData, SSEChatError, UpstreamError
from .wire_json import as_list, as_object, as_text, dumps, is_list, is_object, loads

RecordMode = Literal["once", "new_episodes", "all", "none"]
"""When to record: if the file does not exist yet; what is not in it; everything, anew; nothing."""
Ending = Literal["finished", "stopped", "left", "cut", "raised"]
"""How an episode ended: as the answer did, by a stop, without its readers, in mid-answer, with an error."""

VERSION = 1
HEADER = {"cassette": VERSION, "by": "jupyter_ssechat"}
LONGEST_ANSWER = 4000
PATCHES = "patches"
"""What stands for a dialect where the upstream is no HTTP server: patches, in the wire of our own gateway."""

_NO_TEXT = re.compile("([\udc80-\udcff]+)")


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, as it is compared: see `matching`."""

    meaning: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """Who answered: `dialect` is PATCHES, or that of `server`, whether it was `certain` or to be told.

    `prefill` and `asks_usage` are the manners in which it was asked, `at` the date and time in UTC. `handles` are
    what the server called the turns, and last the answer that goes on; () where it called none.
    """

    dialect: str
    server: str
    at: str
    certain: bool = True
    prefill: str = ""
    asks_usage: bool = True
    handles: tuple[Mapping[str, Any] | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection was answered; `retry_after` is in seconds."""

    ms: int
    status: int
    type: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes as they were received."""

    ms: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """A connection ended, with an error or with the end of its body; one that was never answered too."""

    ms: int
    error: SSEChatError | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """The next try was made after so many seconds."""

    ms: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The last line of an episode."""

    ms: int
    how: Ending
    error: SSEChatError | None = None
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Omitted:
    """An episode that was left out, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class Header:
    """The first line."""

    version: int


Event = Opened | Chunk | Closed | Again | Ended
Line = Header | Ask | By | Omitted | Event


# ---- writing ----


def header() -> bytes:
    """The first line of a cassette."""
    return _line(HEADER)


def written(line: Ask | By | Omitted | Event) -> bytes:
    """One line of a cassette."""
    return _line(_value(line))


def _line(value: object) -> bytes:
    return dumps(value).encode() + b"\n"


def _value(line: Ask | By | Omitted | Event) -> object:
    match line:
        case Chunk(ms, data):
            return [ms, *_parts(data)]
        case Ask(meaning):
            return {"ask": meaning}
        case By():
            return {"by": _by(line), "at": line.at}
        case Omitted(why):
            return {"omitted": why}
        case Opened(ms, status, kind, retry_after):
            wish = {} if retry_after is None else {"retry_after": retry_after}
            return {"open": {"status": status, "type": kind, **wish}, "ms": ms}
        case Closed(ms, error):
            return {"close": "end" if error is None else _error(error), "ms": ms}
        case Again(ms, seconds):
            return {"again": seconds, "ms": ms}
        case Ended(ms, how, error, answer):
            said = {} if error is None else {"error": _error(error)}
            return {"end": how, "ms": ms, **said, **({"answer": _shortened(answer)} if answer else {})}


def _parts(data: bytes) -> list[object]:
    """The bytes as text, and in base64 what is none, such as the halves of a character that was cut in two."""
    try:
        return [data.decode()]
    except UnicodeDecodeError:
        pieces = _NO_TEXT.split(data.decode("utf-8", "surrogateescape"))
    return [_base64(piece) if number % 2 else piece for number, piece in enumerate(pieces) if piece]


def _base64(piece: str) -> dict[str, str]:
    return {"base64": b64encode(piece.encode("utf-8", "surrogateescape")).decode()}


def _by(by: By) -> dict[str, Any]:
    usual = By(dialect="", server="", at="")
    named = {name: getattr(by, name) for name in ("certain", "prefill", "asks_usage", "handles")}
    told = {name: value for name, value in named.items() if value != getattr(usual, name)}
    return {"dialect": by.dialect, "server": by.server, **told}


def _error(error: SSEChatError) -> dict[str, Any]:
    fields: dict[str, Any] = {"kind": type(error).__name__, "message": str(error)}
    if isinstance(error, UpstreamError):
        fields |= {"type": error.type, "status": error.status, "retry_after": error.retry_after}
    return {name: value for name, value in fields.items() if value is not None}


def _shortened(text: str) -> str:
    if len(text) <= LONGEST_ANSWER:
        return text
    return f"{text[: LONGEST_ANSWER // 2]}… ({len(text):,} characters)"


# ---- reading ----


def is_cassette(first: bytes) -> bool:
    """Whether a file with this first line is a cassette, of whatever version."""
    return first.removeprefix(b"\xef\xbb\xbf").startswith(b'{"cassette":')


def line_of(text: str) -> Line:
    """Read one line; raises InvalidData, which says what is wrong with it."""
    return read_value(loads(text))


def read_value(value: object) -> Line:
    """Read one line whose JSON is known; raises InvalidData."""
    if is_list(value):
        return Chunk(_milliseconds(value[0] if value else None), b"".join(map(_bytes, value[1:])))
    fields = as_object(value)
    for name, read in _READERS.items():
        if name in fields:
            return read(fields)
    raise InvalidData(f"a line that is no list and has none of {', '.join(_READERS)}: {dumps(value)[:80]}")


def _ask(fields: dict[str, Any]) -> Ask:
    return Ask(_object(fields, "ask"))


def _omitted(fields: dict[str, Any]) -> Omitted:
    return Omitted(as_text(fields["omitted"]))


def _again(fields: dict[str, Any]) -> Again:
    return Again(_ms(fields), _seconds(fields["again"]))


def _header(fields: dict[str, Any]) -> Header:
    if fields["cassette"] != VERSION:
        said = f"version {fields['cassette']!r} is not known here; expected {VERSION}"
        raise InvalidData(f"{said}; a newer jupyter_ssechat may know it")
    return Header(VERSION)


def _bytes(part: object) -> bytes:
    if isinstance(part, str):
        return _encoded(part)
    encoded = as_object(part).get("base64")
    if not isinstance(encoded, str):
        raise InvalidData('a chunk holds something other than text or {"base64": …}')
    try:
        return b64decode(encoded, validate=True)
    except ValueError:
        raise InvalidData("a chunk holds broken base64") from None


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidData("a chunk holds half of a surrogate pair, which is no text") from None


def _read_by(fields: dict[str, Any]) -> By:
    by = _object(fields, "by")
    return By(
        dialect=_text(by, "dialect"),
        server=_text(by, "server"),
        at=as_text(fields.get("at")),
        certain=by.get("certain") is not False,
        prefill=as_text(by.get("prefill")),
        asks_usage=by.get("asks_usage") is not False,
        handles=tuple(as_object(one) or None for one in as_list(by.get("handles"))),
    )


def _opened(fields: dict[str, Any]) -> Opened:
    answer = _object(fields, "open")
    wish = answer.get("retry_after")
    status = _milliseconds(answer.get("status"), "a status")
    return Opened(_ms(fields), status, as_text(answer.get("type")), None if wish is None else _seconds(wish))


def _closed(fields: dict[str, Any]) -> Closed:
    error = fields["close"]
    return Closed(_ms(fields), _read_error(error) if is_object(error) else None)


def _ended(fields: dict[str, Any]) -> Ended:
    how, error = fields["end"], fields.get("error")
    if how not in get_args(Ending):
        raise InvalidData(f"an end that is none of {', '.join(get_args(Ending))}: {dumps(how)[:80]}")
    if how == "raised" and not is_object(error):
        raise InvalidData("an episode that raised, without its error")
    return Ended(
        _ms(fields), how, _read_error(error) if is_object(error) else None, as_text(fields.get("answer"))
    )


def _read_error(fields: dict[str, Any]) -> SSEChatError:
    kind: Any = getattr(errors, _text(fields, "kind"), None)
    if not (isinstance(kind, type) and issubclass(kind, SSEChatError)):
        raise InvalidData(f"an error of an unknown kind: {dumps(fields)[:80]}")
    message = _text(fields, "message")
    if not issubclass(kind, UpstreamError):
        return kind(message)
    wish, status = fields.get("retry_after"), fields.get("status")
    return kind(
        message,
        type=as_text(fields.get("type")) or "upstream_error",
        status=status if isinstance(status, int) else None,
        retry_after=None if wish is None else _seconds(wish),
    )


def _object(fields: dict[str, Any], name: str) -> dict[str, Any]:
    value = fields[name]
    if not is_object(value):
        raise InvalidData(f"{name} is no object")
    return value


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise InvalidData(f"{name} is missing, or no text")
    return value


def _ms(fields: dict[str, Any]) -> int:
    return _milliseconds(fields.get("ms"))


def _milliseconds(value: object, what: str = "a time in milliseconds") -> int:
    if type(value) is not int or value < 0:
        raise InvalidData(f"{what} is missing, or no whole number from 0 on")
    return value


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
        raise InvalidData("a time in seconds is no number from 0 on")
    return float(value)


_READERS: dict[str, Callable[[dict[str, Any]], Line]] = {
    "cassette": _header,
    "ask": _ask,
    "by": _read_by,
    "omitted": _omitted,
    "open": _opened,
    "close": _closed,
    "again": _again,
    "end": _ended,
}


# ---- an episode ----


@dataclass(slots=True)
class Episode:
    """The lines of one episode while it is recorded; times are in milliseconds since its beginning."""

    ask: Ask
    by: By
    lines: list[bytes] = field(default_factory=list[bytes])
    at: int = 0

    def add(self, make: type[Event], at: int, *fields: Any) -> None:
        """Add an event that happened `at` this time."""
        at = max(at, self.at)
        self.lines.append(written(make(at - self.at, *fields)))
        self.at = at

    def block(self) -> bytes:
        """All lines, to be written at once."""
        return b"".join([written(self.ask), written(self.by), *self.lines])


__all__ = [
    "PATCHES",
    "Again",
    "Ask",
    "By",
    "Chunk",
    "Closed",
    "Ended",
    "Ending",
    "Episode",
    "Event",
    "Header",
    "Line",
    "Omitted",
    "Opened",
    "RecordMode",
    "header",
    "is_cassette",
    "line_of",
    "read_value",
    "written",
]
