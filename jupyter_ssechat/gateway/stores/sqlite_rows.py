"""Sessions, rows and entries ↔ the tables of a store in SQLite."""

from __future__ import annotations

import sqlite3
from typing import Any

from ...wire_json import dumps, loads
from .store import Append, Change, Entry, Head, Key, Position, Row, expired, read, spell, unknown

ROW = "id, parent, role, document, epoch, fence, stream, upstream, asked, running, base_fence, base"
ONE = "session = ? AND id = ? AND epoch = ?"
OVERLAP = 64
REMEMBERED = 10_000
Connection = sqlite3.Connection


def head_of(db: Connection, session_id: str) -> Head:
    """Find a session."""
    query = "SELECT id, title, updated_at, version, user, gone FROM sessions WHERE id = ?"
    found = db.execute(query, (session_id,)).fetchone()
    if found is None:
        raise unknown(session_id)
    if found[-1]:
        raise expired(session_id)
    return Head(*found[:-1])


def row_of(db: Connection, session_id: str, fields: tuple[Any, ...]) -> Row:
    """A row from its ROW fields, with the end of its log when it runs."""
    message, parent, role, document, epoch, fence, stream, upstream, asked, running, *base = fields
    position = Position(*base)
    tail = tail_of(db, Key(session_id, message, epoch), position) if running else []
    return Row(
        message,
        parent,
        role,
        loads(document),
        epoch,
        fence,
        stream,
        upstream,
        None if asked is None else loads(asked),
        bool(running),
        position,
        tail,
    )


def tail_of(db: Connection, key: Key, after: Position) -> list[Entry]:
    """The entries of a log after a position."""
    query = "SELECT fence, seq, patches FROM log WHERE session = ? AND message = ? AND epoch = ? AND seq > ?"
    found = db.execute(f"{query} ORDER BY seq", (*key, after.seq))
    return [Entry(Position(fence, seq), read(patches)) for fence, seq, patches in found]


def insert(db: Connection, change: Change, row: Row, version: int, lease: float) -> None:
    """Write a row, with an empty log."""
    drop_log(db, change.head.id, row.message_id)
    columns = "id, parent, role, document, epoch, fence, stream, upstream, asked, running"
    columns = f"session, version, owner, lease, base_fence, base, {columns}"
    asked = None if row.asked is None else dumps(row.asked)
    mine = (change.head.id, version, change.owner, lease, *row.position)
    said = (row.message_id, row.parent_id, row.role, dumps(row.document), row.epoch, row.fence)
    more = (row.stream_id, row.upstream, asked, row.running)
    marks = ", ".join("?" * 16)
    _weigh(db, change.head.id, row.message_id, said[3])
    db.execute(f"INSERT OR REPLACE INTO messages ({columns}) VALUES ({marks})", (*mine, *said, *more))


def write(db: Connection, append: Append) -> None:
    """Write an entry, and the document that it brings."""
    key, fence, seq = append.claim.key, append.claim.fence, append.seq
    db.execute("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)", (*key, seq, fence, spell(append.patches)))
    db.execute(f"UPDATE messages SET end_fence = ?, end = ? WHERE {ONE}", (fence, seq, *key))
    if append.document is not None:
        document = dumps(append.document)
        _weigh(db, key.session_id, key.message_id, document)
        db.execute(
            f"UPDATE messages SET document = ?, base_fence = ?, base = ? WHERE {ONE}",
            (document, fence, seq, *key),
        )
        db.execute(
            "DELETE FROM log WHERE session = ? AND message = ? AND epoch = ? AND seq <= ?",
            (*key, seq - OVERLAP),
        )


def _weigh(db: Connection, session_id: str, message_id: int, document: str) -> None:
    """Note that this document is about to replace the one that stands."""
    query = "SELECT length(CAST(document AS BLOB)) FROM messages WHERE session = ? AND id = ?"
    [before] = db.execute(query, (session_id, message_id)).fetchone() or [0]
    more = len(document.encode()) - before
    db.execute("UPDATE sessions SET size = size + ? WHERE id = ?", (more, session_id))


def drop_log(db: Connection, session_id: str, message_id: int) -> None:
    """Forget a log."""
    db.execute("DELETE FROM log WHERE session = ? AND message = ?", (session_id, message_id))


def drop_old_logs(db: Connection, session_id: str) -> None:
    """Forget the logs of what has ended: their documents say it all."""
    running = "SELECT id FROM messages WHERE session = log.session AND running"
    db.execute(f"DELETE FROM log WHERE session = ? AND message NOT IN ({running})", (session_id,))


def drop_quiet_logs(db: Connection, limit: float) -> None:
    """The same in every session that was not changed since then: who follows has seen the end."""
    quiet = "SELECT DISTINCT session FROM log JOIN sessions ON sessions.id = session WHERE touched <= ?"
    for [session_id] in db.execute(quiet, (limit,)).fetchall():
        drop_old_logs(db, session_id)


def drop_oldest_gone(db: Connection) -> None:
    """Remember of the sessions that are gone only the last ones."""
    last = f"SELECT touched FROM sessions WHERE gone ORDER BY touched DESC LIMIT 1 OFFSET {REMEMBERED}"
    db.execute(f"DELETE FROM sessions WHERE gone AND touched <= ({last})")


def forget(db: Connection, session_id: str) -> None:
    """Forget a session, but for that it was there."""
    db.execute("DELETE FROM log WHERE session = ?", (session_id,))
    db.execute("DELETE FROM messages WHERE session = ?", (session_id,))
    db.execute("UPDATE sessions SET gone = 1, title = '', size = 0 WHERE id = ?", (session_id,))
    drop_oldest_gone(db)


__all__ = [
    "ONE",
    "OVERLAP",
    "ROW",
    "Connection",
    "drop_log",
    "drop_old_logs",
    "drop_oldest_gone",
    "drop_quiet_logs",
    "forget",
    "head_of",
    "insert",
    "row_of",
    "tail_of",
    "write",
]
