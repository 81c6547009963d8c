"""``/v1/chat/completions`` chunks → patches, as all the servers of protocols section 2 send them."""

from __future__ import annotations

from typing import Any, cast

from ..errors import InvalidData
from ..message import failed, filtered, finished
from ..patches import Patch, excerpt, loads
from ..sse import ServerSentEvent
from .think_tags import ThinkTags

THINKING = "response/thinking_content"
CONTENT = "response/content"
TOOL_CALLS = "response/tool_calls"

_CUT = {"length", "max_tokens", "model_length"}
_FAILURES = {
    "insufficient_system_resource": "the model server ran out of resources",
    "error": "the model server failed in mid-answer",
    "abort": "the model server aborted the answer",
}


class OpenAIChat:
    """Translates chunks; only the choice with index 0 is shown.

    With `continues` the text goes on where an older one stands, and tags in it are text.
    """

    def __init__(self, *, continues: bool = False) -> None:
        self._ended = False
        self._model = ""
        self._reason: str | None = None
        self._usage: dict[str, Any] | None = None
        self._told_usage: dict[str, Any] | None = None
        self._tags = ThinkTags()
        if continues:
            self._tags.off()
        self._calls = ToolCalls()

    def feed(self, event: ServerSentEvent) -> list[Patch]:
        """Translate one chunk, ``[DONE]``, or an ``event: error``."""
        if event.data.strip() == "[DONE]":
            return self._seal()
        if event.event == "error":
            return self._fail(*_spoken(event.data))
        if not event.data.strip():
            return []
        return self._chunk(_object(loads(event.data)))

    def ignored(self, event_name: str, comments: list[str]) -> list[Patch]:
        """Turn an ``event: error`` that has only a comment into a failure, as early Dynamo sends it."""
        return self._fail("error", " ".join(comments) or _SILENT) if event_name == "error" else []

    def finish(self) -> list[Patch]:
        """Seal an answer whose finish_reason was seen but no ``[DONE]``; [] when it was cut."""
        return self._seal() if self._reason is not None else []

    def _chunk(self, chunk: dict[str, Any]) -> list[Patch]:
        self._note_usage(chunk)
        if self._ended:
            return self._tell_usage()
        choice = _first_choice(chunk)
        patches = self._name(chunk) + self._delta(choice)
        if (error := _error(chunk)) is not None:
            return patches + self._fail(*error)
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self._reason = reason
        # Some servers repeat the usage on every chunk: tell it at the end, not with each token.
        return patches + self._tell_usage() if self._reason is not None else patches

    def _name(self, chunk: dict[str, Any]) -> list[Patch]:
        model = chunk.get("model")
        if self._model or not isinstance(model, str) or not model:
            return []
        self._model = model
        return [Patch("response/model", "SET", model)]

    def _delta(self, choice: dict[str, Any]) -> list[Patch]:
        delta = _object(choice.get("delta")) or _object(choice.get("message"))
        if not delta:
            return []
        thinking, content = _texts(delta.get("content"))
        thinking = _reasoning(delta) or thinking
        content += _string(delta.get("refusal"))
        patches: list[Patch] = []
        if thinking:
            patches += [*self._tags.flush(), Patch(THINKING, "APPEND", thinking)]
            self._tags.off()
        if content:
            patches += self._tags.feed(content)
        return patches + self._calls.feed(delta)

    def _note_usage(self, chunk: dict[str, Any]) -> None:
        groq = _object(chunk.get("x_groq"))
        usage = _object(chunk.get("usage")) or _object(groq.get("usage"))
        if usage:
            self._usage = usage

    def _tell_usage(self) -> list[Patch]:
        if self._usage is None or self._usage == self._told_usage:
            return []
        self._told_usage = self._usage
        patches = [Patch("response/usage", "SET", self._usage)]
        if isinstance(total := self._usage.get("total_tokens"), int):
            patches.append(Patch("response/accumulated_token_usage", "SET", total))
        return patches

    def _seal(self) -> list[Patch]:
        if self._ended:
            return []
        reason = self._reason or ("tool_calls" if self._calls else "stop")
        if reason in _FAILURES:
            return self._fail(reason, _FAILURES[reason])
        self._ended = True
        if reason == "content_filter":
            seal = filtered()
        else:
            seal = finished("length" if reason in _CUT else reason)
        return self._tags.flush() + self._tell_usage() + seal

    def _fail(self, type: str, message: str) -> list[Patch]:
        if self._ended:
            return []
        self._ended = True
        return self._tags.flush() + self._tell_usage() + failed(type, message)


