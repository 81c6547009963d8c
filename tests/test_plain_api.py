"""One message, one answer, as a browser's EventSource reads it: every event once, whatever happens on the way."""

from __future__ import annotations

import itertools
import json
import re
import socket
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import httpx_sse
import pytest
from starlette.applications import Starlette
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from jupyter_ssechat import demo
from jupyter_ssechat.errors import GatewayError
from jupyter_ssechat.gateway.audience import OnDisconnect
from jupyter_ssechat.gateway.conversations import Conversations
from jupyter_ssechat.gateway.envelope import refusal
from jupyter_ssechat.gateway.plain_api import PlainAPI
from jupyter_ssechat.gateway.server import Gateway
from jupyter_ssechat.gateway.settings import Settings
from jupyter_ssechat.message import filtered, finished
from jupyter_ssechat.model_server import ModelServer
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.request import Request
from jupyter_ssechat.sse import ServerSentEvent, SSEDecoder
from jupyter_ssechat.upstream import Demo, Upstream

from .asking import asking, message_of, patches_of
from .servers import CUT, CuttingProxy, Pause, Script, Served, answer, chunk, finish, model_server

STREAM = "/ai/chat/stream"


class Caller:
    """A caller of the plain addresses at `url`."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url
        self.headers = {"authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.Client(base_url=url, timeout=20, trust_env=False)

    def get(self, path: str, last: str | None = None, **query: str) -> httpx.Response:
        headers = self.headers | ({} if last is None else {"last-event-id": last})
        return self.http.get(f"{STREAM}{path}", params=query or None, headers=headers)

    def init(self, **body: Any) -> str:
        answered = self.http.post(f"{STREAM}/init", json=body, headers=self.headers)
        assert answered.status_code == 200, answered.text
        return answered.json()["sessionId"]

    def events(self, path: str = "", last: str | None = None, **query: str) -> list[ServerSentEvent]:
        answered = self.get(path, last, **query)
        assert answered.status_code == 200, answered.text
        return unretried(SSEDecoder().feed(answered.content))

    @contextmanager
    def reading(self, path: str) -> Iterator[Reading]:
        with self.http.stream("GET", f"{STREAM}{path}", headers=self.headers) as response:
            yield Reading(response)


class Reading:
    """A stream in the course of being read."""

    def __init__(self, response: httpx.Response) -> None:
        self._chunks = response.iter_raw()
        self._decoder = SSEDecoder()
        self.events: list[ServerSentEvent] = []

    def until(self, text: str) -> None:
        while text not in text_of(self.events):
            self.events += unretried(self._decoder.feed(next(self._chunks)))

    def to_end(self) -> list[ServerSentEvent]:
        for piece in self._chunks:
            self.events += unretried(self._decoder.feed(piece))
        return self.events


def unretried(events: list[ServerSentEvent]) -> list[ServerSentEvent]:
    """The events without the line that begins each connection."""
    return [event._replace(retry=None) for event in events]


def text_of(events: list[ServerSentEvent], name: str = "message") -> str:
    return "".join(json.loads(event.data)["content"] for event in events if event.event == name)


def data_of(events: list[ServerSentEvent], name: str) -> list[Any]:
    return [json.loads(event.data) for event in events if event.event == name]


def session_of(event: ServerSentEvent) -> str:
    return event.id.rpartition("-")[0]


@contextmanager
def gateway_to(upstream: Upstream, **options: Any) -> Iterator[Caller]:
    with Gateway(upstream, **options) as gateway:
        caller = Caller(gateway.url, gateway.token)
        try:
            yield caller
        finally:
            caller.http.close()


@contextmanager
def plain_api(upstream: Upstream, now: Callable[[], float] = time.time, **options: Any) -> Iterator[Caller]:
    """The plain addresses alone, with settings of their own."""

    async def refuse(_: HTTPRequest, error: Exception) -> Response:
        assert isinstance(error, GatewayError)
        return refusal(error)

    conversations = Conversations(upstream, settings=Settings(**options), now=now)
    routes = PlainAPI(conversations, keep_alive=15.0).routes()
    served = Served(Starlette(routes=routes, exception_handlers={GatewayError: refuse}))
    caller = Caller(served.url)
    try:
        yield caller
    finally:
        caller.http.close()
        served.close()


@pytest.fixture
def demo_caller() -> Iterator[Caller]:
    with gateway_to(Demo(pace=0)) as caller:
        yield caller


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds


class Scripted:
    """An upstream that yields these patches at once."""

    name = "scripted"

    def __init__(self, *steps: list[Patch]) -> None:
        self.steps = steps
        self.asked: list[Request] = []

    async def stream(self, request: Request) -> AsyncGenerator[list[Patch]]:
        self.asked.append(request)
        for step in self.steps:
            yield step

    async def models(self) -> list[str]:
        return []

    async def aclose(self) -> None:
        """Nothing to let go of."""


def says(text: str) -> Patch:
    return Patch("response/content", "APPEND", text)


# ---- asking ----


def test_an_answer_is_content_events_its_thinking_is_named_and_close_ends_it(demo_caller: Caller) -> None:
    events = demo_caller.events(message="hello")
    script = demo.script("hello")
    assert text_of(events) == "".join(token.text for token in script if token.kind == "content")
    assert text_of(events, "thinking") == "".join(token.text for token in script if token.kind == "thinking")
    assert [name for name, _ in itertools.groupby(event.event for event in events)] == [
        "ready",
        "thinking",
        "message",
        "close",
    ]
    assert data_of(events, "close") == [{"status": "finished", "finish_reason": "stop"}]


def test_every_event_has_an_id_of_its_own_that_names_its_stream(demo_caller: Caller) -> None:
    events = demo_caller.events(message="hello")
    [ready] = data_of(events, "ready")
    assert {session_of(event) for event in events} == {ready["sessionId"]}
    assert len({event.id for event in events}) == len(events)


@pytest.mark.parametrize("query", [{}, {"message": ""}, {"message": " \n"}, {"prompt": "x"}])
def test_an_address_without_a_message_is_refused_by_name(demo_caller: Caller, query: dict[str, str]) -> None:
    answered = demo_caller.get("", **query)
    assert (answered.status_code, answered.json()["code"]) == (422, 42200)
    assert answered.json()["msg"].startswith("message: ")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "message"),
        ({"message": ""}, "message"),
        ({"message": None}, "message"),
        ({"message": 3}, "message"),
        ({"message": "x", "colour": "red"}, "colour"),
    ],
)
def test_a_body_without_a_message_is_refused_by_name(
    demo_caller: Caller, body: dict[str, Any], field: str
) -> None:
    answered = demo_caller.http.post(f"{STREAM}/init", json=body, headers=demo_caller.headers)
    assert (answered.status_code, answered.json()["code"]) == (422, 42200)
    assert answered.json()["msg"].startswith(f"{field}: ")


def test_the_model_and_its_thinking_can_be_chosen() -> None:
    upstream = Scripted(finished())
    with gateway_to(upstream) as caller:
        caller.events(message="a", model="m", thinking="false")
        caller.events(f"/{caller.init(message='b', thinking=False)}")
        caller.events(message="c", unknown="x")
        assert caller.get("", message="d", thinking="no").json()["msg"].startswith("thinking: ")
    assert [(one.prompt, one.model, one.thinking) for one in upstream.asked] == [
        ("a", "m", False),
        ("b", None, False),
        ("c", None, True),
    ]


def test_a_head_generates_nothing() -> None:
    upstream = Scripted(finished())
    with gateway_to(upstream) as caller:
        address = f"{STREAM}?message=x"
        assert caller.http.head(address, headers=caller.headers).status_code == 405
    assert upstream.asked == []


def test_the_token_may_stand_in_the_address_and_one_is_needed() -> None:
    with gateway_to(Scripted(finished()), token="a-token-of-my-own") as caller:
        assert caller.http.get(f"{STREAM}?message=x").status_code == 401
        assert caller.http.get(f"{STREAM}?message=x&token=another").status_code == 401
        address = f"{STREAM}?message=x&token=a-token-of-my-own"
        assert caller.http.get(address).status_code == 200


# ---- sessions ----


def test_init_answers_with_the_session_and_nothing_else(demo_caller: Caller) -> None:
    answered = demo_caller.http.post(f"{STREAM}/init", json={"message": "hello"}, headers=demo_caller.headers)
    assert re.fullmatch(r'\{"sessionId":"[\w-]{20,}"\}', answered.text)
    assert answered.headers["content-type"] == "application/json"


def test_a_session_is_read_without_the_token_and_init_needs_it(demo_caller: Caller) -> None:
    session = demo_caller.init(message="hello")
    assert demo_caller.http.get(f"{STREAM}/{session}").status_code == 200
    assert demo_caller.http.post(f"{STREAM}/init", json={"message": "x"}).status_code == 401


def test_the_first_reader_of_a_session_begins_the_answer_and_another_one_reads_the_same() -> None:
    pause = Pause()
    with (
        model_server(Script([chunk(content="one"), pause, chunk(content=" two"), finish()])) as server,
        gateway_to(ModelServer(server.url)) as caller,
    ):
        session = caller.init(message="hello")
        assert server.requests == []
        with caller.reading(f"/{session}") as one:
            one.until("one")
            with caller.reading(f"/{session}") as two:
                two.until("one")
                pause.end()
                assert one.to_end() == two.to_end()
        assert text_of(one.events) == "one two"
        assert len(server.requests) == 1


@pytest.mark.parametrize("path", ["/unknown", "/init", "/a-1"])
def test_an_unknown_session_is_not_found(demo_caller: Caller, path: str) -> None:
    answered = demo_caller.get(path)
    assert (answered.status_code, answered.json()["data"]["biz_code"]) == (404, 26)


def test_a_session_that_nobody_reads_expires() -> None:
    upstream = Scripted(finished())
    clock = Clock()
    with plain_api(upstream, clock.now) as caller:
        session = caller.init(message="hello")
        clock.seconds = 301.0
        answered = caller.get(f"/{session}")
        assert (answered.status_code, answered.json()["data"]["biz_code"]) == (410, 27)
    assert upstream.asked == []


def test_a_stream_stands_while_it_runs_and_for_its_time_after_that() -> None:
    pause = Pause()
    clock = Clock()
    with (
        model_server(Script([chunk(content="a"), pause, chunk(content="b"), finish()])) as server,
        plain_api(ModelServer(server.url), clock.now, session_seconds=0.05) as caller,
    ):
        session, later = caller.init(message="hello"), caller.init(message="later")
        with caller.reading(f"/{session}") as reading:
            reading.until("a")
            clock.seconds = 100.0
            assert caller.http.get(f"{STREAM}/{later}").status_code == 410
            pause.end()
            events = reading.to_end()
        assert text_of(events) == "ab"
        assert text_of(caller.events(f"/{session}")) == "ab"
        last = events[-1].id
        assert caller.get("", last, message="hello").status_code == 204
        clock.seconds = 200.0
        assert caller.get(f"/{session}").status_code == 410
        assert caller.get("", last, message="hello").status_code == 410
        assert len(server.requests) == 1


def test_chats_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jupyter_ssechat.gateway.chats.MOST_CHATS", 2)
    with gateway_to(Scripted(finished())) as caller:
        sessions = [caller.init(message="hello") for _ in range(2)]
        answered = caller.get("", message="one more")
        assert (answered.status_code, answered.json()["code"]) == (429, 42900)
        assert answered.headers["retry-after"] == "1"
        assert caller.get(f"/{sessions[0]}").status_code == 200


# ---- reconnecting ----


def test_a_reader_who_names_its_last_event_gets_exactly_those_after_it() -> None:
    words = ["Hé", "llo", " 🎉\n", "data: x\r", "\u2028", "end"]
    upstream = Scripted(*([says(word)] for word in words), finished())
    with gateway_to(upstream) as caller:
        whole = caller.events(message="hello")
        assert [event.event for event in whole] == ["ready", *("message" for _ in words), "close"]
        for number, event in enumerate(whole[:-1], 1):
            for rest in (
                caller.events("", event.id, message="hello"),
                caller.events("", message="hello", lastEventId=event.id),
                caller.events(f"/{session_of(event)}", event.id),
            ):
                assert {event.event for event in rest} <= {"message", "close"}
                assert text_of(rest) == text_of(whole[number:])
                assert rest[-1].data == whole[-1].data
    assert len(upstream.asked) == 1


def test_a_stream_that_was_received_whole_answers_204() -> None:
    upstream = Scripted([says("a"), *finished()])
    with gateway_to(upstream) as caller:
        last = caller.events(message="hello")[-1].id
        for answered in (
            caller.get("", last, message="hello"),
            caller.get("", message="hello", lastEventId=last),
            caller.get(f"/{last.rpartition('-')[0]}", last),
        ):
            assert (answered.status_code, answered.content) == (204, b"")
    assert len(upstream.asked) == 1


@pytest.mark.parametrize(
    "last",
    [
        "{id}-99",
        "unknown-0.0.0.0.0.text",
        "{id}",
        "{id}-",
        "{id}-0.0.0.0.0.end",
        "{id}-1_0.0.0.0.0.text",
        "-",
        "{id}-99999999999999999999.0.0.0.0.text",
    ],
)
def test_an_event_that_never_was_is_not_found_and_generates_nothing(last: str) -> None:
    upstream = Scripted([says("a"), *finished()])
    with gateway_to(upstream) as caller:
        session = caller.init(message="hello")
        caller.events(f"/{session}")
        for path in ("", f"/{session}"):
            answered = caller.get(path, last.format(id=session), message="hello")
            assert (answered.status_code, answered.json()["data"]["biz_code"]) == (404, 26)
    assert len(upstream.asked) == 1


def test_the_cursor_of_another_stream_is_not_found(demo_caller: Caller) -> None:
    other = demo_caller.events(message="hello")[0].id
    assert demo_caller.get(f"/{demo_caller.init(message='x')}", other).status_code == 404


def test_an_empty_cursor_is_none(demo_caller: Caller) -> None:
    assert demo_caller.events("", "", message="hello")[0].event == "ready"


# ---- how it ends ----


def test_a_refusal_of_the_model_server_is_an_error_event_and_then_close() -> None:
    with (
        model_server(Script(status=401, body={"error": {"message": "bad key"}})) as server,
        gateway_to(ModelServer(server.url)) as caller,
    ):
        events = caller.events(message="x")
    [said] = data_of(events, "error")
    assert said["error"]["type"] == "authentication_error" and "bad key" in said["error"]["message"]
    assert [event.event for event in events] == ["ready", "error", "close"]
    assert data_of(events, "close") == [{"status": "failed", "finish_reason": "error"}]


def test_an_answer_that_is_cut_keeps_its_text_and_says_so() -> None:
    with (
        model_server(Script([chunk(content="half"), CUT])) as server,
        gateway_to(ModelServer(server.url)) as caller,
    ):
        events = caller.events(message="x")
    assert text_of(events) == "half"
    [said] = data_of(events, "error")
    assert said["error"]["type"] == "upstream_interrupted"
    assert said["error"]["message"].endswith("; ask again")


def test_text_that_is_recalled_is_replaced_as_a_whole() -> None:
    steps = (
        [Patch("response/thinking_content", "APPEND", "Hm")],
        [says("bad")],
        [Patch("response/content", "SET", "I cannot say that.")],
        [Patch("response/thinking_content", "SET", "")],
        [Patch("response/status", "SET", "CONTENT_FILTER")],
    )
    with gateway_to(Scripted(*steps)) as caller:
        events = caller.events(message="x")
    assert [(event.event, json.loads(event.data)) for event in events[1:]] == [
        ("thinking", {"content": "Hm"}),
        ("message", {"content": "bad"}),
        ("replace", {"content": "I cannot say that."}),
        ("replace_thinking", {"content": ""}),
        ("close", {"status": "filtered", "finish_reason": "content_filter"}),
    ]


def test_half_a_character_is_sent_as_it_came() -> None:
    with gateway_to(Scripted([says("\ud83c")], [says("\udf89")], finished())) as caller:
        events = caller.events(message="x")
    assert text_of(events).encode("utf-16", "surrogatepass").decode("utf-16") == "🎉"


def test_a_gateway_that_closes_says_so() -> None:
    pause = Pause()
    with model_server(Script([chunk(content="a"), pause])) as server:
        gateway = Gateway(ModelServer(server.url))
        caller = Caller(gateway.url, gateway.token)
        with caller.reading("?message=x") as reading:
            reading.until("a")
            gateway.close()
            [said] = data_of(reading.to_end(), "error")
        caller.http.close()
    assert said["error"]["type"] == "gateway_closed"


# ---- readers who leave ----


@pytest.mark.parametrize("begun", [False, True])
def test_an_answer_that_nobody_reads_is_cancelled_after_the_grace(begun: bool) -> None:
    pause = Pause()
    script = Script([chunk(content="a"), pause] if begun else [pause])
    with (
        model_server(script) as server,
        plain_api(ModelServer(server.url), when_left=OnDisconnect("cancel", 0.05)) as caller,
    ):
        session = caller.init(message="hello")
        with caller.reading(f"/{session}"):
            assert pause.reached.wait(10)
        assert server.left.wait(10)
        events = caller.events(f"/{session}")
        assert text_of(events) == ("a" if begun else "")
        assert data_of(events, "error") == [
            {
                "error": {
                    "type": "abandoned",
                    "message": "the answer was cancelled 0.05 s after its last reader had left; ask again",
                }
            }
        ]
        assert caller.get("", events[-1].id, message="hello").status_code == 204
        assert len(server.requests) == 1


def test_a_reader_who_comes_back_within_the_grace_keeps_the_answer_alive() -> None:
    pause = Pause()
    with (
        model_server(Script([chunk(content="a"), pause, chunk(content="b"), finish()])) as server,
        gateway_to(ModelServer(server.url)) as caller,
    ):
        with caller.reading("?message=hello") as reading:
            reading.until("a")
        last = reading.events[-1].id
        with caller.http.stream(
            "GET", f"{STREAM}?message=hello", headers={**caller.headers, "last-event-id": last}
        ) as response:
            pause.end()
            rest = Reading(response).to_end()
        assert text_of(rest) == "b"
        assert [event.event for event in reading.events + rest] == ["ready", "message", "message", "close"]
        assert len(server.requests) == 1
        figures = caller.http.get("/metrics", headers=caller.headers).text
    for line in (
        'ssechat_streams_total{api="plain",outcome="ok"} 1.0',
        'ssechat_disconnects_total{api="plain"} 1.0',
        'ssechat_readers{api="plain"} 0.0',
        "ssechat_resumes_total 1.0",
    ):
        assert line in figures.splitlines()


# ---- on the wire ----


def raw(url: str, path: str, *headers: str) -> tuple[bytes, bytes]:
    """The head and the body of an answer, as they came over a socket."""
    place = urlsplit(url)
    lines = [f"GET {path} HTTP/1.0", f"Host: {place.netloc}", *headers, "", ""]
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=20) as connection:
        connection.sendall("\r\n".join(lines).encode())
        received = b""
        while piece := connection.recv(65536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body


def test_the_bytes_are_those_of_the_specification() -> None:
    with gateway_to(Scripted([says("a\u2028b")], finished())) as caller:
        session = caller.init(message="x")
        head, body = raw(caller.url, f"{STREAM}/{session}")
    begin, had, end = re.findall("^id: (.*)$", body.decode(), re.M)
    assert b"200 OK" in head.splitlines()[0]
    for line in (b"content-type: text/event-stream; charset=utf-8", b"cache-control: no-store"):
        assert line in head.lower().splitlines()
    assert body.decode() == (
        "retry: 1000\n"
        f'event: ready\nid: {begin}\ndata: {{"sessionId":"{session}"}}\n\n'
        f'id: {had}\ndata: {{"content":"a\\u2028b"}}\n\n'
        f'event: close\nid: {end}\ndata: {{"status":"finished","finish_reason":"stop"}}\n\n'
    )


def test_silence_is_filled_with_comments_of_one_line() -> None:
    pause = Pause()
    with (
        model_server(Script([chunk(content="a"), pause, finish()])) as server,
        gateway_to(ModelServer(server.url), settings=Settings(keep_alive=0.05)) as caller,
        caller.http.stream("GET", f"{STREAM}?message=x", headers=caller.headers) as response,
    ):
        received = b""
        for piece in response.iter_raw():
            received += piece
            if received.count(b"\n: keep-alive\n") >= 2:
                pause.end()
    assert b": keep-alive\n\n" not in received
    assert text_of(SSEDecoder().feed(received)) == "a"


def test_other_clients_read_it_without_phantoms() -> None:
    pause = Pause()
    with (
        model_server(Script([chunk(content="a"), pause, chunk(content="b"), finish()])) as server,
        gateway_to(ModelServer(server.url), settings=Settings(keep_alive=0.05)) as caller,
        httpx_sse.connect_sse(caller.http, "GET", f"{STREAM}?message=x", headers=caller.headers) as source,
    ):
        found: list[tuple[str, Any]] = []
        for event in source.iter_sse():
            found.append((event.event, json.loads(event.data)))
            if event.event == "message":
                pause.end()
    assert [name for name, _ in found] == ["ready", "message", "message", "close"]
    assert [data["content"] for name, data in found if name == "message"] == ["a", "b"]


# ---- by our own dialect ----


@pytest.mark.parametrize("path", [STREAM, f"{STREAM}/init"])
def test_our_own_dialect_reads_it_end_to_end(path: str) -> None:
    with Gateway(Demo(pace=0)) as gateway:
        upstream = ModelServer(f"{gateway.url}{path}", dialect="plain_content", api_key=gateway.token)
        message = message_of(patches_of(upstream, asking("hello")))
    script = demo.script("hello")
    assert message.content == "".join(token.text for token in script if token.kind == "content")
    assert message.thinking == "".join(token.text for token in script if token.kind == "thinking")
    assert (message.status, message.finish_reason) == ("finished", "stop")


def test_a_failure_reaches_our_own_dialect_with_its_type() -> None:
    with (
        model_server(Script([chunk(content="half"), CUT])) as server,
        Gateway(ModelServer(server.url)) as gateway,
    ):
        upstream = ModelServer(f"{gateway.url}{STREAM}", dialect="plain_content", api_key=gateway.token)
        message = message_of(patches_of(upstream))
    assert (message.status, message.content) == ("failed", "half")
    assert message.error is not None and message.error.type == "upstream_interrupted"


def test_text_that_is_recalled_is_recalled_for_our_own_dialect_too() -> None:
    steps = [says("bad")], [Patch("response/content", "SET", "Sorry."), *filtered()]
    with Gateway(Scripted(*steps)) as gateway:
        upstream = ModelServer(f"{gateway.url}{STREAM}", dialect="plain_content", api_key=gateway.token)
        message = message_of(patches_of(upstream))
    assert (message.status, message.content) == ("filtered", "Sorry.")


@pytest.mark.parametrize("path", [STREAM, f"{STREAM}/init"])
@pytest.mark.parametrize("cut", [700, 1500, 4000, 9000])
def test_our_own_dialect_takes_up_a_stream_that_is_cut(path: str, cut: int) -> None:
    words = [f"{number}é🎉 " for number in range(200)]
    with model_server(answer(*words)) as server, Gateway(ModelServer(server.url)) as gateway:
        streams = itertools.count()
        proxy = CuttingProxy(
            urlsplit(gateway.url).port or 0, lambda _: cut if next(streams) in (0, 1, 2) else None
        )
        upstream = ModelServer(f"{proxy.url}{path}", dialect="plain_content", api_key=gateway.token)
        gateway.access.port = proxy.port  # the name by which it is called through the proxy
        try:
            message = message_of(patches_of(upstream, asking(quote("hello"))))
        finally:
            proxy.close()
        assert (message.status, message.content) == ("finished", "".join(words))
        assert len(server.requests) == 1
