"""What goes out over real sockets: each reader in order and in its own time, a stalled one at a bounded price."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import tracemalloc
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from typing import Any, TypeVar

import pytest

from jupyter_ssechat.gateway.event_stream import Direct, EventStream
from jupyter_ssechat.gateway.log import KEEP_ALIVE, MAX_LAG_BYTES, StreamLog
from jupyter_ssechat.gateway.server import Gateway
from jupyter_ssechat.message import finished
from jupyter_ssechat.patches import Document, Patch
from jupyter_ssechat.request import Request
from jupyter_ssechat.sse import ServerSentEvent, SSEDecoder
from jupyter_ssechat.wire_json import loads

T = TypeVar("T")
SECONDS = 60.0
LONG = 60.0
FRAME = 64 * 2**10
TIPS = "response/tips"


# ---- over real sockets ----


class Steps:
    """An upstream that sends one large frame for each `step`, and ends after `end`; its document stays small."""

    name = "steps"

    def __init__(self) -> None:
        self._begun = threading.Event()
        self._steps: asyncio.Queue[int | None] = asyncio.Queue()

    async def stream(self, request: Request) -> AsyncGenerator[list[Patch]]:
        self._loop = asyncio.get_running_loop()
        self._begun.set()
        while (number := await self._steps.get()) is not None:
            yield [Patch(TIPS, "SET", [number, "x" * FRAME])]
        yield finished()

    def step(self, number: int) -> None:
        self._put(number)

    def end(self) -> None:
        self._put(None)

    def _put(self, what: int | None) -> None:
        assert self._begun.wait(SECONDS)
        self._loop.call_soon_threadsafe(self._steps.put_nowait, what)

    async def models(self) -> list[str]:
        return []

    async def aclose(self) -> None:
        """Nothing to let go of."""


class Reading:
    """A connection with a small buffer, read only when the test reads it."""

    def __init__(self, gateway: Gateway, path: str, body: dict[str, Any]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", gateway.access.port)
        self._connection.sock = _with_a_small_buffer(gateway.access.port)
        headers = {"authorization": f"Bearer {gateway.token}"}
        self._connection.request("POST", f"/api/v0/{path}", json.dumps(body), headers)
        self.answer = self._connection.getresponse()
        self._decoder = SSEDecoder()
        self.numbers: list[int] = []
        self.names: list[str] = []

    def until(self, number: int) -> None:
        while number not in self.numbers[-1:]:
            assert self._read(), f"the stream ended before frame {number}"

    def to_end(self) -> None:
        while self._read():
            pass

    def _read(self) -> bytes:
        data = self.answer.read1(2**16)
        for event in self._decoder.feed(data):
            self._note(event)
        return data

    def _note(self, event: ServerSentEvent) -> None:
        self.names.append(event.event)
        patch = loads(event.data)
        if patch.get("p") == TIPS:
            self.numbers.append(patch["v"][0])

    def close(self) -> None:
        self._connection.close()


def _with_a_small_buffer(port: int) -> socket.socket:
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    opened.settimeout(SECONDS)
    opened.connect(("127.0.0.1", port))
    return opened


class Stream:
    """An answer that is being read by one reader, and can be read by more."""

    def __init__(self, gateway: Gateway, upstream: Steps) -> None:
        self.upstream = upstream
        self._gateway = gateway
        with closing(Reading(gateway, "chat_session/create", {})) as created:
            self._session = json.loads(created.answer.read())["data"]["biz_data"]["id"]
        self.first = self._read("chat/completion", parent_message_id=None, prompt="go")

    def read(self) -> Reading:
        return self._read("chat/resume_stream", message_id=2)

    def _read(self, path: str, **body: Any) -> Reading:
        return Reading(self._gateway, path, {"chat_session_id": self._session, **body})


@contextmanager
def streaming() -> Iterator[Stream]:
    upstream = Steps()
    with Gateway(upstream) as gateway:
        yield Stream(gateway, upstream)


def test_a_reader_that_stops_reading_delays_nobody_and_costs_bounded_memory() -> None:
    count = 8 * MAX_LAG_BYTES // FRAME
    with streaming() as stream, closing(stream.first) as quick, closing(stream.read()) as stalled:
        tracemalloc.start()
        try:
            for number in range(count):
                stream.upstream.step(number)
                quick.until(number)  # the next frame is not made before this one is here
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        stream.upstream.end()
        quick.to_end()
        stalled.to_end()  # it was let go: what it had, then the end of the body
    assert quick.numbers == list(range(count))
    assert peak < 2 * MAX_LAG_BYTES
    assert stalled.numbers == list(range(len(stalled.numbers)))
    assert len(stalled.numbers) < count and "close" not in stalled.names


def test_a_reader_that_reads_again_in_time_has_missed_nothing() -> None:
    count = MAX_LAG_BYTES // FRAME // 2
    with streaming() as stream, closing(stream.first) as quick, closing(stream.read()) as slow:
        for number in range(count):
            stream.upstream.step(number)
            quick.until(number)
        slow.until(0)
        stream.upstream.step(count)
        stream.upstream.end()
        slow.to_end()
        assert slow.numbers == list(range(count + 1))
        assert slow.names[-1] == "close"


def test_many_readers_get_every_frame_once_and_in_order() -> None:
    with streaming() as stream, closing(stream.first) as first:
        readings = [stream.read() for _ in range(20)]
        for number in range(20):
            stream.upstream.step(number)
        stream.upstream.end()
        for reading in (first, *readings):
            reading.to_end()
            reading.close()
            assert reading.numbers == list(range(20))


# ---- what a server may do with `send` ----


class Connection:
    """A server's end of one answer: keeps the bodies, waits while `full`, is lost when told."""

    def __init__(self, log: StreamLog, *, keep_alive: float = LONG) -> None:
        self.bodies: list[bytes] = []
        self.room = asyncio.Event()
        self.room.set()
        self.fails = False
        self.lost = asyncio.Event()
        self._news = asyncio.Event()
        answer = Direct(EventStream(log.attach(), keep_alive))
        self.answering = asyncio.create_task(answer({"type": "http"}, self._receive, self._send))  # type: ignore[arg-type]

    async def _send(self, message: Any) -> None:
        if self.fails:
            raise RuntimeError("the server has a bug")
        if not self.room.is_set():
            await self.room.wait()
        self.bodies.append(message.get("body", b""))
        self._news.set()

    async def _receive(self) -> dict[str, Any]:
        await self.lost.wait()
        return {"type": "http.disconnect"}

    async def has(self, text: bytes) -> None:
        while text not in b"".join(self.bodies):
            self._news.clear()
            await self._news.wait()


