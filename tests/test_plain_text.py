"""The plainest wire: the data is the text, and ``[DONE]`` its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace

import pytest
from starlette.applications import Starlette
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from jupyter_ssechat.dialects import Body, Manners, PlainText
from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.message import Message
from jupyter_ssechat.model_server import ModelServer
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.request import Request, Turn
from jupyter_ssechat.sse import ServerSentEvent

from .servers import Served

URL = "http://h/chat/stream"
QUESTION = Request(turns=(Turn("user", "Why?"),))


def shown(patches: list[Patch], message: Message | None = None) -> Message:
    message = message or Message()
    for patch in patches:
        message.apply(patch)
    return message


def read(stream: bytes, reader: PlainText | None = None) -> Message:
    body = Body(reader)
    message = shown(body.feed(stream) + body.finish())
    message.interrupt()
    return message


def test_a_question_is_posted_as_a_message() -> None:
    call = PlainText.ask(URL, QUESTION, PlainText.manners)
    assert (call.method, call.url, call.body, call.then) == ("POST", URL, {"message": "Why?"}, None)


def test_a_history_is_one_text() -> None:
    turns = (Turn("user", "Why?"), Turn("assistant", "So."), Turn("user", "And?"))
    call = PlainText.ask(URL, Request(turns=turns, system="Be brief."), PlainText.manners)
    assert call.body == {"message": "Be brief.\n\nUser: Why?\n\nAssistant: So.\n\nUser: And?"}


def test_only_what_is_asked_for_is_said_besides() -> None:
    request = replace(QUESTION, model="m", thinking=False, options={"user": "u"})
    call = PlainText.ask(URL, request, Manners(thinking_off={"think": False}))
    assert call.body == {"message": "Why?", "model": "m", "think": False, "user": "u"}


def test_images_are_refused() -> None:
    with pytest.raises(BadInput, match="plain_text"):
        PlainText.ask(URL, Request(turns=(Turn("user", "?", images=("http://h/i.png",)),)), Manners())


@pytest.mark.parametrize("reader", [None, PlainText()])
def test_data_is_text_as_it_is(reader: PlainText | None) -> None:
    stream = b'data: Once\n\ndata:  upon\ndata: a time\n\ndata:\n\ndata: {"a": 1}\n\ndata: null\n\ndata: [DONE]\n\n'
    message = read(stream, reader)
    assert (message.status, message.content) == ("finished", 'Once upon\na time{"a": 1}null')


def test_without_done_it_is_cut() -> None:
    assert read(b"data: Once\n\n").status == "interrupted"


def test_what_follows_the_end_is_no_text() -> None:
    assert read(b"data: Once\n\ndata: [DONE]\n\ndata: more\n\n").content == "Once"


def test_an_empty_event_at_the_beginning_tells_no_dialect() -> None:
    assert read(b"data:\n\ndata: Once\n\n").content == "Once"
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    assert read(b"data:\n\n" + chunk).content == "a"


def test_other_events_are_bookkeeping() -> None:
    assert read(b"data: Once\n\nevent: ping\ndata: 5\n\n", PlainText()).content == "Once"


@pytest.mark.parametrize("stream", [b'data: {"content":"On\n\n', b"data: [1, 2\n\n", b'data:   {"v\n\n'])
def test_json_that_broke_off_at_the_beginning_is_a_failure_and_no_text(stream: bytes) -> None:
    message = read(stream)
    assert (message.status, message.content) == ("failed", "")
    assert message.error is not None
    assert message.error.type == "invalid_data"


@pytest.mark.parametrize(
    ("data", "type", "said"),
    [
        ("out of memory", "error", "out of memory"),
        ('{"error":{"type":"t","message":"no"}}', "t", "no"),
        ('{"error":"no"}', "error", "no"),
        ('{"detail":"no","code":5}', "5", "no"),
        ("5", "error", "5"),
        ("", "error", "the server gave no reason"),
    ],
)
def test_an_error_event_fails_and_keeps_the_text(data: str, type: str, said: str) -> None:
    reader = PlainText()
    patches = reader.feed(ServerSentEvent(data="So")) + reader.feed(ServerSentEvent("error", data))
    message = shown(patches)
    assert (message.status, message.content) == ("failed", "So")
    assert message.error is not None
    assert message.error.to_dict() == {"type": type, "message": said}


@pytest.fixture
def server() -> Iterator[Served]:
    """A server that spells the message in its text; it is cut where that says so."""

    async def chat(request: HTTPRequest) -> Response:
        message: str = (await request.json())["message"]
        events = [f"data: {letter}\n\n" for letter in message]
        end = [] if "cut" in message else ["data: [DONE]\n\n"]
        return StreamingResponse(iter(events + end), media_type="text/event-stream")

    served = Served(Starlette(routes=[Route("/chat", chat, methods=["POST"])]))
    yield served
    served.close()


@pytest.mark.parametrize(("prompt", "status"), [("Why not?", "finished"), ("cut me", "interrupted")])
def test_a_real_server_is_asked_and_read(server: Served, prompt: str, status: str) -> None:
    async def scenario() -> Message:
        model_server = ModelServer(f"{server.url}/chat", dialect="plain_text")
        message = Message()
        async with aclosing(model_server.stream(Request(turns=(Turn("user", prompt),)))) as stream:
            async for patches in stream:
                shown(patches, message)
        await model_server.aclose()
        message.interrupt()
        return message

    message = asyncio.run(asyncio.wait_for(scenario(), 60))
    assert (message.status, message.content) == (status, prompt)
