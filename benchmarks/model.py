"""A model server whose tokens say when they were written: OpenAI's chat completions, on asyncio streams."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any

from .pace import paced
from .processes import Serve

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


class Model:
    """Answers every call with `tokens` tokens at `rate` a second; a token is ``<seconds>`` of the monotonic clock."""

    def __init__(self, tokens: int, rate: float) -> None:
        self._tokens = tokens
        self._rate = rate
        self._listening = threading.Event()
        threading.Thread(target=asyncio.run, args=(self._serve(),), daemon=True).start()
        self._listening.wait()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0, backlog=256)
        self.port: int = server.sockets[0].getsockname()[1]
        self._listening.set()
        await asyncio.Event().wait()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + _event(_chunk({"role": "assistant", "content": ""})))
        async for _ in paced([""] * self._tokens, self._rate):
            writer.write(_event(_chunk({"content": f"<{time.monotonic():.6f}>"})))
        counts = {"prompt_tokens": 1, "completion_tokens": self._tokens, "total_tokens": self._tokens + 1}
        writer.write(_event(_chunk({}, "stop")) + _event({**_chunk({}), "choices": [], "usage": counts}))
        writer.write(_http_chunk(b"data: [DONE]\n\n") + _http_chunk(b""))
        await writer.drain()
        writer.close()


def _chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "bench"}
    return {**head, "choices": [choice]}


def _event(data: dict[str, Any]) -> bytes:
    return _http_chunk(b"data: %b\n\n" % json.dumps(data).encode())


def _http_chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def model(serve: Serve, tokens: int, rate: float) -> None:
    """Be the process of a model server."""
    serve(Model(tokens, rate).port, {})
