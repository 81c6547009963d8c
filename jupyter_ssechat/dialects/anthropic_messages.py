"""``/v1/messages`` events → patches: blocks of thinking, text and tools, one after the other."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from ..errors import BadInput
from ..message import CONTENT, THINKING, failed, filtered, finished
from ..patches import Patch
from ..request import Request
from ..response_format import FIELD, closed, in_words, schema_in, without_field
from ..sse import ServerSentEvent
from ..wire_json import as_list, as_object, as_text, dumps, excerpt, is_list, is_object, loads
from .dialect import Abilities, Call, Dialect, Manners
from .openai_chat import ToolCalls, complaint, put_options, spoken

VERSION = "2023-06-01"
MAX_TOKENS = 8192
LEAST_BUDGET = 1024

# Our words for the effort → tokens to think with, for models that are told a number of tokens.
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 20_480, "max": 23_552}
_REASONS = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",  # the server's own loop of tools came to its limit
    "tool_use": "tool_calls",
}
_TOOLS = {"tool_use", "server_tool_use", "mcp_tool_use"}
# claude-3-7-sonnet-20250219, claude-opus-4-20250514, vendor/claude-sonnet-4.6: the date is no part of the version.
_VERSIONED = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_DATA_URL = re.compile(r"data:(image/[\w.+-]+);base64,(.+)", re.S)


class AnthropicMessages(Dialect):
    """Translates the events of one message; its blocks stand apart by a blank line."""

    name = "anthropic_messages"
    path = "/messages"
    abilities = Abilities(
        thinking="thinking blocks",
        usage="with the stop reason",
        stop="by closing the connection",
        resume="",
        errors="error events",
        images="base64 and url sources",
        goes_on="by prefill where the model takes one, else asked to go on",
    )
    manners = Manners(prefill="trailing", thinking_off={})

    @classmethod
    def lives_at(cls, host: str, path: str) -> bool:
        """At its endpoint, below ``/anthropic`` of servers with several wires, and at the vendor's host."""
        if path.endswith(("/messages", "/anthropic", "/anthropic/v1")):
            return True
        return host == "api.anthropic.com" and path in ("", "/v1")

    @classmethod
    def endpoint(cls, url: str) -> str:
        """Complete the address of a server, of its ``/v1``, or of the endpoint itself."""
        parts = urlsplit(url)
        path = parts.path.rstrip("/")
        if not path.endswith("/messages"):
            path += "/messages" if path.endswith("/v1") else "/v1/messages"
        return parts._replace(path=path, fragment="").geturl()

    @classmethod
    def headers(cls, key: str | None) -> dict[str, str]:
        """The version of the wire, which has to be named, and the key."""
        return {"anthropic-version": VERSION, **({"x-api-key": key} if key else {})}

    @classmethod
    def ask(cls, endpoint: str, request: Request, manners: Manners) -> Call:
        """Ask for events; the wire wants to be told a limit, so 8192 tokens for the answer if none is given.

        Raises BadInput when there is nothing to ask, for images that are no addresses, and for an effort
        that is unknown or has no room below the limit.
        """
        request, format = _with_format(request)
        body: dict[str, Any] = {"messages": _messages(request), "stream": True, **format}
        if request.model:
            body["model"] = request.model
        if request.system:
            body["system"] = request.system
        options = dict(request.options)
        effort = options.pop("reasoning_effort", None)
        if stop := options.pop("stop", None):
            options["stop_sequences"] = [stop] if isinstance(stop, str) else stop
        if "thinking" not in options:
            for name, value in _thinking(request, effort, manners).items():
                body[name] = {**as_object(body.get(name)), **as_object(value)} if is_object(value) else value
        put_options(body, replace(request, thinking=True, options=options), manners)
        budget = as_object(body.get("thinking")).get("budget_tokens")
        body.setdefault("max_tokens", MAX_TOKENS + (budget if isinstance(budget, int) else 0))
        return Call(url=endpoint, body=body)

    @classmethod
    def speaks(cls, event: ServerSentEvent, data: object) -> bool:
        """A message is started first; a ping or an error of this wire may come in its place."""
        fields = as_object(data)
        kind = as_text(fields.get("type"))
        return kind in ("message_start", "ping") or (kind == "error" and is_object(fields.get("error")))

    def __init__(self, *, continues: bool = False) -> None:
        self._ended = False
        self._model = ""
        self._reason = ""
        self._usage: dict[str, Any] = {}
        self._calls = ToolCalls()
        self._count = 0
        self._blocks: dict[object, Block] = {}
        self._last = ""
        self._told: set[str] = set()

    def feed(self, event: ServerSentEvent) -> list[Patch]:
        """Translate one event; unknown ones are left out."""
        if event.event == "error":
            return self._fail(*spoken(event.data))
        if not event.data.strip() or event.data.strip() == "[DONE]":
            return []
        fields = as_object(loads(event.data))
        return [] if self._ended else self._translate(fields)

    def finish(self) -> list[Patch]:
        """The count of tokens, where it was the end that was cut off: only ``message_stop`` seals an answer."""
        return _usage(self._usage) if self._reason and not self._ended else []

    def whole(self, answer: object) -> list[Patch]:
        """Translate a message that was not streamed."""
        message = as_object(answer)
        if message.get("type") != "message" or not is_list(message.get("content")):
            return []
        patches = self._begin(message)
        for index, block in enumerate(as_list(message.get("content"))):
            patches += self._start(index, as_object(block)) + self._stop(index)
        self._note(as_object(message.get("usage")))
        self._reason = as_text(message.get("stop_reason"))
        return patches + self._seal()

    @property
    def finishing(self) -> bool:
        """Whether the stop reason was seen: only ``message_stop`` may follow."""
        return bool(self._reason)

    def _translate(self, fields: dict[str, Any]) -> list[Patch]:
        index = fields.get("index") if isinstance(fields.get("index"), int) else None
        match fields.get("type"):
            case "message_start":
                return self._begin(as_object(fields.get("message")))
            case "content_block_start":
                return self._start(index, as_object(fields.get("content_block")))
            case "content_block_delta":
                return self._delta(index, as_object(fields.get("delta")))
            case "content_block_stop":
                return self._stop(index)
            case "message_delta":
                self._note(as_object(fields.get("usage")))
                self._reason = as_text(as_object(fields.get("delta")).get("stop_reason")) or self._reason
                return []
            case "message_stop":
                return self._seal()
            case "error" | None:  # of no type is a proxy's, as chat completions have it
                error = fields.get("error")
                return self._fail(*complaint(error or fields)) if error or fields.get("type") else []
            case _:
                return []

    def _begin(self, message: dict[str, Any]) -> list[Patch]:
        # What it says of the output are the first tokens; the count comes at the end.
        self._note({**as_object(message.get("usage")), "output_tokens": None})
        model = as_text(message.get("model"))
        if self._model or not model:
            return []
        self._model = model
        return [Patch("response/model", "SET", model)]

    def _start(self, index: object, content: dict[str, Any]) -> list[Patch]:
        """Open a block; some servers put all of its text or input here."""
        kind = as_text(content.get("type"))
        # One text may come in several blocks, each with its citations.
        block = Block(apart=not kind == self._last == "text")
        self._blocks[index], self._last = block, kind
        if kind not in _TOOLS:
            return self._text(block, as_text(content.get("text")), as_text(content.get("thinking")))
        block.call, self._count = self._count, self._count + 1
        given = content.get("input")
        block.given = dumps(given) if given else ""
        name = as_text(content.get("name"))
        return self._call(block, id=as_text(content.get("id")), function={"name": name})

    def _delta(self, index: object, delta: dict[str, Any]) -> list[Patch]:
        block = self._blocks.setdefault(index, Block())
        match delta.get("type"):
            case "text_delta":
                return self._text(block, as_text(delta.get("text")), "")
            case "thinking_delta":
                return self._text(block, "", as_text(delta.get("thinking")))
            case "input_json_delta" if part := as_text(delta.get("partial_json")):
                block.given = ""
                return self._call(block, function={"arguments": part})
            case _:
                return []

    def _stop(self, index: object) -> list[Patch]:
        block = self._blocks.get(index)
        if block is None or not block.given:
            return []
        given, block.given = block.given, ""
        return self._call(block, function={"arguments": given})

    def _text(self, block: Block, content: str, thinking: str) -> list[Patch]:
        patches: list[Patch] = []
        for path, text in ((THINKING, thinking), (CONTENT, content)):
            if text:
                gap = "\n\n" if block.apart and path in self._told else ""
                patches.append(Patch(path, "APPEND", gap + text))
                block.apart = False
                self._told.add(path)
        return patches

    def _call(self, block: Block, **call: Any) -> list[Patch]:
        return self._calls.feed({"tool_calls": [{"index": block.call, **call}]})

    def _note(self, usage: dict[str, Any]) -> None:
        self._usage.update({name: count for name, count in usage.items() if count is not None})

    def _seal(self) -> list[Patch]:
        if self._ended:
            return []
        self._ended = True
        seal = filtered() if self._reason == "refusal" else finished(_REASONS.get(self._reason, "stop"))
        return _usage(self._usage) + seal

    def _fail(self, type: str, message: str) -> list[Patch]:
        if self._ended:
            return []
        self._ended = True
        return _usage(self._usage) + failed(type, message)


