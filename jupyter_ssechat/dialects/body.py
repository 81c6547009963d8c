"""Bytes of one HTTP body → patches: decoder and dialect in one, with every failure told as a patch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..errors import InvalidData, StreamError
from ..message import ends, failed
from ..patches import Patch
from ..request import Request
from ..sse import MAX_EVENT_BYTES, ServerSentEvent, SSEDecoder
from ..wire_json import loads
from .deepseek import DeepSeek
from .dialect import Dialect
from .registry import DIALECTS

# Stands among the events where a block was ignored; no name on the wire holds a newline.
_IGNORED = ServerSentEvent(event="\n")
# What was asked in another dialect than the one that answers.
_UNKNOWN = Request(turns=())


class Body:
    """Reads one body in the dialect given, or in the one that its first event speaks.

    With `or_else` a body that does not begin in the dialect given is read in the one that it speaks.

    What cannot be read (a StreamError) ends the answer as failed, after all that came before it. Ignored
    blocks reach the dialect in their place; `on_event` sees every event before it is translated.
    """

    def __init__(
        self,
        dialect: Dialect | None = None,
        *,
        or_else: bool = False,
        max_event_bytes: int = MAX_EVENT_BYTES,
        on_event: Callable[[ServerSentEvent], None] = lambda event: None,
    ) -> None:
        self._dialect = None if or_else else dialect
        self._expected = dialect
        self._on_event = on_event
        self._decoder = SSEDecoder(max_event_bytes, lenient_end=True, on_ignored=self._ignore)
        self._ignored: deque[tuple[str, list[str]]] = deque()
        self._ended = False
        self._broken = False

    def feed(self, chunk: bytes) -> list[Patch]:
        """Take the next bytes; never raises."""
        try:
            events = [] if self._broken else self._decoder.feed(chunk)
        except StreamError as error:
            return self._fail(error)
        return self._patches(events)

    def finish(self) -> list[Patch]:
        """Take the end of the body; nothing terminal when it was cut."""
        if self._broken:
            return []
        try:
            # The unfinished event is discarded, as the specification asks, but for one that says the end.
            last = [event for event in self._decoder.finish() if event.data == "[DONE]"]
        except StreamError as error:
            return self._fail(error)
        return self._patches(last) + (self._dialect.finish() if self._dialect else [])

    @property
    def dialect(self) -> Dialect | None:
        """What the body is read in; None before the first event of one that is to be told by it."""
        return self._dialect

    @property
    def retry(self) -> int | None:
        """The milliseconds that the server asks to wait before a reconnect, None if it does not."""
        return self._decoder.retry

    def _first(self, event: ServerSentEvent) -> list[Patch]:
        """Translate an event before which nothing has told the dialect; it may tell nothing either."""
        if event.event == "message" and not event.data:
            return []
        spoken = _told_by(event)
        if spoken is None and self._expected is not None:
            patches = self._expected.feed(event)
            self._dialect = self._expected if patches else None
            return patches
        self._dialect = self._reader(spoken or DeepSeek)
        return self._dialect.feed(event)

    def _reader(self, spoken: type[Dialect]) -> Dialect:
        if self._expected is None:
            return spoken()
        return self._expected if isinstance(self._expected, spoken) else spoken.reader(_UNKNOWN)

    def _ignore(self, event_name: str, comments: list[str]) -> ServerSentEvent:
        self._ignored.append((event_name, comments))
        return _IGNORED

    def _patches(self, events: list[ServerSentEvent]) -> list[Patch]:
        patches: list[Patch] = []
        try:
            for event in events:
                told = self._translate(event)
                self._ended = self._ended or any(map(ends, told))
                patches += told
        except StreamError as error:
            patches += self._fail(error)
        return patches

    def _translate(self, event: ServerSentEvent) -> list[Patch]:
        if event is _IGNORED:
            name, comments = self._ignored.popleft()
            if self._dialect is None and name == "error":
                self._dialect = self._expected or DeepSeek()
            return self._dialect.ignored(name, comments) if self._dialect else []
        self._on_event(event)
        return self._first(event) if self._dialect is None else self._dialect.feed(event)

    def _fail(self, error: StreamError) -> list[Patch]:
        self._broken = True
        return [] if self._ended else failed(error.type, str(error))


def spoken_in(event: ServerSentEvent) -> type[Dialect]:
    """Tell the dialect of a stream by its first event; that of the project where it tells nothing."""
    return _told_by(event) or DeepSeek


def _told_by(event: ServerSentEvent) -> type[Dialect] | None:
    try:
        data = loads(event.data)
    except InvalidData:
        data = None
    return next((dialect for dialect in DIALECTS.values() if dialect.speaks(event, data)), None)


__all__ = ["Body", "spoken_in"]
