"""HTTP as the two clients use it: real servers on loopback, deadlines, and errors that show no secret."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from jupyter_ssechat import Chat
from jupyter_ssechat.errors import BadInput, ConnectionFailed, NotAnEventStream
from jupyter_ssechat.transport import Answer, EventSource, Transport, public_address

from .servers import CUT, Pause, Script, Served, chunk, model_server

T = TypeVar("T")
SILENCE = 0.05
EVENTS = b"data: one\n\n"


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, 30))


@asynccontextmanager
async def transport(**options: Any) -> AsyncGenerator[Transport]:
    opened = Transport(**options)
    try:
        yield opened
    finally:
        await opened.aclose()


async def call(url: str, body: object = None, **options: Any) -> Answer:
    async with transport(**options) as http:
        return await http.request("GET" if body is None else "POST", url, body)


async def stream(url: str, **options: Any) -> tuple[EventSource, bytes]:
    """What a stream at `url` is, and all that it says."""
    async with transport(**options) as http, http.events("GET", url) as source:
        return source, b"".join([piece async for piece in source.chunks()])


class Echo:
    """A server that answers as its address says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.bodies: list[bytes] = []
        routes = [
            Route("/typed", self._typed),
            Route("/again", self._elsewhere),
            Route("/{rest:path}", self._echo, methods=["GET", "POST"]),
        ]
        self.served = Served(Starlette(routes=routes))
        self.url = self.served.url

    async def _typed(self, request: Request) -> Response:
        kind = request.query_params.get("type")
        headers = {"content-type": kind} if kind else {}
        return Response(EVENTS, int(request.query_params.get("status", 200)), headers)

    async def _elsewhere(self, request: Request) -> Response:
        return RedirectResponse(request.query_params["to"], 307)

    async def _echo(self, request: Request) -> Response:
        self.requests.append(request)
        self.bodies.append(await request.body())
        return JSONResponse({"path": request.url.path})


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.served.close()


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/stream"


# ---- what is a stream ----


@pytest.mark.parametrize(
    "kind",
    ["text/event-stream", "Text/Event-Stream", "TEXT/EVENT-STREAM; charset=GBK", "text/event-stream ;x"],
)
def test_the_content_type_is_compared_without_case_and_parameters(kind: str, echo: Echo) -> None:
    source, body = run(stream(f"{echo.url}/typed?type={kind}"))
    assert source.is_event_stream
    assert body == EVENTS


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (200, "application/json", "200 with application/json"),
        (200, "Text/HTML; charset=utf-8", "200 with text/html"),
        (200, "text/event-streams", "200 with text/event-streams"),
        (200, "", "200 with no content type"),
        (204, "", "204 with no content type"),
        (500, "text/event-stream", "500 with text/event-stream"),
    ],
)
def test_everything_else_is_none_and_the_error_says_what_it_is(
    status: int, kind: str, said: str, echo: Echo
) -> None:
    source, _ = run(stream(f"{echo.url}/typed?status={status}&type={kind}"))
    assert not source.is_event_stream
    error = source.not_an_event_stream()
    assert isinstance(error, NotAnEventStream)
    assert f"answered {said} instead of text/event-stream" in str(error)


def test_an_answer_that_is_no_stream_is_read_up_to_a_limit(echo: Echo) -> None:
    async def read(limit: int) -> Answer:
        async with transport() as http, http.events("GET", f"{echo.url}/page") as source:
            return await source.read(limit)

    assert run(read(1000)).json() == {"path": "/page"}
    assert run(read(5)).body == b'{"pat'
    assert run(read(5)).json() is None


def test_an_answer_knows_its_type_and_its_json(echo: Echo) -> None:
    answer = run(call(f"{echo.url}/x"))
    assert (answer.status, answer.content_type, answer.json()) == (200, "application/json", {"path": "/x"})


# ---- what is sent ----


def test_a_body_is_ascii_json_also_with_halves_of_a_character(echo: Echo) -> None:
    run(call(f"{echo.url}/x", {"prompt": "你好 \ud83d"}))
    assert echo.bodies[0].isascii()
    assert json.loads(echo.bodies[0]) == {"prompt": "你好 \ud83d"}
    assert echo.requests[0].headers["content-type"] == "application/json"


