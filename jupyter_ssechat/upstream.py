"""A request → patches of an answer: the demo model, or a model server over HTTP."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from . import demo
from .continuation import Overlap, ask_to_go_on
from .dialects import Body, OpenAIChat
from .errors import BadInput, ConnectionFailed, UpstreamError
from .message import finished
from .patches import Patch
from .sse import encode
from .transport import Answer, EventSource, Transport, parsed, public_address, sendable_in_header
from .wire_json import as_list, as_object, as_text, dumps

MAX_WHOLE_BYTES = 16 * 2**20
THINKING, CONTENT = "response/thinking_content", "response/content"


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of the history."""

    role: Literal["user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a model is asked: the history with the prompt last, and how to answer.

    `thinking_so_far` and `content_so_far` are the text that stands when an answer is continued.
    """

    turns: tuple[Turn, ...]
    model: str | None = None
    system: str | None = None
    thinking: bool = True
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    continues: bool = False
    thinking_so_far: str = ""
    content_so_far: str = ""

    @property
    def prompt(self) -> str:
        """The last thing the user said."""
        return next((turn.content for turn in reversed(self.turns) if turn.role == "user"), "")


class Upstream(Protocol):
    """A source of answers."""

    name: str

    def stream(self, request: Request) -> AsyncGenerator[list[Patch]]:
        """Yield patches as they arrive, the last one terminal.

        Ending without a terminal status means that the answer was cut. Raises UpstreamError when the
        server refuses, ConnectionFailed when it cannot be reached.
        Closing the generator ends the generation at the server.
        """
        ...

    async def aclose(self) -> None:
        """Let go of every connection."""
        ...


class Demo:
    """The built-in model as an upstream; `pace` multiplies its waiting, 0 answers at once."""

    name = "demo"

    def __init__(self, pace: float = 1.0) -> None:
        if not (math.isfinite(pace) and pace >= 0):
            raise BadInput(f"pace is {pace:g}; expected 0 (at once) or more, 1 is the pace of a real model")
        self.pace = pace

    async def stream(self, request: Request) -> AsyncGenerator[list[Patch]]:
        """Think, then answer, token by token; a continued answer goes on exactly where it stood."""
        turn = sum(1 for one in request.turns if one.role == "user")
        script = demo.script(request.prompt, thinking=request.thinking, turn=turn, system=request.system)
        yield [Patch("response/model", "SET", "demo")]
        tokens = demo.stream(
            request.prompt,
            thinking=request.thinking,
            turn=turn,
            system=request.system,
            pace=self.pace,
            skip=len(request.content_so_far),
            skip_thinking=len(request.thinking_so_far),
        )
        async with aclosing(tokens):
            async for token in tokens:
                path = THINKING if token.kind == "thinking" else CONTENT
                yield [Patch(path, "APPEND", token.text)]
        usage = demo.usage(request.prompt, script, system=request.system)
        yield [
            Patch("response/usage", "SET", usage),
            Patch("response/accumulated_token_usage", "SET", usage["total_tokens"]),
            *finished(),
        ]

    async def aclose(self) -> None:
        """Nothing to let go of."""


class ModelServer:
    """An OpenAI-compatible ``/v1/chat/completions`` (protocols section 2); the key stays in here."""

    def __init__(
        self, url: str, *, model: str | None = None, api_key: str | None = None, read: float = 300.0
    ) -> None:
        self.url = completions_url(url)
        self.name = public_address(self.url)
        self.model = model
        self._key = api_key
        self._transport = Transport(
            headers={"authorization": f"Bearer {api_key}"} if api_key else None, read=read
        )

    def __repr__(self) -> str:
        return f"ModelServer({self.name!r})"

    async def stream(self, request: Request) -> AsyncGenerator[list[Patch]]:
        """Ask the server and translate its chunks; see `Upstream.stream`."""
        body = await self._body(request)
        dialect = OpenAIChat(continues=request.continues and bool(request.content_so_far))
        reading = Body(dialect)
        overlap = Overlap(request.content_so_far)
        try:
            async with self._transport.events("POST", self.url, body) as source:
                if not source.is_event_stream:
                    yield await self._not_a_stream(source, reading)
                    return
                async with aclosing(source.chunks(lambda: dialect.finishing)) as chunks:
                    async for chunk in chunks:
                        if patches := overlap.trim(reading.feed(chunk)):
                            yield self._discreet(patches)
        except ConnectionFailed:
            yield self._discreet(overlap.trim(reading.finish()) + overlap.rest())
            if not dialect.finishing:
                raise
            return
        if last := overlap.trim(reading.finish()) + overlap.rest():
            yield self._discreet(last)

    async def _body(self, request: Request) -> dict[str, Any]:
        """The request in the words of the wire; nothing in it that was not asked for."""
        messages: list[dict[str, Any]] = []
        if request.system:
            messages.append({"role": "system", "content": request.system})
        messages += [{"role": turn.role, "content": turn.content} for turn in request.turns]
        if request.continues and request.content_so_far:
            messages += ask_to_go_on(request.content_so_far)
        body: dict[str, Any] = {"messages": messages, "stream": True}
        if model := request.model or self.model or await self._only_model():
            body["model"] = model
        # Usage is part of what we promise to show; every server of the table accepts it.
        body["stream_options"] = {"include_usage": True}
        body.update(request.options)
        return body

    async def _only_model(self) -> str | None:
        """The model to use when none is named: the server's only one.

        A server without a list of models gets no name; one with several is not guessed at.
        """
        try:
            answer = await self._transport.request("GET", _models_url(self.url))
        except ConnectionFailed as error:
            raise UpstreamError(
                f"the model server cannot be reached: {self._safe(str(error))}", type="connection_failed"
            ) from None
        names = _model_names(answer.json()) if answer.status == 200 else []
        if len(names) > 1:
            some = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
            raise UpstreamError(
                f"this server offers several models ({some}); choose one with -m MODEL", type="no_model"
            )
        return names[0] if names else None

    async def _not_a_stream(self, source: EventSource, reading: Body) -> list[Patch]:
        """Read an answer that is no stream: a whole completion is taken as it is, all else is refused."""
        answer = await source.read(MAX_WHOLE_BYTES)
        whole = as_object(answer.json())
        if answer.status < 400 and as_list(whole.get("choices")):
            patches = reading.feed(encode(data=dumps(whole))) + reading.finish()
            return self._discreet(patches)
        raise self._refusal(answer, source)

    def _refusal(self, answer: Answer, source: EventSource) -> UpstreamError:
        if answer.status < 400 and not as_object(answer.json()).get("error"):
            error = source.not_an_event_stream()
            return UpstreamError(self._safe(str(error)), type=error.type, status=answer.status)
        said = self._safe(_error_text(answer))
        hint = _ADVICE.get(answer.status, "")
        return UpstreamError(
            f"the model server answered {answer.status}: {said}{hint}",
            type=_TYPES.get(answer.status, "upstream_error"),
            status=answer.status,
        )

    def _discreet(self, patches: list[Patch]) -> list[Patch]:
        """The same patches, safe also where the server repeats our key in an error in mid-stream."""
        return [self._told(patch) if patch.path == "response/error" else patch for patch in patches]

    def _told(self, error: Patch) -> Patch:
        fields = as_object(error.value)
        said = {name: self._safe(as_text(fields.get(name))) for name in ("type", "message")}
        return Patch(error.path, error.op, {**fields, **said})

    def _safe(self, text: str) -> str:
        """One line of at most 500 characters in which our key never stands."""
        if self._key:
            text = text.replace(self._key, "***")
        return " ".join(text.split())[:500]

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()


_ADVICE = {
    401: "; check the API key (%chat use URL --key-env NAME)",
    403: "; check the API key (%chat use URL --key-env NAME)",
    404: "; check the address and the model's name (-m MODEL)",
    429: "; wait a while and run the cell again",
}
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found", 429: "rate_limit_reached"}


def open_upstream(
    spec: str, *, model: str | None = None, api_key_env: str | None = None, pace: float = 1.0
) -> Upstream:
    """Open the upstream that `spec` names: ``demo``, or the address of a model server.

    The key is read from the environment variable `api_key_env`, and sent to this server alone.
    """
    if spec == "demo":
        return Demo(pace)
    if not spec.lower().startswith(("http://", "https://")):
        raise BadInput(
            f"{spec!r} is not an upstream; expected demo or an address such as http://127.0.0.1:11434/v1"
        )
    return ModelServer(spec, model=model, api_key=_key_from(api_key_env))


def _key_from(name: str | None) -> str | None:
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise BadInput(f"the environment variable {name} is empty or not set; put the API key into it")
    if not sendable_in_header(key):
        raise BadInput(f"the environment variable {name} holds characters that no API key has; set it anew")
    return key


def completions_url(url: str) -> str:
    """Complete the address of a server, of its ``/v1``, or of the endpoint itself."""
    parts = parsed(url)
    if not parts.hostname:
        raise BadInput(f"{url!r} has no host; expected an address such as http://127.0.0.1:11434/v1")
    path = parts.path.rstrip("/")
    if not path:
        path = "/v1"
    if not path.endswith("/chat/completions"):
        path += "/chat/completions"
    return parts._replace(path=path, fragment="").geturl()


def _models_url(url: str) -> str:
    """The address of the list of models beside an endpoint."""
    parts = urlsplit(url)
    return parts._replace(path=parts.path.removesuffix("/chat/completions") + "/models").geturl()


def _model_names(data: object) -> list[str]:
    rows = as_list(as_object(data).get("data"))
    return [name for row in rows if (name := as_text(as_object(row).get("id")))]


def _error_text(answer: Answer) -> str:
    """What the server said, in the shapes that servers use: error.message, error, message, detail, text."""
    fields = as_object(answer.json())
    error = fields.get("error")
    for said in (as_object(error).get("message"), error, fields.get("message"), fields.get("detail")):
        if said:
            return str(said)
    return answer.body.decode("utf-8", "replace").strip() or "(nothing)"


__all__ = ["Demo", "ModelServer", "Request", "Turn", "Upstream", "completions_url", "open_upstream"]
