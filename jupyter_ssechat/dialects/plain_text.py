"""``data: text`` … ``data: [DONE]`` → patches: the plainest wire there is (protocols section 3)."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidData
from ..message import SILENT, failed, finished
from ..patches import Patch
from ..request import Request
from ..response_format import in_words
from ..sse import ServerSentEvent
from ..wire_json import as_object, excerpt, loads
from .dialect import Abilities, Call, Dialect, Manners, refuse_images

CONTENT = "response/content"


class PlainText(Dialect):
    """The data of an event is text as it is; lines of one event are lines of the text."""

    name = "plain_text"
    abilities = Abilities(
        thinking="",
        usage="",
        stop="by closing the connection",
        resume="",
        errors="error events",
    )
    manners = Manners(thinking_off={})

    @classmethod
    def ask(cls, endpoint: str, request: Request, manners: Manners) -> Call:
        """Post ``{"message": …}``, with the history in the text.

        This wire has no document that says how to ask. Servers that speak it mostly take a JSON body with a
        ``message``; what one of them wants besides can be named as an option.
        """
        refuse_images(cls.name, request)
        request = in_words(request)
        fields: dict[str, Any] = {"message": request.transcript}
        if request.model:
            fields["model"] = request.model
        if not request.thinking:
            fields.update(manners.thinking_off)
        return Call(url=endpoint, body={**fields, **request.options})

    @classmethod
    def speaks(cls, event: ServerSentEvent, data: object) -> bool:
        """Words; what begins like JSON is another wire's, even when it broke off."""
        said = event.data.lstrip()
        return event.event == "message" and bool(said) and not said.startswith(("{", "["))

    def __init__(self, *, continues: bool = False) -> None:
        self._ended = False

    def feed(self, event: ServerSentEvent) -> list[Patch]:
        """Translate one event; named ones but ``error`` are bookkeeping."""
        if event.data.strip() == "[DONE]":
            return self._close(finished())
        if event.event == "error":
            return self._close(failed(*_spoken(event.data)))
        if event.event != "message" or self._ended or not event.data:
            return []
        return [Patch(CONTENT, "APPEND", event.data)]

    def ignored(self, event_name: str, comments: list[str]) -> list[Patch]:
        """Turn an ``event: error`` without data into a failure."""
        return self._close(failed("error", " ".join(comments) or SILENT)) if event_name == "error" else []

    @property
    def finishing(self) -> bool:
        """Whether the end was said."""
        return self._ended

    def _close(self, seal: list[Patch]) -> list[Patch]:
        if self._ended:
            return []
        self._ended = True
        return seal


def _spoken(data: str) -> tuple[str, str]:
    """Read the data of an ``event: error``: words, or an object with a message."""
    try:
        fields = as_object(loads(data))
    except InvalidData:
        return "error", excerpt(data, 500) or SILENT
    error = as_object(fields.get("error")) or fields
    said = error.get("message") or error.get("detail") or fields.get("error") or data
    return str(error.get("type") or error.get("code") or "error"), excerpt(str(said), 500) or SILENT


__all__ = ["PlainText"]
