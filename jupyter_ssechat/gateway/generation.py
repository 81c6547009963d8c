"""An upstream → a log: one generation of one answer, from its record to its terminal status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Generic, Protocol, TypeVar

from ..errors import ConnectionFailed, SSEChatError, StreamError, TimedOut, UpstreamError
from ..message import Message, failed, stopped
from ..patches import Patch
from ..request import Request
from ..upstream import CONTENT, THINKING, Recorded, Take, Upstream
from .audience import GO_ON, Audience, OnDisconnect
from .metrics import Outcome, StreamGuard
from .sessions import Record, Session
from .time_slice import TimeSlice

ELAPSED = "response/thinking_elapsed_secs"
NOTICE = "response/notice"
CUT = "the model server's stream ended before the answer was complete"


class ThinkingClock:
    """How long the thinking of one answer took, in seconds, over all its generations."""

    def __init__(self, now: Callable[[], float], already: float) -> None:
        self._now = now
        self._already = already
        self._since: float | None = None
        self._done = False

    def told_by(self, now: Callable[[], float]) -> None:
        """Go by another clock, before the first patch."""
        self._now = now

    def before(self, patch: Patch) -> list[Patch]:
        """The patch that states the time when thinking gives way to something else."""
        if patch.path == ELAPSED:
            self._done = True
        elif patch.path == THINKING and self._since is None:
            self._since = self._now()
        elif patch.path in (CONTENT, "response/finish_reason", "response/status"):
            return self._stop()
        return []

    def _stop(self) -> list[Patch]:
        if self._done or self._since is None:
            return []
        self._done = True
        return [Patch(ELAPSED, "SET", round(self._already + self._now() - self._since, 1))]


class Log(Protocol):
    """Where an answer is written to, for its readers; `advice` says what they can do about one that failed."""

    advice: str
    audience: Audience
    closed: bool

    def write(self, patches: Sequence[Patch]) -> None:
        """Apply patches to the record, and tell of them; StreamError when there is no room for more text."""
        ...

    async def room(self) -> None:
        """Wait until there is room for more."""
        ...

    def end(self) -> None:
        """Say how the answer ended; nothing comes after that."""
        ...


LogT = TypeVar("LogT", bound=Log)


class Generation(Generic[LogT]):
    """One run of an upstream into one answer; stop is idempotent and final, whoever asks and whenever.

    All that run on one loop share the time of its `turn`.
    """

    def __init__(
        self,
        session: Session,
        record: Record,
        log: LogT,
        *,
        guard: StreamGuard,
        clock: Callable[[], float],
        turn: TimeSlice | None = None,
        on_end: Callable[[], object] = lambda: None,
    ) -> None:
        self.log: LogT = log
        self._turn = turn or TimeSlice()
        self._session = session
        self._record = record
        self._guard = guard
        self._clock = ThinkingClock(clock, record.message.thinking_seconds or 0.0)
        self._on_end = on_end
        self._ended = False
        self._task: asyncio.Task[None] | None = None
        self._take: Take | None = None

    def start(self, upstream: Upstream, request: Request, on_disconnect: OnDisconnect = GO_ON) -> None:
        """Begin to generate; without readers it goes on for as long as `on_disconnect` says."""
        if isinstance(upstream, Recorded):
            self._take = upstream.take(request)
            self._clock.told_by(self._take.now)
        self._task = asyncio.create_task(self._run(upstream, request))
        self.log.audience.await_return(on_disconnect.grace, lambda: self._abandon(on_disconnect))

    @property
    def running(self) -> bool:
        """Whether the answer may still grow."""
        return not self.log.closed

    async def stop(self) -> None:
        """Keep what stands, end every reader with INCOMPLETE, and end the upstream generation.

        One that is on record and was stopped then ends where it did then, be this a little earlier or later.
        """
        if self._task is not None and self._take is not None and self.running and self._take.stop():
            await asyncio.wait([self._task])
        self._seal(stopped())
        await self.cancel()

    async def fail(self, type: str, message: str) -> None:
        """End as failed, for a reason that lies with the gateway."""
        self._seal(failed(type, message))
        await self.cancel()

    async def let_go(self) -> None:
        """End without a word about the answer, which somebody else has now."""
        if not self._ended:
            self._guard.end("handed_over")
            self._close()
        await self.cancel()

    async def cancel(self) -> None:
        """End the task and wait until its connection is closed."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.wait([self._task])

    def _abandon(self, on_disconnect: OnDisconnect) -> None:
        self._seal(failed("abandoned", f"{on_disconnect.farewell}; {self.log.advice}"))
        if self._task is not None:
            self._task.cancel()

    async def _run(self, upstream: Upstream, request: Request) -> None:
        try:
            await self._pump(upstream.stream(request) if self._take is None else self._take.stream())
            self._seal(stopped() if self._take is not None and self._take.stopped else self._cut())
        except TimedOut as error:
            self._seal(failed(error.type, str(error)))
        except ConnectionFailed as error:
            self._seal(self._cut() if self._begun() else _unreachable(error))
        except (UpstreamError, StreamError) as error:
            self._seal(failed(error.type, str(error)))
        except SSEChatError as error:
            self._seal(failed("upstream_error", str(error)))
        except Exception as error:  # whatever an upstream does, its readers learn how it ended
            self._seal(failed("internal_error", f"the gateway failed: {type(error).__name__}: {error}"))

    async def _pump(self, stream: AsyncGenerator[list[Patch]]) -> None:
        async with aclosing(stream):
            async for patches in stream:
                self._write(patches)
                if self.log.closed:
                    return
                await self.log.room()
                await self._turn.share()

    def _begun(self) -> bool:
        message = self._record.message
        return bool(message.content or message.thinking)

    def _cut(self) -> list[Patch]:
        return failed("upstream_interrupted", f"{CUT}; {self.log.advice}")

    def _write(self, patches: list[Patch]) -> None:
        if self.log.closed:
            return
        timed = [one for patch in patches for one in (*self._clock.before(patch), patch)]
        self.log.write(timed)
        self._guard.saw(timed)
        if self._record.message.terminal:
            self._end()

    def _seal(self, patches: list[Patch]) -> None:
        """Write the last patches, once: whoever comes first decides how the answer ended."""
        waited = self._record.document.has(NOTICE)
        self._write([Patch(NOTICE, "SET", None), *patches] if waited else patches)

    def _end(self) -> None:
        self._session.touch()
        self._guard.end(*_outcome(self._record.message))
        self.log.end()
        self._close()

    def _close(self) -> None:
        self._ended = True
        self._guard.end("cancelled")
        self.log.audience.dismiss()
        self._on_end()


def _unreachable(error: ConnectionFailed) -> list[Patch]:
    return failed(error.type, f"no answer from the model server: {error}")


def _outcome(message: Message) -> tuple[Outcome, str]:
    """How an answer ended, as it is counted: who stops or leaves has cancelled it."""
    if message.error is None:
        return ("cancelled" if message.finish_reason == "stopped" else "ok"), ""
    match message.error.type:
        case "abandoned":
            return "cancelled", ""
        case "timeout":
            return "timed_out", ""
        case kind:
            return "failed", kind


__all__ = ["Generation", "Log", "ThinkingClock"]
