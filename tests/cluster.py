"""Workers as processes on one store, behind one address, for tests that kill: each part dies and is born again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from .redis_nodes import RedisNodes
from .redis_server import RedisServer

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "the-token-of-all-workers"
LEASE, PACE = 1.0, 0.3


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


class Worker:
    """One ``serve`` at a port of its own."""

    def __init__(self, store: str, door: int, *more: str) -> None:
        self.port = free_port()
        options = f"--port {self.port} --store {store} --lease {LEASE:g} --pace {PACE:g} --keep-alive 1"
        options += f" --token {TOKEN} --allowed-host 127.0.0.1:{door}"
        self._command = [sys.executable, "-m", "jupyter_ssechat", "serve", *options.split(), *more]

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        self.process = await asyncio.create_subprocess_exec(
            *self._command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths},
        )
        assert self.process.stdout is not None
        assert (await self.process.stdout.readline()).startswith(b"listening on")

    async def kill(self) -> None:
        """End it as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    @property
    def alive(self) -> bool:
        return self.process.returncode is None


class Door:
    """One address for all workers: a connection goes to the one that is preferred, or to any that is alive."""

    def __init__(self) -> None:
        self.workers: list[Worker] = []
        self.preferred = 0
        self._pipes: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> int:
        """Listen, and return the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Break every connection."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def close(self) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        order = self.workers[self.preferred :] + self.workers[: self.preferred]
        for worker in order:
            with contextlib.suppress(OSError):
                there, back = await asyncio.open_connection("127.0.0.1", worker.port)
                break
        else:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        pipes = {asyncio.create_task(_pipe(reader, back)), asyncio.create_task(_pipe(there, writer))}
        self._pipes |= pipes
        await asyncio.wait(pipes)
        self._pipes -= pipes
        self._writers -= {writer, back}


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()


class Cluster:
    """Two workers on `store`, which may be in a Redis of their own, and their door."""

    def __init__(
        self, store: str, redis: RedisServer | RedisNodes | None = None, *, options: Sequence[str] = ()
    ) -> None:
        self._store = store
        self._redis = redis
        self._options = options
        self.door = Door()

    async def __aenter__(self) -> Cluster:
        self.port = await self.door.open()
        self.door.workers = [Worker(self._store, self.port, *self._options) for _ in range(2)]
        await asyncio.gather(*(worker.start() for worker in self.door.workers))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.door.close()
        await asyncio.gather(*(worker.kill() for worker in self.door.workers if worker.alive))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def lose(self, part: str) -> None:
        """Kill a part; what was killed is born again after a moment."""
        match part:
            case "generator":
                await self.door.workers[0].kill()
                await self.door.workers[0].start()
            case "reader":
                await self.door.workers[1].kill()
                await self.door.workers[1].start()
            case "redis":
                assert self._redis is not None
                self._redis.kill()
                await asyncio.to_thread(self._redis.start)
            case _:
                self.door.cut()
