"""An upstream → a stream log: one generation of one answer, from its record to its terminal status."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from ..errors import ConnectionFailed, SSEChatError, StreamError, UpstreamError
from ..message import failed, stopped
from ..patches import Patch
from ..request import Request
from ..upstream import CONTENT, THINKING, Upstream
from .log import Reader, StreamLog, opening
from .sessions import Record, Session

ELAPSED = "response/thinking_elapsed_secs"
CUT = "the model server's stream ended before the answer was complete; resume to have it continued"


class ThinkingClock:
    """How long the thinking of one answer took, in seconds, over all its generations."""

    def __init__(self, now: Callable[[], float], already: float) -> None:
        self._now = now
        self._already = already
        self._since: float | None = None
        self._done = False

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


class Generation:
    """One run of an upstream into one answer; stop is idempotent and final, whoever asks and whenever."""

    def __init__(
        self,
        session: Session,
        record: Record,
        *,
        clock: Callable[[], float],
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_end = on_end
        self.stream_id = str(uuid.uuid4())
        self.session = session
        self.record = record
        self._clock = ThinkingClock(clock, record.message.thinking_seconds or 0.0)
        ready = {
            "stream_id": self.stream_id,
            "request_message_id": record.parent_id,
            "response_message_id": record.message_id,
        }
        self.log = StreamLog(record.document, epoch=record.epoch, opening=opening(ready, session.updated_at))
        self._task: asyncio.Task[None] | None = None

    def start(self, upstream: Upstream, request: Request) -> None:
        """Begin to generate; the generation goes on whether or not anybody reads."""
        self._task = asyncio.create_task(self._run(upstream, request))

    def replay(self) -> None:
        """Be the stream of an answer that has ended: the snapshot, then the end."""
        self._end()

    def attach(self) -> Reader:
        """Open a reader."""
        return self.log.attach()

    @property
    def running(self) -> bool:
        """Whether the answer may still grow."""
        return not self.log.closed

    async def stop(self) -> None:
        """Keep what stands, end every reader with INCOMPLETE, and end the upstream generation."""
        self._seal(stopped())
        await self.cancel()

    async def fail(self, type: str, message: str) -> None:
        """End as failed, for a reason that lies with the gateway."""
        self._seal(failed(type, message))
        await self.cancel()

    async def cancel(self) -> None:
        """End the task and wait until its connection is closed."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self, upstream: Upstream, request: Request) -> None:
        try:
            await self._pump(upstream.stream(request))
            self._seal(failed("upstream_interrupted", CUT))
        except ConnectionFailed as error:
            self._seal(
                failed(
                    self._lost(), f"the model server cannot be reached: {error}" if not self._begun() else CUT
                )
            )
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

    def _begun(self) -> bool:
        message = self.record.message
        return bool(message.content or message.thinking)

    def _lost(self) -> str:
        return "upstream_interrupted" if self._begun() else "connection_failed"

    def _write(self, patches: list[Patch]) -> None:
        if self.log.closed:
            return
        timed = [one for patch in patches for one in (*self._clock.before(patch), patch)]
        self.record.apply(timed)
        self.log.write(timed)
        if self.record.message.terminal:
            self._end()

    def _seal(self, patches: list[Patch]) -> None:
        """Write the last patches, once: whoever comes first decides how the answer ended."""
        self._write(patches)

    def _end(self) -> None:
        self.session.touch()
        error = self.record.message.error
        if error is not None:
            self.log.event("hint", _hint(error.type, error.message))
        else:
            self.log.event("finish", {})
            self.log.event("update_session", {"updated_at": self.session.updated_at})
        self.log.event("close", {"click_behavior": self._click_behavior()})
        self.log.close()
        self._on_end()

    def _click_behavior(self) -> str:
        message = self.record.message
        if message.status == "failed":
            return "retry"
        return "continue" if message.finish_reason in ("stopped", "length") else "none"


def _hint(type: str, message: str) -> dict[str, Any]:
    reason = "rate_limit_reached" if type == "rate_limit_reached" else "generation_err"
    return {"type": "error", "content": message, "clear_response": False, "finish_reason": reason}
