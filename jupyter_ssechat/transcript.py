"""A conversation ↔ JSON: the messages of chat completions, and an object that keeps all of it.

The object, version 1: ``{"format", "version", "model", "system", "head", "cells", "messages", "chat_messages"}``.
`chat_messages` are all branches, in the words of the gateway's `history_messages`; `head` is the id of the answer
that the next question stands below; `messages` is the branch that leads there, in the shape of chat completions,
for other programs: it is not read back. `cells` says which answer a notebook's cell has. Nothing in it says who is
to be asked, and no key: whoever opens it chooses that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal, get_args

from .errors import BadInput, InvalidRequest
from .gateway.bodies import ImportedSession, SavedMessage, as_body, checked_images
from .message import Message
from .openai_messages import message_of, turn_of
from .patches import Document
from .wire_json import as_list, as_object, as_text, excerpt, is_list, is_object

FORMAT = "jupyter_ssechat.conversation"
VERSION = 1
INTERRUPTED = "interrupted"
CUT = "the answer still streamed when the conversation was saved; resume it to have the rest"
UNANSWERED = "the question has no answer yet; resume it to have one"

_Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
_FIELDS = {"format", "version", "model", "system", "head", "cells", "messages", "chat_messages"}
_WIRE = {
    "finished": "FINISHED",
    "stopped": "INCOMPLETE",
    "filtered": "CONTENT_FILTER",
    "failed": "FAILED",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """All that was said in a conversation; `messages` are as the gateway takes them in, each after its parent."""

    messages: tuple[SavedMessage, ...] = ()
    head: int | None = None
    system: str | None = None
    model: str | None = None
    cells: Mapping[str, int] = field(default_factory=dict[str, int])

    @classmethod
    def of_history(
        cls,
        history: Sequence[dict[str, Any]],
        *,
        head: int | None,
        system: str | None = None,
        model: str | None = None,
        cells: Mapping[str, int] | None = None,
    ) -> Transcript:
        """Take what `history_messages` tells; an answer that still streams is interrupted."""
        messages = tuple(map(_saved, history))
        answers = {one.message_id for one in messages if one.role == "ASSISTANT"}
        return cls(
            messages=messages,
            head=head if head in answers else None,
            system=system or None,
            model=model or None,
            cells={cell: number for cell, number in (cells or {}).items() if number in answers},
        )

    def branch(self) -> list[SavedMessage]:
        """The messages that lead to the head, oldest first."""
        known = {one.message_id: one for one in self.messages}
        found: list[SavedMessage] = []
        at = known.get(self.head or 0)
        while at is not None:
            found.append(at)
            at = known.get(at.parent_id or 0)
        return found[::-1]

    def images_of(self, answer_id: int) -> list[str]:
        """The addresses of the images that came with the prompt of an answer."""
        known = {one.message_id: one for one in self.messages}
        answer = known.get(answer_id)
        prompt = known.get(answer.parent_id or 0) if answer else None
        return list(prompt.images or []) if prompt else []

    def to_messages(self) -> list[dict[str, Any]]:
        """The branch as messages of chat completions: what a model would be asked next, without the question."""
        said = [message for one in self.branch() for message in _messages_of(one)]
        return [{"role": "system", "content": self.system}, *said] if self.system else said

    def to_wire(self) -> list[dict[str, Any]]:
        """All messages, as the gateway takes them in."""
        return [one.to_wire() for one in self.messages]

    def to_json(self) -> dict[str, Any]:
        """The object that keeps all of it."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "model": self.model,
            "system": self.system,
            "head": self.head,
            "cells": dict(sorted(self.cells.items())),
            "messages": self.to_messages(),
            "chat_messages": self.to_wire(),
        }


def message_in(saved: SavedMessage) -> Message:
    """What a saved message says, and how it ended."""
    return Message(Document({"response": saved.to_wire()}))


def read_transcript(data: object) -> Transcript:
    """Read JSON, as text or as values: messages of chat completions, or the object that keeps all of it.

    Raises BadInput, one line, that says which message is wrong.
    """
    data = _decoded(data if isinstance(data, str | bytes) else _encoded(data))
    try:
        if is_list(data):
            return _of_messages(data)
        if is_object(data) and data.get("format") == FORMAT:
            return _of_object(data)
    except InvalidRequest as error:
        raise BadInput(str(error)) from None
    raise BadInput(
        'this is no conversation; expected a list of messages {"role", "content"}, or what Chat.save wrote'
    )


