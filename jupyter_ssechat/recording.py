"""An upstream and a cassette → an upstream: what is known is replayed, the rest is asked for, and recorded."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from .cassette import RecordMode
from .errors import BadInput, SSEChatError
from .matching import meaning
from .message import stopped
from .model_server import named
from .patches import Patch
from .plain_player import PlainPlayer
from .player import Player
from .recorder import Recorder
from .request import Request
from .tape import Cassette
from .upstream import Take, Upstream

Opens = Callable[[], Upstream]


def recording(
    upstream: Upstream | Opens | None,
    cassette: str | os.PathLike[str] | Cassette,
    *,
    mode: RecordMode = "once",
    pace: float = 0.0,
    dialect: str | None = None,
) -> Recording:
    """Let a cassette stand before an upstream, which records and replays as the cassette's mode says.

    `upstream` may be a function that opens one: it is called when something has to be asked for real, and not before;
    None where nothing ever is. `mode`, `pace` and `dialect` are those of a cassette that is given by its path, see
    `Cassette`. Raises BadInput for a file that is no cassette.
    """
    if not isinstance(cassette, Cassette):
        cassette = Cassette(cassette, mode, pace=pace, dialect=dialect)
    return Recording(upstream, cassette)


class Recording:
    """A cassette as an upstream; its name is that of the file, while it records and while it replays."""

    def __init__(self, upstream: Upstream | Opens | None, cassette: Cassette) -> None:
        self.cassette = cassette
        self.name = cassette.name
        self._upstream = upstream
        self._opened: Upstream | None = None
        if cassette.dialect not in (None, "auto"):
            named(cassette.dialect)
        if cassette.records_all:
            self._real()

    def __repr__(self) -> str:
        return f"Recording({self.cassette!r})"

    def take(self, request: Request) -> Take:
        """Begin an answer: recorded once, or to be recorded, or one that fails since it is neither."""
        asked = meaning(request)
        cassette = self.cassette
        if cassette.plain:
            return PlainPlayer(cassette.path, request, dialect=cassette.dialect, pace=cassette.pace)
        if place := cassette.find(asked):
            return Player(
                cassette.lines(place),
                request,
                stops=place.how == "stopped",
                pace=cassette.pace,
                hold=cassette.hold,
            )
        try:
            if not cassette.records:
                raise cassette.not_recorded(asked)
            return Recorder(self._real(), request, cassette)
        except SSEChatError as error:
            return _Failed(error)

    async def stream(self, request: Request) -> AsyncGenerator[list[Patch]]:
        """Answer, for a reader that knows no takes; see `Upstream.stream`."""
        take = self.take(request)
        async with aclosing(take.stream()) as stream:
            async for patches in stream:
                yield patches
        if take.stopped:
            yield stopped()

    async def models(self) -> list[str]:
        """The models of the upstream where one is asked for real, else those that were asked for."""
        if self.cassette.records:
            return await self._real().models()
        names = (one.get("model") for one in self.cassette.meanings())
        return sorted({name for name in names if isinstance(name, str)})

    async def aclose(self) -> None:
        """Let go of the upstream's connections."""
        if self._opened is not None:
            await self._opened.aclose()

    def _real(self) -> Upstream:
        """The upstream, opened when it is needed; raises BadInput where it cannot be."""
        if self._opened is None:
            if self._upstream is None:
                raise BadInput(f"{self.name} has nothing to record from; give an upstream too")
            self._opened = self._upstream() if callable(self._upstream) else self._upstream
        return self._opened


class _Failed:
    """A take that never was."""

    stopped = False

    def __init__(self, error: SSEChatError) -> None:
        self._error = error

    async def stream(self) -> AsyncGenerator[list[Patch]]:
        """Raise why."""
        raise self._error
        yield []

    def now(self) -> float:
        """No time has passed."""
        return 0.0

    def stop(self) -> bool:
        """Nothing goes on."""
        return False


__all__ = ["Recording", "recording"]
