"""An upstream's patches → one HTTP answer in OpenAI's words, whole or streamed, for as long as its reader is there.

The head of a stream waits for the first text, so that a refusal has a status of its own. When a server that
has accepted is silent for the time of a keep-alive, the head goes out, and what fails after it is told as
data. An answer that failed has no finish chunk.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..message import Message
from ..patches import Patch
from ..sse import comment, encode
from ..wire_json import dumps
from .calls import CALL
from .chunks import Chunks, Label, completion, not_finished
from .conversations import Conversations
from .event_stream import DIRECT, STREAM_HEADERS, left
from .metrics import StreamGuard
from .openai_error import Fault, fault_of
from .relay import Relay

KEEP_ALIVE = comment("keep-alive")
DONE = encode(data="[DONE]")
NOTICE = "response/notice"
CLOSED = Fault(
    status=503, type="gateway_closed", message="the gateway was shut down before the answer was complete"
)


def json_response(content: object) -> Response:
    """An object as an HTTP answer."""
    return Response(dumps(content), 200, {"cache-control": "no-store"}, "application/json")


def refused(fault: Fault) -> Response:
    """A fault as an HTTP answer."""
    return Response(dumps(fault.to_wire()), fault.status, fault.headers(), "application/json")


class Outlet:
    """Where an answer goes: one response, or events that come by and by."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._direct: Send = scope.get(DIRECT, send)
        self._sent = 0
        self._begun = self._ended = False

    async def respond(self, response: Response) -> None:
        """Send a response, whole."""
        self._ended = True
        await response(self._scope, self._receive, self._send)

    async def write(self, data: bytes, *, more: bool = True) -> None:
        """Send a piece of an event stream, after the head of it; waits while the reader is slow."""
        self._ended = not more
        if not self._begun:
            self._begun = True
            await self._send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
        self._sent += len(data)
        await self._direct({"type": "http.response.body", "body": data, "more_body": more})

    def close(self) -> None:
        """Say how much was sent of a stream."""
        if self._begun and (call := self._scope.get(CALL)):
            call.streamed(self._sent)

    async def fail(self, fault: Fault) -> None:
        """Say what is wrong, and that nothing more comes; without effect on an answer that has ended."""
        if self._ended:
            return
        if self._begun:
            await self.write(_event(fault.to_wire()) + DONE, more=False)
        else:
            await self.respond(refused(fault))


class ChatAnswer(ABC):
    """One answer as an ASGI app.

    It ends with its reader, at once: while it waits, before and after the first token; and with the gateway.
    """

    def __init__(self, open_relay: Callable[[], Relay], conversations: Conversations) -> None:
        self._open_relay = open_relay
        self._metrics = conversations.metrics
        self._closing = conversations.closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, unless the reader leaves before."""
        outlet = Outlet(scope, receive, send)
        answering = asyncio.ensure_future(self._answer(outlet))
        leaving = asyncio.ensure_future(left(receive))
        closing = asyncio.ensure_future(self._closing.wait())
        waiting: list[asyncio.Future[Any]] = [answering, leaving, closing]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if closing.done() and not answering.done():
                await outlet.fail(CLOSED)
        except asyncio.CancelledError:
            await outlet.fail(CLOSED)  # first, for there may be no next turn of the loop
            raise
        finally:
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            outlet.close()
        if not answering.cancelled():
            answering.result()

    async def _answer(self, outlet: Outlet) -> None:
        with self._metrics.reader("chat") as reader, self._metrics.open_stream("chat") as guard:
            async with self._open_relay() as relay:
                fault = await self._tell(relay, outlet, guard)
                if fault is None:
                    guard.end("ok")
                else:
                    guard.end("timed_out" if fault.timed_out else "failed", fault.type)
                reader.end()

    @abstractmethod
    async def _tell(self, relay: Relay, outlet: Outlet, guard: StreamGuard) -> Fault | None:
        """Send the answer to its end, and say what is wrong with it."""


class WholeAnswer(ChatAnswer):
    """An answer as one object, or the error in its place."""

    def __init__(self, open_relay: Callable[[], Relay], conversations: Conversations, label: Label) -> None:
        super().__init__(open_relay, conversations)
        self._label = label

    async def _tell(self, relay: Relay, outlet: Outlet, guard: StreamGuard) -> Fault | None:
        message = Message()
        fault = await _collected(message, relay, guard)
        if fault is None:
            await outlet.respond(json_response(completion(message, self._label)))
        else:
            await outlet.fail(fault)
        return fault


async def _collected(message: Message, relay: Relay, guard: StreamGuard) -> Fault | None:
    try:
        while not message.terminal:
            patches = await relay.take() or []
            guard.saw(patches)
            for patch in patches:
                message.apply(patch)
    except Exception as error:
        return fault_of(error, begun=bool(message.content or message.thinking))
    return not_finished(message)


class StreamedAnswer(ChatAnswer):
    """An answer as chunks; a comment goes out after `keep_alive` seconds of silence."""

    def __init__(
        self,
        open_relay: Callable[[], Relay],
        conversations: Conversations,
        chunks: Chunks,
        *,
        keep_alive: float,
    ) -> None:
        super().__init__(open_relay, conversations)
        self._chunks = chunks
        self._keep_alive = keep_alive

    async def _tell(self, relay: Relay, outlet: Outlet, guard: StreamGuard) -> Fault | None:
        try:
            await self._pass_on(relay, outlet, guard)
            fault = self._chunks.fault
        except Exception as error:
            fault = fault_of(error, begun=self._chunks.begun)
        if fault is None:
            await outlet.write(DONE, more=False)
        else:
            await outlet.fail(fault)
        return fault

    async def _pass_on(self, relay: Relay, outlet: Outlet, guard: StreamGuard) -> None:
        """Send chunks until the answer ends, well or not."""
        clock = asyncio.get_running_loop().time
        accepted, silent_since = False, clock()
        while not self._chunks.ended and self._chunks.fault is None:
            left_to_wait = silent_since + self._keep_alive - clock()
            patches = await relay.take(max(left_to_wait, 0) if accepted else None)
            if patches is None:
                data = KEEP_ALIVE
            else:
                guard.saw(patches)
                data = b"".join(map(_event, self._chunks.feed(patches)))
            if data:
                await outlet.write(data)
            if data or not accepted:
                accepted, silent_since = accepted or _accepts(patches or []), clock()


def _accepts(patches: list[Patch]) -> bool:
    """Whether these come from a server that has begun to answer: before, there are only notices."""
    return not patches or any(patch.path != NOTICE for patch in patches)


def _event(data: dict[str, Any]) -> bytes:
    return encode(data=dumps(data))


__all__ = ["StreamedAnswer", "WholeAnswer", "json_response", "refused"]
