"""A model server for many streams at once that costs little: every token is a chunk of its own, sent on time.

Streams go on until the benchmark says `finish`. One task writes for all of them: a task and a timer for each stream
cost more than sending does. Each token has one MARK, to be counted by; one in SAMPLED also says when it was written,
as ``<seconds>`` of the monotonic clock. What a caller does not read waits in the buffers, as it does in a network.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque

from .processes import Serve

MARK = b"~"
SAMPLED = 10
TICK_SECONDS = 0.001
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
CHUNK = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"bench",'
    b'"choices":[{"index":0,"delta":%b,"finish_reason":%b}]}\n\n'
)


class Endless:
    """Answers every call with `rate` tokens a second until `finish`."""

    def __init__(self, rate: float) -> None:
        self.written = self.calls = 0
        self._finished = False
        self._period = 1 / rate
        self._due: deque[tuple[float, _Answer]] = deque()
        self._listening = threading.Event()
        threading.Thread(target=asyncio.run, args=(self._serve(),), daemon=True).start()
        self._listening.wait()

    async def _serve(self) -> None:
        loop = self._loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Answer(self), "127.0.0.1", 0, backlog=2048)
        self.port: int = server.sockets[0].getsockname()[1]
        self._listening.set()
        while True:
            self._write_what_is_due()
            await asyncio.sleep(TICK_SECONDS)

    def begin(self, answer: _Answer) -> None:
        """Stream to one more caller."""
        self.calls += 1
        if self._finished:
            answer.finish()
        else:
            self._due.append((time.monotonic(), answer))

    def _write_what_is_due(self) -> None:
        """All streams have one period, so the one that was served longest ago is due first."""
        due, now = self._due, time.monotonic()
        while due and due[0][0] <= now:
            moment, answer = due.popleft()
            if answer.write_token(time.monotonic()):
                self.written += 1
                due.append((moment + self._period, answer))

    def finish(self) -> int:
        """End every stream as complete; returns how many tokens were written in all."""
        done = threading.Event()
        self._loop.call_soon_threadsafe(self._finish, done)
        done.wait()
        return self.written

    def _finish(self, done: threading.Event) -> None:
        self._finished = True
        for _, answer in self._due:
            answer.finish()
        self._due.clear()
        done.set()


class _Answer(asyncio.Protocol):
    """One call."""

    def __init__(self, model: Endless) -> None:
        self._model = model
        self._asked = b""
        self._tokens = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Listen."""
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=2**30)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer once the question's head is there; what it says does not matter."""
        begun = b"\r\n\r\n" in self._asked
        self._asked += data
        if not begun and b"\r\n\r\n" in self._asked:
            self._transport.write(HEAD + _event(b'{"role":"assistant","content":""}'))
            self._model.begin(self)

    def write_token(self, now: float) -> bool:
        """Write the next token; False when nobody is there any more."""
        if self._transport.is_closing():
            return False
        text = b"<%.6f>~" % now if self._tokens % SAMPLED == 0 else b" word~"
        self._transport.write(_event(b'{"content":"%b"}' % text))
        self._tokens += 1
        return True

    def finish(self) -> None:
        """Say that this is all."""
        self._transport.write(_event(b"{}", b'"stop"') + _http_chunk(b"data: [DONE]\n\n") + _http_chunk(b""))
        self._transport.close()


def _event(delta: bytes, finish_reason: bytes = b"null") -> bytes:
    return _http_chunk(CHUNK % (delta, finish_reason))


def _http_chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def endless(serve: Serve, rate: float) -> None:
    """Be the process of such a model server."""
    model = Endless(rate)
    serve(
        model.port, {"written": lambda: model.written, "calls": lambda: model.calls, "finish": model.finish}
    )
