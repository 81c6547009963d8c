"""A plain recorded stream, the ``.sse`` file of one body → an answer to whatever is asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path

from .cassette import By, Chunk, Closed, Ended, Line, Opened
from .dialects import Call, Dialect
from .dialects.body import spoken_in
from .discretion import Discretion
from .errors import BadInput
from .exchange import Exchange, Patience
from .model_server import named
from .patches import Patch
from .player import NO_DEADLINES, PlayedWire, Player
from .request import Request
from .sse import ServerSentEvent, SSEDecoder
from .upstream import CONTENT, THINKING

EVENT_MS = 15
"""A plain stream has no times: where it is to have a pace, each event takes so long."""
LONGEST = 64 * 2**20


class PlainPlayer(Player):
    """A take of one plain stream; an answer that goes on gets what comes after the text that stands."""

    def __init__(self, path: Path, request: Request, *, dialect: str | None, pace: float) -> None:
        super().__init__(_lines(path), request, stops=False, pace=pace, hold=0)
        self._path = path
        self._dialect = None if dialect in (None, "auto") else dialect

    async def _patches(self) -> AsyncGenerator[list[Patch]]:
        reader = _spoken_in(self._path) if self._dialect is None else named(self._dialect)
        exchange = Exchange(
            PlayedWire(self._reel),
            "",
            reader.reader(Request(turns=(), only_grows=self._request.only_grows)),
            certain=self._dialect is not None or not _is_json(_body(self._path)),
            deadlines=NO_DEADLINES,
            patience=Patience(),
            discretion=Discretion(),
        )
        rest = _Rest(self._request)
        async with aclosing(exchange.stream(Call(url=""))) as stream:
            async for patches in stream:
                yield rest.of(patches)


class _Rest:
    """Drops the text that stands already from the beginning of what comes."""

    def __init__(self, request: Request) -> None:
        self._stands = {THINKING: request.thinking_so_far, CONTENT: request.content_so_far}
        self._told = [Patch("response/continuation", "SET", "native")] if request.continues else []

    def of(self, patches: list[Patch]) -> list[Patch]:
        """The patches, without what stands."""
        told, self._told = self._told if patches else [], [] if patches else self._told
        return [*told, *map(self._one, patches)]

    def _one(self, patch: Patch) -> Patch:
        stands = self._stands.get(patch.path, "")
        if patch.op != "APPEND" or not stands or not isinstance(patch.value, str):
            return patch
        self._stands[patch.path] = stands[len(patch.value) :]
        return Patch(patch.path, "APPEND", patch.value[len(stands) :])


def _spoken_in(path: Path) -> type[Dialect]:
    """The dialect that the first event tells."""
    first = next(iter(SSEDecoder(lenient_end=True).feed(_body(path))), ServerSentEvent())
    return spoken_in(first)


def _lines(path: Path) -> Iterator[Line]:
    body = _body(path)
    yield By(dialect="", server="", at="")
    yield Opened(0, 200, "application/json" if _is_json(body) else "text/event-stream")
    for event in _events(body):
        yield Chunk(EVENT_MS, event)
    yield Closed(0)
    yield Ended(0, "cut")


def _is_json(body: bytes) -> bool:
    return body.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def _body(path: Path) -> bytes:
    try:
        body = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from None
    if len(body) > LONGEST:
        raise BadInput(f"{path} is larger than {LONGEST:,} bytes; a cassette may be")
    return body


def _events(body: bytes) -> Iterator[bytes]:
    """The body in pieces that end with their blank line, where lines end as they nearly always do."""
    *whole, last = body.split(b"\n\n")
    yield from (event + b"\n\n" for event in whole)
    yield last


__all__ = ["PlainPlayer"]