@dataclass(slots=True)
class Block:
    """One block of a message: whether it begins a paragraph, its number among the calls, its input if whole."""

    apart: bool = True
    call: int = 0
    given: str = ""


def _messages(request: Request) -> list[dict[str, Any]]:
    """The turns, those of one role in a row as one, none of them empty: the API refuses both.

    It also refuses blanks at the end of a beginning that it is to go on from.
    """
    messages: list[dict[str, Any]] = []
    for turn in request.turns:
        blocks = [_image(url) for url in turn.images]
        if turn.content.strip():
            blocks.append({"type": "text", "text": turn.content})
        if blocks and messages and messages[-1]["role"] == turn.role:
            messages[-1]["content"] += blocks
        elif blocks:
            messages.append({"role": turn.role, "content": blocks})
    if not messages:
        raise BadInput("the question is empty; write something to ask")
    last = messages[-1]["content"][-1]
    if messages[-1]["role"] == "assistant" and "text" in last:
        last["text"] = last["text"].rstrip()
    return messages


def _image(url: str) -> dict[str, Any]:
    if url.lower().startswith(("http://", "https://")):
        return {"type": "image", "source": {"type": "url", "url": url}}
    if (found := _DATA_URL.fullmatch(url)) is None:
        raise BadInput(
            f"{excerpt(url, 40)!r} is no image; expected data:image/TYPE;base64,DATA, or an address with http"
        )
    return {"type": "image", "source": {"type": "base64", "media_type": found[1], "data": found[2]}}


