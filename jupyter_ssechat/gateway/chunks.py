"""Patches → ``chat.completion.chunk`` objects, or one ``chat.completion`` (protocols section 2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..message import Message
from ..patches import Document, Patch, mend
from ..wire_json import as_list, as_object, as_text, is_object
from .openai_error import Fault, not_whole

TOOL_CALLS = "response/tool_calls"
REPLACED = (
    "the model server replaced text that had been sent already; ask without stream to get the whole answer"
)

_FIELDS = {"thinking": "reasoning_content", "content": "content"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What all chunks of one answer bear; `model` is the one asked for, `created` in seconds since the epoch."""

    id: str
    created: int
    model: str

    def on(self, object: str, message: Message) -> dict[str, Any]:
        """The beginning of an object, with the model's name as the server gives it."""
        model = message.model or self.model
        return {"id": self.id, "object": object, "created": self.created, "model": model}


class Chunks:
    """One answer as it is streamed. What was sent cannot be taken back: text that is replaced is a fault.

    `usage` adds the chunk with the count of tokens. `fault` says why there is no finish, None if there is one;
    once `ended`, or with a fault, nothing more follows.
    """

    def __init__(self, label: Label, *, usage: bool = False) -> None:
        self.fault: Fault | None = None
        self.ended = False
        self._label = label
        self._usage = usage
        self._message = Message()
        self._head: dict[str, Any] = {}
        # Halves of characters, by the text they stand in: no client joins them over two chunks.
        self._halves: dict[str | int, str] = {}

    @property
    def begun(self) -> bool:
        """Whether anything was sent."""
        return bool(self._head)

    def feed(self, patches: Iterable[Patch]) -> list[dict[str, Any]]:
        """Translate patches, and the end when it is among them."""
        deltas: list[dict[str, Any]] = []
        try:
            for patch in patches:
                deltas += self._deltas(patch)
        except _Replaced:
            self.fault = Fault(status=502, type="text_replaced", message=REPLACED)
        if self.fault is None and self._message.terminal:
            self.fault = not_finished(self._message)
            self.ended = self.fault is None
        if self.ended:
            deltas += self._lone_halves()
        if not self._head and (deltas or self.ended):
            self._head = self._label.on("chat.completion.chunk", self._message)
            deltas.insert(0, {"role": "assistant", "content": ""})
        chunks = [self._chunk(delta) for delta in deltas]
        return chunks + self._closing() if self.ended else chunks

    def _deltas(self, patch: Patch) -> Iterator[dict[str, Any]]:
        if patch.path.startswith(TOOL_CALLS):
            yield from self._calls(patch)
            return
        for delta in self._message.apply(patch):
            if delta.replaces:
                raise _Replaced
            if text := self._whole_characters(delta.kind, delta.text):
                yield {_FIELDS[delta.kind]: text}

    def _calls(self, patch: Patch) -> Iterator[dict[str, Any]]:
        """What a patch adds to the calls of tools; their arguments grow by appending, all else is compared."""
        index = patch.path.removeprefix(f"{TOOL_CALLS}/").removesuffix("/function/arguments")
        if patch.op == "APPEND" and index.isdecimal() and as_text(patch.value):
            self._message.apply(patch)
            added = {int(index): _Call(arguments=patch.value)}
        else:
            before = _calls(self._message.document)
            self._message.apply(patch)
            added = _added(before, _calls(self._message.document))
        for place, call in added.items():
            whole = replace(call, arguments=self._whole_characters(place, call.arguments))
            if whole != _Call():
                yield {"tool_calls": [whole.to_delta(place)]}

    def _whole_characters(self, place: str | int, text: str) -> str:
        whole, half = mend(self._halves.pop(place, "") + text)
        if half:
            self._halves[place] = half
        return whole

    def _lone_halves(self) -> Iterator[dict[str, Any]]:
        for place in self._halves:
            if isinstance(place, int):
                yield {"tool_calls": [_Call(arguments="\ufffd").to_delta(place)]}
            else:
                yield {_FIELDS[place]: "\ufffd"}

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        chunk = {**self._head, "choices": [choice]}
        return {**chunk, "usage": None} if self._usage else chunk

    def _closing(self) -> list[dict[str, Any]]:
        chunks = [self._chunk({}, self._message.finish_reason)]
        if self._usage and (usage := _usage(self._message)):
            chunks.append({**self._head, "choices": [], "usage": usage})
        return chunks


class _Replaced(Exception):
    """Something else stands where something was sent."""


def not_finished(message: Message) -> Fault | None:
    """Why an answer with a terminal status is no whole one; None for one that is.

    OpenAI has no word for an answer that somebody stopped at the model server: ``stop`` would tell that it is whole.
    """
    if message.finish_reason in ("stop", "length", "tool_calls", "content_filter"):
        return None
    return not_whole(message.error)


def completion(message: Message, label: Label) -> dict[str, Any]:
    """A whole answer as one object."""
    said: dict[str, Any] = {"role": "assistant", "content": message.content, "refusal": None}
    if message.thinking:
        said["reasoning_content"] = message.thinking
    if calls := _calls(message.document):
        said["tool_calls"] = [call.to_wire() for call in calls]
        said["content"] = message.content or None
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": message.finish_reason}
    whole = {**label.on("chat.completion", message), "choices": [choice]}
    return {**whole, "usage": usage} if (usage := _usage(message)) else whole


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of a tool, or what is new of it."""

    id: str = ""
    name: str = ""
    arguments: str = ""

    def to_wire(self) -> dict[str, Any]:
        """A whole call."""
        return {
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        }

    def to_delta(self, index: int) -> dict[str, Any]:
        """What is new, with the name only where it is new: clients append whatever they get."""
        function = (
            {"name": self.name, "arguments": self.arguments} if self.name else {"arguments": self.arguments}
        )
        head = {"index": index, "id": self.id, "type": "function"} if self.id else {"index": index}
        return {**head, "function": function}


def _calls(document: Document) -> list[_Call]:
    found: list[_Call] = []
    for call in map(as_object, as_list(document.get(TOOL_CALLS))):
        function = as_object(call.get("function"))
        name, arguments = as_text(function.get("name")), as_text(function.get("arguments"))
        found.append(_Call(as_text(call.get("id")), name, arguments))
    return found


def _added(before: list[_Call], after: list[_Call]) -> dict[int, _Call]:
    """What is new, by the place of its call."""
    if len(after) < len(before):
        raise _Replaced
    known = before + [_Call()] * (len(after) - len(before))
    pairs = enumerate(zip(known, after, strict=True))
    return {
        place: _Call(_rest(was.id, now.id), _rest(was.name, now.name), _rest(was.arguments, now.arguments))
        for place, (was, now) in pairs
        if was != now
    }


def _rest(was: str, now: str) -> str:
    if not now.startswith(was):
        raise _Replaced
    return now[len(was) :]


def _usage(message: Message) -> dict[str, Any] | None:
    """The count of tokens as the server gives it; None where a count is unknown, for clients expect numbers."""
    wire, usage = message.document.get("response/usage"), message.usage
    if usage is None or usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    total = usage.total_tokens
    known = usage.prompt_tokens + usage.completion_tokens if total is None else total
    return {**wire, "total_tokens": known} if is_object(wire) else None


__all__ = ["Chunks", "Label", "completion", "not_finished"]
