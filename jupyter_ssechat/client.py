"""A gateway's streams and control calls → signals about one message, across dropped connections.

The client speaks the patch protocol (protocols section 1) to any server that has it. When a connection
ends before a terminal status, or misses a deadline, it takes the answer up again with ``resume_stream``: the
snapshot replaces what stands, then patches apply. It never sends a completion twice.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, aclosing, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from weakref import WeakSet

from .deadlines import Deadlines, Watch, retry_after
from .dialects import Body, DeepSeek
from .dialects.deepseek import whole_message
from .discretion import Discretion
from .errors import (
    BadInput,
    ConnectionFailed,
    Expired,
    GatewayError,
    InvalidData,
    InvalidRequest,
    LimitExceeded,
    NotAnEventStream,
    NotFound,
    Redirected,
    StreamError,
    Unauthorized,
)
from .message import Delta, Kind, Message, failed, reopened
from .patches import Patch
from .sse import ServerSentEvent
from .transport import Answer, EventSource, Transport, sendable_in_header
from .wire_json import as_list, as_object, as_text, is_object, loads

RETRY_SECONDS = (0.0, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 8.0)
LONGEST_RETRY_SECONDS = 60.0
LONGEST_RETRY_AFTER_SECONDS = 300.0
MAX_WHOLE_BYTES = 64 * 2**20

# A gateway sends keep-alives, so not a byte for a minute is a dead connection. Tokens have a minute more than
# the gateway gives its model server: it can say better than we what went wrong there.
STREAM_DEADLINES = Deadlines(first_byte=60, first_token=960, silence=360, idle=60, total=6 * 3600 + 60)
CALL_DEADLINES = Deadlines(first_byte=60, idle=60, total=300)
STOP_DEADLINES = Deadlines(connect=5, first_byte=5, total=5)
GENERATING = Literal["completion", "edit_message", "regenerate", "continue", "resume_stream"]
_ERRORS: dict[int, type[GatewayError]] = {
    401: Unauthorized,
    403: GatewayError,
    404: NotFound,
    410: Expired,
    422: InvalidRequest,
    429: LimitExceeded,
}


@dataclass(frozen=True, slots=True)
class Ready:
    """The answer has its ids."""

    stream_id: str | None
    request_message_id: int | None
    response_message_id: int | None


@dataclass(frozen=True, slots=True)
class Patched:
    """The message has taken these patches; `deltas` is the text that became visible by them."""

    patches: tuple[Patch, ...]
    deltas: tuple[Delta, ...]


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """The connection dropped; attempt number `attempt` to take the answer up again begins."""

    attempt: int


Signal = Ready | Patched | Reconnecting


class GatewayClient:
    """One gateway, seen from outside; all its coroutines belong to one event loop."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        deadlines: Deadlines = STREAM_DEADLINES,
        retries: tuple[float, ...] = RETRY_SECONDS,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        self.url = url.partition("?")[0].rstrip("/")
        if token is not None and not sendable_in_header(token):
            raise BadInput("the gateway's token holds characters that no token has; set it anew")
        headers = {"authorization": f"Bearer {token}"} if token else None
        self._transport = Transport(headers=headers, deadlines=CALL_DEADLINES)
        self._discretion = Discretion(token)
        self._deadlines = deadlines
        self._retries = retries
        self._sleep = sleep
        self._following: WeakSet[_Following] = WeakSet()

    def __repr__(self) -> str:
        return f"GatewayClient({self.url!r})"

    async def create_session(self) -> str:
        """Open a session and return its id."""
        session_id = (await self._call("chat_session/create", {})).get("id")
        if not isinstance(session_id, str):
            raise GatewayError(
                "the gateway opened a session without an id; is the address that of a gateway?"
            )
        return session_id

    async def import_session(self, messages: list[dict[str, Any]]) -> str:
        """Open a session with the messages of a saved conversation, ids as they are, and return its id."""
        try:
            found = await self._call("chat_session/import", {"chat_messages": messages})
        except GatewayError as error:
            if error.status not in (404, 405, 501):
                raise
            raise GatewayError(
                f"the gateway at {self.url} takes in no saved conversation (it has no chat_session/import);"
                " use the embedded gateway, or begin a new conversation",
                status=error.status,
            ) from None
        if not isinstance(session_id := found.get("id"), str):
            raise GatewayError(
                "the gateway took in a conversation without giving it an id; is it one of ours?"
            )
        return session_id

    async def assign(self, session_id: str, upstream: Mapping[str, Any]) -> None:
        """Let the user's own gateway ask this upstream in a session (see `UpstreamSpec.to_wire`)."""
        await self._call("chat_session/assign", {"chat_session_id": session_id, "upstream": dict(upstream)})

    async def grant(self, origin: str, session_id: str, message_id: int) -> str:
        """Make a token with which a page at `origin` stops and resumes one answer, and does nothing else."""
        body = {"chat_session_id": session_id, "message_id": message_id, "origin": origin}
        return as_text((await self._call("chat/grant", body)).get("token"))

    async def sessions(self) -> list[dict[str, Any]]:
        """List the sessions: id, title, updated_at (seconds since the epoch)."""
        return _objects((await self._call("chat_session/list", {})).get("chat_sessions"))

    async def delete_session(self, session_id: str) -> None:
        """Delete a session with all its messages."""
        await self._call("chat_session/delete", {"chat_session_id": session_id})

    async def history(self, session_id: str) -> list[dict[str, Any]]:
        """All messages of a session, all branches, the oldest first."""
        found = await self._call("chat/history_messages", {"chat_session_id": session_id})
        return _objects(found.get("chat_messages"))

    async def models(self) -> list[str]:
        """The names of the models that the gateway's upstream offers."""
        answer = await self._transport.request("GET", f"{self.url}/v1/models")
        if answer.status != 200:
            raise self._refused(answer, _envelope_data(answer))
        rows = as_list(as_object(answer.json()).get("data"))
        return [name for row in rows if isinstance(name := as_object(row).get("id"), str)]

    async def stop(self, session_id: str, message_id: int, stream_id: str | None = None) -> None:
        """Stop an answer; harmless when it does not run. Who waits to take it up again looks at once."""
        body: dict[str, Any] = {"chat_session_id": session_id, "message_id": message_id}
        if stream_id is not None:
            body["stream_id"] = stream_id
        await self._call("chat/stop_stream", body, STOP_DEADLINES)
        for following in self._following:
            if (following.session_id, following.message_id) == (session_id, message_id):
                following.stopped.set()

    async def follow(
        self,
        call: GENERATING,
        body: dict[str, Any],
        message: Message,
        *,
        guard: AbstractContextManager[Any] = nullcontext(),
    ) -> AsyncGenerator[Signal]:
        """Make a generating call and apply its stream to `message` until a terminal status.

        The message is only touched within `guard`, so that other threads can read it. One that cannot be
        taken up again ends as interrupted. Raises GatewayError when the call is refused, ConnectionFailed
        when the gateway was never reached.
        """
        following = _Following(
            body["chat_session_id"],
            body.get("message_id") if call in ("continue", "resume_stream") else None,
            self._retries,
            self._deadlines,
        )
        self._following.add(following)
        if call == "continue":  # its old end is none any more, also before the first word arrives
            yield _applied(message, reopened(), guard)
        while True:
            async with aclosing(self._attempt(call, body, message, guard, following)) as stream:
                async for signal in stream:
                    following.note(signal)
                    yield signal
            message_id = following.message_id = following.message_id or message.message_id
            pause = following.pause()
            if message.status != "streaming" or message_id is None or pause is None:
                message.interrupt()
                return
            call, body = "resume_stream", {"chat_session_id": following.session_id, "message_id": message_id}
            yield Reconnecting(following.tries)
            await self._wait(pause, following.stopped)

    async def _wait(self, seconds: float, stopped: asyncio.Event) -> None:
        """Wait so long, or until the answer is stopped."""
        either = [asyncio.ensure_future(self._sleep(seconds)), asyncio.ensure_future(stopped.wait())]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in either:
                one.cancel()

    async def _attempt(
        self,
        call: str,
        body: dict[str, Any],
        message: Message,
        guard: AbstractContextManager[Any],
        following: _Following,
    ) -> AsyncGenerator[Signal]:
        """One connection; how it fails decides whether the message is failed, or may be taken up again."""
        first, heard = following.begin(), False
        try:
            async with aclosing(self._read(call, body, message, guard, following)) as stream:
                async for signal in stream:
                    heard = True
                    yield signal
        except ConnectionFailed as error:
            if first and not heard:
                raise
            if isinstance(error, Redirected):
                message.interrupt()
        except (GatewayError, NotAnEventStream) as error:
            if first:
                raise
            following.asked = error.retry_after if isinstance(error, GatewayError) else None
            if not _passing(error):
                message.interrupt()
        except StreamError as error:
            if not heard:
                raise
            yield _applied(message, failed(error.type, str(error)), guard)

    async def _read(
        self,
        call: str,
        body: dict[str, Any],
        message: Message,
        guard: AbstractContextManager[Any],
        following: _Following,
    ) -> AsyncGenerator[Signal]:
        """One HTTP body: afresh for each, the decoder starts at SET, ""."""
        said: list[Ready] = []
        over: list[ServerSentEvent] = []

        def note(event: ServerSentEvent) -> None:
            said.extend(_ready(event))
            over.extend([event] if event.event == "close" else [])

        reading = Body(DeepSeek(), on_event=note)
        path, deadlines = self._address(f"chat/{call}"), following.deadlines()
        async with self._transport.events("POST", path, body, deadlines=deadlines) as source:
            if not source.is_event_stream:
                yield _applied(message, await self._whole_message(source), guard)
                return
            try:
                async with aclosing(source.chunks(source.watch)) as chunks:
                    async for chunk in chunks:
                        patches = reading.feed(chunk)
                        while said:
                            yield said.pop(0)
                        if patches:
                            yield _told(source.watch, message, _applied(message, patches, guard))
                        if over:
                            return
            finally:
                following.retry = reading.retry
        if last := reading.finish():
            yield _applied(message, last, guard)

    async def _whole_message(self, source: EventSource) -> list[Patch]:
        """A finished message in place of its stream, as some servers answer a resume (biz_code 22)."""
        if source.content_type != "application/json":
            raise source.not_an_event_stream()
        answer = await source.read(MAX_WHOLE_BYTES)
        data = _envelope_data(answer)
        if data.get("biz_code") == 22:
            return whole_message(as_object(answer.json()))
        raise self._refused(answer, data)

    async def _call(
        self, path: str, body: dict[str, Any], deadlines: Deadlines | None = None
    ) -> dict[str, Any]:
        answer = await self._transport.request("POST", self._address(path), body, deadlines=deadlines)
        data = _envelope_data(answer)
        if answer.status != 200 or data.get("code") or data.get("biz_code"):
            raise self._refused(answer, data)
        return as_object(data.get("biz_data"))

    def _refused(self, answer: Answer, data: dict[str, Any]) -> GatewayError:
        said = as_text(data.get("biz_msg")) or as_text(data.get("msg"))
        said = said or f"{answer.status}, {answer.content_type or 'no content type'}"
        code, biz_code = _id(data.get("code")) or 0, _id(data.get("biz_code")) or 0
        kind = Unauthorized if code == 40003 and not biz_code else _ERRORS.get(answer.status, GatewayError)
        error = kind(
            f"the gateway refused: {self._discretion.line(said)}",
            status=answer.status,
            code=code,
            biz_code=biz_code,
        )
        error.retry_after = retry_after(answer.headers, time.time())
        return error

    def _address(self, path: str) -> str:
        return f"{self.url}/api/v0/{path}"

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()


