"""``/v1/chat/completions`` chunks → patches, as all the servers of protocols section 2 send them."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidData
from ..message import SILENT, failed, filtered, finished
from ..patches import Patch
from ..request import Request, Turn
from ..response_format import as_any_json, in_words
from ..sse import ServerSentEvent
from ..wire_json import as_list, as_object, as_text, dumps, excerpt, is_list, is_object, loads
from .dialect import Abilities, Call, Dialect, Manners
from .think_tags import ThinkTags

THINKING = "response/thinking_content"
CONTENT = "response/content"
TOOL_CALLS = "response/tool_calls"

EMPTY = "the model server ended the answer before it had said anything"

# Ours are few (protocols section 6): every other word of a server says that the answer is complete.
_REASONS = {"tool_calls": "tool_calls", "function_call": "tool_calls"}
_CUT = {"length", "max_tokens", "model_length", "model_context_window_exceeded"}
_FILTERED = {"content_filter", "safety", "sensitive", "blocklist", "prohibited_content"}
_FAILURES = {
    "insufficient_system_resource": "the model server ran out of resources",
    "error": "the model server failed in mid-answer",
    "abort": "the model server aborted the answer",
    "network_error": "the model server lost its connection to the model",
}


class OpenAIChat(Dialect):
    """Translates chunks; only the choice with index 0 is shown.

    With `continues` the text goes on where an older one stands: a tag that only closes is text.
    """

    name = "openai_chat"
    path = "/chat/completions"
    abilities = Abilities(
        thinking="reasoning_content, reasoning, parts, or inline <think>",
        usage="asked for by stream_options; wherever it comes",
        stop="by closing the connection",
        resume="",
        errors="error objects, error events, finish reasons",
        images="image_url parts",
        goes_on="by prefill where the profile has it, else asked to go on",
    )

    @classmethod
    def ask(cls, endpoint: str, request: Request, manners: Manners) -> Call:
        """Ask for chunks, and for their usage."""
        if manners.json != "schema":
            request = as_any_json(request) if manners.json == "object" else in_words(request)
        body: dict[str, Any] = {"messages": _messages(request, manners), "stream": True}
        if request.model:
            body["model"] = request.model
        if manners.asks_usage:
            body["stream_options"] = {"include_usage": True}
        if request.prefill and manners.prefill == "continue_final_message":
            body.update(continue_final_message=True, add_generation_prompt=False)
        put_options(body, request, manners)
        return Call(url=endpoint, body=body)

    @classmethod
    def reader(cls, request: Request) -> OpenAIChat:
        """An object to read the answer with; one that only grows cannot become thinking when a tag closes."""
        return cls(continues=request.only_grows or (request.continues and bool(request.content_so_far)))

    @classmethod
    def speaks(cls, event: ServerSentEvent, data: object) -> bool:
        """Chunks have an ``object`` or ``choices``, whatever their event is called; errors stand in an ``error``."""
        fields = as_object(data)
        if as_text(fields.get("object")).startswith("chat.completion") or is_list(fields.get("choices")):
            return True
        if event.event != "message":
            return event.event == "error"
        return event.data.strip() == "[DONE]" or "error" in fields

    def __init__(self, *, continues: bool = False) -> None:
        self._ended = False
        self._model = ""
        self._reason: str | None = None
        self._begun = False
        self._usage: dict[str, Any] | None = None
        self._told_usage: dict[str, Any] | None = None
        self._tags = ThinkTags(continues=continues)
        self._calls = ToolCalls()

    def feed(self, event: ServerSentEvent) -> list[Patch]:
        """Translate one chunk, ``[DONE]``, or an ``event: error``."""
        if event.data.strip() == "[DONE]":
            return self._seal()
        if event.event == "error":
            return self._fail(*spoken(event.data))
        if not event.data.strip():
            return []
        return self._chunk(as_object(loads(event.data)))

    def ignored(self, event_name: str, comments: list[str]) -> list[Patch]:
        """Turn an error without data into a failure, as early Dynamo (a comment) and llama.cpp (a field) send it."""
        return self._fail(*spoken(" ".join(comments))) if event_name == "error" else []

    def finish(self) -> list[Patch]:
        """Seal an answer whose finish_reason was seen but no ``[DONE]``; one that was cut is not sealed."""
        return self._seal() if self._reason is not None else self._tags.flush()

    def whole(self, answer: object) -> list[Patch]:
        """Translate a completion that was not streamed; an error object is none."""
        if not as_list(as_object(answer).get("choices")):
            return []
        return self.feed(ServerSentEvent(data=dumps(answer))) + self.finish()

    @property
    def finishing(self) -> bool:
        """Whether the finish_reason was seen: usage and ``[DONE]`` may follow, text may not."""
        return self._reason is not None

    def _chunk(self, chunk: dict[str, Any]) -> list[Patch]:
        self._note_usage(chunk)
        if self._ended:
            return self._tell_usage()
        choice = _first_choice(chunk)
        self._begun = self._begun or bool(choice)
        patches = self._name(chunk) + self._delta(choice)
        if (error := _error(chunk)) is not None:
            return patches + self._fail(*error)
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self._reason = reason.lower()
        # Some servers repeat the usage on every chunk: tell it at the end, not with each token.
        return patches + self._tell_usage() if self._reason is not None else patches

    def _name(self, chunk: dict[str, Any]) -> list[Patch]:
        model = chunk.get("model")
        if self._model or not isinstance(model, str) or not model:
            return []
        self._model = model
        return [Patch("response/model", "SET", model)]

    def _delta(self, choice: dict[str, Any]) -> list[Patch]:
        delta = as_object(choice.get("delta")) or as_object(choice.get("message"))
        if not delta:
            return []
        thinking, content = _texts(delta.get("content"))
        thinking = _reasoning(delta) or thinking
        content += as_text(delta.get("refusal"))
        patches: list[Patch] = []
        if thinking:
            patches += [*self._tags.flush(), Patch(THINKING, "APPEND", thinking)]
            self._tags.off()
        if content:
            patches += self._tags.feed(content)
        return patches + self._calls.feed(delta)

    def _note_usage(self, chunk: dict[str, Any]) -> None:
        # Groq and Moonshot put it elsewhere as well, or only there.
        places = (chunk, as_object(chunk.get("x_groq")), _first_choice(chunk))
        usage = next((found for place in places if (found := as_object(place.get("usage")))), None)
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
        if not self._begun:
            return self._fail("upstream_interrupted", EMPTY)
        self._ended = True
        seal = finished("length" if reason in _CUT else _REASONS.get(reason, "stop"))
        if reason in _FILTERED:
            seal = filtered()
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
        calls = [as_object(one) for one in as_list(delta.get("tool_calls"))]
        if function := as_object(delta.get("function_call")):
            calls.append({"index": 0, "function": function})
        return [patch for place, call in enumerate(calls) for patch in self._one(call, place)]

    def _one(self, call: dict[str, Any], default: int) -> list[Patch]:
        index = call.get("index")
        index = index if isinstance(index, int) else default
        id, function = as_text(call.get("id")), as_object(call.get("function") or call.get("custom"))
        name, arguments = as_text(function.get("name")), _arguments(function)
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
        call = {
            "index": index,
            "id": id,
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        return [Patch(TOOL_CALLS, "APPEND", [call])]


def _arguments(function: dict[str, Any]) -> str:
    """What a tool is called with: text, of a custom tool too; some servers send the object itself, once."""
    given = function.get("arguments", function.get("input"))
    return dumps(given) if is_object(given) or is_list(given) else as_text(given)


def _messages(request: Request, manners: Manners) -> list[dict[str, Any]]:
    system: list[dict[str, Any]] = [{"role": "system", "content": request.system}] if request.system else []
    messages = system + [_said_by(turn) for turn in request.turns]
    if request.prefill and manners.prefill in ("prefix", "partial"):
        messages[-1][manners.prefill] = True
    return messages


def _said_by(turn: Turn) -> dict[str, Any]:
    if turn.verbatim is not None:
        return dict(turn.verbatim)
    if not turn.images:
        return {"role": turn.role, "content": turn.content}
    parts: list[dict[str, Any]] = [{"type": "text", "text": turn.content}] if turn.content else []
    parts += [{"type": "image_url", "image_url": {"url": url}} for url in turn.images]
    return {"role": turn.role, "content": parts}


def put_options(body: dict[str, Any], request: Request, manners: Manners) -> None:
    """Put into a body how the question is to be answered; fields inside of one field are put together."""
    paths = {"reasoning_effort": manners.effort, "max_tokens": (manners.max_tokens,)}
    for name, value in () if request.thinking else manners.thinking_off.items():
        _put(body, (name,), value)
    for name, value in request.options.items():
        _put(body, paths.get(name, (name,)), value)


def _put(body: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    for name in reversed(path[1:]):
        value = {name: value}
    name = path[0]
    body[name] = _merged(body[name], value) if name in body else value


def _merged(older: object, newer: object) -> object:
    """The newer value; of two objects all fields. What is merged is copied: it may be somebody's own."""
    if not is_object(older) or not is_object(newer):
        return newer
    both = {**older, **newer}
    return both | {name: _merged(older[name], newer[name]) for name in older.keys() & newer.keys()}


