"""A server on loopback that writes what a test wants, be it HTTP or not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

STREAM = "content-type: text/event-stream"


@dataclass
class Asked:
    """A request as it came over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader


Play = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Rogue:
    """A server on the loop of the test that writes what `play` writes, be it HTTP or not."""

    play: Play
    tls: ssl.SSLContext | None = None
    asked: list[Asked] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        try:
            scheme = "https" if self.tls else "http"
            yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0)  # aborted transports close in the next turn of the loop

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                asked = await _asked(reader)
                self.asked.append(asked)
                await self.play(asked, writer)
                await writer.drain()
                writer.close()
        finally:
            self.left.set()
            writer.transport.abort()


async def _asked(reader: asyncio.StreamReader) -> Asked:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, target, _ = first.split(" ")
    return Asked(method, target, headers, body, reader)


def raw(body: bytes = b"", *headers: str, status: str = "200 OK", length: bool = True) -> bytes:
    """A whole answer as it goes over the wire."""
    # Each play closes its connection: unless it says so, a client may ask again on it just before.
    size = [f"content-length: {len(body)}"] if length else []
    return "\r\n".join([f"HTTP/1.1 {status}", *size, "connection: close", *headers, "", ""]).encode() + body


def playing(*pieces: bytes) -> Play:
    async def play(_: Asked, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return play


def endlessly(head: bytes, again: bytes, pause: float = 0.0) -> Play:
    """`head`, and then the same again and again."""

    async def play(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(pause)

    return play


def hanging(head: bytes) -> Play:
    """`head`, and then nothing until the client leaves."""

    async def play(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await asked.reader.read()

    return play
