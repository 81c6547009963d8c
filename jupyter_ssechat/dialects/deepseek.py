"""DeepSeek's web wire → patches: it speaks them already (protocols section 1)."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidData
from ..message import SILENT, ends, failed
from ..patches import Patch, PatchDecoder
from ..sse import ServerSentEvent
from ..wire_json import as_object, excerpt, loads
from .dialect import Dialect

_FIGURES = ("usage", "accumulated_token_usage", "elapsed_secs", "thinking_elapsed_secs")


class DeepSeek(Dialect):
    """Passes wire patches through, flat and fragments alike, and turns error frames into failures."""

    name = "deepseek"

    @classmethod
    def speaks(cls, event: ServerSentEvent, data: object) -> bool:
        """Named events come first, or patches."""
        return event.event not in ("message", "error") or "v" in as_object(data)

    def __init__(self, *, continues: bool = False) -> None:
        self._decoder = PatchDecoder()
        self._ended = False

    def feed(self, event: ServerSentEvent) -> list[Patch]:
        """Translate one event; named ones but ``hint`` and ``error`` are bookkeeping."""
        match event.event:
            case "message":
                return [patch for frame in _frames(event.data) for patch in self._frame(frame)]
            case "hint":
                return self._fail(_complaint(loads(event.data)))
            case "error":
                return self._fail(_spoken(event.data))
            case _:
                return []

    def ignored(self, event_name: str, comments: list[str]) -> list[Patch]:
        """Turn an ``event: error`` without data into a failure."""
        return self._fail(("error", " ".join(comments) or SILENT)) if event_name == "error" else []

    def finish(self) -> list[Patch]:
        """Nothing: this wire says its end by the status, and a body that ends before it was cut."""
        return []

    def _frame(self, frame: Any) -> list[Patch]:
        if (complaint := _complaint(frame)) is not None:
            return self._fail(complaint)
        patches = self._decoder.decode(frame)
        if self._ended:
            return [patch for patch in patches if patch.path.rpartition("/")[2] in _FIGURES]
        # Within the frame that ends it all patches count: a recall may set the status first, the text after.
        self._ended = any(map(ends, patches))
        return patches

    def _fail(self, complaint: tuple[str, str] | None) -> list[Patch]:
        if complaint is None or self._ended:
            return []
        self._ended = True
        return failed(*complaint)


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


__all__ = ["DeepSeek", "whole_message"]