def log_of_an_answer() -> StreamLog:
    return StreamLog(Document({"response": {"status": "WIP"}}), epoch=1, opening=b"")


def say(log: StreamLog, word: str) -> None:
    log.write([Patch("response/content", "APPEND", word)])


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, SECONDS))


def test_silence_is_filled_and_an_answer_ends_with_its_log() -> None:
    async def talk() -> list[bytes]:
        log = log_of_an_answer()
        one = Connection(log, keep_alive=0.001)
        await one.has(KEEP_ALIVE * 2)
        say(log, "word")
        log.close()
        await one.answering
        return one.bodies

    bodies = run(talk())
    assert b"word" in bodies[-2] and bodies[-1] == b""


def test_a_full_connection_is_waited_for_alone() -> None:
    async def talk() -> None:
        log = log_of_an_answer()
        full, free = Connection(log), Connection(log)
        await full.has(b"WIP")
        full.room.clear()
        for word in ("one", "two", "three"):
            say(log, word)
            await free.has(word.encode())
        assert b"one" not in b"".join(full.bodies)
        full.room.set()
        await full.has(b"three")
        assert [b"one" in full.bodies[-2], b"two" in full.bodies[-1]] == [True, True]
        log.close()
        await asyncio.gather(full.answering, free.answering)
        assert b"".join(full.bodies) == b"".join(free.bodies)

    run(talk())


def _loses(connection: Connection) -> None:
    connection.lost.set()


def _fails(connection: Connection) -> None:
    connection.fails = True


def _loses_while_full(connection: Connection) -> None:
    connection.room.clear()
    connection.lost.set()


@pytest.mark.parametrize("happens", [_loses, _fails, _loses_while_full])
def test_a_connection_that_goes_takes_nobody_with_it(happens: Callable[[Connection], None]) -> None:
    async def talk() -> None:
        log = log_of_an_answer()
        going, staying = Connection(log), Connection(log)
        await going.has(b"WIP")
        happens(going)
        say(log, "one")
        await going.answering
        assert log.readers == 1
        say(log, "two")
        log.close()
        await staying.answering
        await staying.has(b"two")

    run(talk())