def _decoded(text: str | bytes) -> object:
    try:
        return json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise BadInput(
            f"not JSON: line {error.lineno}, column {error.colno}: {error.msg}; is the file whole?"
        ) from None
    except UnicodeDecodeError as error:
        raise BadInput(f"not JSON: byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise BadInput("not a conversation: nested too deeply") from None
    except ValueError as error:  # a number with more digits than Python reads
        raise BadInput(f"not a conversation: {excerpt(str(error))}") from None


def _encoded(data: object) -> str:
    """Values as text: a copy, and JSON alone."""
    try:
        return json.dumps(data, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"not JSON: {error}; expected what json.loads gives") from None


def _no_number(name: str) -> float:
    raise BadInput(f"not JSON: {name} is not a number of JSON")


# ---- the object ----


def _of_object(data: dict[str, Any]) -> Transcript:
    version = data.get("version")
    if version != VERSION:
        newer = ", so install a newer one" if isinstance(version, int) and version > VERSION else ""
        raise BadInput(f"version: {excerpt(repr(version))}; this release reads version {VERSION}{newer}")
    if unknown := sorted(set(data) - _FIELDS):
        raise BadInput(f"{unknown[0]}: unknown; expected {', '.join(sorted(_FIELDS))}")
    # Through the very door of the gateway, so that what is opened here can be taken in there.
    messages = tuple(as_body({"chat_messages": data.get("chat_messages")}, ImportedSession).chat_messages)
    answers = {one.message_id for one in messages if one.role == "ASSISTANT"}
    return Transcript(
        messages=messages,
        head=_head(data.get("head"), answers),
        system=_text_or_none("system", data.get("system")),
        model=_text_or_none("model", data.get("model")),
        cells=_cells(data.get("cells"), answers),
    )


def _head(head: object, answers: set[int]) -> int | None:
    if head is not None and head not in answers:
        raise BadInput(f"head: {head!r} is no answer of this conversation; expected its message_id, or null")
    return head if isinstance(head, int) else None


def _cells(cells: object, answers: set[int]) -> dict[str, int]:
    for cell, number in as_object(cells).items():
        if number not in answers:
            raise BadInput(f"cells.{cell}: {number!r} is no answer of this conversation")
    return as_object(cells)


def _text_or_none(name: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise BadInput(f"{name}: expected text or null, not {excerpt(repr(value))}")
    return value


# ---- a message of the gateway → a saved one ----


def _saved(record: dict[str, Any]) -> SavedMessage:
    """The message as it stands; what says nothing, or is not of its type, is left out."""
    message = Message(Document({"response": record}))
    number, parent = message.message_id, message.parent_id
    if number is None:
        raise BadInput("the gateway's history has a message without an id, so it cannot be saved")
    said = SavedMessage(
        message_id=number,
        parent_id=parent,
        role="USER" if record.get("role") == "USER" else "ASSISTANT",
        content=as_text(record.get("content")),
        images=as_list(record.get("images")) or None,
        verbatim=record["verbatim"] if is_list(record.get("verbatim")) else None,
        inserted_at=_number(record.get("inserted_at")),
    )
    return said if said.role == "USER" else _answered(said, record, message)


def _answered(said: SavedMessage, record: dict[str, Any], message: Message) -> SavedMessage:
    total = record.get("accumulated_token_usage")
    seconds = _number(record.get("thinking_elapsed_secs"))
    fields: dict[str, Any] = {
        **said.to_wire(),
        "thinking_content": as_text(record.get("thinking_content")) or None,
        "thinking_elapsed_secs": seconds,
        "thinking_enabled": record.get("thinking_enabled") is True,
        "fragments": message.fragments or None,
        "search_results": as_list(record.get("search_results")) or None,
        "usage": as_object(record.get("usage")) or None,
        "accumulated_token_usage": total if isinstance(total, int) and total > 0 else 0,
        "model": message.model or "",
        "tool_calls": message.tool_calls or None,
        "upstream": as_object(record.get("upstream")) or None,
        **_ending(message),
    }
    return as_body(fields, SavedMessage)


def _ending(message: Message) -> dict[str, Any]:
    """How it ended, in the words of the wire; who streams is cut here."""
    if message.status in ("streaming", "interrupted"):
        error = {"type": INTERRUPTED, "message": CUT}
        return {"status": "FAILED", "finish_reason": "error", "error": error}
    error = message.error.to_dict() if message.error else None
    status = _WIRE[message.status]
    return {"status": status, "finish_reason": message.finish_reason, "error": error}


def _number(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return value if value >= 0 else None


# ---- messages of chat completions ----


def _messages_of(saved: SavedMessage) -> list[dict[str, Any]]:
    if saved.verbatim is not None:
        return saved.verbatim
    if saved.role == "USER":
        return [message_of("user", saved.content, images=saved.images or [])]
    content, calls = message_in(saved).content, saved.tool_calls or []
    return [message_of("assistant", content, tool_calls=calls)] if content or calls else []


def _of_messages(data: list[Any]) -> Transcript:
    messages = [_checked(one, number) for number, one in enumerate(data)]
    system = _system(messages)
    tree = tuple(_alternating(messages[1:] if system else messages))
    return Transcript(messages=tree, head=tree[-1].message_id if tree else None, system=system)


def _system(messages: list[dict[str, Any]]) -> str | None:
    """The system prompt, if the first message is one and nothing else."""
    first = messages[0] if messages else {}
    content = first.get("content")
    return content if isinstance(content, str) and first == {"role": "system", "content": content} else None


def _alternating(messages: list[dict[str, Any]]) -> Iterator[SavedMessage]:
    """Prompts and answers in turn: what stands together is one message, and one that is missing is empty."""
    number = 0
    for role, group in groupby(messages, _speaker):
        if role != ("ASSISTANT" if number % 2 else "USER"):  # an answer without a question, at the start
            number += 1
            yield _joined("USER", [], number)
        number += 1
        yield _joined(role, list(group), number)
    if number % 2:
        error = {"type": INTERRUPTED, "message": UNANSWERED}
        yield _joined("ASSISTANT", [], number + 1, status="FAILED", finish_reason="error", error=error)


def _speaker(message: dict[str, Any]) -> Literal["USER", "ASSISTANT"]:
    return "ASSISTANT" if message.get("role") == "assistant" else "USER"


def _joined(
    role: Literal["USER", "ASSISTANT"], group: list[dict[str, Any]], number: int, **ending: Any
) -> SavedMessage:
    """One message of ours for these; kept verbatim where ours does not say all that they say."""
    turns = [turn_of(message) for message in group]
    calls = [call for message in group for call in as_list(message.get("tool_calls"))]
    fields: dict[str, Any] = {
        "message_id": number,
        "parent_id": number - 1 or None,
        "role": role,
        "content": "\n\n".join(turn.content for turn in turns if turn.content),
        "images": [url for turn in turns for url in turn.images] or None,
        "tool_calls": calls or None,
        **({"finish_reason": "tool_calls" if calls else "stop"} if role == "ASSISTANT" else {}),
        **ending,
    }
    saved = as_body(fields, SavedMessage)
    # Calls of tools have their results below: a model must get both.
    plain = _messages_of(saved) == group and not calls
    return saved if plain else as_body({**fields, "verbatim": group}, SavedMessage)


def _checked(message: object, number: int) -> dict[str, Any]:
    where = f"messages[{number}]"
    if not is_object(message):
        raise BadInput(f'{where}: {excerpt(repr(message))} is no message; expected {{"role", "content"}}')
    role, content = message.get("role"), message.get("content")
    if role not in get_args(_Role):
        raise BadInput(f"{where}.role: {role!r} is none; expected one of {', '.join(get_args(_Role))}")
    if content is None and role != "assistant":
        raise BadInput(f"{where}.content: missing; expected text, or a list of parts")
    if not (content is None or isinstance(content, str) or _is_list_of_objects(content)):
        raise BadInput(f"{where}.content: {excerpt(repr(content))}; expected text, or a list of parts")
    if not _is_list_of_objects(message.get("tool_calls") or []):
        raise BadInput(f"{where}.tool_calls: expected a list of calls")
    checked_images(list(turn_of(message).images), f"{where}.content: images")
    return message


def _is_list_of_objects(value: object) -> bool:
    return is_list(value) and all(map(is_object, value))


__all__ = ["FORMAT", "INTERRUPTED", "VERSION", "Transcript", "message_in", "read_transcript"]
