"""HTTP as the two clients use it: real servers on loopback, those that misbehave too, and no error with a secret."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import socket
import ssl
import subprocess
import tracemalloc
import zlib
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from jupyter_ssechat import Chat
from jupyter_ssechat import transport as module
from jupyter_ssechat.deadlines import Deadlines, Watch
from jupyter_ssechat.errors import (
    BadInput,
    BodyTooLarge,
    ConnectionFailed,
    NotAnEventStream,
    Redirected,
    TimedOut,
    UndecodableBody,
)
from jupyter_ssechat.transport import Answer, EventSource, Transport, public_address

from .rogue import STREAM, Asked, Play, Rogue, endlessly, hanging, playing, raw
from .servers import CUT, Pause, Script, Served, chunk, model_server

T = TypeVar("T")
SILENCE = 0.05
SOON = Deadlines(first_byte=SILENCE, first_token=SILENCE, silence=SILENCE)
KEY = "sk-a-key-that-nobody-else-may-see"
KEYS = {"authorization": f"Bearer {KEY}", "x-api-key": KEY, "api-key": KEY, "cookie": f"session={KEY}"}
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
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
            Route("/{rest:path}", self._echo, methods=["GET", "POST"]),
        ]
        self.served = Served(Starlette(routes=routes))
        self.url = self.served.url

    async def _typed(self, request: Request) -> Response:
        kind = request.query_params.get("type")
        headers = {"content-type": kind} if kind else {}
        return Response(EVENTS, int(request.query_params.get("status", 200)), headers)

    async def _echo(self, request: Request) -> Response:
        self.requests.append(request)
        self.bodies.append(await request.body())
        return JSONResponse({"path": request.url.path})


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.served.close()


async def from_rogue(ask: Any, play: Play, **options: Any) -> Any:
    """Ask a rogue by `call` or `stream`."""
    async with Rogue(play).serving() as url:
        return await ask(f"{url}/x", **options)


@pytest.fixture(autouse=True)
def _nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


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


def test_an_answer_that_is_no_stream_is_read_whole_or_not_at_all(echo: Echo) -> None:
    async def read(path: str, limit: int) -> Answer:
        async with transport() as http, http.events("GET", f"{echo.url}{path}") as source:
            return await source.read(limit)

    assert run(read("/page", 1000)).json() == {"path": "/page"}
    with pytest.raises(BodyTooLarge, match=f"{echo.url}/page sent more than 5 bytes"):
        run(read("/page", 5))
    assert run(read("/typed?status=404", 5)).body == EVENTS[:5]  # of a refusal the beginning says why


def test_an_answer_knows_its_type_and_its_json(echo: Echo) -> None:
    answer = run(call(f"{echo.url}/x"))
    assert (answer.status, answer.content_type, answer.json()) == (200, "application/json", {"path": "/x"})


# ---- what is sent ----


def test_a_body_is_ascii_json_also_with_halves_of_a_character(echo: Echo) -> None:
    run(call(f"{echo.url}/x", {"prompt": "你好 \ud83d"}))
    assert echo.bodies[0].isascii()
    assert json.loads(echo.bodies[0]) == {"prompt": "你好 \ud83d"}
    assert echo.requests[0].headers["content-type"] == "application/json"


def test_the_id_of_an_event_may_be_any_text(echo: Echo) -> None:
    async def main() -> None:
        async with transport() as http:
            await http.request("GET", f"{echo.url}/x", headers={"last-event-id": "événement 你好 7"})

    run(main())
    assert echo.requests[0].headers["last-event-id"].encode("latin-1").decode() == "événement 你好 7"


def test_no_proxy_sees_what_is_for_this_machine(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    behind = Echo()
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, echo.url)
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
    for ask in (stream, call):
        with pytest.raises(TimedOut, match=f"^{silent} went silent: no answer began .*; is the server alive"):
            run(ask(silent, deadlines=SOON))


def test_a_stream_that_falls_silent_is_a_connection_that_failed_after_what_it_said() -> None:
    pause = Pause()
    heard: list[bytes] = []

    async def listen(url: str) -> None:
        async with (
            transport(deadlines=Deadlines(silence=SILENCE)) as http,
            http.events("POST", f"{url}/chat/completions", {}) as source,
        ):
            async for piece in source.chunks():
                heard[:] = [*heard, piece]

    with (
        model_server(Script([chunk(content="first"), pause])) as server,
        pytest.raises(TimedOut, match="went silent: no further token for 0.05 s"),
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
        pytest.raises(ConnectionFailed, match=f"the connection to {server.url}/chat/completions failed: "),
    ):
        run(listen(server.url))


@pytest.mark.parametrize("ask", [call, stream])
def test_no_error_shows_the_user_or_the_query_of_an_address(ask: Any, silent: str) -> None:
    for where in ("127.0.0.1:9", silent.split("/")[2]):
        with pytest.raises(ConnectionFailed) as error:
            run(ask(f"http://user:secret-1@{where}/path?token=secret-2", deadlines=SOON))
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


# ---- deadlines ----


async def listen(url: str, deadlines: Deadlines, told: Callable[[Watch, bytes], object]) -> None:
    """Take a stream, and tell its watch of what each chunk means."""
    async with transport(deadlines=deadlines) as http, http.events("GET", url) as source:
        async for chunk in source.chunks(source.watch):
            told(source.watch, chunk)


def overdue(play: Play, told: Callable[[Watch, bytes], object] = lambda *_: None, **deadlines: Any) -> str:
    """What is said of the deadline that a stream misses."""

    async def missed() -> str:
        rogue = Rogue(play)
        async with rogue.serving() as url:
            with pytest.raises(TimedOut) as error:
                await listen(url, Deadlines(**deadlines), told)
            await rogue.left.wait()  # who is late is hung up on
            return str(error.value).replace(url, "it")

    return run(missed())


KEEP_ALIVES = endlessly(raw(b"", STREAM, length=False), b": keep-alive\n", 0.005)


@pytest.mark.parametrize(
    "again", [b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"]
)
def test_endless_interim_answers_are_no_answer(again: bytes) -> None:
    assert overdue(endlessly(b"", again), first_byte=0.2).startswith(
        "it went silent: no answer began within 0.2 s"
    )


def test_headers_one_byte_at_a_time_are_no_answer() -> None:
    assert "no answer began" in overdue(endlessly(b"HTTP/1.1 200 OK\r\nx: ", b"x", 0.005), first_byte=0.2)


def test_keep_alives_do_not_keep_one_waiting_for_the_first_token_forever() -> None:
    assert "no first token within 0.2 s" in overdue(KEEP_ALIVES, first_token=0.2)


def test_keep_alives_do_not_keep_one_waiting_for_the_next_token_forever() -> None:
    heard: list[bytes] = []

    def first_is_a_token(watch: Watch, chunk: bytes) -> None:
        heard.append(chunk)
        if len(heard) == 1:
            watch.token()

    assert "no further token for 0.2 s" in overdue(KEEP_ALIVES, first_is_a_token, silence=0.2)
    assert len(heard) > 1


def test_a_connection_without_a_byte_is_dead_whatever_the_model_may_take() -> None:
    assert "not one byte for 0.1 s" in overdue(hanging(raw(b"", STREAM, length=False)), idle=0.1)


def test_a_connection_with_keep_alives_is_not_dead() -> None:
    assert "no first token within 0.4 s" in overdue(KEEP_ALIVES, idle=0.2, first_token=0.4)


def test_tokens_that_never_end_are_ended() -> None:
    said = overdue(KEEP_ALIVES, lambda watch, _: watch.token(), total=0.3)
    assert "it was not done within 0.3 s" in said


def test_after_the_end_a_stream_is_hung_up_on_and_that_is_no_error() -> None:
    async def heard() -> int:
        seen: list[bytes] = []

        def ended(watch: Watch, chunk: bytes) -> None:
            seen.append(chunk)
            watch.finishing()

        rogue = Rogue(KEEP_ALIVES)
        async with rogue.serving() as url:
            await listen(url, Deadlines(last_words=0.1), ended)
            await rogue.left.wait()
        return len(seen)

    assert run(heard()) > 0


def test_the_time_in_which_nobody_took_a_chunk_is_not_the_servers_silence() -> None:
    async def slowly(url: str) -> bytes:
        taken = b""
        deadlines = Deadlines(silence=0.2, idle=0.2)
        async with transport(deadlines=deadlines) as http, http.events("GET", url) as source:
            async for chunk in source.chunks(source.watch):
                source.watch.token()
                taken += chunk
                asyncio.get_running_loop().call_later(0.3, (turn := asyncio.Event()).set)
                await turn.wait()
        return taken

    async def served() -> bytes:
        async with Rogue(playing(raw(b"", STREAM, length=False), EVENTS, EVENTS)).serving() as url:
            return await slowly(url)

    assert run(served()) == EVENTS * 2


def test_one_call_may_have_deadlines_of_its_own(silent: str) -> None:
    async def ask() -> None:
        async with transport() as http:
            await http.request("GET", silent, deadlines=SOON)

    with pytest.raises(TimedOut, match="no answer began within 0.05 s"):
        run(ask())


def test_a_server_that_never_shakes_hands_took_no_connection(silent: str) -> None:
    with pytest.raises(TimedOut, match="took no connection within 0.05 s"):
        run(call(silent.replace("http:", "https:"), deadlines=Deadlines(connect=SILENCE)))


def test_a_refusal_that_never_ends_is_known_by_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ERROR_SECONDS", 0.2)
    dripping = endlessly(raw(b"", status="429 Too Many Requests", length=False), b"x", 0.01)
    answer = run(from_rogue(call, dripping))
    assert answer.status == 429
    assert 0 < len(answer.body) < 30
    flood = endlessly(raw(b"", status="500 Oh", length=False), b"x" * 65536)
    assert len(run(from_rogue(call, flood)).body) == module.MAX_ERROR_BYTES


def test_a_refusal_whose_body_breaks_is_known_by_its_status_too() -> None:
    for body in (
        raw(b"half", "content-length: 100", status="503 Later", length=False),
        raw(b"junk", "content-encoding: gzip", status="503 Later"),
        raw(b"junk", "content-encoding: br", status="503 Later"),
    ):
        assert run(from_rogue(call, playing(body))).status == 503


def test_a_whole_answer_one_byte_at_a_time_has_the_time_of_a_first_token() -> None:
    with pytest.raises(TimedOut, match="no first token within 0.2 s"):
        run(from_rogue(call, endlessly(raw(length=False), b" ", 0.01), deadlines=Deadlines(first_token=0.2)))


# ---- redirects ----


def redirecting(status: int, location: str) -> Play:
    """One that points elsewhere from each address but /there."""

    async def play(asked: Asked, writer: asyncio.StreamWriter) -> None:
        here = asked.target.startswith("/there")
        writer.write(raw(b'{"path": "/there"}') if here else raw(b"", location, status=f"{status} Go"))

    return play


async def asked_twice(status: int, method: str, location: str) -> tuple[list[Asked], Answer]:
    rogue = Rogue(redirecting(status, location))
    body = {"prompt": "x"} if method == "POST" else None
    async with rogue.serving() as url, transport(headers=KEYS) as http:
        return rogue.asked, await http.request(method, f"{url}/here?v=1", body)


@pytest.mark.parametrize("status", [307, 308])
def test_a_post_is_sent_again_within_its_origin_as_it_was(status: int) -> None:
    asked, answer = run(asked_twice(status, "POST", "location: /there?v=1#part"))
    assert answer.json() == {"path": "/there"}
    assert [(one.method, one.target, one.body) for one in asked] == [
        ("POST", "/here?v=1", b'{"prompt": "x"}'),
        ("POST", "/there?v=1", b'{"prompt": "x"}'),
    ]
    assert all(one.headers.items() >= KEYS.items() for one in asked)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_get_follows_within_its_origin(status: int) -> None:
    asked, answer = run(asked_twice(status, "GET", "location: there"))
    assert answer.json() == {"path": "/there"}
    assert [one.method for one in asked] == ["GET", "GET"]


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_post_never_becomes_a_get(status: int) -> None:
    with pytest.raises(
        Redirected, match=rf"/here answered {status} and points to http://.*/there; .* use that address"
    ):
        run(asked_twice(status, "POST", "location: /there?token=secret"))


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_key_goes_to_another_origin(status: int, method: str) -> None:
    async def ask() -> str:
        other = Rogue(playing(raw()))
        async with other.serving() as there:
            with pytest.raises(Redirected) as error:
                await asked_twice(status, method, f"location: {there}/v1?token=secret")
        assert other.asked == []
        assert f"points to {there}/v1;" in str(error.value)
        return str(error.value)

    said = run(ask())
    assert "secret" not in said and KEY not in said and said.isprintable()


@pytest.mark.parametrize(
    "target",
    [
        "https://127.0.0.1/x",
        "http://localhost/x",
        "http://127.0.0.1.evil.test/x",
        "//evil.test/x",
        "http://u:p@evil.test/x",
        "ftp://127.0.0.1/x",
        "javascript:alert(1)",
        "http://[::1",
        "http://x:port/",
        "\\x1b[31mred",
        "http://evil.test/" + "a" * 5000,
        f"http://evil.test/{KEY}",
    ],
)
def test_a_strange_target_is_not_followed_and_told_in_one_line(target: str) -> None:
    with pytest.raises(Redirected) as error:
        run(asked_twice(302, "POST", f"location: {target}"))
    said = str(error.value)
    assert said.isprintable() and len(said) < 500
    assert KEY not in said and "u:p" not in said


def test_a_user_that_the_server_names_is_not_sent() -> None:
    async def ask() -> list[Asked]:
        rogue = Rogue(redirecting(307, "location: /there"))
        async with rogue.serving() as url, transport() as http:
            port = url.rpartition(":")[2]
            rogue.play = redirecting(307, f"location: http://thief:x@127.0.0.1:{port}/there")
            await http.request("GET", f"http://me:mine@127.0.0.1:{port}/here")
        return rogue.asked

    first, second = run(ask())
    assert first.headers["authorization"] == second.headers["authorization"] == "Basic bWU6bWluZQ=="


def test_a_circle_of_redirects_has_an_end() -> None:
    async def ask() -> int:
        rogue = Rogue(playing(raw(b"", "location: /again", status="307 Go")))
        async with rogue.serving() as url:
            with pytest.raises(Redirected, match="redirects more than 5 times"):
                await call(url)
        return len(rogue.asked)

    assert run(ask()) == 6


def test_a_stream_follows_too() -> None:
    async def play(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(
            raw(EVENTS, STREAM) if asked.target == "/y" else raw(b"", "location: y", status="308 Go")
        )

    source, body = run(from_rogue(stream, play))
    assert (source.is_event_stream, body) == (True, EVENTS)


def test_an_answer_that_points_nowhere_is_an_answer() -> None:
    assert run(from_rogue(call, playing(raw(b"choose", status="300 Many")))).status == 300
    assert run(from_rogue(call, playing(raw(status="302 Found")))).status == 302


# ---- cookies ----


def test_no_cookie_is_kept() -> None:
    async def ask() -> list[Asked]:
        cookie = "set-cookie: track=you; Path=/; Max-Age=9999"
        rogue = Rogue(playing(raw(b"", cookie)))
        async with rogue.serving() as url, transport() as http:
            await http.request("GET", url)
            rogue.play = redirecting(307, f"location: /there\r\n{cookie}")
            await http.request("GET", url)
        return rogue.asked

    asked = run(ask())
    assert len(asked) == 3
    assert not any("cookie" in one.headers for one in asked)


def test_the_headers_of_a_call_are_sent_with_that_call_only() -> None:
    async def ask() -> list[Asked]:
        rogue = Rogue(playing(raw()))
        async with rogue.serving() as url, transport(headers={"x-api-key": "always"}) as http:
            await http.request("POST", url, {}, {"x-call": "once"})
            async with http.events("GET", url, headers={"x-call": "twice"}):
                pass
            await http.request("GET", url)
        return rogue.asked

    asked = run(ask())
    assert [one.headers.get("x-call") for one in asked] == ["once", "twice", None]
    assert {one.headers["x-api-key"] for one in asked} == {"always"}
    assert asked[0].headers["content-type"] == "application/json"
    assert [one.headers["accept"] for one in asked] == ["*/*", "text/event-stream", "*/*"]


# ---- sizes ----


def test_nothing_packed_is_asked_for() -> None:
    async def ask() -> list[Asked]:
        rogue = Rogue(playing(raw()))
        async with rogue.serving() as url:
            await call(url)
            await stream(url)
        return rogue.asked

    assert {one.headers["accept-encoding"] for one in run(ask())} == {"identity"}


@pytest.mark.parametrize(("coding", "wbits"), [("gzip", 31), ("deflate", 15), ("deflate", -15)])
def test_a_stream_that_is_packed_all_the_same_comes_token_by_token(coding: str, wbits: int) -> None:
    async def heard() -> list[bytes]:
        taken = asyncio.Event()
        packing = zlib.compressobj(wbits=wbits)

        async def play(_: Asked, writer: asyncio.StreamWriter) -> None:
            writer.write(raw(b"", STREAM, f"content-encoding: {coding}", length=False))
            for number in range(5):
                taken.clear()
                writer.write(packing.compress(b"data: %d\n\n" % number) + packing.flush(zlib.Z_SYNC_FLUSH))
                await taken.wait()  # the next is written when this one is there
            writer.write(packing.flush())

        chunks: list[bytes] = []
        async with Rogue(play).serving() as url, transport() as http, http.events("GET", url) as source:
            async for chunk in source.chunks():
                chunks.append(chunk)
                taken.set()
        return chunks

    assert run(heard()) == [b"data: %d\n\n" % number for number in range(5)]


def bomb() -> Iterator[bytes]:
    """Ten megabytes of gzip that say ten gigabytes."""
    packing = zlib.compressobj(wbits=31)
    yield packing.compress(b"x") + packing.flush(zlib.Z_FULL_FLUSH)
    block = packing.compress(b"\0" * 2**26) + packing.flush(zlib.Z_FULL_FLUSH)
    for _ in range(160):
        yield block


async def capped_call(url: str, limit: int) -> None:
    async with transport() as http:
        await http.request("GET", url, limit=limit)


async def capped_stream(url: str, limit: int) -> None:
    async with transport() as http, http.events("GET", url) as source:
        async for _ in source.chunks(limit=limit):
            pass


@pytest.mark.parametrize(("ask", "memory"), [(capped_call, 2**27), (capped_stream, 2**22)])
def test_a_bomb_fills_no_memory_and_is_an_error(ask: Any, memory: int) -> None:
    pieces = list(bomb())

    async def held() -> int:
        head = raw(b"", STREAM, "content-encoding: gzip", length=False)
        async with Rogue(playing(head, *pieces)).serving() as url:
            tracemalloc.start()
            with pytest.raises(BodyTooLarge, match="sent more than 33,554,432 bytes"):
                await ask(url, 2**25)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return peak

    assert run(held()) < memory


@pytest.mark.parametrize("ask", [capped_call, capped_stream])
def test_a_body_has_an_end_also_where_nobody_ends_it(ask: Any) -> None:
    async def asked() -> None:
        async with Rogue(endlessly(raw(b"", STREAM, length=False), b": x\n" * 9999)).serving() as url:
            await ask(url, 10**6)

    with pytest.raises(BodyTooLarge, match="sent more than 1,000,000 bytes"):
        run(asked())


@pytest.mark.parametrize("ask", [call, stream])
def test_a_bomb_leaves_others_their_turn(ask: Any) -> None:
    async def served() -> int:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(other())
        body = gzip.compress(b"\0" * 2**24, mtime=0)
        await from_rogue(ask, playing(raw(body, STREAM, "content-encoding: gzip")))
        beside.cancel()
        return turns

    assert run(served()) > 2**24 // 65536


@pytest.mark.parametrize("ask", [call, stream])
@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        (raw(b"x", "content-encoding: br"), UndecodableBody, "'br', which nobody asked for"),
        (raw(b"x", "content-encoding: gzip, gzip"), UndecodableBody, "'gzip, gzip', which nobody"),
        (raw(b"junk", "content-encoding: gzip"), UndecodableBody, "the compressed body is broken"),
        (
            raw(gzip.compress(b"x" * 99, mtime=0)[:-9], "content-encoding: gzip"),
            ConnectionFailed,
            "broke off in the middle",
        ),
        (raw(b"x", "content-length: 2", length=False), ConnectionFailed, "peer closed connection"),
        (
            raw(b"x", "content-length: 2", "content-length: 3", length=False),
            ConnectionFailed,
            "the connection to",
        ),
        (
            raw(b"", "transfer-encoding: chunked", length=False) + b"zz\r\n",
            ConnectionFailed,
            "the connection to",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", ConnectionFailed, "the connection to"),
        (f"HTTP/1.1 {KEY}\x1b[31m\r\n\r\n".encode(), ConnectionFailed, "the connection to"),
        (b"", ConnectionFailed, "disconnected without sending a response"),
        (raw(b"", "x: " + "x" * 200_000), ConnectionFailed, "the connection to"),
        (raw(b"", *["x: y"] * 50_000), ConnectionFailed, "the connection to"),
    ],
)
def test_what_is_no_answer_is_an_error_in_one_line(
    ask: Any, body: bytes, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as raised:
        run(from_rogue(ask, playing(body), headers=KEYS))
    assert str(raised.value).isprintable() and len(str(raised.value)) < 700
    assert KEY not in str(raised.value)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": "\\ud83d"}', {"a": "\ud83d"}),
        (b'{"a": "\\u0000\x7f"}', {"a": "\0\x7f"}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        ('{"é": 1}'.encode("latin-1"), {"\ufffd": 1}),
        (b'{"a": "\0"}', None),
        (b'{"a": "line\nbreak"}', None),
        (b"[" * 10**6, None),
        (b'{"a":' * 10**5 + b"1" + b"}" * 10**5, None),
        (b"9" * 10**6, None),
        (b"1e999", None),
        (b"NaN", None),
        (b"", None),
    ],
    ids=str,
)
def test_json_of_a_stranger_is_a_value_or_none(body: bytes, value: object) -> None:
    assert run(from_rogue(call, playing(raw(body)))).json() == value


# ---- proxies and certificates ----


class Proxy(Rogue):
    """A forward and CONNECT proxy that knows where the hosts are that nobody else knows."""

    def __init__(self, *ports: str, status: str = "200 Connection established") -> None:
        super().__init__(self._pass_on)
        self._ports = [int(url.rpartition(":")[2]) for url in ports]
        self._status = status

    async def _pass_on(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        if not self._status.startswith("200"):
            writer.write(raw(status=self._status))
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._ports[0])
        if asked.method == "CONNECT":
            writer.write(f"HTTP/1.1 {self._status}\r\n\r\n".encode())
        else:
            head = [f"{asked.method} /{asked.target.split('/', 3)[3]} HTTP/1.1"]
            head += [f"{name}: {value}" for name, value in asked.headers.items() if name]
            back.write("\r\n".join([*head, "", ""]).encode() + asked.body)
        ways = [asyncio.create_task(_pour(asked.reader, back)), asyncio.create_task(_pour(there, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            back.transport.abort()
            await asyncio.gather(*ways, return_exceptions=True)


async def _pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()


@dataclass
class Trust:
    """A certificate authority of our own, and a server's certificate by it."""

    file: Path
    server: ssl.SSLContext


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    authority, file = trustme.CA(), tmp_path_factory.mktemp("trust") / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "a-model-server.test").configure_cert(server)
    return Trust(file, server)


