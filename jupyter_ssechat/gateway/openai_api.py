"""HTTP → an upstream → OpenAI's chat completions: ``/v1/chat/completions`` and ``/v1/models``.

No session is kept: the reader is the answer. One who leaves ends the generation at the model server at once, and
one who stalls holds it up.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route
from starlette.types import ASGIApp

from .bodies import ChatCompletion, read_with_fields
from .chat_answer import StreamedAnswer, WholeAnswer, json_response, refused
from .chat_request import chat_request
from .chunks import Chunks, Label
from .conversations import Conversations
from .endpoint import body_of, user_of, with_place
from .openai_error import Fault, fault_of
from .relay import Relay
from .settings import Settings
from .users import User


class OpenAIAPI:
    """The addresses below ``/v1``."""

    def __init__(self, conversations: Conversations, settings: Settings) -> None:
        self._upstream = conversations.upstream
        self._conversations = conversations
        self._settings = settings
        self._opened_at = int(time.time())

    def routes(self) -> list[Route]:
        """Every address below ``/v1``."""
        return [
            Route("/v1/chat/completions", _endpoint(self._complete), methods=["POST"]),
            Route("/v1/models", _endpoint(self._models), methods=["GET"]),
            Route("/v1/models/{name:path}", _endpoint(self._model), methods=["GET"]),
        ]

    async def _complete(self, http: Request) -> ASGIApp:
        body, fields = read_with_fields(await body_of(http), ChatCompletion)
        request = chat_request(body, fields)
        label = Label(
            id=f"chatcmpl-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=body.model or self._upstream.name,
        )

        def relay() -> Relay:
            return Relay(self._upstream.stream(request), self._settings.queue)

        return await self._admitted(user_of(http), label.id, self._answer(body, relay, label))

    def _answer(self, body: ChatCompletion, relay: Callable[[], Relay], label: Label) -> ASGIApp:
        if not body.stream:
            return WholeAnswer(relay, self._conversations, label)
        usage = bool(body.stream_options and body.stream_options.include_usage)
        chunks = Chunks(label, usage=usage)
        return StreamedAnswer(relay, self._conversations, chunks, keep_alive=self._settings.keep_alive)

    async def _admitted(self, user: User, name: str, answer: ASGIApp) -> ASGIApp:
        """The answer as one stream and its one reader."""
        admission = self._conversations.admission
        stream = await admission.stream(user, name)
        try:
            reader = await admission.reader(user)
        except BaseException:
            stream.leave()
            raise
        return with_place(stream, with_place(reader, answer))

    async def _models(self, _: Request) -> ASGIApp:
        rows = [self._row(name) for name in await self._upstream.models()]
        return json_response({"object": "list", "data": rows})

    async def _model(self, http: Request) -> ASGIApp:
        name = str(http.path_params["name"])
        if name in await self._upstream.models():
            return json_response(self._row(name))
        said = f"the model server does not list a model {name!r}; GET /v1/models tells which it does"
        return refused(Fault(status=404, type="not_found", message=said, param="model"))

    def _row(self, name: str) -> dict[str, Any]:
        """A model as an object; since when the model server has it is not known."""
        return {
            "id": name,
            "object": "model",
            "created": self._opened_at,
            "owned_by": self._upstream.name,
        }


def _endpoint(call: Callable[[Request], Awaitable[ASGIApp]]) -> Callable[[Request], Awaitable[Any]]:
    """Let `call` answer, and say what goes wrong before there is an answer in OpenAI's words."""

    async def answer(http: Request) -> Any:
        try:
            return await call(http)
        except ClientDisconnect:
            raise
        except Exception as error:
            return refused(fault_of(error))

    return answer