def test_a_redirect_is_not_followed_and_the_key_goes_nowhere_else(echo: Echo) -> None:
    other = Echo()
    answer = run(call(f"{echo.url}/again?to={other.url}/x", headers={"authorization": "Bearer secret"}))
    other.served.close()
    assert answer.status == 307
    assert other.requests == []


def test_no_proxy_sees_what_is_for_this_machine(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    behind = Echo()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, echo.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    run(call(f"{behind.url}/here"))
    assert (len(behind.requests), len(echo.requests)) == (1, 0)
    behind.served.close()
    # A host that nobody knows: whoever answers is the proxy.
    assert run(call("http://a-model-server.test/there")).status == 404


def test_leaving_the_stream_ends_it_at_the_server() -> None:
    pause = Pause()

    async def leave(url: str) -> None:
        async with (
            transport() as http,
            http.events("POST", f"{url}/chat/completions", {}) as source,
            aclosing(source.chunks()) as pieces,
        ):
            assert b"first" in await anext(pieces)

    with model_server(Script([chunk(content="first"), pause])) as server:
        run(leave(server.url))
        assert server.left.wait(10)


def test_closing_is_done_as_often_as_one_likes_and_the_next_call_opens_anew(echo: Echo) -> None:
    async def again() -> int:
        async with transport() as http:
            await http.request("GET", f"{echo.url}/x")
            await http.aclose()
            await http.aclose()
            return (await http.request("GET", f"{echo.url}/x")).status

    assert run(again()) == 200


# ---- what fails ----


def test_a_server_that_says_nothing_is_a_connection_that_failed(silent: str) -> None:
    with pytest.raises(ConnectionFailed, match="went silent .* is the server alive"):
        run(stream(silent, read=SILENCE))
    with pytest.raises(ConnectionFailed, match="went silent"):
        run(call(silent, read=SILENCE))


def test_a_stream_that_falls_silent_is_a_connection_that_failed_after_what_it_said() -> None:
    pause = Pause()
    heard: list[bytes] = []

    async def listen(url: str) -> None:
        async with (
            transport(read=SILENCE) as http,
            http.events("POST", f"{url}/chat/completions", {}) as source,
        ):
            async for piece in source.chunks():
                heard[:] = [*heard, piece]

    with (
        model_server(Script([chunk(content="first"), pause])) as server,
        pytest.raises(ConnectionFailed, match="went silent"),
    ):
        run(listen(server.url))
    pause.end()
    assert b"first" in b"".join(heard)


def test_a_body_that_breaks_off_is_a_connection_that_failed() -> None:
    async def listen(url: str) -> None:
        async with transport() as http, http.events("POST", f"{url}/chat/completions", {}) as source:
            async for _ in source.chunks():
                pass

    with (
        model_server(Script([chunk(content="first"), CUT])) as server,
        pytest.raises(ConnectionFailed, match=f"no connection to {server.url}/chat/completions: "),
    ):
        run(listen(server.url))


@pytest.mark.parametrize("ask", [call, stream])
def test_no_error_shows_the_user_or_the_query_of_an_address(ask: Any, silent: str) -> None:
    for where in ("127.0.0.1:9", silent.split("/")[2]):
        with pytest.raises(ConnectionFailed) as error:
            run(ask(f"http://user:secret-1@{where}/path?token=secret-2", read=SILENCE))
        assert f"http://{where}/path" in str(error.value)
        assert "secret" not in str(error.value)


@pytest.mark.parametrize("ask", [call, stream])
@pytest.mark.parametrize(
    "address",
    ["", "nonsense", "http://", "ftp://x/y", "http://x:port/", "http://[::1", "http://a\nb/", "//x/y"],
)
def test_what_is_no_address_is_bad_input_in_one_line(ask: Any, address: str) -> None:
    with pytest.raises(BadInput, match=r"is not an address: .*; expected http://HOST:PORT/…") as error:
        run(ask(address))
    assert "\n" not in str(error.value)


def test_the_address_of_a_gateway_is_read_the_same_way() -> None:
    with pytest.raises(BadInput, match="is not an address: Invalid IPv6 URL"):
        Chat(gateway="http://[::1")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://u:p@h:1/x?key=1#f", "http://h:1/x"),
        ("https://h", "https://h"),
        ("nonsense?key=1", "nonsense"),
    ],
)
def test_an_address_is_shown_without_its_secrets(address: str, shown: str) -> None:
    assert public_address(address) == shown
