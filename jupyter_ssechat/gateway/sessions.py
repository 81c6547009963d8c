"""Sessions and their message trees: ids, parents, branches, history."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, cast

from ..errors import Expired, InvalidRequest, NotFound
from ..message import Message
from ..patches import Document, Patch
from .bodies import Asking, SavedMessage, checked_images

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
        self._last_id = 0

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
        self._entitle(prompt)
        return self._add("USER", parent_id, _prompt_fields(prompt, self._now()))

    def add_answer(self, prompt_id: int, *, model: str, thinking: bool, search: bool) -> Record:
        """Add an empty answer below a prompt: the record that stands before the first upstream byte."""
        fields = _answer_fields(self._now(), model=model, thinking=thinking, search=search)
        return self._add("ASSISTANT", prompt_id, fields)

    def put_back(self, saved: SavedMessage) -> None:
        """Put a message of a saved conversation in its place, with its old id; InvalidRequest where it has none."""
        self._must_fit(saved)
        usual = _prompt_fields("", 0) if saved.role == "USER" else _answer_fields(0)
        try:
            record = Record(saved.message_id, saved.parent_id, saved.role, {**usual, **_fields(saved)})
        except ValueError:
            raise _wrong("fields", "nested too deeply") from None
        self._keep(record)
        self._entitle(record.message.content if saved.role == "USER" else "")

    def _must_fit(self, saved: SavedMessage) -> None:
        checked_images(saved.images or [])
        if saved.message_id in self.records:
            raise _wrong(
                "message_id", f"message {saved.message_id} stands there already; expected another id"
            )
        parent = None if saved.parent_id is None else self.records.get(saved.parent_id)
        if saved.parent_id is not None and parent is None:
            raise _wrong(
                "parent_id", f"message {saved.parent_id} is not above; expected each after its parent"
            )
        if saved.role == (parent.role if parent else "ASSISTANT"):
            raise _wrong("role", "a prompt stands at the root or below an answer, an answer below a prompt")

    def _add(self, role: Role, parent_id: int | None, fields: dict[str, Any]) -> Record:
        return self._keep(Record(self._last_id + 1, parent_id, role, fields))

    def _keep(self, record: Record) -> Record:
        self.records[record.message_id] = record
        self._last_id = max(self._last_id, record.message_id)
        self.touch()
        return record

    def _entitle(self, prompt: str) -> None:
        if not self.title:
            self.title = " ".join(prompt.split())[:TITLE_LENGTH]

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

    def restore(self, messages: Iterable[SavedMessage]) -> Session:
        """Open a session with a saved conversation; InvalidRequest says which message has no place in it."""
        session = Session(str(uuid.uuid4()), self._now)
        for number, saved in enumerate(messages):
            try:
                session.put_back(saved)
            except InvalidRequest as error:
                raise InvalidRequest(f"chat_messages[{number}].{error}", status=422, code=42200) from None
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


def _prompt_fields(prompt: str, now: float) -> dict[str, Any]:
    return {
        "content": prompt,
        "thinking_enabled": False,
        "thinking_content": None,
        "thinking_elapsed_secs": None,
        "ban_edit": False,
        "ban_regenerate": False,
        "status": "FINISHED",
        "files": [],
        "inserted_at": now,
    }


def _answer_fields(
    now: float, *, model: str = "", thinking: bool = False, search: bool = False
) -> dict[str, Any]:
    return {
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
        "inserted_at": now,
        "search_enabled": search,
        "search_status": None,
        "search_results": None,
    }


def _fields(saved: SavedMessage) -> dict[str, Any]:
    """What a saved message says beside its place."""
    fields = saved.to_wire()
    return {name: value for name, value in fields.items() if name not in ("message_id", "parent_id", "role")}


def _wrong(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {message}", status=422, code=42200)