def _now() -> float:
    return asyncio.get_running_loop().time()


@dataclass(eq=False)
class _Following:
    """One answer that is followed across its connections, and how patiently.

    `asked` is what the last refusal asked to wait, in seconds; `retry` what the stream does, in milliseconds.
    """

    session_id: str
    message_id: int | None
    retries: tuple[float, ...]
    limits: Deadlines
    asked: float | None = None
    retry: int | None = None
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    tries: int = 0
    _attempts: int = 0
    _drops: int = 0
    _sizes: Counter[Kind] = field(default_factory=Counter[Kind])
    _longest: int = 0
    _last_chance: bool = False
    _began_at: float = field(default_factory=_now)

    def begin(self) -> bool:
        """Begin an attempt; whether it is the first."""
        # After a stop the gateway knows the end: who cannot ask for it now need not ask again.
        self._last_chance = self.stopped.is_set()
        self.asked = None
        self._attempts += 1
        return self._attempts == 1

    def note(self, signal: Signal) -> None:
        """Take note of what an attempt brought."""
        if isinstance(signal, Ready):
            self.message_id = signal.response_message_id or self.message_id
        elif isinstance(signal, Patched) and self._lengthened(signal.deltas):
            self.tries = 0  # it went on: the next drop is a new one

    def _lengthened(self, deltas: tuple[Delta, ...]) -> bool:
        """Whether there is more text than ever before: one who tells the same again has not gone on."""
        for delta in deltas:
            self._sizes[delta.kind] = len(delta.text) + (0 if delta.replaces else self._sizes[delta.kind])
        size = sum(self._sizes.values())
        longer, self._longest = size > self._longest, max(size, self._longest)
        return longer

    def deadlines(self) -> Deadlines:
        """Those of the attempt that begins; `total` is for all attempts together."""
        resumed = self._attempts > 1 and self._longest > 0
        first_token = self.limits.silence if resumed else self.limits.first_token
        total = None if self.limits.total is None else max(self._left(), 0.001)
        return replace(self.limits, first_token=first_token, total=total)

    def pause(self) -> float | None:
        """The seconds to wait before the next attempt, which is counted; None when it is not worth one."""
        if self._last_chance or self.tries >= len(self.retries):
            return None
        # Only the first drop costs no wait, or who drops after every word would be asked without a pause.
        own = self.retries[min(max(self.tries, min(self._drops, 1)), len(self.retries) - 1)]
        self.tries += 1
        self._drops += 1
        asked = self.asked or 0.0
        seconds = max(own, asked, min((self.retry or 0) / 1000, LONGEST_RETRY_SECONDS))
        return None if asked > LONGEST_RETRY_AFTER_SECONDS or seconds >= self._left() else seconds

    def _left(self) -> float:
        return math.inf if self.limits.total is None else self._began_at + self.limits.total - _now()


