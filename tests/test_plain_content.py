"""The wire of a browser's EventSource: asked by GET or in two steps, taken up by the last id, never told twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from jupyter_ssechat import demo
from jupyter_ssechat.dialects import Body, Call, Manners, PlainContent
from jupyter_ssechat.errors import BadInput, InvalidData, UpstreamError
from jupyter_ssechat.exchange import Patience
from jupyter_ssechat.gateway.server import Gateway
from jupyter_ssechat.message import Message
from jupyter_ssechat.model_server import ModelServer, dialect_of
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.request import Request, Turn
from jupyter_ssechat.sse import ServerSentEvent, encode
from jupyter_ssechat.upstream import Demo

from .servers import CuttingProxy, Served

T = TypeVar("T")
ENDPOINT = "http://h/ai/chat/stream"
QUESTION = Request(turns=(Turn("user", "Why? & how – 😀"),))
QUICK = Patience(first=0.01, longest=5.0)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def event(data: str, name: str = "message", id: str = "") -> ServerSentEvent:
    return ServerSentEvent(name, data, id)


def piece(text: str, id: str = "", name: str = "message") -> ServerSentEvent:
    return event(f'{{"content":"{text}"}}', name, id)


def shown(patches: list[Patch], message: Message | None = None) -> Message:
    message = message or Message()
    for patch in patches:
        message.apply(patch)
    return message


def read(*events: ServerSentEvent, reader: PlainContent | None = None) -> Message:
    reader = reader or PlainContent()
    return shown([patch for one in events for patch in reader.feed(one)] + reader.finish())


# ---- asking ----


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://h", ENDPOINT),
        ("http://h/?token=t", f"{ENDPOINT}?token=t"),
        (f"{ENDPOINT}/", ENDPOINT),
        (f"{ENDPOINT}/init", f"{ENDPOINT}/init"),
        ("http://h/my/stream", "http://h/my/stream"),
    ],
)
def test_an_address_is_completed_and_its_query_stays(url: str, endpoint: str) -> None:
    assert PlainContent.endpoint(url) == endpoint
    assert PlainContent.endpoint(endpoint) == endpoint


def test_it_lives_where_the_address_says_so() -> None:
    for path in ("/ai/chat/stream", "/ai/chat/stream/", "/hub/ai/chat/stream/init"):
        assert dialect_of(f"http://h{path}") is PlainContent
    assert dialect_of("http://h/ai/chat") is not PlainContent


def test_a_question_is_quoted_into_the_address() -> None:
    call = PlainContent.ask(f"{ENDPOINT}?token=t", QUESTION, PlainContent.manners)
    assert (call.method, call.body, call.then) == ("GET", None, None)
    assert parse_qs(urlsplit(call.url).query) == {"token": ["t"], "message": [QUESTION.prompt]}
    assert call.url.isascii()
    assert " " not in call.url


def test_a_history_is_one_text() -> None:
    turns = (Turn("user", "Why?"), Turn("assistant", "So."), Turn("user", "And?"))
    call = PlainContent.ask(ENDPOINT, Request(turns=turns, system="Be brief."), PlainContent.manners)
    assert parse_qs(urlsplit(call.url).query)["message"] == [
        "Be brief.\n\nUser: Why?\n\nAssistant: So.\n\nUser: And?"
    ]


def test_only_what_is_asked_for_is_said_besides() -> None:
    request = replace(QUESTION, model="m", thinking=False, options={"temperature": 0.5, "lang": "de"})
    call = PlainContent.ask(ENDPOINT, request, Manners(thinking_off={"think": False}))
    said = parse_qs(urlsplit(call.url).query)
    del said["message"]
    assert said == {"model": ["m"], "think": ["false"], "temperature": ["0.5"], "lang": ["de"]}


@pytest.mark.parametrize(
    ("endpoint", "message"), [(f"{ENDPOINT}/init?token=t", "short"), (f"{ENDPOINT}?token=t", "long " * 2000)]
)
def test_a_session_is_opened_where_the_address_says_so_or_the_message_is_long(
    endpoint: str, message: str
) -> None:
    call = PlainContent.ask(endpoint, Request(turns=(Turn("user", message),)), PlainContent.manners)
    assert (call.method, call.url, call.body) == (
        "POST",
        f"{ENDPOINT}/init?token=t",
        {"message": message},
    )
    assert call.then is not None
    stream = call.then({"sessionId": "a/b"})
    assert (stream.method, stream.url, stream.body) == ("GET", f"{ENDPOINT}/a%2Fb?token=t", None)


@pytest.mark.parametrize("answer", [None, {}, [], {"sessionId": 5}, {"sessionId": ""}, {"sessionId": ".."}])
def test_a_session_that_is_none_is_an_error_of_one_line(answer: object) -> None:
    call = PlainContent.ask(f"{ENDPOINT}/init", QUESTION, PlainContent.manners)
    assert call.then is not None
    with pytest.raises(UpstreamError, match="no sessionId; check the address"):
        call.then(answer)


def test_images_are_refused() -> None:
    with pytest.raises(BadInput, match="plain_content"):
        PlainContent.ask(
            ENDPOINT, Request(turns=(Turn("user", "?", images=("http://h/i.png",)),)), PlainContent.manners
        )


# ---- reading ----


@pytest.mark.parametrize(
    ("end", "status", "reason"),
    [
        (event("[DONE]"), "finished", "stop"),
        (event("[DONE]", "done"), "finished", "stop"),
        (event("", "complete"), "finished", "stop"),
        (event("{}", "end"), "finished", "stop"),
        (event('{"status":"finished","finish_reason":"length"}', "close"), "finished", "length"),
        (event('{"status":"FINISHED","finish_reason":"tool_calls"}', "close"), "finished", "tool_calls"),
        (event('{"status":"CONTEXT_LENGTH_EXCEEDED"}', "close"), "finished", "length"),
        (event('{"status":"stopped","finish_reason":"stopped"}', "close"), "stopped", "stopped"),
        (event('{"status":"stopped","finish_reason":"length"}', "close"), "stopped", "length"),
        (event('{"status":"filtered"}', "close"), "filtered", "content_filter"),
        (event('{"status":"failed","finish_reason":"error"}', "close"), "failed", "error"),
        (event('{"status":"interrupted","finish_reason":null}', "close"), "failed", "error"),
        (event('{"status":"streaming"}', "close"), "streaming", None),
    ],
)
def test_an_end_is_told_in_many_words(end: ServerSentEvent, status: str, reason: str | None) -> None:
    message = read(piece("a"), end, piece("late"))
    late = "late" if status == "streaming" else ""
    assert (message.status, message.finish_reason, message.content) == (status, reason, f"a{late}")


def test_the_end_of_the_body_alone_is_no_end() -> None:
    assert read(piece("a")).status == "streaming"


def test_an_error_in_a_piece_keeps_the_text() -> None:
    message = read(piece("a"), event('{"content":"b","error":{"type":"t","message":"no"}}'))
    assert (message.status, message.content) == ("failed", "a")
    assert message.error is not None
    assert message.error.to_dict() == {"type": "t", "message": "no"}


def test_data_that_broke_off_is_a_failure_and_no_text() -> None:
    body = Body()
    message = shown(body.feed(b'data: {"content":"a"}\n\ndata: {"content\n\n'))
    assert (message.status, message.content) == ("failed", "a")
    with pytest.raises(InvalidData):
        PlainContent().feed(event("plain words"))


def test_an_answer_that_was_not_streamed_is_read() -> None:
    message = shown(PlainContent().whole({"content": "All."}))
    assert (message.status, message.content) == ("finished", "All.")
    assert PlainContent().whole({"content": "no", "type": "error"}) == []
    assert PlainContent().whole({"content": ["All."]}) == []


@pytest.mark.parametrize(
    ("stream", "spoken"),
    [
        ('data: {"content":"a"}\n\n', True),
        ('event: thinking\ndata: {"content":"a"}\n\n', True),
        ('event: ready\ndata: {"sessionId":"s"}\n\n', True),
        ('event: close\ndata: {"status":"finished"}\n\n', True),
        ('event: ready\ndata: {"stream_id":"s"}\n\n', False),
        ('event: close\ndata: {"click_behavior":"none"}\n\n', False),
        ('data: {"type":"error","content":"a"}\n\n', False),
        ('data: {"content":["a"]}\n\n', False),
    ],
)
def test_it_is_told_by_its_first_event(stream: str, spoken: bool) -> None:
    body = Body()
    body.feed(stream.encode())
    assert isinstance(body.dialect, PlainContent) == spoken


# ---- taking up ----


def begun(url: str, *events: ServerSentEvent) -> tuple[PlainContent, Message]:
    """A reader whose connection broke after these events."""
    reader = PlainContent()
    reader.called(Call(method="GET", url=url))
    return reader, read(*events, reader=reader)


def test_it_is_taken_up_after_the_last_id_and_what_is_replayed_is_dropped() -> None:
    reader, message = begun(f"{ENDPOINT}?message=x", piece("a", "1"), piece("b", "2"), piece("c", "2"))
    call = reader.take_up(ENDPOINT)
    assert call == Call(method="GET", url=f"{ENDPOINT}?message=x", headers={"last-event-id": "2"})
    assert call is not None
    reader.called(call)
    for one in (piece("b", "2"), piece("c", "2"), piece("d", "3"), piece("d", "3")):
        shown(reader.feed(one), message)
    assert message.content == "abcdd"


def taken_up(url: str, before: list[ServerSentEvent], after: list[ServerSentEvent]) -> Message:
    reader, message = begun(url, *before)
    call = reader.take_up(ENDPOINT)
    assert call is not None
    reader.called(call)
    for one in after:
        shown(reader.feed(one), message)
    return message


def test_an_end_that_bears_the_id_of_a_repeated_event_is_an_end() -> None:
    again = [piece("a", "1"), piece("b", "2"), event("[DONE]", id="2")]
    message = taken_up(f"{ENDPOINT}?message=x", [piece("a", "1"), piece("b", "2")], again)
    assert (message.status, message.content) == ("finished", "ab")


def test_a_server_that_forgets_the_last_id_and_counts_anew_is_shown_once() -> None:
    before = [piece("a", "run1-1"), piece("b", "run1-2")]
    again = [piece("a", "run2-1"), piece("b", "run2-2"), piece("c", "run2-3")]
    assert taken_up(f"{ENDPOINT}?message=x", before, again).content == "abc"
    other = taken_up(f"{ENDPOINT}?message=x", before, [piece("x", "run2-1")])
    assert (other.status, other.content) == ("failed", "ab")
    assert other.error is not None and other.error.type == "answer_differs"


@pytest.mark.parametrize(
    ("ids", "next"),
    [
        (("e-1", "e-2"), "e-3"),
        (("1", "2"), "7"),
        (("f3", "9a"), "c0"),
        (("x7", "x3"), "x1"),
        (("e-1",), "f-1"),
    ],
)
def test_what_does_not_count_anew_goes_on(ids: tuple[str, ...], next: str) -> None:
    before = [piece("a", id) for id in ids]
    assert taken_up(f"{ENDPOINT}?message=x", before, [piece("a", next)]).content == "a" * len(ids) + "a"


def test_without_ids_and_session_it_is_not_asked_for_twice() -> None:
    reader, _ = begun(f"{ENDPOINT}?message=x", piece("a"))
    assert reader.take_up(ENDPOINT) is None
    assert PlainContent().take_up(ENDPOINT) is None


def test_a_session_without_ids_is_told_from_the_start_and_shown_once() -> None:
    reader, message = begun(
        f"{ENDPOINT}/s?token=t", piece("Hm", name="thinking"), piece("one "), piece("two")
    )
    call = reader.take_up(ENDPOINT)
    assert call == Call(method="GET", url=f"{ENDPOINT}/s?token=t")
    assert call is not None
    reader.called(call)
    for one in (piece("Hm", name="thinking"), piece("one t"), piece("wo three"), piece(" four")):
        shown(reader.feed(one), message)
    assert (message.thinking, message.content) == ("Hm", "one two three four")


def test_another_answer_in_the_same_session_is_a_failure_and_not_mixed_in() -> None:
    reader, message = begun(f"{ENDPOINT}/s", piece("one two"))
    call = reader.take_up(ENDPOINT)
    assert call is not None
    reader.called(call)
    for one in (piece("one "), piece("three")):
        shown(reader.feed(one), message)
    assert (message.status, message.content) == ("failed", "one two")
    assert message.error is not None
    assert message.error.type == "answer_differs"


def test_nothing_more_is_the_end() -> None:
    reader, message = begun(f"{ENDPOINT}/s", piece("a"))
    assert shown(reader.nothing_more(), message).status == "finished"
    assert reader.nothing_more() == []


def test_its_abilities_are_told() -> None:
    assert PlainContent.abilities.resume
    assert not PlainContent.abilities.images


# ---- real servers ----


async def answer_of(
    url: str, request: Request, key: str | None = None, dialect: str | None = "plain_content"
) -> Message:
    """Ask, and take the answer to its end."""
    server = ModelServer(url, dialect=dialect, api_key=key, patience=QUICK)
    message = Message()
    async with aclosing(server.stream(request)) as stream:
        async for patches in stream:
            shown(patches, message)
    await server.aclose()
    message.interrupt()
    return message


def said_by_the_demo(prompt: str) -> tuple[str, str]:
    texts = {"thinking": "", "content": ""}
    for token in demo.script(prompt):
        texts[token.kind] += token.text
    return texts["thinking"], texts["content"]


@pytest.mark.parametrize("path", ["", "/ai/chat/stream", "/ai/chat/stream/init"])
@pytest.mark.parametrize("places", [[], [1500, 1200]])
def test_an_answer_of_our_own_gateway_comes_whole_also_over_dropped_connections(
    path: str, places: list[int]
) -> None:
    opened = 1 if path.endswith("init") else 0
    proxy = CuttingProxy(0, dict(enumerate(places, opened)))
    with Gateway(Demo(pace=0.02), allowed_hosts=(f"127.0.0.1:{proxy.port}",)) as gateway:
        proxy.aim(gateway.access.port)
        request = Request(turns=(Turn("user", "hello"),))
        message = run(answer_of(proxy.url + path, request, gateway.token))
    proxy.close()
    assert (message.status, message.thinking, message.content) == ("finished", *said_by_the_demo("hello"))
    assert proxy.connections == opened + len(places) + 1


def test_our_own_gateway_is_known_by_its_address() -> None:
    with Gateway(Demo(pace=0)) as gateway:
        url = f"{gateway.url}/ai/chat/stream"
        message = run(answer_of(url, Request(turns=(Turn("user", "hello"),)), gateway.token, None))
    assert (message.status, message.thinking, message.content) == ("finished", *said_by_the_demo("hello"))


class PlainServer:
    """Another's server: what each GET of its stream answers, in turn."""

    def __init__(self, *answers: list[bytes] | int) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        routes = [
            Route("/ai/chat/stream", self._stream),
            Route("/ai/chat/stream/init", self._init, methods=["POST"]),
            Route("/ai/chat/stream/{session}", self._stream),
        ]
        self._served = Served(Starlette(routes=routes))
        self.url = f"{self._served.url}/ai/chat/stream"

    def close(self) -> None:
        """Stop serving."""
        self._served.close()

    async def _init(self, request: HTTPRequest) -> Response:
        self.asked.append((await request.json())["message"])
        return JSONResponse({"sessionId": "s"})

    async def _stream(self, request: HTTPRequest) -> Response:
        self.asked.append(request.headers.get("last-event-id", ""))
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            return Response(status_code=answer)
        return StreamingResponse(_sent(answer), media_type="text/event-stream")


