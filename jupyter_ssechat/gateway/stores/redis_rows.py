"""Sessions, rows and entries ↔ names and values in Redis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...wire_json import dumps, loads
from .store import Entry, Head, Key, Position, Row, Standing, expired, read, unknown

PREFIX = "ssechat:"
LEASES, SECRET = f"{PREFIX}leases", f"{PREFIX}secret"
SIZES, USED, UNTILS = (f"{PREFIX}{{usage}}:{name}" for name in ("sizes", "used", "untils"))
FIELDS = ["parent", "role", "document", "epoch", "fence", "stream", "upstream", "asked", "running", "base"]


def session_name(session_id: str) -> str:
    """The name of a session."""
    return f"{PREFIX}{{{session_id}}}"


def names_of(session_id: str) -> tuple[str, str]:
    """The names of a session, and of what tells later that it was there."""
    return session_name(session_id), f"{session_name(session_id)}:known"


def sessions_name(user: str) -> str:
    """The name of the index of a user's sessions."""
    return f"{PREFIX}sessions:{user}" if user else f"{PREFIX}sessions"


def log_name(key: Key) -> str:
    """The name of a log."""
    return f"{session_name(key.session_id)}:{key.message_id}:{key.epoch}"


def inbox_name(owner: str) -> str:
    """The name of what wakes a worker."""
    return f"{PREFIX}inbox:{owner}"


def member(key: Key) -> str:
    """A generation, as the index of leases has it."""
    return f"{key.session_id}/{key.message_id}/{key.epoch}"


def key_of(member: str) -> Key:
    """The generation that the index means."""
    session_id, message_id, epoch = member.rsplit("/", 2)
    return Key(session_id, int(message_id), int(epoch))


def entry_id(position: Position) -> str:
    """A position, as the id of an entry."""
    return f"{position.fence}-{position.seq}"


def position_of(text: str) -> Position:
    """The position that an id means."""
    fence, _, seq = text.partition("-")
    return Position(int(fence), int(seq))


def entries_of(lines: Iterable[tuple[str, Any]]) -> list[Entry]:
    """What a log gives."""
    return [Entry(position_of(name), read(fields["p"])) for name, fields in lines]


def head_of(session_id: str, fields: Sequence[str]) -> Head:
    """A session from its fields."""
    title, updated_at, version, user = fields[:4]
    return Head(session_id, title, float(updated_at), int(version), user)


def values_of(row: Row) -> list[str | int]:
    """The number of a row, then its FIELDS."""
    parent = "" if row.parent_id is None else row.parent_id
    asked = "" if row.asked is None else dumps(row.asked)
    said = (parent, row.role, dumps(row.document), row.epoch, row.fence, row.stream_id, row.upstream, asked)
    return [row.message_id, *said, int(row.running), entry_id(row.position)]


def row_of(message_id: str, fields: Sequence[str], lines: Iterable[tuple[str, list[str]]]) -> Row:
    """A row from its FIELDS and the end of its log."""
    parent, role, document, epoch, fence, stream, upstream, asked, running, base = fields
    tail = [Entry(position_of(name), read(pairs[1])) for name, pairs in lines]
    return Row(
        int(message_id),
        int(parent) if parent else None,
        "USER" if role == "USER" else "ASSISTANT",
        loads(document),
        int(epoch),
        int(fence),
        stream,
        upstream,
        loads(asked) if asked else None,
        running == "1",
        position_of(base),
        tail,
    )


def standing_of(result: Any) -> Standing | None:
    """What the script `stand` says; 0 is gone."""
    if not result:
        return None
    fence, end, running, stop, attended, _ = result
    return Standing(int(fence), position_of(end), running == "1", stop == "1", bool(attended))


def missing(session_id: str, known: int) -> Exception:
    """The error for a session that is not there; `known` is 1 if it was."""
    return expired(session_id) if known else unknown(session_id)


__all__ = [
    "FIELDS",
    "LEASES",
    "PREFIX",
    "SECRET",
    "SIZES",
    "UNTILS",
    "USED",
    "entries_of",
    "entry_id",
    "head_of",
    "inbox_name",
    "key_of",
    "log_name",
    "member",
    "missing",
    "names_of",
    "position_of",
    "row_of",
    "session_name",
    "sessions_name",
    "standing_of",
    "values_of",
]
