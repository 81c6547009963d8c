"""A model server inside a notebook: what a function says, over the OpenAI protocol, on this machine alone.

03_any_model_server shows how little such a server needs.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

Messages = list[dict[str, Any]]


class SmallModel:
    """Serves `says`: a function from the messages of a request to the words of the answer, one by one.

    `url` is what `%chat use` and `Chat` take; `requests` are the bodies of all requests, oldest first.
    """

    def __init__(self, says: Callable[[Messages], Iterable[str]]) -> None:
        self.requests: list[dict[str, Any]] = []
        self._says = says
        listening = socket.create_server(("127.0.0.1", 0))  # a free port
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        routes = [
            Route("/v1/chat/completions", self._completions, methods=["POST"]),
            Route("/v1/models", self._models),
        ]
        self._server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="error"))
        self._thread = threading.Thread(target=self._server.run, args=([listening],), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the server."""
        self._server.should_exit = True
        self._thread.join()

    async def _models(self, _: Request) -> Response:
        return JSONResponse({"data": [{"id": "small"}]})

    async def _completions(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        return StreamingResponse(self._events(body["messages"]), media_type="text/event-stream")

    def _events(self, messages: Messages) -> Iterator[str]:
        count = 0
        for words in self._says(messages):
            count += 1
            yield _event(choices=[{"delta": {"content": words}}])
        asked = sum(len(str(message["content"]).split()) for message in messages)
        usage = {"prompt_tokens": asked, "completion_tokens": count, "total_tokens": asked + count}
        yield _event(choices=[{"delta": {}, "finish_reason": "stop"}], usage=usage)
        yield "data: [DONE]\n\n"


def _event(**fields: Any) -> str:
    chunk = {"object": "chat.completion.chunk", "model": "small", **fields}
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"