def _thinking(request: Request, effort: object, manners: Manners) -> dict[str, Any]:
    """The fields that say how much to think; none where nothing was asked for."""
    version = _version(request.model or "")
    if not request.thinking or effort == "none":
        # The models before 5 think only when they are asked to.
        off = {} if version and version < (5, 0) else {"thinking": {"type": "disabled"}}
        return dict(manners.thinking_off) or off
    if effort is None or request.prefill:  # whose answer has begun has thought
        return {}
    if version and version >= (4, 6):
        said = {"effort": "low" if effort == "minimal" else effort}
        return {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": said}
    return {
        "thinking": {"type": "enabled", "budget_tokens": _budget(effort, request.options.get("max_tokens"))}
    }


def _with_format(request: Request) -> tuple[Request, dict[str, Any]]:
    """The request without its format, and the fields for it: this wire takes closed schemas, and no bounds.

    All else is put into words.
    """
    if FIELD not in request.options:
        return request, {}
    schema = closed(schema_in(request) or {}, bounded=False)
    if schema is None:
        return in_words(request), {}
    return without_field(request), {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


def _version(model: str) -> tuple[int, int] | None:
    """The version in the name of a model of the vendor's; None for the models of others."""
    found = _VERSIONED.search(model.lower())
    return (int(found[1]), int(found[2] or 0)) if found else None


def _budget(effort: object, limit: object) -> int:
    """Tokens to think with: from 1024, and below the limit, which is for thinking and answer together."""
    if not isinstance(effort, str) or effort not in _BUDGETS:
        raise BadInput(f"reasoning_effort is {effort!r}; expected none, {', '.join(_BUDGETS)}")
    if not isinstance(limit, int):
        return _BUDGETS[effort]
    if limit <= LEAST_BUDGET:
        raise BadInput(
            f"max_tokens is {limit}, too few to think and to answer; expected more than {LEAST_BUDGET},"
            " or no reasoning_effort"
        )
    return max(min(_BUDGETS[effort], limit // 2), LEAST_BUDGET)


def _usage(usage: dict[str, Any]) -> list[Patch]:
    """Usage under the names of chat completions: the prompt is all of the input, cached or not."""
    cached, written = _count(usage, "cache_read_input_tokens"), _count(usage, "cache_creation_input_tokens")
    told: dict[str, Any] = {}
    if "input_tokens" in usage:
        told["prompt_tokens"] = _count(usage, "input_tokens") + cached + written
    if "output_tokens" in usage:
        told["completion_tokens"] = _count(usage, "output_tokens")
    if len(told) == 2:
        told["total_tokens"] = sum(told.values())
    if cached or written:
        told["prompt_tokens_details"] = {"cached_tokens": cached, "cache_creation_tokens": written}
    if thought := _count(as_object(usage.get("output_tokens_details")), "thinking_tokens"):
        told["completion_tokens_details"] = {"reasoning_tokens": thought}
    patches = [Patch("response/usage", "SET", told)] if told else []
    if "total_tokens" in told:
        patches.append(Patch("response/accumulated_token_usage", "SET", told["total_tokens"]))
    return patches


def _count(usage: dict[str, Any], name: str) -> int:
    count = usage.get(name)
    return count if isinstance(count, int) else 0


__all__ = ["AnthropicMessages"]
