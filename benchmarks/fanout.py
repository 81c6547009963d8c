"""One stream → 1,000 readers: the gateway's CPU for each event that arrives, against raw asyncio servers.

Each server is a process of its own, and so are its readers: real sockets on loopback. The peers send the same
frames on `asyncio.start_server`, cut to chunks of HTTP once. One has a task for each reader that writes and
drains, as such servers are written; the other writes to all connections in one loop and never looks whether
they take it, which is the least that Python can do, and keeps without end what a slow one does not read.

A server that is behind may send several events in one piece, which is cheaper for each; a busy machine brings it
there. So the pieces are counted, and the same is measured in step: the next token comes when every reader has
the last one, and each event is a piece of its own.
"""

from __future__ import annotations

import asyncio
import http.client
import statistics
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from jupyter_ssechat.gateway.server import Gateway
from jupyter_ssechat.sse import encode
from jupyter_ssechat.wire_json import dumps

from .calls import create_session, post, post_bytes
from .corpora import tokens
from .crowd import crowd
from .measure import Row, row
from .pace import Source, SourceUpstream
from .processes import Process, Serve

READERS = 1_000
RATE = 50
SECONDS = 4
RUNS = 5
MOST = 1.5
ANSWER = tokens(RATE * SECONDS)
STEPS = 50
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-store\r\nx-accel-buffering: no\r\ntransfer-encoding: chunked\r\n\r\n"
)
Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]
Cost = tuple[float, float]
"""Microseconds of CPU for each event, and pieces for each event."""


def run() -> list[Row]:
    """Measure the three servers in turns, at the rate and in step."""
    return _compared(f"{RATE} tokens/s", _at_rate) + _compared("in step", _in_step)


def _compared(case: str, measure: Callable[[Callable[..., None]], Cost]) -> list[Row]:
    servers = {
        "gateway": gateway,
        "a task for each": partial(streams, in_tasks=True),
        "one loop": partial(streams, in_tasks=False),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in servers}
    for _ in range(RUNS):
        for name, server in servers.items():
            costs[name].append(measure(server))
    cpu = {name: statistics.median(cost for cost, _ in runs) for name, runs in costs.items()}
    pieces = {name: statistics.median(count for _, count in runs) for name, runs in costs.items()}
    rows = [row(f"{case}, {name}", cpu[name], "µs/event") for name in servers]
    rows += [row(f"{case}, {name}, pieces", pieces[name], "per event") for name in servers]
    return [
        *rows,
        row(f"{case}, gateway / a task for each", cpu["gateway"] / cpu["a task for each"], "×", at_most=MOST),
        row(f"{case}, gateway / one loop", cpu["gateway"] / cpu["one loop"], "×"),
    ]


def _at_rate(server: Callable[..., None]) -> Cost:
    with Process(server, RATE) as process, Process(crowd, *process.opened, READERS) as readers:
        readers.ask("attached")
        spent = process.cpu()
        process.ask("step")
        readers.ask("ended")
        return _cost(process.cpu() - spent, readers)


def _in_step(server: Callable[..., None]) -> Cost:
    with Process(server, None) as process, Process(crowd, *process.opened, READERS) as readers:
        readers.ask("attached")
        spent = process.cpu()
        for _ in range(STEPS):
            process.ask("step")
            readers.ask("arrived")
        return _cost(process.cpu() - spent, readers)


def _cost(spent: float, readers: Process) -> Cost:
    events, pieces = readers.ask("count")
    return spent * 1e6 / events, pieces / events


def gateway(serve: Serve, rate: float | None) -> None:
    """Be the process of a gateway with one answer that is about to begin."""
    source = Source(ANSWER, rate)
    with Gateway(SourceUpstream(source)) as opened:
        port, token = opened.access.port, opened.token
        session = create_session(port, token)
        prompt = {"chat_session_id": session, "parent_message_id": None, "prompt": "go"}
        post(port, "/api/v0/chat/completion", token, prompt, http.client.HTTPResponse.readline)
        body = {"chat_session_id": session, "message_id": 2}
        serve((port, post_bytes(port, "/api/v0/chat/resume_stream", token, body)), {"step": source.step})


def streams(serve: Serve, rate: float | None, *, in_tasks: bool) -> None:
    """Be the process of a peer."""
    source = Source(ANSWER, rate)
    server = Streams(source, in_tasks=in_tasks)
    serve((server.port, b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"), {"step": source.step})


class Streams:
    """A server on asyncio's streams, on a loop in a thread of its own."""

    def __init__(self, source: Source, *, in_tasks: bool) -> None:
        self._source = source
        self._connected: Connected = self._follow if in_tasks else self._join
        self._frames: list[bytes] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._listening = threading.Event()
        threading.Thread(target=asyncio.run, args=(self._serve(),), daemon=True).start()
        self._listening.wait()

    async def _serve(self) -> None:
        self._wake = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=2048)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        async for token in self._source.stream():
            self._send(_chunk(_frame(len(self._frames), token)))
        self._send(_chunk(b""))
        await asyncio.Event().wait()

    def _send(self, chunk: bytes) -> None:
        for writer in self._writers:
            writer.write(chunk)
        self._frames.append(chunk)
        rung, self._wake = self._wake, asyncio.Event()
        rung.set()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _open(reader, writer)
        self._writers.append(writer)

    async def _follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _open(reader, writer)
        position = 0
        while True:
            while position == len(self._frames):
                await self._wake.wait()
            writer.write(self._frames[position])
            await writer.drain()
            position += 1


async def _open(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(HEAD + _chunk(encode(event="ready", data="{}")))


def _chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def _frame(number: int, token: str) -> bytes:
    """The frame that the gateway sends for a token."""
    sticky = {} if number else {"p": "response/content", "o": "APPEND"}
    return encode(data=dumps({"v": token, **sticky}), id=f"1-{number + 1}")