class ToolCalls:
    """Tool-call deltas → patches of ``response/tool_calls``, a list in the order of their first deltas."""

    def __init__(self) -> None:
        self._calls: list[dict[str, str]] = []
        self._places: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def feed(self, delta: dict[str, Any]) -> list[Patch]:
        """Translate the tool calls of one delta, also in the older ``function_call`` form."""
        found = delta.get("tool_calls")
        calls = [_object(one) for one in cast("list[Any]", found)] if isinstance(found, list) else []
        if function := _object(delta.get("function_call")):
            calls.append({"index": 0, "function": function})
        return [patch for place, call in enumerate(calls) for patch in self._one(call, place)]

    def _one(self, call: dict[str, Any], default: int) -> list[Patch]:
        index = call.get("index")
        index = index if isinstance(index, int) else default
        id, function = _string(call.get("id")), _object(call.get("function"))
        name, arguments = _string(function.get("name")), _string(function.get("arguments"))
        place = self._places.get(index)
        # Some servers give every call the index 0: a new id is then a new call.
        if place is None or (id and self._calls[place]["id"] not in ("", id)):
            return self._open(index, id, name, arguments)
        known, path = self._calls[place], f"{TOOL_CALLS}/{place}"
        patches: list[Patch] = []
        if id and id != known["id"]:
            patches.append(Patch(f"{path}/id", "SET", id))
        if name and name != known["name"]:
            patches.append(Patch(f"{path}/function/name", "SET", name))
        known.update(id=id or known["id"], name=name or known["name"])
        if arguments:
            patches.append(Patch(f"{path}/function/arguments", "APPEND", arguments))
        return patches

    def _open(self, index: int, id: str, name: str, arguments: str) -> list[Patch]:
        self._places[index] = len(self._calls)
        self._calls.append({"id": id, "name": name})
        call = {"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
        return [Patch(TOOL_CALLS, "APPEND", [call])]


_SILENT = "the server gave no reason"


def _first_choice(chunk: dict[str, Any]) -> dict[str, Any]:
    """Return the choice with index 0 (or none, which means 0); {} when there is none."""
    choices = chunk.get("choices")
    found = [_object(one) for one in cast("list[Any]", choices)] if isinstance(choices, list) else []
    return next((one for one in found if one.get("index") in (0, None)), {})


def _reasoning(delta: dict[str, Any]) -> str:
    """Return the thinking of a delta: one of its fields, never two together, for they repeat each other."""
    for name in ("reasoning_content", "reasoning"):
        if text := _string(delta.get(name)):
            return text
    details = delta.get("reasoning_details")
    parts = [_object(one) for one in cast("list[Any]", details)] if isinstance(details, list) else []
    return "".join(_string(part.get("text")) or _string(part.get("summary")) for part in parts)


def _texts(content: Any) -> tuple[str, str]:
    """Return (thinking, answer) of a ``content`` field: text, null, or a list of parts as Mistral sends."""
    if not isinstance(content, list):
        return "", _string(content)
    thinking, answer = "", ""
    for part in cast("list[Any]", content):
        fields = _object(part)
        if fields.get("type") == "thinking":
            inner = fields.get("thinking")
            thinking += _string(inner) or _texts(inner)[1]
        else:
            answer += _string(part) or _string(fields.get("text")) or _string(fields.get("refusal"))
    return thinking, answer


def _error(chunk: dict[str, Any]) -> tuple[str, str] | None:
    """Return (type, message) of a chunk that is, or brings, an error; only a non-null one is an error."""
    for found in (chunk.get("error"), _object(chunk.get("x_groq")).get("error")):
        if found is not None:
            return _said(found)
    return _said(chunk) if chunk.get("object") == "error" else None


def _said(error: Any) -> tuple[str, str]:
    fields = _object(error)
    kind = fields.get("type") or fields.get("code") or "upstream_error"
    said = fields.get("message") or fields.get("detail") or (error if isinstance(error, str) else None)
    return str(kind), excerpt(str(said or _SILENT), 500)


def _spoken(data: str) -> tuple[str, str]:
    """Read the data of an ``event: error``: a JSON object, with or without ``error`` around it, or words."""
    try:
        decoded = loads(data)
    except InvalidData:
        return "error", excerpt(data, 500) or _SILENT
    return _said(_object(decoded).get("error") or decoded)


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


__all__ = ["OpenAIChat", "ToolCalls"]
