"""An upstream and a request → an answer as the upstream gives it, and an episode on a cassette.

Of a model server the bytes of its connections are recorded, as they are received; of any other upstream its patches,
in the wire of our own gateway. An episode is written before anybody sees its end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import (
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
    contextmanager,
)
from datetime import UTC, datetime
from typing import Any

from .cassette import PATCHES, Again, Ask, By, Chunk, Closed, Ended, Ending, Episode, Event, Opened
from .deadlines import Deadlines, Watch, retry_after
from .discretion import Discretion
from .errors import NotAnEventStream, SSEChatError
from .matching import meaning
from .message import ends
from .model_server import ModelServer
from .patches import Patch, PatchEncoder, Text
from .request import Request
from .scrutiny import Scrutiny, strings
from .sse import encode
from .tape import Cassette
from .transport import MAX_ERROR_BYTES, Answer, Source, Wire
from .upstream import CONTENT, Upstream
from .wire_json import dumps


class Recorder:
    """A take that is being recorded; `now` is the time of what was recorded last, as the file has it."""

    stopped = False

    def __init__(
        self,
        upstream: Upstream,
        request: Request,
        cassette: Cassette,
        *,
        clock: Callable[[], float] = time.monotonic,
        date: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._upstream = upstream
        self._request = request
        self._cassette = cassette
        self._discretion = upstream.discretion if isinstance(upstream, ModelServer) else Discretion()
        self._scrutiny = Scrutiny(self._discretion)
        episode = Episode(Ask(meaning(request)), _by(upstream, request, date()))
        self._tape = Tape(episode, clock, self._scrutiny)
        self._answer = Text()

    async def stream(self) -> AsyncGenerator[list[Patch]]:
        """Pass on what the upstream yields; see `Upstream.stream`."""
        try:
            async with aclosing(self._patches()) as stream:
                async for patches in stream:
                    self._note(patches)
                    if any(map(ends, patches)):
                        self._end("finished")
                    yield patches
            self._end("cut")
        except SSEChatError as error:
            self._end("raised", error)
            raise
        except (GeneratorExit, asyncio.CancelledError):
            self._end("left")
            raise
        except Exception as error:
            if self._tape.seal():
                self._cassette.omit(f"{self._upstream.name} failed with {type(error).__name__}")
            raise

    def now(self) -> float:
        """The seconds from the beginning to what was recorded last."""
        return self._tape.episode.at / 1000

    def stop(self) -> bool:
        """Record that it was stopped here."""
        self._end("stopped")
        return False

    async def _patches(self) -> AsyncGenerator[list[Patch]]:
        if isinstance(self._upstream, ModelServer):
            server = self._upstream.over(_TapedWire(self._upstream.wire, self._tape, self._discretion))
            async with aclosing(server.stream(self._request)) as stream:
                async for patches in stream:
                    yield patches
            return
        encoder = PatchEncoder()
        async with aclosing(self._upstream.stream(self._request)) as stream:
            async for patches in stream:
                self._tape.chunk(b"".join(encode(data=dumps(encoder.encode(patch))) for patch in patches))
                yield patches

    def _note(self, patches: list[Patch]) -> None:
        self._scrutiny.told(patches)
        for patch in patches:
            if patch.path == CONTENT and isinstance(patch.value, str):
                self._answer = self._answer if patch.op == "APPEND" else Text()
                self._answer.append(patch.value)

    def _end(self, how: Ending, error: SSEChatError | None = None) -> None:
        """Write the episode, once; whoever comes first says how it ended."""
        if not self._tape.seal(how, _discreet(error, self._discretion), self._answer.join()):
            return
        if why := self._secret(error):
            self._cassette.omit(why)
        else:
            self._cassette.add(self._tape.episode.block())

    def _secret(self, error: SSEChatError | None) -> str | None:
        """Why the episode is not for a file; None where it is."""
        episode = self._tape.episode
        said = "" if error is None else str(error)
        return self._scrutiny.why(
            episode.ask.meaning, (episode.by.server, *strings(list(episode.by.handles)), said)
        )


class Tape:
    """An episode, told what happens by the clock; deaf when it is sealed."""

    def __init__(self, episode: Episode, clock: Callable[[], float], scrutiny: Scrutiny) -> None:
        self.episode = episode
        self._clock = clock
        self._started = clock()
        self._scrutiny = scrutiny
        self.sealed = False

    def opened(self, status: int, kind: str, retry_after: float | None) -> None:
        """A connection was answered."""
        self._scrutiny.opened()
        self._add(Opened, status, kind, retry_after)

    def chunk(self, data: bytes) -> None:
        """Bytes have arrived."""
        if not self.sealed:
            self._scrutiny.heard(data)
            self._add(Chunk, data)

    def closed(self, error: SSEChatError | None = None) -> None:
        """A connection ended, or was never answered."""
        self._add(Closed, error)

    def again(self, seconds: float) -> None:
        """The next try will be made after so many seconds."""
        self._add(Again, seconds)

    def seal(self, how: Ending | None = None, error: SSEChatError | None = None, answer: str = "") -> bool:
        """Say how it ended, unless that was said; True for the first time."""
        if self.sealed:
            return False
        if how is not None:
            # An answer that ended did so with its last bytes: its readers are told the same time.
            at = self.episode.at if how == "finished" else self._now()
            self.episode.add(Ended, at, how, error, answer)
        self.sealed = True
        return True

    def _add(self, kind: type[Event], *fields: Any) -> None:
        if not self.sealed:
            self.episode.add(kind, self._now(), *fields)

    def _now(self) -> int:
        return round((self._clock() - self._started) * 1000)


class _TapedWire:
    """A wire that tells a tape what comes over it."""

    def __init__(self, wire: Wire, tape: Tape, discretion: Discretion) -> None:
        self._wire = wire
        self._tape = tape
        self._discretion = discretion

    async def request(
        self, method: str, url: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        with _told(self._tape, self._discretion):
            answer = await self._wire.request(method, url, body, headers)
        wish = self._wish(answer.headers)
        self._tape.opened(answer.status, self._discretion.hide(answer.content_type), wish)
        answer = _kept(answer, wish, self._discretion)
        self._tape.chunk(answer.body)
        self._tape.closed()
        return answer

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
        async with AsyncExitStack() as stack:
            with _told(self._tape, self._discretion):
                opening = self._wire.events(method, url, body, headers, deadlines=deadlines)
                source = await stack.enter_async_context(opening)
            wish = self._wish(source.headers)
            self._tape.opened(source.status, self._discretion.hide(source.content_type), wish)
            yield _TapedSource(source, wish, self._tape, self._discretion)

    def again(self, wait: float | None) -> float | None:
        wait = None if wait is None else round(self._wire.again(wait) or 0, 3)
        if wait is not None:
            self._tape.again(wait)
        return wait

    async def pause(self, seconds: float) -> None:
        await self._wire.pause(seconds)

    async def aclose(self) -> None:
        """Nothing: the wire below is not ours."""

    def _wish(self, headers: Mapping[str, str]) -> float | None:
        wait = retry_after(headers, time.time())
        return None if wait is None else round(wait, 3)


class _TapedSource:
    """An open answer whose body is told to a tape."""

    def __init__(self, source: Source, wish: float | None, tape: Tape, discretion: Discretion) -> None:
        self._source = source
        self._wish = wish
        self._tape = tape
        self._discretion = discretion
        self.watch = source.watch
        self.status = source.status
        self.headers = source.headers

    @property
    def content_type(self) -> str:
        return self._source.content_type

    @property
    def is_event_stream(self) -> bool:
        return self._source.is_event_stream

    async def chunks(self, watch: Watch | None = None) -> AsyncGenerator[bytes]:
        with _told(self._tape, self._discretion):
            async with aclosing(self._source.chunks(watch)) as chunks:
                async for chunk in chunks:
                    self._tape.chunk(chunk)
                    yield chunk
        self._tape.closed()

    async def read(self, limit: int = MAX_ERROR_BYTES) -> Answer:
        with _told(self._tape, self._discretion):
            answer = _kept(await self._source.read(limit), self._wish, self._discretion)
        self._tape.chunk(answer.body)
        self._tape.closed()
        return answer

    def not_an_event_stream(self) -> NotAnEventStream:
        return self._source.not_an_event_stream()


@contextmanager
def _told(tape: Tape, discretion: Discretion) -> Generator[None]:
    """Let the tape know of an error."""
    try:
        yield
    except SSEChatError as error:
        tape.closed(_discreet(error, discretion))
        raise


def _kept(answer: Answer, wish: float | None, discretion: Discretion) -> Answer:
    """An answer as it is kept: without its headers, but for the one that counts; a refusal without secrets."""
    body = answer.body
    if answer.status >= 400:
        text = body.decode("utf-8", "surrogateescape")
        body = discretion.hide(text).encode("utf-8", "surrogateescape")
    headers = {"content-type": answer.content_type}
    return Answer(answer.status, headers if wish is None else {**headers, "retry-after": str(wish)}, body)


def _discreet(error: SSEChatError | None, discretion: Discretion) -> SSEChatError | None:
    if error is not None:
        error.args = (discretion.hide(str(error)),)
    return error


def _by(upstream: Upstream, request: Request, date: datetime) -> By:
    at = date.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if not isinstance(upstream, ModelServer):
        return By(dialect=PATCHES, server=upstream.name, at=at)
    handles = (*(turn.handle for turn in request.turns), request.handle)
    return By(
        dialect=upstream.dialect,
        server=upstream.name,
        at=at,
        certain=upstream.certain,
        prefill=upstream.manners.prefill,
        asks_usage=upstream.manners.asks_usage,
        handles=handles if any(handles) else (),
    )


__all__ = ["Recorder", "Tape"]
