"""The client against a real gateway, through a proxy that cuts: never lost, never twice, never silently over."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from jupyter_ssechat.chat import Chat
from jupyter_ssechat.client import GatewayClient, Patched, Ready, Reconnecting, Signal
from jupyter_ssechat.errors import ConnectionFailed, GatewayError, NotAnEventStream, NotFound, Unauthorized
from jupyter_ssechat.gateway.server import Gateway
from jupyter_ssechat.message import Message
from jupyter_ssechat.upstream import Demo

from .servers import CuttingProxy, Served

T = TypeVar("T")
NO_WAITING = (0.0,) * 8
CUTS = 1000 if settings.get_current_profile_name() == "soak" else 25


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, 60))


async def ask(client: GatewayClient, prompt: str = "hello") -> tuple[Message, list[Signal]]:
    message = Message()
    session = await client.create_session()
    body = {"chat_session_id": session, "parent_message_id": None, "prompt": prompt, "thinking_enabled": True}
    signals = [signal async for signal in client.follow("completion", body, message)]
    await client.aclose()
    return message, signals


def text_of(signals: list[Signal]) -> dict[str, str]:
    """The text as one who only listens to deltas has it."""
    text = {"thinking": "", "content": ""}
    for signal in signals:
        if isinstance(signal, Patched):
            for delta in signal.deltas:
                text[delta.kind] = delta.text if delta.replaces else text[delta.kind] + delta.text
    return text


def test_a_whole_answer_is_ready_then_patches() -> None:
    with Gateway(Demo(pace=0)) as gateway:
        message, signals = run(ask(GatewayClient(gateway.url, gateway.token)))
    assert isinstance(signals[0], Ready)
    assert message.status == "finished"
    assert text_of(signals) == {"thinking": message.thinking, "content": message.content}


def test_a_cut_anywhere_loses_and_repeats_nothing() -> None:
    with Gateway(Demo(pace=0)) as gateway:
        whole, _ = run(ask(GatewayClient(gateway.url, gateway.token)))

    @settings(max_examples=CUTS, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.integers(600, 6000), min_size=1, max_size=4))
    def cut(places: list[int]) -> None:
        # The first connection creates the session; after headers and `ready` the answer can be taken up again.
        proxy = CuttingProxy(0, dict(enumerate(places, 1)))
        with Gateway(Demo(pace=0.01), allowed_hosts=(f"127.0.0.1:{proxy.port}",)) as gateway:
            proxy.aim(gateway.access.port)
            message, signals = run(ask(GatewayClient(proxy.url, gateway.token, retries=NO_WAITING)))
        proxy.close()
        assert message.status == "finished"
        assert (message.thinking, message.content) == (whole.thinking, whole.content)
        assert text_of(signals) == {"thinking": whole.thinking, "content": whole.content}

    cut()


def test_a_drop_is_told_and_taken_up_again() -> None:
    proxy = CuttingProxy(0, {1: 2500})
    with Gateway(Demo(pace=0.05), allowed_hosts=(f"127.0.0.1:{proxy.port}",)) as gateway:
        proxy.aim(gateway.access.port)
        message, signals = run(ask(GatewayClient(proxy.url, gateway.token, retries=NO_WAITING)))
    proxy.close()
    assert message.status == "finished"
    assert Reconnecting(1) in signals


def test_an_answer_that_cannot_be_taken_up_again_is_interrupted() -> None:
    proxy = CuttingProxy(0, lambda number: (None, 2500)[number] if number < 2 else 0)
    with Gateway(Demo(pace=0.05), allowed_hosts=(f"127.0.0.1:{proxy.port}",)) as gateway:
        proxy.aim(gateway.access.port)
        message, signals = run(ask(GatewayClient(proxy.url, gateway.token, retries=NO_WAITING)))
    proxy.close()
    assert message.status == "interrupted"
    assert text_of(signals) == {"thinking": message.thinking, "content": message.content}
    assert Reconnecting(8) in signals


def test_nobody_there_is_a_connection_that_failed() -> None:
    with pytest.raises(ConnectionFailed, match="127.0.0.1:9"):
        run(ask(GatewayClient("http://127.0.0.1:9", "token")))


def test_a_wrong_token_is_unauthorized_in_one_line() -> None:
    with Gateway(Demo()) as gateway, pytest.raises(Unauthorized) as error:
        run(ask(GatewayClient(gateway.url, "wrong")))
    assert "\n" not in str(error.value)
    assert gateway.token not in str(error.value)


def test_an_unknown_message_is_not_found() -> None:
    async def resume(client: GatewayClient) -> None:
        session = await client.create_session()
        body = {"chat_session_id": session, "message_id": 99}
        async for _ in client.follow("resume_stream", body, Message()):
            pass

    with Gateway(Demo()) as gateway, pytest.raises(NotFound, match="99"):
        run(resume(GatewayClient(gateway.url, gateway.token)))


SNAPSHOT = (
    'event: ready\ndata: {"stream_id":"s","request_message_id":1,"response_message_id":2}\n\n'
    'data: {"v":{"response":{"message_id":2,"role":"ASSISTANT","content":"","status":"WIP"}}}\n\n'
)


def foreign(stream: Response, resume: Response | None = None) -> Served:
    """A gateway of another make."""

    async def create(_: Any) -> Response:
        return JSONResponse(
            {"code": 0, "msg": "", "data": {"biz_code": 0, "biz_msg": "", "biz_data": {"id": "s"}}}
        )

    async def complete(_: Any) -> Response:
        return stream

    async def again(_: Any) -> Response:
        return resume or Response(status_code=404)

    return Served(
        Starlette(
            routes=[
                Route("/api/v0/chat_session/create", create, methods=["POST"]),
                Route("/api/v0/chat/completion", complete, methods=["POST"]),
                Route("/api/v0/chat/resume_stream", again, methods=["POST"]),
            ]
        )
    )


def events(text: str) -> Response:
    return Response(text, media_type="text/event-stream")


def against(served: Served) -> tuple[Message, list[Signal]]:
    try:
        return run(ask(GatewayClient(served.url, retries=NO_WAITING)))
    finally:
        served.close()


def test_a_truncated_stream_of_a_server_without_resume_is_interrupted() -> None:
    message, _ = against(
        foreign(events(SNAPSHOT + 'data: {"v":"half","p":"response/content","o":"APPEND"}\n\n'))
    )
    assert (message.status, message.content) == ("interrupted", "half")


def test_a_finished_message_in_place_of_the_resumed_stream_is_accepted() -> None:
    whole = {"message_id": 2, "role": "ASSISTANT", "content": "half and half", "status": "FINISHED"}
    data = {"biz_code": 22, "biz_msg": "message finished", "biz_data": whole}
    cut = events(SNAPSHOT + 'data: {"v":"half","p":"response/content","o":"APPEND"}\n\n')
    message, signals = against(foreign(cut, JSONResponse({"code": 0, "msg": "", "data": data})))
    assert (message.status, message.content) == ("finished", "half and half")
    assert text_of(signals)["content"] == "half and half"


def test_an_envelope_in_place_of_the_stream_is_an_error_that_says_why() -> None:
    refusal = {
        "code": 40003,
        "msg": "no",
        "data": {"biz_code": 26, "biz_msg": "invalid session", "biz_data": None},
    }
    with pytest.raises(GatewayError, match="invalid session"):
        against(foreign(JSONResponse(refusal)))


def test_a_web_page_in_place_of_the_stream_is_an_error_that_says_so() -> None:
    with pytest.raises(NotAnEventStream, match="text/html"):
        against(foreign(Response("<html>", media_type="text/html")))


def test_a_hint_is_a_failure_with_its_text_kept() -> None:
    text = SNAPSHOT + 'data: {"v":"half","p":"response/content","o":"APPEND"}\n\n'
    text += 'event: hint\ndata: {"type":"error","content":"too busy","clear_response":true,'
    text += '"finish_reason":"rate_limit_reached"}\n\n'
    message, _ = against(foreign(events(text + 'event: close\ndata: {"click_behavior":"retry"}\n\n')))
    assert (message.status, message.content) == ("failed", "half")
    assert message.error is not None and "too busy" in message.error.message


def test_data_that_is_not_json_is_a_failure_with_its_text_kept() -> None:
    text = SNAPSHOT + 'data: {"v":"half","p":"response/content","o":"APPEND"}\n\ndata: {oops\n\n'
    message, _ = against(foreign(events(text)))
    assert (message.status, message.content) == ("failed", "half")
    assert message.error is not None and message.error.type == "invalid_data"


OLDER = (
    'event: ready\ndata: {"stream_id":"s"}\n\n'
    'data: {"v":{"response":{"message_id":2,"parent_id":1,"role":"ASSISTANT","content":"","status":"WIP"}}}\n\n'
    'data: {"v":"all","p":"response/content","o":"APPEND"}\n\n'
    'data: {"v":"FINISHED","p":"response/status","o":"SET"}\n\n'
)


@pytest.mark.parametrize("text", [OLDER, OLDER.partition("\n\n")[2]])
def test_the_ids_of_an_older_server_are_found_in_the_snapshot(text: str) -> None:
    served = foreign(events(text))
    try:
        chat = Chat(gateway=served.url)
        assert chat.ask("one").message_id == 2
        assert chat._head == 2
    finally:
        served.close()


def test_a_message_told_whole_below_another_name_is_accepted_too() -> None:
    whole = {
        "message": {"message_id": 2, "role": "ASSISTANT", "content": "half and half", "status": "FINISHED"}
    }
    data = {"biz_code": 22, "biz_msg": "message finished", "biz_data": whole}
    cut = events(SNAPSHOT + 'data: {"v":"half","p":"response/content","o":"APPEND"}\n\n')
    message, _ = against(foreign(cut, JSONResponse({"code": 0, "msg": "", "data": data})))
    assert (message.status, message.content) == ("finished", "half and half")


def test_a_figure_that_follows_the_end_is_taken() -> None:
    text = OLDER + 'data: {"v":7,"p":"response/thinking_elapsed_secs","o":"SET"}\n\n'
    message, _ = against(foreign(events(text)))
    assert message.thinking_seconds == 7.0
