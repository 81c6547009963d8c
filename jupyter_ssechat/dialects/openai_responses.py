"""``/v1/responses`` events → patches; a background response is taken up where its stream broke.

Only a response that is made with ``background: true`` is kept by its server: it goes on without readers, its
stream can be had again after any event, and it ends by a call. All others end with their connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlsplit

from ..errors import BadInput
from ..message import failed, filtered, finished, stopped
from ..patches import Patch
from ..request import Request, Turn
from ..response_format import FIELD, without_field
from ..sse import ServerSentEvent
from ..wire_json import as_list, as_object, as_text, dumps, loads
from .dialect import Abilities, Call, Dialect, Manners
from .openai_chat import TOOL_CALLS, complaint, put_options, spoken

# An event without its ``.delta`` or ``.done`` → the slot of an item, the index of the part, the whole's field.
_TEXTS = {
    "output_text": ("text", "content_index", "text"),
    "refusal": ("text", "content_index", "refusal"),
    "reasoning_summary_text": ("summary", "summary_index", "text"),
    "reasoning_text": ("reasoning", "content_index", "text"),
}
_ARGUMENTS = {
    "function_call_arguments": "arguments",
    "custom_tool_call_input": "input",
    "mcp_call_arguments": "arguments",
    "code_interpreter_call_code": "code",
}
_KINDS = {"text": "content", "summary": "thinking_content", "reasoning": "thinking_content"}
# Of one item the reasoning or its summary is shown, whichever comes first: they say the same.
_INSTEAD = {"summary": "reasoning", "reasoning": "summary"}
_ENDS = {"completed", "incomplete", "failed", "cancelled"}
# The server waits for somebody to run these; all other tools it runs itself.
_FOR_THE_CLIENT = {
    "function_call",
    "custom_tool_call",
    "computer_call",
    "local_shell_call",
    "shell_call",
    "apply_patch_call",
    "mcp_approval_request",
}
LOST = "after the connection broke the model server left out a part of the answer; ask again for a whole one"
_LONGEST_ID = 1024
STREAMED = -1


class OpenAIResponses(Dialect):
    """Translates the events of one response; items of one kind stand apart by a blank line.

    Tool calls, the server's own too, come to ``response/tool_calls`` as with chat completions.
    """

    name = "openai_responses"
    path = "/responses"
    abilities = Abilities(
        thinking="reasoning summaries, or reasoning text",
        usage="with the last event",
        stop="by closing the connection; a background response by its cancel call",
        resume="background responses, after any event",
        errors="failed responses, error events",
        images="input_image parts",
        goes_on="a background response where it was cut, else asked to go on",
    )
    manners = Manners(
        thinking_off={"reasoning": {"effort": "none"}},
        effort=("reasoning", "effort"),
        max_tokens="max_output_tokens",
    )

    @classmethod
    def ask(cls, endpoint: str, request: Request, manners: Manners) -> Call:
        """Ask for events; raises BadInput for stop sequences, which this wire has not."""
        if request.options.get("stop"):
            raise BadInput(
                "stop sequences cannot be sent in the dialect openai_responses; leave the option stop out,"
                " or use the dialect openai_chat"
            )
        body: dict[str, Any] = {"input": [_said_by(turn) for turn in request.turns], "stream": True}
        if request.model:
            body["model"] = request.model
        if request.system:
            body["instructions"] = request.system
        put_options(body, _with_format(request), manners)
        return Call(url=endpoint, body=body)

    @classmethod
    def go_on(cls, endpoint: str, request: Request) -> Call | None:
        """Take up a background response that was cut; one that was stopped has no ``seq``."""
        handle = request.handle or {}
        return _resumption(endpoint, handle.get("id"), handle.get("seq"))

    @classmethod
    def reader(cls, request: Request) -> OpenAIResponses:
        """An object that can read the rest of the response that was cut, as well as a new one."""
        return cls(continues=request.continues and bool(request.content_so_far), handle=request.handle)

    @classmethod
    def speaks(cls, event: ServerSentEvent, data: object) -> bool:
        """Every event is named after the response; an error has a number as they all have."""
        fields = as_object(data)
        kind = as_text(fields.get("type"))
        return kind.startswith("response.") or (kind == "error" and "sequence_number" in fields)

    def __init__(self, *, continues: bool = False, handle: Mapping[str, Any] | None = None) -> None:
        self._from = handle or {}
        self._ended = self._cut = False
        self._id = ""
        self._kept = False
        self._model = ""
        self._told = Told()
        # The number of the last event, and of the one after which this connection goes on.
        self._seq = self._floor = -1
        # Whether they count without a gap, and whether another connection begins.
        self._dense, self._connected = True, False

    def feed(self, event: ServerSentEvent) -> list[Patch]:
        """Translate one event; unknown ones are left out."""
        if event.event == "error":
            return self._fail(*spoken(event.data))
        if not event.data.strip() or event.data.strip() == "[DONE]":
            return []
        fields = as_object(loads(event.data))
        number = _number(fields.get("sequence_number"))
        if self._ended or 0 <= number <= self._floor:
            return []
        if self._leaves_out(number):
            return self._fail("text_lost", LOST)
        return self._translate(as_text(fields.get("type")).removeprefix("response."), fields)

    def finish(self) -> list[Patch]:
        """Nothing: the last event says the end, and a body that ends before it was cut."""
        self._cut = not self._ended
        return []

    def whole(self, answer: object) -> list[Patch]:
        """Translate a response that was not streamed; one that still runs is none."""
        response = as_object(answer)
        if response.get("object") != "response" or response.get("status") not in _ENDS:
            return []
        return self._begin(response) + self._end("", response)

    # -- stopping and taking up -----------------------------------------------------------------------------

    def called(self, call: Call) -> None:
        """Expect the rest of the response after a GET: what came before it is dropped."""
        if call.method == "GET" and self._seq < 0:
            self._id, self._kept = as_text(self._from.get("id")), True
            self._seq = _number(self._from.get("seq"))
            self._told = Told.from_handle(self._from)
        self._cut = False
        self._floor = self._seq
        self._connected = True

    @property
    def handle(self) -> dict[str, Any] | None:
        """The id of a background response; with ``seq`` and what was told when its stream was cut.

        A response that is stopped keeps a handle without ``seq``: it was cancelled, and cannot go on.
        """
        if not self._kept or not _is_safe(self._id):
            return None
        return {"id": self._id, **({"seq": self._seq, **self._told.to_handle()} if self._cut else {})}

    def take_up(self, endpoint: str) -> Call | None:
        """Ask for the events after the last one."""
        return _resumption(endpoint, self._id, self._seq) if self._kept else None

    def cancel(self, endpoint: str) -> Call | None:
        """Cancel a background response, which goes on without readers."""
        if not self._kept or not _is_safe(self._id):
            return None
        return Call(url=_address(endpoint, self._id, "/cancel"))

    # -- reading --------------------------------------------------------------------------------------------

    def _leaves_out(self, number: int) -> bool:
        """Note the number of an event; whether it is not the next one after a connection broke."""
        gap = 0 <= self._seq < number - 1
        lost = gap and self._connected and self._dense
        if number >= 0:
            self._seq, self._connected = max(self._seq, number), False
        self._dense = self._dense and not gap
        return lost

    def _translate(self, kind: str, fields: dict[str, Any]) -> list[Patch]:
        name, _, verb = kind.rpartition(".")
        place, is_done = _place(fields), verb == "done"
        if kind in ("created", "queued", "in_progress"):
            return self._begin(as_object(fields.get("response")))
        if kind in _ENDS:
            return self._end(kind, as_object(fields.get("response")))
        if name == "output_item":
            return self._item(as_object(fields.get("item")), place, is_done=is_done)
        if name in _TEXTS:
            slot, index, field = _TEXTS[name]
            text = as_text(fields.get(field if is_done else "delta"))
            return self._text(slot, place, max(_number(fields.get(index)), 0), text, is_done=is_done)
        if name in _ARGUMENTS:
            text = as_text(fields.get(_ARGUMENTS[name] if is_done else "delta"))
            return self._stray(as_text(fields.get("item_id")), place, text, is_done=is_done)
        # An error of another kind is that of a tool; one of no kind is a proxy's, as chat completions have it.
        error = fields.get("error")
        return self._fail(*complaint(error or fields)) if kind == "error" or (error and not kind) else []

    def _begin(self, response: dict[str, Any]) -> list[Patch]:
        self._id = self._id or as_text(response.get("id"))
        self._kept = self._kept or response.get("background") is True
        model = as_text(response.get("model"))
        if self._model or not model:
            return []
        self._model = model
        return [Patch("response/model", "SET", model)]

    def _text(self, slot: str, place: str, index: int, text: str, *, is_done: bool) -> list[Patch]:
        """Show a delta, or a whole part whose deltas never came."""
        if not text or f"{place}.{_INSTEAD.get(slot)}" in self._told.parts:
            return []
        if not self._told.is_news(f"{place}.{slot}", index, is_done):
            return []
        # The parts of a summary are paragraphs; those of a message or of a reasoning are one text.
        gap = self._told.gap(_KINDS[slot], f"{place}.{index}" if slot == "summary" else place)
        return [Patch(f"response/{_KINDS[slot]}", "APPEND", gap + text)]

    def _item(self, item: dict[str, Any], place: str, *, is_done: bool) -> list[Patch]:
        """Open a tool call when it is added; show what is in an item that is done and was not shown before."""
        if _kind(item) == "calls":
            return self._tool(item, place, is_done=is_done)
        texts = _texts(item) if is_done else []
        return [
            patch
            for slot, index, text in texts
            for patch in self._text(slot, place, index, text, is_done=True)
        ]

    def _tool(self, item: dict[str, Any], place: str, *, is_done: bool) -> list[Patch]:
        id = as_text(item.get("call_id")) or as_text(item.get("id"))
        name = as_text(item.get("name")) or as_text(item.get("type"))
        self._told.asks = self._told.asks or item.get("type") in _FOR_THE_CLIENT
        call = self._told.call(as_text(item.get("id")), place)
        patches: list[Patch] = []
        # Some servers give several calls one place: another id is then another call.
        if call is None or self._told.ids[call] not in ("", id):
            call, patches = self._open(as_text(item.get("id")), place, id, name)
        elif not self._told.ids[call]:
            self._told.ids[call] = id
            patches = [Patch(f"{TOOL_CALLS}/{call}/id", "SET", id)]
            patches.append(Patch(f"{TOOL_CALLS}/{call}/function/name", "SET", name))
        return patches + (self._argue(call, _arguments(item), is_done=True) if is_done else [])

    def _stray(self, item_id: str, place: str, text: str, *, is_done: bool) -> list[Patch]:
        """Show arguments, also of a call that was not announced."""
        if not text:
            return []
        call, patches = self._told.call(item_id, place), list[Patch]()
        if call is None:
            call, patches = self._open(item_id, place, "", "")
        return patches + self._argue(call, text, is_done=is_done)

    def _open(self, item_id: str, place: str, id: str, name: str) -> tuple[int, list[Patch]]:
        call = self._told.open(item_id, place, id)
        function = {"name": name, "arguments": ""}
        opened = {"index": call, "id": id, "type": "function", "function": function}
        return call, [Patch(TOOL_CALLS, "APPEND", [opened])]

    def _argue(self, call: int, text: str, *, is_done: bool) -> list[Patch]:
        if not text or not self._told.is_news(f"call.{call}", 0, is_done):
            return []
        return [Patch(f"{TOOL_CALLS}/{call}/function/arguments", "APPEND", text)]

    def _end(self, kind: str, response: dict[str, Any]) -> list[Patch]:
        status = response.get("status")
        kind = status if status in _ENDS else kind
        patches = self._begin(response) + self._rest(response) + _usage(as_object(response.get("usage")))
        reason = as_text(as_object(response.get("incomplete_details")).get("reason"))
        match kind, reason:
            case "completed", _:
                seal = finished("tool_calls" if self._told.asks else "stop")
            case "incomplete", "max_output_tokens" | "max_tokens":
                seal = finished("length")
            case "incomplete", "content_filter":
                seal = filtered()
            case "cancelled", _:
                seal = stopped()
            case _:
                error = response.get("error")
                said = {"type": reason or kind, "message": f"the response is {kind}"}
                return patches + self._fail(*complaint(error or said))
        self._ended = True
        return patches + seal

    def _rest(self, response: dict[str, Any]) -> list[Patch]:
        """Show what the whole response has of a kind of which nothing was told."""
        items = [as_object(item) for item in as_list(response.get("output"))]
        unknown = {"content", "thinking_content", "calls"} - self._told.kinds
        return [
            patch
            for number, item in enumerate(items)
            if _kind(item) in unknown
            for patch in self._item(item, str(number), is_done=True)
        ]

    def _fail(self, type: str, message: str) -> list[Patch]:
        if self._ended:
            return []
        self._ended = True
        return failed(type, message)


class Told:
    """What was told of a response: enough to go on in another object without a word twice.

    `parts` are those told of each slot of an item, STREAMED for what came in deltas; `last` is where the last
    text of a kind stood; `calls` are the numbers of tool calls by item and by place, `ids` their ids.
    """

    def __init__(self) -> None:
        self.parts: dict[str, list[int]] = {}
        self.last: dict[str, str] = {}
        self.calls: dict[str, int] = {}
        self.ids: list[str] = []
        self.asks = False

    @classmethod
    def from_handle(cls, handle: Mapping[str, Any]) -> Told:
        """Restore what `to_handle` gave."""
        told = cls()
        told.parts = {name: [*as_list(parts)] for name, parts in as_object(handle.get("parts")).items()}
        told.last = {**as_object(handle.get("last"))}
        told.calls = {**as_object(handle.get("calls"))}
        told.ids = [*as_list(handle.get("ids"))]
        told.asks = handle.get("asks") is True
        return told

    def to_handle(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "parts": {name: [*parts] for name, parts in self.parts.items()},
            "last": {**self.last},
            "calls": {**self.calls},
            "ids": [*self.ids],
            "asks": self.asks,
        }

    @property
    def kinds(self) -> set[str]:
        """Of what something was told: content, thinking_content, calls."""
        return {*self.last, *(["calls"] if self.ids else [])}

    def is_news(self, slot: str, index: int, is_done: bool) -> bool:
        """Note a delta, or a whole part; a part is no news when it came before, or as deltas."""
        parts = self.parts.setdefault(slot, [])
        part = index if is_done else STREAMED
        if is_done and (part in parts or STREAMED in parts):
            return False
        if part not in parts:
            parts.append(part)
        return True

    def gap(self, kind: str, where: str) -> str:
        """A blank line between texts of one kind from different places."""
        before, self.last[kind] = self.last.get(kind), where
        return "" if before in (None, where) else "\n\n"

    def call(self, item_id: str, place: str) -> int | None:
        """The number of a call; by its item first, since places may be shared."""
        found = self.calls.get(f"item {item_id}") if item_id else None
        return self.calls.get(f"place {place}") if found is None else found

    def open(self, item_id: str, place: str, id: str) -> int:
        """Note one more call."""
        number = len(self.ids)
        self.ids.append(id)
        self.calls[f"place {place}"] = number
        if item_id:
            self.calls[f"item {item_id}"] = number
        return number


def _said_by(turn: Turn) -> dict[str, Any]:
    # Text stands as it is: servers ask more of an output_text than its text.
    if not turn.images:
        return {"role": turn.role, "content": turn.content}
    parts: list[dict[str, Any]] = [{"type": "input_text", "text": turn.content}] if turn.content else []
    parts += [{"type": "input_image", "image_url": url} for url in turn.images]
    return {"role": turn.role, "content": parts}


def _kind(item: dict[str, Any]) -> str:
    """What an item comes to, as in `Told.kinds`; "" for what is not shown."""
    type = as_text(item.get("type"))
    if type.endswith("_call") or type == "mcp_approval_request":
        return "calls"
    return {"message": "content", "reasoning": "thinking_content"}.get(type, "")


def _texts(item: dict[str, Any]) -> list[tuple[str, int, str]]:
    """The texts of a message or a reasoning: slot, index, text; a summary stands before what it is of."""
    listed = [as_object(part) for part in as_list(item.get("content"))]
    if item.get("type") == "message":
        said = (as_text(part.get("text")) or as_text(part.get("refusal")) for part in listed)
        return [("text", index, text) for index, text in enumerate(said)]
    summary = [as_object(part) for part in as_list(item.get("summary"))]
    texts = [("summary", index, as_text(part.get("text"))) for index, part in enumerate(summary)]
    return texts + [("reasoning", index, as_text(part.get("text"))) for index, part in enumerate(listed)]


def _arguments(item: dict[str, Any]) -> str:
    """What a tool was called with, as text."""
    for name in ("arguments", "input", "code"):
        if text := as_text(item.get(name)):
            return text
    given = {name: item[name] for name in ("action", "queries", "operation") if item.get(name)}
    return dumps(given) if given else ""


def _usage(usage: dict[str, Any]) -> list[Patch]:
    """Usage under the names of chat completions, its details as they are."""
    if not usage:
        return []
    names = {
        "prompt_tokens": "input_tokens",
        "completion_tokens": "output_tokens",
        "total_tokens": "total_tokens",
        "prompt_tokens_details": "input_tokens_details",
        "completion_tokens_details": "output_tokens_details",
    }
    told = {ours: usage[theirs] for ours, theirs in names.items() if usage.get(theirs) is not None}
    patches = [Patch("response/usage", "SET", told)]
    if isinstance(total := usage.get("total_tokens"), int):
        patches.append(Patch("response/accumulated_token_usage", "SET", total))
    return patches


def _place(fields: dict[str, Any]) -> str:
    """Where an item stands in the output; its id is no help, some servers make one up for each event."""
    return str(max(_number(fields.get("output_index")), 0))


def _number(value: object) -> int:
    """A number from 0 up; -1 for all else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else -1


def _with_format(request: Request) -> Request:
    """The request with its format where this wire has it: in ``text``, and not in an object of its own."""
    wanted = as_object(request.options.get(FIELD))
    request = without_field(request)
    if not wanted:
        return request
    schema = as_object(wanted.get("json_schema"))
    text = {**as_object(request.options.get("text")), "format": {"type": wanted.get("type"), **schema}}
    return replace(request, options={**request.options, "text": text})


def _resumption(endpoint: str, id: object, seq: object) -> Call | None:
    if not _is_safe(id) or _number(seq) < 0:
        return None
    return Call(method="GET", url=_address(endpoint, str(id), "", f"stream=true&starting_after={seq}"))


def _is_safe(id: object) -> bool:
    """Whether an id names something below the endpoint, and not another address."""
    return isinstance(id, str) and 0 < len(id) <= _LONGEST_ID and id.strip(".") != ""


def _address(endpoint: str, id: str, action: str, query: str = "") -> str:
    parts = urlsplit(endpoint)
    path = f"{parts.path}/{quote(id, safe='', errors='replace')}{action}"
    return parts._replace(path=path, query="&".join(filter(None, [parts.query, query]))).geturl()


__all__ = ["OpenAIResponses"]
