"""Real servers on loopback for the tests: an OpenAI-compatible one by script, and a proxy that cuts."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


class Served:
    """An ASGI app on uvicorn in a thread, on a free port of 127.0.0.1."""

    def __init__(self, app: Any) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        config = uvicorn.Config(
            app, log_config=None, log_level="error", lifespan="off", timeout_graceful_shutdown=1
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        await self.server.serve(sockets=[self.socket])
        # uvicorn leaves open what it gave up waiting for, and who came in as it closed.
        for connection in list(self.server.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)


def chunk(**delta: Any) -> dict[str, Any]:
    """One `chat.completion.chunk` with this delta."""
    choices = [{"index": 0, "delta": delta, "finish_reason": None}]
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "script",
        "choices": choices,
    }


def finish(reason: str = "stop") -> dict[str, Any]:
    """The chunk that ends the only choice."""
    return {**chunk(), "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


def usage(prompt: int, completion: int) -> dict[str, Any]:
    """The trailing chunk with the count of tokens."""
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {**chunk(), "choices": [], "usage": counts}


@dataclass
class Script:
    """What the server sends: frames as bytes, dicts as data, and pauses that a test ends."""

    steps: list[Any] = field(default_factory=list)
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "text/event-stream"


class Pause:
    """The server waits here until the test calls `end()`; `reached` tells that it does."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._ended = threading.Event()

    def end(self) -> None:
        self._ended.set()

    async def wait(self) -> None:
        self.reached.set()
        while not self._ended.is_set():
            await asyncio.sleep(0.005)


class Breath(Pause):
    """The server waits here for a moment."""

    async def wait(self) -> None:
        await asyncio.sleep(0.05)


CUT = object()


class ModelServerForTests:
    """An OpenAI-compatible server that plays scripts, one per request, the last one again and again."""

    def __init__(self, *scripts: Script, models: list[str] | None = None) -> None:
        self.scripts = list(scripts)
        self.models = ["script"] if models is None else models
        self.requests: list[dict[str, Any]] = []
        self.request_headers: list[dict[str, str]] = []
        self.left = threading.Event()
        routes = [
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/models", self._models, methods=["GET"]),
        ]
        self._served = Served(Starlette(routes=routes))
        self.url = f"{self._served.url}/v1"

    def close(self) -> None:
        self._served.close()

    async def _models(self, _: Request) -> Response:
        return JSONResponse(
            {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]}
        )

    async def _chat(self, request: Request) -> Response:
        self.requests.append(await request.json())
        self.request_headers.append(dict(request.headers))
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        if script.body is not None:
            return JSONResponse(script.body, script.status, script.headers)
        return StreamingResponse(self._play(script), script.status, script.headers, script.content_type)

    async def _play(self, script: Script) -> AsyncIterator[bytes]:
        try:
            for step in script.steps:
                if isinstance(step, Pause):
                    await step.wait()
                elif step is CUT:
                    raise ConnectionResetError("cut by the script")
                else:
                    yield step if isinstance(step, bytes) else b"data: " + json.dumps(step).encode() + b"\n\n"
        except asyncio.CancelledError:
            self.left.set()
            raise


DONE = b"data: [DONE]\n\n"


def answer(*words: str, thinking: tuple[str, ...] = ()) -> Script:
    """A whole answer, word by word."""
    steps = [chunk(reasoning_content=word) for word in thinking] + [chunk(content=word) for word in words]
    return Script([*steps, finish(), usage(5, len(words)), DONE])


@contextmanager
def model_server(*scripts: Script, models: list[str] | None = None) -> Iterator[ModelServerForTests]:
    """Serve scripts for the time of a test."""
    server = ModelServerForTests(*scripts, models=models)
    try:
        yield server
    finally:
        server.close()


class CuttingProxy:
    """A TCP proxy that cuts its n-th connection after so many bytes of the answer.

    A cut is a reset, which may take along what was sent just before; `gently` it is an end of the connection.
    """

    def __init__(
        self,
        target_port: int,
        cuts: dict[int, int] | Callable[[int], int | None],
        *,
        gently: bool = False,
    ) -> None:
        self._gently = gently
        self.aim(target_port)
        self._cut_after = cuts.get if isinstance(cuts, dict) else cuts
        self.connections = 0
        self._open: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._main(),), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        self.url = f"http://127.0.0.1:{self.port}"

    def aim(self, port: int) -> None:
        """Send what comes from now on to `port`."""
        self._target = port

    async def _main(self) -> None:
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._closing.wait()
        server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports close in the next turn of the loop

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self.connections = self.connections, self.connections + 1
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        up = asyncio.create_task(_copy(reader, back, None))
        try:
            await _copy(there, writer, self._cut_after(number))
            if self._gently:
                writer.close()
                await writer.wait_closed()
        finally:
            up.cancel()
            back.transport.abort()
            writer.transport.abort()
            await asyncio.gather(up, return_exceptions=True)
            self._open.discard(task)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(10)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, limit: int | None) -> None:
    sent = 0
    while data := await source.read(65536):
        if limit is not None:
            data = data[: limit - sent]
        sink.write(data)
        sent += len(data)
        await sink.drain()
        if limit is not None and sent >= limit:
            return