def _first_choice(chunk: dict[str, Any]) -> dict[str, Any]:
    """Return the choice with index 0 (or none, which means 0); {} when there is none."""
    choices = map(as_object, as_list(chunk.get("choices")))
    return next((one for one in choices if one.get("index") in (0, None)), as_object(None))


def _reasoning(delta: dict[str, Any]) -> str:
    """Return the thinking of a delta: one of its fields, never two together, for they repeat each other."""
    for name in ("reasoning_content", "reasoning"):
        if text := as_text(delta.get(name)):
            return text
    parts = map(as_object, as_list(delta.get("reasoning_details")))
    return "".join(as_text(part.get("text")) or as_text(part.get("summary")) for part in parts)


def _texts(content: Any) -> tuple[str, str]:
    """Return (thinking, answer) of a ``content`` field: text, null, or a list of parts as Mistral sends."""
    if not is_list(content):
        return "", as_text(content)
    thinking, answer = "", ""
    for part in content:
        fields = as_object(part)
        if fields.get("type") == "thinking":
            inner = fields.get("thinking")
            thinking += as_text(inner) or _texts(inner)[1]
        else:
            answer += as_text(part) or as_text(fields.get("text")) or as_text(fields.get("refusal"))
    return thinking, answer


def _error(chunk: dict[str, Any]) -> tuple[str, str] | None:
    """Return (type, message) of a chunk that is, or brings, an error; only a non-null one is an error."""
    for found in (chunk.get("error"), as_object(chunk.get("x_groq")).get("error")):
        if isinstance(found, str) and found:  # TGI names the type beside it
            return complaint({"message": found, "type": chunk.get("error_type")})
        if found is not None:
            return complaint(found)
    # vLLM says that it is one; a proxy's has the words, and nothing that a chunk has.
    alone = not chunk.keys() & {"choices", "object", "usage"} and (
        chunk.get("message") or chunk.get("detail")
    )
    return complaint(chunk) if chunk.get("object") == "error" or alone else None


def complaint(error: Any) -> tuple[str, str]:
    """Read what stands in an ``error``: (type, message) of an object, or of plain words."""
    fields = as_object(error)
    named = [name for name in (fields.get("type"), fields.get("code")) if name]
    # The type "error" says nothing that is not known; litellm spells a missing one.
    telling = [name for name in named if name not in ("error", "None")]
    kind = next(iter([*telling, *named]), "upstream_error")
    said = fields.get("message") or fields.get("detail") or (error if isinstance(error, str) else None)
    return str(kind), excerpt(str(said or SILENT), 500)


def spoken(data: str) -> tuple[str, str]:
    """Read the data of an ``event: error``: a JSON object, with or without ``error`` around it, or words."""
    try:
        decoded = loads(data)
    except InvalidData:
        return "error", excerpt(data, 500) or SILENT
    return complaint(as_object(decoded).get("error") or decoded)


__all__ = ["TOOL_CALLS", "OpenAIChat", "ToolCalls", "complaint", "put_options", "spoken"]
