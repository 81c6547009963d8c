"""``data: {"content": "…"}`` → patches, as a browser's EventSource asks for it (protocols section 3).

What has thinking, failures and a declared end besides is our own gateway's. Servers without them end by closing,
which nobody can tell from a broken connection: such an answer is cut, unless it can be taken up and nothing is left.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from ..errors import InvalidData, UpstreamError
from ..message import SILENT, failed, filtered, finished, stopped
from ..patches import Patch, Text
from ..request import Request
from ..response_format import in_words
from ..sse import ServerSentEvent
from ..wire_json import as_object, as_text, dumps, excerpt, loads
from .dialect import Abilities, Call, Dialect, Manners, refuse_images

STREAM = "/ai/chat/stream"
LONGEST_QUERY = 8_000

CONTENT, THINKING = "response/content", "response/thinking_content"

_TEXTS = {"message": CONTENT, "thinking": THINKING}
_REPLACED = {"replace": CONTENT, "replace_thinking": THINKING}
_ENDS = {"close", "done", "end", "complete"}
_OPEN = {"wip", "streaming"}
_NAMED = {"ready": "sessionId", "close": "status", "replace": "content", "replace_thinking": "content"}
_REASONS = {"stop", "length", "tool_calls"}
_NUMBERED = re.compile(r"(.*?)([0-9]{1,18})", re.S)
_DIFFERS = "after the connection broke the model server began another answer; ask again for a whole one"


class PlainContent(Dialect):
    """Asks by GET, or in two steps by a session; reads pieces of text."""

    name = "plain_content"
    abilities = Abilities(
        thinking="thinking events",
        usage="",
        stop="by closing the connection",
        resume="by Last-Event-ID, where events have ids; in a session",
        errors="error events, error objects",
    )
    manners = Manners(thinking_off={})

    @classmethod
    def lives_at(cls, host: str, path: str) -> bool:
        """At ``/ai/chat/stream``, and at its ``/init``."""
        return path.removesuffix("/init").endswith(STREAM)

    # -- asking ---------------------------------------------------------------------------------------------

    @classmethod
    def endpoint(cls, url: str) -> str:
        """Complete the address of a server; any other is that of the endpoint."""
        parts = urlsplit(url)
        return parts._replace(path=parts.path.rstrip("/") or STREAM, fragment="").geturl()

    @classmethod
    def ask(cls, endpoint: str, request: Request, manners: Manners) -> Call:
        """Ask by GET; in two steps where the address ends in ``/init``, or the message is too long for one."""
        refuse_images(cls.name, request)
        request = in_words(request)
        fields: dict[str, Any] = {"message": request.transcript}
        if request.model:
            fields["model"] = request.model
        if not request.thinking:
            fields.update(manners.thinking_off)
        fields.update(request.options)
        stream = _without_init(endpoint)
        url = _with_query(stream, fields)
        if stream == endpoint and len(urlsplit(url).query) <= LONGEST_QUERY:
            return Call(method="GET", url=url)
        return Call(
            url=_below(stream, "init"),
            body=fields,
            then=lambda answer: Call(method="GET", url=_below(stream, _session(answer))),
        )

    # -- reading --------------------------------------------------------------------------------------------

    @classmethod
    def speaks(cls, event: ServerSentEvent, data: object) -> bool:
        """Data with a ``content``, and nothing that other wires have."""
        fields = as_object(data)
        if event.event in _NAMED:
            return _NAMED[event.event] in fields
        said = isinstance(fields.get("content"), str) and "type" not in fields
        return event.event in _TEXTS and said

    def __init__(self, *, continues: bool = False) -> None:
        self._call: Call | None = None
        self._last_id = ""
        self._count = Count()
        self._heard: set[str] = set()
        self._heard_before: set[str] = set()
        self._told = {CONTENT: Told(), THINKING: Told()}
        self._ended = False

    def feed(self, event: ServerSentEvent) -> list[Patch]:
        """Translate one event: a piece of text, an error, or an end."""
        repeated = event.id in self._heard_before
        if event.id:
            self._last_id = event.id
            self._heard.add(event.id)
        if event.id and not repeated and not self._count.goes_on(event.id):
            self._rewind()
        if self._ended:
            return []
        if event.data.strip() == "[DONE]":
            return self._close(finished())
        if event.event == "error":
            return self._close(failed(*_spoken(event.data)))
        if event.event in _ENDS:
            return self._end(as_object(loads(event.data)) if event.data.strip() else {})
        # An end has no id of its own but that of the event before it, which may well be repeated.
        if repeated or not event.data.strip():
            return []
        if (path := _REPLACED.get(event.event)) is not None:
            text = as_text(as_object(loads(event.data)).get("content"))
            self._told[path] = Told(text)
            return [Patch(path, "SET", text)]
        path = _TEXTS.get(event.event)
        return [] if path is None else self._piece(path, as_object(loads(event.data)))

    def ignored(self, event_name: str, comments: list[str]) -> list[Patch]:
        """Turn an ``event: error`` without data into a failure, an end without data into the end."""
        if event_name == "error":
            return self._close(failed("error", " ".join(comments) or SILENT))
        return self._close(finished()) if event_name in _ENDS else []

    def finish(self) -> list[Patch]:
        """Nothing: the end of a body alone is no end."""
        return []

    def whole(self, answer: object) -> list[Patch]:
        """Read an answer that was not streamed."""
        fields = as_object(answer)
        if not isinstance(fields.get("content"), str) or fields.keys() & {"type", "error"}:
            return []
        return self._piece(CONTENT, fields) + self._close(finished())

    @property
    def finishing(self) -> bool:
        """Whether the end was said."""
        return self._ended

    def _piece(self, path: str, fields: dict[str, Any]) -> list[Patch]:
        if fields.get("error") is not None:
            return self._close(failed(*_said(fields["error"])))
        text = self._told[path].more(as_text(fields.get("content")))
        if text is None:
            return self._close(failed("answer_differs", _DIFFERS))
        return [Patch(path, "APPEND", text)] if text else []

    def _end(self, fields: dict[str, Any]) -> list[Patch]:
        """Translate the last event, which may say how it ended, in our words or in those of the wire."""
        status = as_text(fields.get("status")).lower()
        reason = as_text(fields.get("finish_reason"))
        if status in _OPEN:
            return []
        if status in ("stopped", "incomplete"):
            return self._close([Patch("response/finish_reason", "SET", reason or "stopped"), *stopped()[1:]])
        if status in ("filtered", "content_filter") or reason == "content_filter":
            return self._close(filtered())
        if status in ("", "finished", "context_length_exceeded"):
            cut = status == "context_length_exceeded"
            return self._close(finished("length" if cut else reason if reason in _REASONS else "stop"))
        said = f"the model server ended the answer with status {status}"
        return self._close(failed(*(_said(fields["error"]) if fields.get("error") else (status, said))))

    def _close(self, seal: list[Patch]) -> list[Patch]:
        if self._ended:
            return []
        self._ended = True
        return seal

    # -- taking up ------------------------------------------------------------------------------------------

    def called(self, call: Call) -> None:
        """Take note of the address; what was heard before is not said again."""
        self._call = call
        self._heard_before |= self._heard
        self._heard = set()
        self._count.connected()
        if not self._last_id:  # nothing tells where to go on: it begins from the start
            self._rewind()

    def _rewind(self) -> None:
        for told in self._told.values():
            told.rewind()

    def take_up(self, endpoint: str) -> Call | None:
        """The same GET from the last id on, or in the session; none where the answer would be generated anew."""
        if self._call is None or not (self._last_id or "message=" not in urlsplit(self._call.url).query):
            return None
        headers = {"last-event-id": self._last_id} if self._last_id else {}
        return Call(method="GET", url=self._call.url, headers=headers)

    def nothing_more(self) -> list[Patch]:
        """A server that has nothing more to say had said all."""
        return self._close(finished())


class Told:
    """A text as it was told, and, when it is told again from the start, how far."""

    def __init__(self, text: str = "") -> None:
        self._text = Text(text)
        self._length = self._at = len(text)

    def rewind(self) -> None:
        """What comes now is told from the start."""
        self._at = 0

    def more(self, text: str) -> str | None:
        """What `text` adds to that which was told before; None when it is another text."""
        known = self._text.join()[self._at : self._at + len(text)] if self._at < self._length else ""
        if not text.startswith(known):
            return None
        self._at += len(text)
        new = text[len(known) :]
        self._text.append(new)
        self._length += len(new)
        return new


class Count:
    """The ids of events where they count, ``<name><n>``: they tell whether a new connection goes on."""

    def __init__(self) -> None:
        self._last: tuple[str, int] | None = None
        self._counts = False
        self._connected = False

    def connected(self) -> None:
        """What comes now comes by another connection."""
        self._connected = True

    def goes_on(self, id: str) -> bool:
        """Note a new id; False for the first one of a connection on which the counting began anew."""
        found = _NUMBERED.fullmatch(id)
        now = (found[1], int(found[2])) if found else None
        last, self._last = self._last, now
        connected, self._connected = self._connected, False
        if last is None or now is None or last == now:
            return True
        if connected and self._counts:
            return now[0] == last[0] and now[1] > last[1]
        self._counts = self._counts or now == (last[0], last[1] + 1)
        return True


def _without_init(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    return parts._replace(path=parts.path.removesuffix("/init")).geturl()


def _below(stream: str, name: str) -> str:
    parts = urlsplit(stream)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{quote(name, safe='')}").geturl()


def _with_query(stream: str, fields: dict[str, Any]) -> str:
    """The address with fields in its query, beside those that it has; all but text as JSON."""
    parts = urlsplit(stream)
    words = {name: value if isinstance(value, str) else dumps(value) for name, value in fields.items()}
    # Halves of a pair have no UTF-8; a lone one becomes a question mark.
    query = urlencode(words, errors="replace", quote_via=quote)
    return parts._replace(query=f"{parts.query}&{query}" if parts.query else query).geturl()


def _session(answer: object) -> str:
    """The id of the session; raises UpstreamError when there is none."""
    session = as_object(answer).get("sessionId")
    if isinstance(session, str) and session.strip(". "):
        return session
    raise UpstreamError("the model server opened no session: its answer has no sessionId; check the address")


def _said(error: object) -> tuple[str, str]:
    fields = as_object(error)
    kind = fields.get("type") or fields.get("code") or "error"
    said = fields.get("message") or fields.get("content") or (error if isinstance(error, str) else None)
    return str(kind), excerpt(str(said or SILENT), 500)


def _spoken(data: str) -> tuple[str, str]:
    """Read the data of an ``event: error``: an object, with or without ``error`` around it, or words."""
    try:
        decoded = loads(data)
    except InvalidData:
        return "error", excerpt(data, 500) or SILENT
    return _said(as_object(decoded).get("error") or decoded)


__all__ = ["PlainContent"]
