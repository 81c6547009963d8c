"""Sessions and their message trees: ids, parents, branches, history."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any, Literal, cast

from ..errors import Expired, InvalidRequest, NotFound
from ..message import Message
from ..patches import Document, Patch
from .bodies import Asking

Role = Literal["USER", "ASSISTANT"]
REMEMBERED = 10_000
TITLE_LENGTH = 40


class Record:
    """One message of a tree; an answer counts its generations in `epoch`, and keeps how it was asked for."""

    def __init__(self, message_id: int, parent_id: int | None, role: Role, fields: dict[str, Any]) -> None:
        self.message_id = message_id
        self.parent_id = parent_id
        self.role: Role = role
        self.epoch = 0
        self.asked: Asking | None = None
        head = {"message_id": message_id, "parent_id": parent_id, "role": role}
        self.document = Document({"response": {**head, **fields}})
        self.message = Message(self.document)

    def to_wire(self) -> dict[str, Any]:
        """The message as `history_messages` and a snapshot show it."""
        return cast("dict[str, Any]", self.document.snapshot()["response"])

    def apply(self, patches: list[Patch]) -> None:
        """Apply patches to the message."""
        for patch in patches:
            self.message.apply(patch)


class Session:
    """One conversation: a tree of messages."""

    def __init__(self, session_id: str, now: Callable[[], float]) -> None:
        self.id = session_id
        self.title = ""
        self._now = now
        self.updated_at = now()
        self.records: dict[int, Record] = {}

    def to_wire(self) -> dict[str, Any]:
        """The session as `list` shows it."""
        return {"id": self.id, "title": self.title, "updated_at": self.updated_at}

    def touch(self) -> None:
        """Note that the session changed just now."""
        self.updated_at = self._now()

    def get(self, message_id: int) -> Record:
        """Find a message; NotFound if there is none."""
        record = self.records.get(message_id)
        if record is None:
            raise NotFound(
                f"message {message_id} is not in session {self.id}; it has {len(self.records)} messages",
                status=404,
                biz_code=26,
            )
        return record

    def add_prompt(self, prompt: str, parent_id: int | None) -> Record:
        """Add what the user says below an answer, or at the root."""
        if parent_id is not None and self.get(parent_id).role != "ASSISTANT":
            raise _wrong("parent_message_id", f"message {parent_id} is a prompt; expected an answer, or null")
        if not self.title:
            self.title = " ".join(prompt.split())[:TITLE_LENGTH]
        fields: dict[str, Any] = {
            "content": prompt,
            "thinking_enabled": False,
            "thinking_content": None,
            "thinking_elapsed_secs": None,
            "ban_edit": False,
            "ban_regenerate": False,
            "status": "FINISHED",
            "files": [],
            "inserted_at": self._now(),
        }
        return self._add("USER", parent_id, fields)

    def add_answer(self, prompt_id: int, *, model: str, thinking: bool, search: bool) -> Record:
        """Add an empty answer below a prompt: the record that stands before the first upstream byte."""
        fields: dict[str, Any] = {
            "model": model,
            "content": "",
            "thinking_enabled": thinking,
            "thinking_content": None,
            "thinking_elapsed_secs": None,
            "ban_edit": False,
            "ban_regenerate": False,
            "status": "WIP",
            "finish_reason": None,
            "error": None,
            "usage": None,
            "accumulated_token_usage": 0,
            "files": [],
            "tips": [],
            "inserted_at": self._now(),
            "search_enabled": search,
            "search_status": None,
            "search_results": None,
        }
        return self._add("ASSISTANT", prompt_id, fields)

    def _add(self, role: Role, parent_id: int | None, fields: dict[str, Any]) -> Record:
        record = Record(len(self.records) + 1, parent_id, role, fields)
        self.records[record.message_id] = record
        self.touch()
        return record

    def path_to(self, record: Record) -> list[Record]:
        """The branch from the root to `record`, both included."""
        return list(self._upwards(record))[::-1]

    def _upwards(self, record: Record | None) -> Iterator[Record]:
        while record is not None:
            yield record
            record = None if record.parent_id is None else self.records[record.parent_id]


class Sessions:
    """All sessions of a gateway; those deleted are remembered by id, so that they answer 410."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._sessions: dict[str, Session] = {}
        self._deleted: dict[str, None] = {}

    def create(self) -> Session:
        """Open an empty session."""
        session = Session(str(uuid.uuid4()), self._now)
        self._sessions[session.id] = session
        return session

    def get(self, session_id: str) -> Session:
        """Find a session; Expired if it was deleted, NotFound if it never was."""
        if session_id in self._deleted:
            raise Expired(f"session {session_id} was deleted; create a new one", status=410, biz_code=27)
        session = self._sessions.get(session_id)
        if session is None:
            raise NotFound(f"session {session_id} is unknown here; create one first", status=404, biz_code=26)
        return session

    def delete(self, session_id: str) -> None:
        """Forget a session and its messages."""
        del self._sessions[self.get(session_id).id]
        self._deleted[session_id] = None
        if len(self._deleted) > REMEMBERED:
            del self._deleted[next(iter(self._deleted))]

    def all(self) -> list[Session]:
        """Every session, the newest first."""
        return sorted(self._sessions.values(), key=lambda session: -session.updated_at)


def _wrong(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {message}", status=422, code=42200)
