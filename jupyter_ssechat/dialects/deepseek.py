"""DeepSeek's web wire ↔ patches, in which it speaks itself (protocols sections 1 and 6): also our own gateway's.

`DeepSeek` reads a stream as it is, with all its ids. `Relay` reads it as the answer of a model server: a record
of ours takes the text and the figures, and keeps its own ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from ..errors import InvalidData, UpstreamError
from ..message import SILENT, Delta, Message, ends, failed
from ..patches import Document, Patch, PatchDecoder
from ..request import Request
from ..sse import ServerSentEvent
from ..wire_json import as_object, as_text, excerpt, loads
from .dialect import Abilities, Call, Dialect, Manners

COMPLETION = "/api/v0/chat/completion"

_FIGURES = ("usage", "accumulated_token_usage", "elapsed_secs", "thinking_elapsed_secs")
# What a record of ours takes besides the text, the end last; all else is the server's own business.
_CARRIED = (
    "model",
    "search_status",
    "search_results",
    "tool_calls",
    "thinking_elapsed_secs",
    "accumulated_token_usage",
    "usage",
    "finish_reason",
    "error",
    "status",
)
_EVENTS = {"ready", "update_session", "hint", "title", "finish", "close"}
_USUAL = {"thinking_enabled": True, "search_enabled": False}
_UNSAID = (None, "", "WIP")
_PATHS = {"thinking": "response/thinking_content", "content": "response/content"}


class DeepSeek(Dialect):
    """Passes wire patches through, flat and fragments alike, and turns error frames into failures."""

    name = "deepseek"
    abilities = Abilities(
        thinking="thinking_content, or fragments of type THINK",
        usage="the total; all three counts from a gateway of ours",
        stop="by stop_stream",
        resume="by resume_stream: a snapshot, then what is still coming",
        errors="hint events, error objects, JSON envelopes",
        images="addresses, to a gateway of ours",
        goes_on="by continue, in the same answer",
    )

    @classmethod
    def lives_at(cls, host: str, path: str) -> bool:
        """Wherever the path says ``/api/v0``."""
        return "/api/v0/" in f"{path}/"

    # -- asking ---------------------------------------------------------------------------------------------

    @classmethod
    def endpoint(cls, url: str) -> str:
        """Complete the address of a server, of its ``/api/v0``, or of the endpoint itself; a query stays."""
        parts = urlsplit(url)
        server, _, _ = f"{parts.path.rstrip('/')}/".partition("/api/v0/")
        return parts._replace(path=server.rstrip("/") + COMPLETION, fragment="").geturl()

    @classmethod
    def ask(cls, endpoint: str, request: Request, manners: Manners) -> Call:
        """Go on in the session that has the answer before; open one for the whole history where there is none."""
        fields: dict[str, Any] = {**_how(request), "ref_file_ids": []}
        parent = _parent(request)
        if parent is not None:
            place = {
                "chat_session_id": parent["chat_session_id"],
                "parent_message_id": parent["message_id"],
            }
            images = request.turns[-1].images
            return Call(url=endpoint, body={**place, "prompt": request.prompt, **fields, **_images(images)})
        # The system prompt has its own field, and so does not stand in the text.
        prompt = replace(request, system=None).transcript
        images = tuple(image for turn in request.turns for image in turn.images)

        def completion(answer: object) -> Call:
            place = {"chat_session_id": _created(answer), "parent_message_id": None}
            return Call(url=endpoint, body={**place, "prompt": prompt, **fields, **_images(images)})

        return Call(url=_beside(endpoint, "chat_session/create"), body={}, then=completion)

    @classmethod
    def go_on(cls, endpoint: str, request: Request) -> Call | None:
        """Ask for more of the same answer; one that still runs is resumed."""
        place = _place(request.handle)
        if place is None:
            return None
        how = {name: value for name, value in _how(request).items() if value != _USUAL.get(name)}
        body = {**place, "fallback_to_resume": True, **how}
        return Call(url=_beside(endpoint, "chat/continue"), body=body)

    @classmethod
    def reader(cls, request: Request) -> Dialect:
        """A relay, which knows the text that stands already."""
        if not request.continues:
            return Relay()
        return Relay(thinking=request.thinking_so_far, content=request.content_so_far)

    # -- reading --------------------------------------------------------------------------------------------

    @classmethod
    def speaks(cls, event: ServerSentEvent, data: object) -> bool:
        """Its named events come first, or patches."""
        return event.event in _EVENTS or "v" in as_object(data)

    def __init__(self, *, continues: bool = False) -> None:
        self._decoder = PatchDecoder()
        self._ended = False

    def feed(self, event: ServerSentEvent) -> list[Patch]:
        """Translate one event; named ones but ``hint`` and ``error`` are bookkeeping."""
        match event.event:
            case "message":
                return [patch for frame in _frames(event.data) for patch in self._frame(frame)]
            case "hint":
                complaint = _complaint(loads(event.data))
                return self._fail(*complaint) if complaint else []
            case "error":
                return self._fail(*_spoken(event.data))
            case _:
                return []

    def finish(self) -> list[Patch]:
        """Nothing: this wire says its end by the status, and a body that ends before it was cut."""
        return []

    def whole(self, answer: object) -> list[Patch]:
        """Read an envelope in place of a stream: a whole message, or a refusal."""
        fields = as_object(answer)
        return whole_message(fields) if "data" in fields or "msg" in fields else []

    @property
    def finishing(self) -> bool:
        """Whether the status has left WIP: only figures follow."""
        return self._ended

    def _frame(self, frame: Any) -> list[Patch]:
        if (complaint := _complaint(frame)) is not None:
            return self._fail(*complaint)
        patches = self._decoder.decode(frame)
        if self._ended:
            return [patch for patch in patches if patch.path.rpartition("/")[2] in _FIGURES]
        # Within the frame that ends it all patches count: a recall may set the status first, the text after.
        self._ended = any(map(ends, patches))
        return patches

    def _fail(self, type: str, message: str) -> list[Patch]:
        if self._ended:
            return []
        self._ended = True
        return failed(type, message)


class Relay(DeepSeek):
    """Reads the answer of another server into a record of ours: text, figures and its end, no ids.

    Text comes in the flat fields, fragments too, as the difference to what came before: a snapshot that repeats
    it gives nothing, one with another text replaces it. Where another answer's text stands (`thinking`, `content`)
    a new one is added to it; an answer that the server continues is compared with it.
    """

    def __init__(self, *, continues: bool = False, thinking: str = "", content: str = "") -> None:
        super().__init__(continues=continues)
        self._there = Message()
        self._stands = {"thinking": thinking, "content": content}
        self._before = dict(self._stands)
        self._session: str | None = None
        self._message: int | None = None
        self._stream: str | None = None

    def called(self, call: Call) -> None:
        """Take note of the session; a new body begins with a new decoder."""
        body = as_object(call.body)
        self._decoder = PatchDecoder()
        self._session = as_text(body.get("chat_session_id")) or None
        self._message = _id(body.get("message_id"))
        if urlsplit(call.url).path.endswith("/chat/continue"):
            texts = {"thinking_content": self._stands["thinking"], "content": self._stands["content"]}
            self._there = Message(Document({"response": texts}))
            self._before = dict.fromkeys(self._stands, "")

    def feed(self, event: ServerSentEvent) -> list[Patch]:
        """Translate one event; ``ready`` tells what the answer is called."""
        if event.event == "ready":
            self._ready(as_object(loads(event.data)))
        return self._relayed(super().feed(event))

    def whole(self, answer: object) -> list[Patch]:
        """Read an envelope in place of a stream."""
        return self._relayed(super().whole(answer))

    @property
    def handle(self) -> dict[str, Any] | None:
        """The session and the number of the answer in it."""
        return _place({"chat_session_id": self._session, "message_id": self._message})

    def take_up(self, endpoint: str) -> Call | None:
        """Resume: the snapshot so far, then what is still coming."""
        return Call(url=_beside(endpoint, "chat/resume_stream"), body=self.handle) if self.handle else None

    def cancel(self, endpoint: str) -> Call | None:
        """Stop the generation; at a gateway of ours this one and no newer one."""
        if self.handle is None:
            return None
        only = {"stream_id": self._stream} if self._stream else {}
        return Call(url=_beside(endpoint, "chat/stop_stream"), body={**self.handle, **only})

    def _ready(self, fields: dict[str, Any]) -> None:
        answer = _id(fields.get("response_message_id"))
        self._message = answer if answer is not None else self._message
        # Only a gateway of ours tells both, and takes the stream's id back; others may refuse the field.
        self._stream = as_text(fields.get("stream_id")) or None if answer is not None else None

    def _relayed(self, patches: list[Patch]) -> list[Patch]:
        relayed: list[Patch] = []
        for patch in patches:
            relayed += map(self._text, self._there.apply(patch))
            relayed += self._carried(patch)
        if patches and self._message is None:
            self._message = self._there.message_id
        return relayed

    def _text(self, delta: Delta) -> Patch:
        if delta.replaces:
            return Patch(_PATHS[delta.kind], "SET", self._before[delta.kind] + delta.text)
        return Patch(_PATHS[delta.kind], "APPEND", delta.text)

    def _carried(self, patch: Patch) -> list[Patch]:
        """What a patch brings besides text."""
        snapshot = _snapshot(patch)
        if snapshot is not None:
            said = {name: snapshot.get(name) for name in _CARRIED}
            said["thinking_elapsed_secs"] = self._there.thinking_seconds
            return [_figure(name, value) for name, value in said.items() if value not in _UNSAID]
        top, _, below = patch.path.partition("/")
        if top == "response" and below.startswith("error/"):  # as a whole, or nobody sees what it says
            return [_figure("error", self._there.document.get("response/error"))]
        if top == "response" and below.partition("/")[0] in _CARRIED:
            return [patch]
        timed = below.startswith("fragments/") and below.endswith("/elapsed_secs")
        seconds = self._there.thinking_seconds if timed else None
        return [] if seconds is None else [_figure("thinking_elapsed_secs", seconds)]


def whole_message(envelope: dict[str, Any]) -> list[Patch]:
    """Read a JSON envelope that stands in place of a stream (protocols section 1, "Errors").

    biz_code 22 with a message in biz_data is that message; anything else is a failure.
    """
    data: dict[str, Any] = as_object(envelope.get("data"))
    found = as_object(data.get("biz_data"))
    if data.get("biz_code") == 22 and found:
        message = as_object(found.get("response")) or as_object(found.get("message")) or found
        return [Patch("", "SET", {"response": message})]
    return failed(
        *(_complaint(envelope) or ("not_an_event_stream", "a JSON answer without a message, not a stream"))
    )


def _frames(data: str) -> list[Any]:
    """Decode the frames of one event: one, or, where a recorder lost the blank lines, one on each line."""
    try:
        return [loads(data)]
    except InvalidData:
        if "\n" not in data:
            raise
    return [loads(line) for line in data.split("\n") if line]


def _complaint(frame: Any) -> tuple[str, str] | None:
    """What a frame complains of, (type, message): an error object, or an envelope with a code."""
    fields = as_object(frame)
    if "v" in fields:
        return None
    if fields.get("type") == "error":
        said = fields.get("content") or fields.get("message") or fields.get("msg")
        return str(fields.get("finish_reason") or fields.get("code") or "error"), str(said or SILENT)
    inner = as_object(fields.get("data"))
    for name, code, said in (
        ("biz_code", inner.get("biz_code"), inner.get("biz_msg")),
        ("code", fields.get("code"), fields.get("msg")),
    ):
        if isinstance(code, int) and code:
            return f"{name}_{code}", str(said or f"the server answered {name} {code}")
    return None


def _spoken(data: str) -> tuple[str, str]:
    """Read the data of an ``event: error``: an object of any shape, or plain words."""
    try:
        decoded = loads(data)
    except InvalidData:
        return "error", excerpt(data, 500) or SILENT
    return _complaint(decoded) or ("error", excerpt(str(as_object(decoded).get("message") or data), 500))


def _snapshot(patch: Patch) -> dict[str, Any] | None:
    """The whole message, where a patch sets it."""
    if patch.op != "SET" or patch.path not in ("", "response"):
        return None
    value = as_object(patch.value)
    return as_object(value.get("response")) if patch.path == "" else value


def _figure(name: str, value: object) -> Patch:
    return Patch(f"response/{name}", "SET", value)


def _how(request: Request) -> dict[str, Any]:
    """How to answer; the fields that only our own gateway knows stand where they are asked for."""
    options = dict(request.options)
    fields: dict[str, Any] = {
        "thinking_enabled": request.thinking,
        "search_enabled": options.pop("search_enabled", False),
    }
    asked = {"model": request.model, "system": request.system, "options": options}
    return fields | {name: value for name, value in asked.items() if value}


def _images(images: tuple[str, ...]) -> dict[str, Any]:
    return {"images": list(images)} if images else {}


def _parent(request: Request) -> dict[str, Any] | None:
    """The answer before the prompt, as the server calls it; None where it does not know that answer."""
    if len(request.turns) < 2 or [turn.role for turn in request.turns[-2:]] != ["assistant", "user"]:
        return None
    return _place(request.turns[-2].handle)


def _place(handle: Mapping[str, Any] | None) -> dict[str, Any] | None:
    session, message = (as_object(handle).get(name) for name in ("chat_session_id", "message_id"))
    if not as_text(session) or _id(message) is None:
        return None
    return {"chat_session_id": session, "message_id": message}


def _id(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _created(answer: object) -> str:
    """The id of a new session; raises UpstreamError when the server opened none."""
    found = as_object(as_object(as_object(answer).get("data")).get("biz_data"))
    session = found.get("id") or as_object(found.get("chat_session")).get("id")
    if isinstance(session, str):
        return session
    type, said = _complaint(answer) or ("upstream_error", "it answered without an id; check the address")
    raise UpstreamError(f"the model server opened no session: {said}", type=type)


def _beside(endpoint: str, path: str) -> str:
    """The address of another call of the same server."""
    parts = urlsplit(endpoint)
    return parts._replace(path=parts.path.removesuffix("chat/completion") + path).geturl()


__all__ = ["DeepSeek", "Relay", "whole_message"]
