"""A gateway's streams and control calls → signals about one message, across dropped connections.

The client speaks the patch protocol (protocols section 1) to any server that has it. When a connection
ends before a terminal status it takes the answer up again with ``resume_stream``: the snapshot replaces what
stands, then patches apply. It never sends a completion twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager, aclosing, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

from .dialects import Body, DeepSeek
from .dialects.deepseek import whole_message
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
    Unauthorized,
)
from .message import Delta, Message, reopened
from .patches import Patch
from .sse import ServerSentEvent
from .transport import Answer, EventSource, Transport, sendable_in_header
from .wire_json import as_list, as_object, loads

RETRY_SECONDS = (0.0, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 8.0)
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
        read: float | None = 60.0,
        retries: tuple[float, ...] = RETRY_SECONDS,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        self.url = url.partition("?")[0].rstrip("/")
        if token is not None and not sendable_in_header(token):
            raise BadInput("the gateway's token holds characters that no token has; set it anew")
        headers = {"authorization": f"Bearer {token}"} if token else None
        self._transport = Transport(headers=headers, read=read)
        self._retries = retries
        self._sleep = sleep

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

    async def sessions(self) -> list[dict[str, Any]]:
        """List the sessions: id, title, updated_at (seconds since the epoch)."""
        return as_list((await self._call("chat_session/list", {})).get("chat_sessions"))

    async def delete_session(self, session_id: str) -> None:
        """Delete a session with all its messages."""
        await self._call("chat_session/delete", {"chat_session_id": session_id})

    async def history(self, session_id: str) -> list[dict[str, Any]]:
        """All messages of a session, all branches, the oldest first."""
        found = await self._call("chat/history_messages", {"chat_session_id": session_id})
        return as_list(found.get("chat_messages"))

    async def stop(self, session_id: str, message_id: int, stream_id: str | None = None) -> None:
        """Stop an answer; harmless when it does not run."""
        body: dict[str, Any] = {"chat_session_id": session_id, "message_id": message_id}
        if stream_id is not None:
            body["stream_id"] = stream_id
        await self._call("chat/stop_stream", body)

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
        tries, first = 0, True
        message_id: int | None = body.get("message_id") if call in ("continue", "resume_stream") else None
        session_id = body["chat_session_id"]
        if call == "continue":  # its old end is none any more, also before the first word arrives
            yield _applied(message, reopened(), guard)
        while True:
            async with aclosing(self._attempt(call, body, message, guard, first=first)) as stream:
                async for signal in stream:
                    if isinstance(signal, Ready):
                        message_id = signal.response_message_id or message_id
                    elif isinstance(signal, Patched) and signal.deltas:
                        tries = 0  # it went on: the next drop is a new one
                    yield signal
            message_id = message_id or message.message_id
            if message.status != "streaming" or message_id is None or tries >= len(self._retries):
                message.interrupt()
                return
            call, body = "resume_stream", {"chat_session_id": session_id, "message_id": message_id}
            yield Reconnecting(tries + 1)
            await self._sleep(self._retries[tries])
            tries, first = tries + 1, False

    async def _attempt(
        self,
        call: str,
        body: dict[str, Any],
        message: Message,
        guard: AbstractContextManager[Any],
        *,
        first: bool,
    ) -> AsyncGenerator[Signal]:
        """One connection; how it fails decides whether the message is failed, or may be taken up again."""
        heard = False
        try:
            async with aclosing(self._read(call, body, message, guard)) as stream:
                async for signal in stream:
                    heard = True
                    yield signal
        except ConnectionFailed:
            if first and not heard:
                raise
        except (GatewayError, NotAnEventStream) as error:
            if first:
                raise
            if not _passing(error):
                message.interrupt()

    async def _read(
        self, call: str, body: dict[str, Any], message: Message, guard: AbstractContextManager[Any]
    ) -> AsyncGenerator[Signal]:
        """One HTTP body: afresh for each, the decoder starts at SET, ""."""
        said: list[Ready] = []
        over: list[ServerSentEvent] = []

        def note(event: ServerSentEvent) -> None:
            said.extend(_ready(event))
            over.extend([event] if event.event == "close" else [])

        reading = Body(DeepSeek(), on_event=note)
        async with self._transport.events("POST", self._address(f"chat/{call}"), body) as source:
            if not source.is_event_stream:
                yield _applied(message, await self._whole_message(source), guard)
                return
            async with aclosing(source.chunks(lambda: message.terminal)) as chunks:
                async for chunk in chunks:
                    patches = reading.feed(chunk)
                    while said:
                        yield said.pop(0)
                    if patches:
                        yield _applied(message, patches, guard)
                    if over:
                        return
        if last := reading.finish():
            yield _applied(message, last, guard)

    async def _whole_message(self, source: EventSource) -> list[Patch]:
        """A finished message in place of its stream, as some servers answer a resume (biz_code 22)."""
        answer = await source.read(64 * 2**20)
        if answer.content_type != "application/json":
            raise source.not_an_event_stream()
        data = _envelope_data(answer)
        if data.get("biz_code") == 22:
            return whole_message(as_object(answer.json()))
        raise _refused(answer, data)

    async def _call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self._transport.request("POST", self._address(path), body)
        data = _envelope_data(answer)
        if answer.status != 200 or data.get("code") or data.get("biz_code"):
            raise _refused(answer, data)
        return as_object(data.get("biz_data"))

    def _address(self, path: str) -> str:
        return f"{self.url}/api/v0/{path}"

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()


def _passing(error: GatewayError | NotAnEventStream) -> bool:
    """Whether a refusal to resume may be another answer in a moment: the gateway is busy or restarting."""
    return isinstance(error, GatewayError) and (error.status == 429 or error.status >= 500)


def _applied(message: Message, patches: list[Patch], guard: AbstractContextManager[Any]) -> Patched:
    with guard:
        deltas = [delta for patch in patches for delta in message.apply(patch)]
    return Patched(tuple(patches), tuple(deltas))


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


def _refused(answer: Answer, data: dict[str, Any]) -> GatewayError:
    said = (
        data.get("biz_msg")
        or data.get("msg")
        or f"{answer.status}, {answer.content_type or 'no content type'}"
    )
    kind = _ERRORS.get(answer.status, GatewayError)
    code, biz_code = data.get("code") or 0, data.get("biz_code") or 0
    kind = Unauthorized if code == 40003 and not biz_code else kind
    error = kind(
        f"the gateway refused: {said}", status=answer.status, code=_id(code) or 0, biz_code=_id(biz_code) or 0
    )
    if isinstance(error, LimitExceeded):
        error.retry_after = _seconds(answer.headers.get("retry-after"))
    return error


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isascii() and text.isdigit() else None