SECURE = "https://a-model-server.test/v1?key=secret"


def test_https_goes_through_the_proxy_unseen(trust: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> tuple[Answer, list[Asked], list[Asked]]:
        rogue = Rogue(playing(raw(b'{"a": 1}')), trust.server)
        async with rogue.serving() as there:
            proxy = Proxy(there)
            async with proxy.serving() as url:
                monkeypatch.setenv("HTTPS_PROXY", url.replace("//", "//me:mine@"))
                monkeypatch.setenv("SSL_CERT_FILE", str(trust.file))
                return await call(SECURE, {"prompt": "x"}, headers=KEYS), proxy.asked, rogue.asked

    answer, seen, asked = run(ask())
    assert answer.json() == {"a": 1}
    assert [(one.method, one.target) for one in seen] == [("CONNECT", "a-model-server.test:443")]
    assert seen[0].headers["proxy-authorization"] == "Basic bWU6bWluZQ=="
    assert KEY not in str(seen)
    assert asked[0].headers["x-api-key"] == KEY
    assert "proxy-authorization" not in asked[0].headers


def test_http_goes_through_the_proxy_as_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> tuple[bytes, list[Asked]]:
        async with Rogue(playing(raw(EVENTS, STREAM))).serving() as there:
            proxy = Proxy(there)
            async with proxy.serving() as url:
                monkeypatch.setenv("ALL_PROXY", url)
                return (await stream("http://a-model-server.test/v1"))[1], proxy.asked

    body, seen = run(ask())
    assert body == EVENTS
    assert [one.target for one in seen] == ["http://a-model-server.test/v1"]


@pytest.mark.parametrize("no_proxy", ["a-model-server.test", ".test", "*"])
def test_no_proxy_is_asked_for_a_host_that_is_excepted(
    no_proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> list[Asked]:
        proxy = Proxy("http://127.0.0.1:9")
        async with proxy.serving() as url:
            monkeypatch.setenv("HTTP_PROXY", url)
            monkeypatch.setenv("NO_PROXY", no_proxy)
            with pytest.raises(ConnectionFailed):
                await call("http://a-model-server.test/v1", deadlines=Deadlines(connect=2))
        return proxy.asked

    assert run(ask()) == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1.2.3", "[::1]", "[::ffff:127.0.0.1]", "LOCALHOST."]
)
def test_this_machine_is_never_asked_through_a_proxy(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> list[Asked]:
        proxy = Proxy("http://127.0.0.1:9")
        async with proxy.serving() as url:
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
                monkeypatch.setenv(name, url)
            for scheme in ("http", "https"):
                with suppress(ConnectionFailed):
                    await call(f"{scheme}://{host}:9/x", deadlines=Deadlines(connect=1))
        return proxy.asked

    assert run(ask()) == []


def test_a_proxy_that_refuses_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> None:
        async with Proxy("http://127.0.0.1:9", status="407 Proxy Authentication Required").serving() as url:
            monkeypatch.setenv("HTTPS_PROXY", url)
            await call(SECURE)

    said = "no connection to https://a-model-server.test/v1: the proxy of HTTPS_PROXY refused: 407 Proxy"
    with pytest.raises(ConnectionFailed, match=said):
        run(ask())


def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://me:mine@127.0.0.1:9")
    with pytest.raises(ConnectionFailed, match=r"a proxy is set by HTTPS_PROXY") as error:
        run(call(SECURE))
    assert "mine" not in str(error.value)


def test_a_proxy_that_says_nothing_made_no_connection(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", silent)
    with pytest.raises(TimedOut, match="took no connection within 0.1 s"):
        run(call(SECURE, deadlines=Deadlines(connect=0.1)))


@pytest.mark.parametrize(
    "value",
    ["http://me:mine@[::1", "ftp://me:mine@host", "http://me:mine@host:port", "socks5://me:mine@127.0.0.1:9"],
)
@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY"])
def test_a_malformed_proxy_is_bad_input_in_one_line(
    name: str, value: str, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(
        BadInput, match=f"proxy of {name} (cannot be used; expected|needs a package)"
    ) as error:
        run(call("http://a-model-server.test/v1"))
    assert "mine" not in str(error.value) and str(error.value).isprintable()
    assert run(call(f"{echo.url}/x")).status == 200  # it does not concern this machine


def test_a_server_of_ones_own_authority_is_trusted_by_its_file(
    trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(trust.file))

    async def ask() -> Answer:
        async with Rogue(playing(raw(b"{}")), trust.server).serving() as url:
            return await call(url, headers=KEYS)

    assert run(ask()).json() == {}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl names the file in the folder")
def test_a_server_of_ones_own_authority_is_trusted_by_its_folder(
    trust: Trust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # OpenSSL finds a certificate in a folder by the hash of its subject.
    command = ["openssl", "x509", "-noout", "-hash", "-in", str(trust.file)]
    subject = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    (tmp_path / f"{subject}.0").write_text(trust.file.read_text())
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))

    async def ask() -> Answer:
        async with Rogue(playing(raw(b"{}")), trust.server).serving() as url:
            return await call(url)

    assert run(ask()).json() == {}


def test_a_certificate_that_nobody_vouches_for_is_said_in_one_line_and_no_key_is_sent(trust: Trust) -> None:
    async def ask() -> list[Asked]:
        rogue = Rogue(playing(raw()), trust.server)
        async with rogue.serving() as url:
            for ask in (call, stream):
                said = "certificate is not trusted: .*; .* in SSL_CERT_FILE"
                with pytest.raises(ConnectionFailed, match=said) as error:
                    await ask(f"{url}/v1?key=secret", headers=KEYS)
                assert "\n" not in str(error.value) and "secret" not in str(error.value)
        return rogue.asked

    assert run(ask()) == []


def test_a_certificate_of_another_host_is_said_too(trust: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(trust.file))

    async def ask() -> None:
        async with Rogue(playing(raw()), trust.server).serving() as url:
            await call(url.replace("127.0.0.1", "localhost"))

    with pytest.raises(ConnectionFailed, match="certificate is not trusted: Hostname mismatch"):
        run(ask())


def test_a_file_of_certificates_that_is_none_is_bad_input_and_http_works_without(
    tmp_path: Path, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in (tmp_path / "nowhere.pem", tmp_path / "junk.pem"):
        if file.name == "junk.pem":
            file.write_text("no certificate")
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        with pytest.raises(BadInput, match="SSL_CERT_FILE or SSL_CERT_DIR name cannot be read: .*; correct"):
            run(call(SECURE))
        assert run(call(f"{echo.url}/x")).status == 200


def test_a_server_without_tls_is_no_connection(echo: Echo) -> None:
    with pytest.raises(ConnectionFailed, match="no connection to https://127.0.0.1") as error:
        run(call(echo.url.replace("http:", "https:")))
    assert "\n" not in str(error.value)
