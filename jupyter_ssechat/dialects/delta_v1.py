"""The "delta_encoding v1" of ChatGPT's web wire → patches (protocols section 1, its last bullet).

A stream carries the documents of several messages: hidden ones, the user's, thoughts, calls of tools, the answer.
Each frame changes one of them by a sticky ``{"p","o","v"}`` with JSON pointers (RFC 6901). What the assistant says
to the user becomes one text, and what it thinks another; only that they grow at their end is cheap.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..errors import InvalidData
from ..message import SILENT, Kind, failed, filtered, finished, stopped
from ..patches import Document, Patch, Text
from ..request import Request
from ..sse import ServerSentEvent
from ..wire_json import as_list, as_object, as_text, excerpt, is_list, is_object, loads
from .dialect import Abilities, Call, Dialect, Manners
from .openai_chat import OpenAIChat

MAX_MESSAGES = 1_000

_PATHS: dict[Kind, str] = {"thinking": "response/thinking_content", "content": "response/content"}
_TYPES = {"message_stream_complete", "message_marker", "resume_conversation_token", "input_message"}
_APART = "\n\n"
_THOUGHT_ALOUD = {"analysis", "commentary"}
_NOT_TEXT = {"reasoning_recap", "code", "model_editable_context", "user_editable_context", "system_error"}
_FAILED = {"failed", "error", "finished_with_error"}
_CUT = {"max_tokens", "length"}
_STOPPED = {"interrupted", "client_stopped", "stopped"}
# What is patched before any message was announced can only be the answer.
_UNANNOUNCED = {"message": {"author": {"role": "assistant"}, "content": {"parts": [""]}}}
# What says nothing of the text.
_ASIDE = re.compile(r"message/(?:status|end_turn|metadata/(?!is_visually_hidden).+)")
_GROWING = re.compile(r"message/content/(?:parts/[0-9]{1,9}|thoughts/[0-9]{1,9}/content)")


class DeltaV1(Dialect):
    """Reads the documents; whole messages, as older servers send them for each token, are such documents too."""

    name = "delta_v1"
    abilities = Abilities(
        thinking="messages of thoughts, and what is said in the channels analysis and commentary",
        usage="",
        stop="by closing the connection",
        resume="",
        errors="error objects, error events, failed messages, moderation",
        images="as in openai_chat",
    )

    @classmethod
    def ask(cls, endpoint: str, request: Request, manners: Manners) -> Call:
        """Ask as `openai_chat` does, at the address as it is given.

        No public API answers in this encoding, so no way to ask is documented; servers that pass it on take
        the messages of chat completions.
        """
        return OpenAIChat.ask(endpoint, request, manners)

    @classmethod
    def speaks(cls, event: ServerSentEvent, data: object) -> bool:
        """It says so first; else a document of a message, or a patch at a JSON pointer."""
        if event.event == "delta_encoding" or data == "v1":
            return True
        fields = as_object(data)
        if event.event == "delta":
            return "v" in fields
        message = as_object(fields.get("message")) or as_object(as_object(fields.get("v")).get("message"))
        pointer = as_text(fields.get("p")).startswith("/")
        typed = as_text(fields.get("type")) in _TYPES
        return event.event == "message" and ("author" in message or pointer or typed)

    def __init__(self, *, continues: bool = False) -> None:
        self._messages = Messages()
        self._told: dict[Kind, Text] = {"thinking": Text(), "content": Text()}
        self._model = ""
        self._seconds: float | None = None
        self._elsewhere = False
        self._ended = False

    def feed(self, event: ServerSentEvent) -> list[Patch]:
        """Translate one event: a delta, a note with a ``type``, an error, or ``[DONE]``."""
        if event.data.strip() == "[DONE]":
            return [] if self._messages.open or self._elsewhere else self._seal()
        if event.event == "error":
            return self._fail(*_spoken(event.data))
        if event.event not in ("message", "delta") or not event.data.strip():
            return []
        frame = as_object(loads(event.data))
        return [] if self._ended else self._frame(frame)

    def finish(self) -> list[Patch]:
        """Seal an answer whose message had ended, and with it the turn; any other one was cut."""
        return self._seal() if self._messages.complete and not self._elsewhere else []

    def whole(self, answer: object) -> list[Patch]:
        """Read the document of an answer in place of a stream."""
        message = as_object(as_object(answer).get("message"))
        if "author" not in message:
            return []
        return self._frame(as_object(answer)) + self.finish()

    @property
    def finishing(self) -> bool:
        """Whether the assistant has ended its turn."""
        return self._ended or self._messages.ends_turn

    def _frame(self, frame: dict[str, Any]) -> list[Patch]:
        if (error := _error(frame)) is not None:
            return self._fail(*error)
        if as_object(frame.get("moderation_response")).get("blocked") is True:
            return self._close(filtered())
        match frame.get("type"):
            case "message_stream_complete":
                return self._seal()
            case "server_ste_metadata":
                return self._name(as_object(frame.get("metadata")))
            case "stream_handoff":  # the answer comes by another connection, which is not ours
                self._elsewhere = True
                return []
            case _:
                return self._delta(frame)

    def _delta(self, frame: dict[str, Any]) -> list[Patch]:
        added = self._messages.feed(frame)
        if added is not None:
            for kind, text in added:
                self._told[kind].append(text)
            return [Patch(_PATHS[kind], "APPEND", text) for kind, text in added if text]
        patches: list[Patch] = []
        if (current := self._messages.current) is not None:
            patches += self._name(as_object(current.get("message/metadata"))) + self._thought(current)
        patches += self._texts()
        if (error := self._messages.error) is not None:
            patches += self._fail(*error)
        return patches

    def _texts(self) -> list[Patch]:
        """What the texts have become, as what was added or as another text."""
        patches: list[Patch] = []
        for kind, text in self._messages.texts().items():
            told, self._told[kind] = self._told[kind].join(), Text(text)
            if text.startswith(told):
                patches += [Patch(_PATHS[kind], "APPEND", text[len(told) :])] if text != told else []
            else:
                patches.append(Patch(_PATHS[kind], "SET", text))
        return patches

    def _name(self, metadata: dict[str, Any]) -> list[Patch]:
        name = as_text(metadata.get("resolved_model_slug")) or as_text(metadata.get("model_slug"))
        if not name or name == self._model:
            return []
        self._model = name
        return [Patch("response/model", "SET", name)]

    def _thought(self, document: Document) -> list[Patch]:
        seconds = document.get("message/metadata/finished_duration_sec")
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or seconds == self._seconds:
            return []
        self._seconds = seconds
        return [Patch("response/thinking_elapsed_secs", "SET", seconds)]

    def _seal(self) -> list[Patch]:
        reason = self._messages.reason
        if reason in _STOPPED:
            return self._close(stopped())
        return self._close(finished("length" if reason in _CUT else "stop"))

    def _fail(self, type: str, message: str) -> list[Patch]:
        return self._close(failed(type, message))

    def _close(self, seal: list[Patch]) -> list[Patch]:
        if self._ended:
            return []
        self._ended = True
        return seal


class Messages:
    """Frames → the documents of the messages, in the order in which they came."""

    def __init__(self) -> None:
        self._documents: list[Document] = []
        self._by_id: dict[str, int] = {}
        self._by_channel: dict[int, int] = {}
        self._place: int | None = None
        self._pointer = ""
        self._op = "add"
        # Where text was appended last, and what it shows, when that is the end of its kind.
        self._hot: tuple[str, Kind] | None = None
        # What all messages say, None when a change may have changed it.
        self._texts: dict[Kind, str] | None = None

    def feed(self, frame: dict[str, Any]) -> list[tuple[Kind, str]] | None:
        """Apply one frame; returns the texts when all it did was to add them at the ends, else None."""
        if "v" not in frame:
            if "author" not in as_object(frame.get("message")):
                return []
            self._open(frame, frame.get("c"))
            return None
        self._choose(frame.get("c"))
        value = frame["v"]
        if is_object(value) and is_object(value.get("message")) and not frame.get("p"):
            self._pointer, self._op = "", "add"
            self._open(value, frame.get("c"))
            return None
        if frame.get("o") == "patch" or ("o" not in frame and _is_patches(value)):
            return self._batch(as_text(frame.get("p")), as_list(value))
        pointer, op = frame.get("p", self._pointer), frame.get("o", self._op)
        if not isinstance(pointer, str) or not isinstance(op, str):
            return None
        self._pointer, self._op = pointer, op
        added = self._one(pointer, op, value)
        return None if added is None else [added]

    def _choose(self, channel: object) -> None:
        """Let the message speak that the counter names."""
        if isinstance(channel, int) and self._by_channel.get(channel, self._place) != self._place:
            self._place, self._hot = self._by_channel[channel], None

    def _open(self, value: dict[str, Any], channel: object) -> None:
        """Begin a message, or replace the one with the same id, as each frame of older servers does."""
        id = as_text(as_object(value.get("message")).get("id"))
        self._hot = None
        place = self._by_id.get(id) if id else None
        if place is None:
            if len(self._documents) == MAX_MESSAGES:
                raise InvalidData(f"more than {MAX_MESSAGES:,} messages in one stream; expected one answer")
            place = len(self._documents)
            self._documents.append(Document())
        self._documents[place] = Document()
        self._documents[place].apply(Patch("", "SET", value))
        self._texts = None
        self._place = place
        if id:
            self._by_id[id] = place
        if isinstance(channel, int):
            self._by_channel[channel] = place

    def _batch(self, prefix: str, frames: list[Any]) -> list[tuple[Kind, str]] | None:
        """Apply patches with a sticky state of their own; their pointers are absolute, or below `prefix`."""
        pointer, op = "", self._op
        added: list[tuple[Kind, str] | None] = []
        for frame in map(as_object, frames):
            pointer, op = as_text(frame.get("p", pointer)), as_text(frame.get("o", op))
            absolute = pointer if pointer.startswith(f"{prefix}/") else prefix + pointer
            added.append(self._one(absolute, op, frame.get("v")))
        texts = [one for one in added if one is not None]
        return texts if len(texts) == len(added) else None

    def _one(self, pointer: str, op: str, value: Any) -> tuple[Kind, str] | None:
        """Apply one patch; returns the text when all it did was to add it at the end of its kind."""
        path = _path(pointer)
        if path is None:
            return None
        if self.current is None:
            self._open(_UNANNOUNCED, None)
        document = self._documents[self._place or 0]
        if self._hot is not None and (path, op) == (self._hot[0], "append") and isinstance(value, str):
            document.apply(Patch(path, "APPEND", value))
            self._texts = None
            return self._hot[1], value
        _change(document, path, op, value)
        if not _ASIDE.fullmatch(path):
            self._texts = None
        self._hot = self._warmed(document, path) if op == "append" else None
        return None

    def _warmed(self, document: Document, path: str) -> tuple[str, Kind] | None:
        """Find whether more text at the same place would be the end of its kind."""
        kind = _kind(document)
        if kind is None or document is not self._documents[-1] or not _GROWING.fullmatch(path):
            return None
        siblings, _, index = path.removesuffix("/content").rpartition("/")
        last = int(index) == len(as_list(document.get(siblings))) - 1
        # Parts stand before thoughts, which a message of parts has not.
        alone = siblings.endswith("thoughts") or not document.get("message/content/thoughts")
        text = document.get(path)
        return (path, kind) if last and alone and text and isinstance(text, str) else None

    @property
    def current(self) -> Document | None:
        """The document that is being changed."""
        return None if self._place is None else self._documents[self._place]

    def texts(self) -> dict[Kind, str]:
        """What all the messages say and think, apart by a blank line."""
        if self._texts is None:
            said: dict[Kind, list[str]] = {"thinking": [], "content": []}
            for document in self._documents:
                if (kind := _kind(document)) is not None and (text := _text(document)):
                    said[kind].append(text)
            self._texts = {kind: _APART.join(texts) for kind, texts in said.items()}
        return self._texts

    @property
    def _answer(self) -> Document | None:
        """The last message that the assistant addresses to the user."""
        return next((one for one in reversed(self._documents) if _kind(one) is not None), None)

    @property
    def open(self) -> bool:
        """Whether the last message is still being written."""
        return self._answer is not None and self._answer.get("message/status") == "in_progress"

    @property
    def complete(self) -> bool:
        """Whether an answer is there, and has ended, and nothing else has begun after it."""
        answer = self._answer
        if answer is None or answer is not self._documents[-1] or _kind(answer) != "content":
            return False
        ended = as_text(answer.get("message/status")).startswith("finished")
        return ended and answer.get("message/end_turn") is not False

    @property
    def ends_turn(self) -> bool:
        """Whether the answer says that nothing follows it."""
        return self.complete and self._documents[-1].get("message/end_turn") is True

    @property
    def reason(self) -> str:
        """Why the answer ended, in the words of the wire."""
        return as_text(self._answer.get("message/metadata/finish_details/type")) if self._answer else ""

    @property
    def error(self) -> tuple[str, str] | None:
        """What the message that is being changed says of a failure."""
        document = self.current
        if document is None:
            return None
        status = as_text(document.get("message/status"))
        said = document.get("error")
        if said is not None:
            return _said(said)
        if status in _FAILED and document.get("message/author/role") == "assistant":
            return status, f"the model server ended the answer with status {status}"
        return None


def _kind(document: Document) -> Kind | None:
    """What a message is to the reader; None for what is not said by the assistant to the user."""
    if document.get("message/author/role") != "assistant":
        return None
    if document.get("message/recipient") not in (None, "", "all"):
        return None
    if document.get("message/metadata/is_visually_hidden_from_conversation") is True:
        return None
    type = document.get("message/content/content_type")
    if type in _NOT_TEXT:
        return None
    return (
        "thinking" if type == "thoughts" or document.get("message/channel") in _THOUGHT_ALOUD else "content"
    )


def _text(document: Document) -> str:
    """The text of a message: its parts, or its thoughts, each with its heading."""
    content = as_object(document.get("message/content"))
    text = "".join(map(as_text, as_list(content.get("parts"))))
    thoughts = (_thought(as_object(one)) for one in as_list(content.get("thoughts")))
    return _APART.join(filter(None, [text, *thoughts]))


def _thought(thought: dict[str, Any]) -> str:
    return _APART.join(filter(None, [as_text(thought.get("summary")), as_text(thought.get("content"))]))


def _is_patches(value: object) -> bool:
    return (
        is_list(value) and bool(value) and all(is_object(one) and ("p" in one or "o" in one) for one in value)
    )


def _path(pointer: str) -> str | None:
    """A JSON pointer as a path of ours; None for what is none, or names a key that no path can."""
    if pointer and not pointer.startswith("/"):
        return None
    segments = list(_segments(pointer))
    return None if any("/" in segment for segment in segments) else "/".join(segments)


def _segments(pointer: str) -> Iterator[str]:
    for segment in pointer.split("/")[1:]:
        yield segment.replace("~1", "/").replace("~0", "~")


def _change(document: Document, path: str, op: str, value: Any) -> None:
    """Apply one operation; an unknown one does nothing."""
    match op:
        case "append":
            _append(document, path, value)
        case "add" | "replace":
            _put(document, path, value, insert=op == "add")
        case "remove":
            _remove(document, path)
        case "truncate":
            _truncate(document, path, value)
        case _:
            pass


def _append(document: Document, path: str, value: Any) -> None:
    """Lengthen a text, extend a list, or merge an object."""
    if is_object(value) and not is_list(document.get(path)):
        merged = {**as_object(document.get(path)), **value}
        document.apply(Patch(path, "SET", merged))
    elif is_list(value) or (isinstance(value, str) and not is_list(document.get(path))):
        document.apply(Patch(path, "APPEND", value))
    else:
        document.apply(Patch(path, "APPEND", [value]))


def _put(document: Document, path: str, value: Any, *, insert: bool) -> None:
    """Set a value; with `insert` one for a place in a list comes before what stands there."""
    parent, _, last = path.rpartition("/")
    siblings = document.get(parent) if parent else None
    if not is_list(siblings):
        document.apply(Patch(path, "SET", value))
        return
    place = len(siblings) if last == "-" else _index(last)
    if place is None or place > len(siblings):
        return
    if insert or place == len(siblings):
        siblings.insert(place, value)
    else:
        siblings[place] = value
    document.apply(Patch(parent, "SET", siblings))


def _remove(document: Document, path: str) -> None:
    parent, _, last = path.rpartition("/")
    siblings = document.get(parent) if parent else None
    if not is_list(siblings):
        if document.has(path):
            document.apply(Patch(path, "SET", None))
        return
    place = _index(last)
    if place is not None and place < len(siblings):
        del siblings[place]
        document.apply(Patch(parent, "SET", siblings))


def _truncate(document: Document, path: str, length: Any) -> None:
    known = document.get(path)
    sized = isinstance(length, int) and not isinstance(length, bool) and length >= 0
    if sized and isinstance(known, str | list):
        document.apply(Patch(path, "SET", known[:length]))


def _index(segment: str) -> int | None:
    return int(segment) if re.fullmatch("[0-9]{1,9}", segment) else None


def _error(frame: dict[str, Any]) -> tuple[str, str] | None:
    """What a frame complains of, (type, message); only an error that is not null is one."""
    if frame.get("error") is not None:
        return _said(frame["error"])
    if frame.get("type") == "error" or (frame.get("detail") and "v" not in frame):
        return _said(frame)
    return None


def _said(error: object) -> tuple[str, str]:
    fields = as_object(error)
    kind = fields.get("code") or fields.get("type") or "upstream_error"
    detail = fields.get("detail")
    said = fields.get("message") or as_object(detail).get("message") or detail
    said = said or (error if isinstance(error, str) else None)
    return str(kind), excerpt(str(said or SILENT), 500)


def _spoken(data: str) -> tuple[str, str]:
    """Read the data of an ``event: error``: an object, with or without ``error`` around it, or words."""
    try:
        decoded = loads(data)
    except InvalidData:
        return "error", excerpt(data, 500) or SILENT
    return _said(as_object(decoded).get("error") or decoded)


__all__ = ["DeltaV1", "Messages"]