async def _sent(frames: list[bytes]) -> AsyncIterator[bytes]:
    for frame in frames:
        yield frame


@contextmanager
def plain_server(*answers: list[bytes] | int) -> Iterator[PlainServer]:
    server = PlainServer(*answers)
    try:
        yield server
    finally:
        server.close()


def frame(text: str, id: str = "") -> bytes:
    return encode(data=f'{{"content":"{text}"}}', id=id)


def test_an_answer_without_ids_and_end_is_asked_for_once_and_cut() -> None:
    with plain_server([frame("Once"), frame(" upon")]) as server:
        message = run(answer_of(server.url, QUESTION))
    assert (message.status, message.content) == ("interrupted", "Once upon")
    assert server.asked == [""]


def test_a_204_to_the_last_id_says_that_it_was_whole() -> None:
    with plain_server([frame("Once", "1"), frame(" upon", "2")], 204) as server:
        message = run(answer_of(server.url, QUESTION))
    assert (message.status, message.content) == ("finished", "Once upon")
    assert server.asked == ["", "2"]


def test_a_session_that_tells_it_again_is_shown_once() -> None:
    whole = [frame("Once"), frame(" upon"), frame(" a time"), b"data: [DONE]\n\n"]
    with plain_server(whole[:2], whole) as server:
        message = run(answer_of(f"{server.url}/init", QUESTION))
    assert (message.status, message.content) == ("finished", "Once upon a time")
    assert server.asked == [QUESTION.prompt, "", ""]


def test_a_session_that_is_gone_leaves_the_answer_cut() -> None:
    with plain_server([frame("Once")], 404) as server:
        message = run(answer_of(f"{server.url}/init", QUESTION))
    assert (message.status, message.content) == ("interrupted", "Once")
