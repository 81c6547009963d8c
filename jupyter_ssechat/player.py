"""An episode on a cassette → the answer as it was: the same bytes through the same code, in the time that is wanted.

A model server's episode goes over a wire that plays its connections, to the very `ModelServer` that reads live ones:
retries, take-ups, continuations and errors come out as they did.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, cast

from .cassette import PATCHES, Again, By, Chunk, Closed, Ended, Event, Line, Opened
from .deadlines import Deadlines, Watch
from .dialects import Manners
from .errors import BadInput, ConnectionFailed, NotAnEventStream, SSEChatError
from .model_server import ModelServer
from .patches import Patch, PatchDecoder
from .request import Request
from .sse import SSEDecoder
from .transport import MAX_ERROR_BYTES, Answer, Source, not_an_event_stream
from .upstream import Take
from .wire_json import loads

BREATH = 16
"""A replay at once lets others have a turn after so many events."""
NO_DEADLINES = Deadlines(connect=None, first_byte=None, first_token=None, silence=None, total=None)


class EpisodeOver(Exception):
    """Leaves the code that reads an episode where the recording ends."""


class Player(Take):
    """A take that was recorded; `lines` are those of its episode, read as they are needed.

    `pace` multiplies the waiting. Where the recording was stopped, or left by its readers, the stream is held for
    at most `hold` seconds, so that a script finds it as it was when it stops it too.
    """

    def __init__(
        self, lines: Iterable[Line], request: Request, *, stops: bool, pace: float, hold: float
    ) -> None:
        self._reel = Reel(lines, pace, hold)
        self._request = request
        self._stops = stops

    async def stream(self) -> AsyncGenerator[list[Patch]]:
        """Yield the patches of the recording; see `Upstream.stream`."""
        try:
            failure: SSEChatError | None = None
            try:
                async with aclosing(self._patches()) as stream:
                    async for patches in stream:
                        yield patches
            except EpisodeOver:
                pass
            except SSEChatError as error:
                failure = error
                self._reel.hurry.set()
            await self._reel.finish()
            if error := self._reel.error or failure:
                raise error
        finally:
            self._reel.close()

    def now(self) -> float:
        """The seconds from the beginning to what was yielded last, as recorded."""
        return self._reel.at / 1000

    @property
    def stopped(self) -> bool:
        """Whether the stream has come to where it was stopped."""
        return self._reel.over and self._stops

    def stop(self) -> bool:
        """Go to where it was stopped, if it was, without further waiting."""
        if self._stops:
            self._reel.hurry.set()
        return self._stops

    async def _patches(self) -> AsyncGenerator[list[Patch]]:
        by = self._reel.by
        if by.dialect == PATCHES:
            stream = self._reel.patches()
        else:
            server = ModelServer(
                by.server,
                dialect=by.dialect if by.certain else None,
                manners=Manners(prefill=cast("Any", by.prefill), asks_usage=by.asks_usage),
            )
            stream = server.over(PlayedWire(self._reel)).stream(_as_asked(self._request, by))
        async with aclosing(stream):
            async for patches in stream:
                yield patches


def _as_asked(request: Request, by: By) -> Request:
    """The request as the server was asked, which kept to its own names for the answers before.

    The model's name has gone out already, if it has one: here it only must not be looked for.
    """
    handles = by.handles if len(by.handles) == len(request.turns) + 1 else (None,) * (len(request.turns) + 1)
    turns = tuple(replace(turn, handle=handle) for turn, handle in zip(request.turns, handles, strict=False))
    return replace(request, turns=turns, handle=handles[-1], model=request.model or "recorded")


class Reel:
    """The events of one episode, each at its time; it holds where the recording was stopped."""

    def __init__(self, lines: Iterable[Line], pace: float, hold: float) -> None:
        self._lines = iter(lines)
        self._pace = pace
        self._hold = hold
        self._started = time.monotonic()
        self._count = 0
        self._next: Event | None = None
        self._by: By | None = None
        self.hurry = asyncio.Event()
        self.at = 0
        self.over = self.closed = False
        self.error: SSEChatError | None = None

    @property
    def by(self) -> By:
        """Who answered."""
        self.peek()
        if self._by is None:
            raise BadInput("an episode of a cassette does not say who answered")
        return self._by

    def peek(self) -> Event:
        """The next event, before its time."""
        while self._next is None:
            match None if self.closed else next(self._lines, None):
                case By() as by:
                    self._by = by
                case Opened() | Chunk() | Closed() | Again() | Ended() as event:
                    self._next = event
                case None:
                    raise BadInput("an episode of a cassette has no end")
                case _:
                    continue
        return self._next

    async def take(self) -> Event:
        """The next event, at its time; raises EpisodeOver at the last one."""
        event = self.peek()
        await self._wait(self.at + event.ms)
        if isinstance(event, Ended):
            await self._end(event)
        self._next = None
        self.at += event.ms
        return event

    async def skip_to(self, *kinds: type[Event]) -> Event:
        """The next event of these kinds; those before it belong to a connection that was left."""
        while not isinstance(event := await self.take(), kinds):
            pass
        return event

    async def finish(self) -> None:
        """Take all that is left."""
        with suppress(EpisodeOver):
            while not self.over:
                await self.take()

    def again(self) -> float | None:
        """The seconds of a next try, where there was one."""
        while isinstance(event := self.peek(), Chunk | Closed):  # of a connection that was left
            self.at += event.ms
            self._next = None
        if not isinstance(event, Again):
            return None
        self.at += event.ms
        self._next = None
        return event.seconds

    async def patches(self) -> AsyncGenerator[list[Patch]]:
        """Read an episode that is patches; raises EpisodeOver at its end."""
        events, decoder = SSEDecoder(), PatchDecoder()
        while True:
            event = await self.take()
            data = event.data if isinstance(event, Chunk) else b""
            yield [patch for one in events.feed(data) for patch in decoder.decode(loads(one.data))]

    def close(self) -> None:
        """Let go of the file."""
        self.closed = True
        close = getattr(self._lines, "close", None)
        if close is not None:
            close()

    async def _end(self, event: Ended) -> None:
        if event.how in ("stopped", "left"):
            await self._held(self._hold)
        self.at += event.ms
        self.over, self.error = True, event.error
        raise EpisodeOver

    async def _wait(self, at: int) -> None:
        self._count += 1
        left = self._started + at / 1000 * self._pace - time.monotonic() if self._pace else 0
        if left > 0 and not self.hurry.is_set():
            await self._held(left)
        elif self._count % BREATH == 0:
            await asyncio.sleep(0)

    async def _held(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.hurry.wait()
        except TimeoutError:
            return


class PlayedWire:
    """A wire over which the connections of an episode come, whatever is asked."""

    def __init__(self, reel: Reel) -> None:
        self._reel = reel

    async def request(
        self, method: str, url: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        if self._reel.over or self._reel.closed:  # a server is told of a stop
            raise ConnectionFailed("nothing is sent in a replay")
        return await (await self._opened()).read()

    @asynccontextmanager
    async def events(
        self,
        method: str,
        url: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        deadlines: Deadlines | None = None,
    ) -> AsyncGenerator[Source]:
        yield await self._opened()

    async def _opened(self) -> _PlayedSource:
        event = await self._reel.skip_to(Opened, Closed)
        while isinstance(event, Closed) and event.error is None:
            event = await self._reel.skip_to(Opened, Closed)
        if isinstance(event, Closed) and event.error is not None:
            raise event.error
        return _PlayedSource(cast("Opened", event), self._reel)

    def again(self, wait: float | None) -> float | None:
        return self._reel.again()

    async def pause(self, seconds: float) -> None:
        """Nothing: what comes next has its time."""

    async def aclose(self) -> None:
        """Nothing to close."""


class _PlayedSource:
    """An answer as it was recorded."""

    def __init__(self, opened: Opened, reel: Reel) -> None:
        self._reel = reel
        self.watch = Watch(NO_DEADLINES, time.monotonic)
        self.status = opened.status
        self.content_type = opened.type
        wish = opened.retry_after
        self.headers: Mapping[str, str] = {"content-type": opened.type} | (
            {} if wish is None else {"retry-after": str(wish)}
        )

    @property
    def is_event_stream(self) -> bool:
        return 200 <= self.status < 300 and self.content_type == "text/event-stream"

    async def chunks(self, watch: Watch | None = None) -> AsyncGenerator[bytes]:
        while not isinstance(event := await self._reel.take(), Closed):
            if isinstance(event, Chunk):
                yield event.data
        if event.error is not None:
            raise event.error

    async def read(self, limit: int = MAX_ERROR_BYTES) -> Answer:
        body = b""
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                body += chunk
        return Answer(self.status, self.headers, body)

    def not_an_event_stream(self) -> NotAnEventStream:
        return not_an_event_stream(self.status, self.content_type)


__all__ = ["NO_DEADLINES", "EpisodeOver", "PlayedWire", "Player", "Reel"]