def _objects(value: object) -> list[dict[str, Any]]:
    return [row for row in as_list(value) if is_object(row)]


def _passing(error: GatewayError | NotAnEventStream) -> bool:
    """Whether a refusal to resume may be another answer in a moment: the gateway is busy or restarting."""
    return isinstance(error, GatewayError) and (error.status == 429 or error.status >= 500)


def _applied(message: Message, patches: list[Patch], guard: AbstractContextManager[Any]) -> Patched:
    with guard:
        deltas = [delta for patch in patches for delta in message.apply(patch)]
    return Patched(tuple(patches), tuple(deltas))


def _told(watch: Watch, message: Message, patched: Patched) -> Patched:
    """The same, of which the watch has been told."""
    if patched.deltas:
        watch.token()
    if message.terminal:
        watch.finishing()
    return patched


def _ready(event: ServerSentEvent) -> Iterator[Ready]:
    """The ids, if the event gives them; servers give the stream's, the messages', or all."""
    if event.event != "ready":
        return
    try:
        fields = as_object(loads(event.data))
    except InvalidData:
        return  # the body tells its own errors
    stream_id = fields.get("stream_id")
    ids = [_id(fields.get(name)) for name in ("request_message_id", "response_message_id")]
    yield Ready(stream_id if isinstance(stream_id, str) else None, *ids)


def _id(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _envelope_data(answer: Answer) -> dict[str, Any]:
    """The envelope flattened: code, msg, and the fields of data."""
    fields = as_object(answer.json())
    return {**fields, **as_object(fields.get("data"))}
