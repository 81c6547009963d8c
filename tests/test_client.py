"""The client against a real gateway, through a proxy that cuts: never lost, never twice, never silently over."""

from __future__ import annotations

import asyncio
import json
import re
import time
import zlib
from collections.abc import Coroutine
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from jupyter_ssechat import client as module
from jupyter_ssechat.chat import Chat
from jupyter_ssechat.client import GatewayClient, Patched, Ready, Reconnecting, Signal
from jupyter_ssechat.deadlines import Deadlines
from jupyter_ssechat.errors import (
    ConnectionFailed,
    GatewayError,
    LimitExceeded,
    NotAnEventStream,
    NotFound,
    Redirected,
    SSEChatError,
    TimedOut,
    Unauthorized,
    UndecodableBody,
)
from jupyter_ssechat.gateway.server import Gateway
from jupyter_ssechat.message import Message
from jupyter_ssechat.upstream import Demo

from .rogue import STREAM, Asked, Play, Rogue, endlessly, hanging, playing, raw
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


# ---- gateways that misbehave: deadlines, waiting as asked, stopping at once ----

HALF = 'data: {"v":"half","p":"response/content","o":"APPEND"}\n\n'
END = 'data: {"v":"FINISHED","p":"response/status","o":"SET"}\n\n'
STOPPED = 'data: {"v":"INCOMPLETE","p":"response/status","o":"SET"}\n\n'
WHOLE = SNAPSHOT.replace('"content":""', '"content":"half and half"') + END
BEGUN = raw((SNAPSHOT + HALF).encode(), STREAM, "connection: close", length=False)
SHORT = Deadlines(first_byte=0.2, first_token=0.2, silence=0.2, idle=0.2, total=20, last_words=0.1)
TOKEN = "a-token-of-the-gateway"


def said(text: str, *headers: str) -> Play:
    return playing(raw(text.encode(), STREAM, *headers))


def enveloped(biz_data: object = None, status: str = "200 OK", *headers: str, **fields: Any) -> Play:
    data = {"biz_code": 0, "biz_msg": "", "biz_data": biz_data, **fields}
    body = json.dumps({"code": 0, "msg": "", "data": data}).encode()
    return playing(raw(body, "content-type: application/json", *headers, status=status))


@dataclass
class RogueGateway:
    """Plays an answer, then a play for each resume, the last one again and again; notes how long one waits."""

    completion: Play
    resumes: list[Play] = field(default_factory=list)
    deadlines: Deadlines = SHORT
    retries: tuple[float, ...] = NO_WAITING
    waits: list[float] = field(default_factory=list)
    resumed: int = 0
    stopped: bool = False

    async def play(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        assert asked.headers["authorization"] == f"Bearer {TOKEN}"
        await self._next(asked.target.rpartition("/")[2])(asked, writer)

    def _next(self, call: str) -> Play:
        if call == "resume_stream":
            self.resumed += 1
            return self.resumes.pop(0) if len(self.resumes) > 1 else self.resumes[0]
        self.stopped = self.stopped or call == "stop_stream"
        return {"create": enveloped({"id": "s"}), "completion": self.completion}.get(call, enveloped())

    async def wait(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def ask(self) -> tuple[Message, list[Signal]]:
        async with Rogue(self.play).serving() as url:
            client = GatewayClient(
                url, TOKEN, deadlines=self.deadlines, retries=self.retries, sleep=self.wait
            )
            try:
                return await ask(client)
            finally:
                await client.aclose()


def test_a_gateway_that_never_answers_is_a_missed_deadline() -> None:
    with pytest.raises(TimedOut, match="no answer began within 0.2 s"):
        run(RogueGateway(hanging(b"")).ask())


@pytest.mark.parametrize(
    "broken",
    [hanging(BEGUN), endlessly(BEGUN, b": keep-alive\n", 0.01), endlessly(BEGUN, b"data: {}\n\n", 0.01)],
    ids=["not a byte", "keep-alives only", "events without text"],
)
def test_a_stream_that_falls_silent_is_dropped_and_taken_up_again(broken: Play) -> None:
    message, signals = run(RogueGateway(broken, [said(WHOLE)]).ask())
    assert (message.status, message.content) == ("finished", "half and half")
    assert text_of(signals)["content"] == "half and half"
    assert Reconnecting(1) in signals


def test_after_the_first_token_the_next_has_less_time_than_the_first_had() -> None:
    limits = Deadlines(first_token=20, silence=0.2, total=5)
    silent = endlessly(BEGUN, b": keep-alive\n", 0.01)
    message, _ = run(RogueGateway(silent, [said(WHOLE)], deadlines=limits).ask())
    assert (message.status, message.content) == ("finished", "half and half")


def test_an_answer_that_stays_silent_is_interrupted_after_as_many_tries_as_there_are() -> None:
    quick = Deadlines(first_byte=1, first_token=1, silence=0.05, total=20)
    silent = RogueGateway(
        hanging(BEGUN), [hanging(BEGUN), hanging(BEGUN)], deadlines=quick, retries=(0.0, 0.1, 0.3)
    )
    message, signals = run(silent.ask())
    assert (message.status, message.content) == ("interrupted", "half")
    assert [one for one in signals if isinstance(one, Reconnecting)] == [Reconnecting(n) for n in (1, 2, 3)]
    assert silent.waits == [0.0, 0.1, 0.3]


def test_a_gateway_that_drops_after_every_word_is_not_asked_without_a_pause_nor_forever() -> None:
    def word(number: int) -> Play:
        return playing(BEGUN.replace(b'"content":""', b'"content":"%s"' % (b"half" * number)))

    limits = Deadlines(total=0.5)
    dropping = RogueGateway(word(0), [word(n) for n in range(1, 9999)], deadlines=limits, retries=(0.0, 0.01))
    message, signals = run(dropping.ask())
    assert message.status == "interrupted"
    assert message.content == "half" * (dropping.resumed + 1)
    assert text_of(signals)["content"] == message.content
    assert dropping.waits[0] == 0.0
    assert set(dropping.waits[1:]) == {0.01}


def test_a_gateway_that_tells_another_text_each_time_makes_no_progress() -> None:
    texts = [said(SNAPSHOT.replace('"content":""', f'"content":"{n} is another"')) for n in range(99)]
    message, _ = run(RogueGateway(playing(BEGUN), texts, retries=(0.0, 0.0, 0.0)).ask())
    assert (message.status, message.content) == ("interrupted", "3 is another")


def busy(status: str, *headers: str) -> Play:
    return enveloped(None, status, *headers)


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_a_busy_gateway_is_asked_again_when_it_wants_to_be(status: str) -> None:
    date = formatdate(time.time() + 120, usegmt=True)
    plays = [busy(status, "retry-after: 7"), busy(status, f"Retry-After: {date}"), busy(status), said(WHOLE)]
    gateway = RogueGateway(playing(BEGUN), plays, retries=(0.0, 0.1, 0.3, 0.5), deadlines=Deadlines())
    message, _ = run(gateway.ask())
    assert (message.status, message.content) == ("finished", "half and half")
    first, second, third, fourth = gateway.waits
    assert (first, second, fourth) == (0.0, 7.0, 0.5)
    assert 110 < third <= 120


def test_a_gateway_that_wants_to_be_asked_tomorrow_is_not_waited_for() -> None:
    gateway = RogueGateway(playing(BEGUN), [busy("503 Later", "retry-after: 86400")])
    gateway.deadlines = Deadlines(total=None)
    message, _ = run(gateway.ask())
    assert (message.status, gateway.waits) == ("interrupted", [0.0])


def test_nobody_waits_beyond_the_total() -> None:
    gateway = RogueGateway(playing(BEGUN), [busy("503 Later", "retry-after: 30")])
    message, _ = run(gateway.ask())
    assert (message.status, gateway.waits) == ("interrupted", [0.0])


def test_a_refusal_of_the_first_call_says_when_to_come_again() -> None:
    with pytest.raises(LimitExceeded) as error:
        run(RogueGateway(busy("429 Too Many", "retry-after: 7")).ask())
    assert error.value.retry_after == 7


@pytest.mark.parametrize(
    ("retry", "waits"),
    [
        ("2500", [2.5, 2.5]),
        ("0", [0.0, 0.1]),
        ("9" * 30, [60.0, 60.0]),
        ("-1", [0.0, 0.1]),
        ("soon", [0.0, 0.1]),
    ],
)
def test_the_streams_own_retry_is_the_least_wait(retry: str, waits: list[float]) -> None:
    cut = playing(raw(f"retry: {retry}\n\n{SNAPSHOT}{HALF}".encode(), STREAM))
    gateway = RogueGateway(cut, [cut, said(WHOLE)], retries=(0.0, 0.1, 0.3), deadlines=Deadlines())
    message, _ = run(gateway.ask())
    assert message.status == "finished"
    assert gateway.waits == waits


def test_a_gateway_that_moved_is_not_followed_and_not_asked_again() -> None:
    async def moved() -> tuple[Message, RogueGateway, list[Asked]]:
        other = Rogue(playing(raw()))
        async with other.serving() as there:
            away = playing(raw(b"", f"location: {there}/api", status="307 Moved"))
            gateway = RogueGateway(playing(BEGUN), [away])
            message, _ = await gateway.ask()
            with pytest.raises(Redirected, match=f"points to {there}/api; .* use that address"):
                await RogueGateway(away).ask()
        return message, gateway, other.asked

    message, gateway, asked = run(moved())
    assert (message.status, message.content, gateway.resumed, asked) == ("interrupted", "half", 1, [])


class Stopping(RogueGateway):
    """Waits as long as the client wants to, and is stopped by a test in the middle of it."""

    async def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        if len(self.waits) == 1:
            self.waiting.set()
        await asyncio.Event().wait()

    async def stop(self) -> Message:
        self.waiting = asyncio.Event()
        message = Message()
        async with Rogue(self.play).serving() as url:
            client = GatewayClient(url, TOKEN, deadlines=self.deadlines, retries=(9.0, 9.0), sleep=self.wait)
            session = await client.create_session()
            body = {"chat_session_id": session, "parent_message_id": None, "prompt": "hello"}

            async def follow() -> None:
                async for _ in client.follow("completion", body, message):
                    pass

            following = asyncio.create_task(follow())
            await self.waiting.wait()
            await client.stop(session, 2)
            await following
            await client.aclose()
        return message


def test_stop_ends_a_wait_at_once_and_learns_the_end() -> None:
    gateway = Stopping(
        playing(BEGUN), [said(SNAPSHOT.replace('"content":""', '"content":"half more"') + STOPPED)]
    )
    message = run(gateway.stop())
    assert (message.status, message.content) == ("stopped", "half more")
    assert (gateway.stopped, gateway.resumed, gateway.waits) == (True, 1, [9.0])


@pytest.mark.parametrize("play", [busy("503 Later", "retry-after: 9"), playing(b""), playing(BEGUN)])
def test_stop_ends_a_wait_at_once_also_where_nothing_more_is_to_be_learned(play: Play) -> None:
    gateway = Stopping(playing(BEGUN), [play])
    message = run(gateway.stop())
    assert (message.status, message.content) == ("interrupted", "half")
    assert (gateway.resumed, gateway.waits) == (1, [9.0])


def test_a_gateway_that_does_not_hear_a_stop_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.STOP_DEADLINES.total == 5
    monkeypatch.setattr(module, "STOP_DEADLINES", Deadlines(total=0.2))

    async def stop() -> None:
        async with Rogue(hanging(b"")).serving() as url:
            client = GatewayClient(url, TOKEN)
            try:
                await client.stop("s", 2)
            finally:
                await client.aclose()

    with pytest.raises(TimedOut, match="within 0.2 s"):
        run(stop())


def test_a_stream_whose_packing_breaks_is_a_failure_with_its_text_kept() -> None:
    taken = asyncio.Event()

    async def play(asked: Asked, writer: asyncio.StreamWriter) -> None:
        packing = zlib.compressobj(wbits=31)
        packed = packing.compress((SNAPSHOT + HALF).encode()) + packing.flush(zlib.Z_SYNC_FLUSH)
        writer.write(raw(b"", STREAM, "content-encoding: gzip", length=False) + packed)
        await taken.wait()
        writer.write(b"\xff" * 20)

    async def follow() -> Message:
        message = Message()
        async with Rogue(play).serving() as url:
            client = GatewayClient(url, TOKEN)
            async for _ in client.follow("completion", {"chat_session_id": "s"}, message):
                if message.content:
                    taken.set()
            await client.aclose()
        return message

    message = run(follow())
    assert (message.status, message.content) == ("failed", "half")
    assert message.error is not None and message.error.type == "undecodable_body"


def test_a_stream_that_nobody_can_unpack_is_an_error() -> None:
    with pytest.raises(UndecodableBody, match="'zstd', which nobody asked for"):
        run(RogueGateway(said(WHOLE, "content-encoding: zstd")).ask())


# ---- what strangers say ----

STRANGE = [
    "no\nsuch\r\nparent",
    "\x1b[31mred\x1b[0m\x07\x00",
    "half \ud83d of a pair",
    "a\u2028b\u202ec",
    "long " * 10_000,
    f"your token {TOKEN} is wrong",
    {"an": "object"},
    ["a list"],
    7,
    True,
]


@pytest.mark.parametrize("text", STRANGE, ids=lambda text: repr(text)[:30])
@pytest.mark.parametrize("where", ["biz_msg", "msg"])
def test_a_refusal_in_any_words_is_one_line_that_can_be_printed(text: Any, where: str) -> None:
    play = enveloped(None, "404 Not Found", **{"biz_code": 26, "biz_msg": "", where: text})
    with pytest.raises(NotFound, match="^the gateway refused: .") as error:
        run(RogueGateway(play).ask())
    assert str(error.value).isprintable() and len(str(error.value)) < 600
    assert TOKEN not in str(error.value)


@pytest.mark.parametrize("code", ["4", 4.5, True, None, [4], 10**400, -1])
def test_a_code_that_is_no_number_is_a_refusal_all_the_same(code: Any) -> None:
    with pytest.raises(GatewayError) as error:
        run(RogueGateway(enveloped(None, "500 Oh", biz_code=code)).ask())
    assert error.value.biz_code in (0, code)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b'"x"',
        b"[" * 10**6,
        b"9" * 10**5,
        b'{"data":{"biz_data":[1]}}',
        b"\xff\xfe",
        b"{",
    ],
    ids=lambda body: repr(body)[:20],
)
def test_a_body_that_is_no_envelope_is_an_error_of_ours(body: bytes) -> None:
    async def create() -> None:
        async with Rogue(playing(raw(body, "content-type: application/json"))).serving() as url:
            client = GatewayClient(url, TOKEN)
            try:
                assert await client.sessions() == []
                assert await client.history("s") == []
                await client.create_session()
            finally:
                await client.aclose()

    with pytest.raises(SSEChatError, match="without an id; is the address that of a gateway"):
        run(create())


@pytest.mark.parametrize("status", [404, 405])
def test_a_gateway_that_takes_in_no_saved_conversation_is_told_apart(status: int) -> None:
    async def refuse(_: Request) -> Response:
        return Response(status_code=status)

    served = Served(Starlette(routes=[Route("/{path:path}", refuse, methods=["POST"])]))
    try:
        with pytest.raises(GatewayError, match="takes in no saved conversation .* begin a new") as error:
            run(GatewayClient(served.url).import_session([]))
        assert served.url in str(error.value) and "\n" not in str(error.value)
    finally:
        served.close()


def test_what_is_no_object_among_sessions_and_messages_is_left_out() -> None:
    async def listed() -> tuple[Any, Any]:
        rows = [None, 7, "x", [], {"id": "s"}]
        play = enveloped({"chat_sessions": rows, "chat_messages": rows})
        async with Rogue(play).serving() as url:
            client = GatewayClient(url, TOKEN)
            found = await client.sessions(), await client.history("s")
            await client.aclose()
        return found

    assert run(listed()) == ([{"id": "s"}], [{"id": "s"}])


@pytest.mark.parametrize(
    "data", ["[" * 10**6, "9" * 10**5, "1e999", "NaN", '{"v":"\x00"}', '{"v":' * 10**5, "{"]
)
def test_an_event_that_is_no_json_is_a_failure_with_its_text_kept(data: str) -> None:
    message, _ = run(RogueGateway(said(f"{SNAPSHOT}{HALF}data: {data}\n\n")).ask())
    assert (message.status, message.content) == ("failed", "half")
    assert message.error is not None and message.error.type == "invalid_data"
    assert "\n" not in message.error.message and len(message.error.message) < 300


@pytest.mark.parametrize("ids", ['"2"', "2.5", "true", "null", "[]", "-1", "1" + "0" * 400])
def test_strange_ids_break_nothing(ids: str) -> None:
    text = re.sub('"(request|response)_message_id":[12]', rf'"\1_message_id":{ids}', WHOLE)
    message, _ = run(RogueGateway(said(text)).ask())
    assert (message.status, message.content) == ("finished", "half and half")


def test_halves_of_characters_and_controls_are_text() -> None:
    text = SNAPSHOT + 'data: {"v":"\\ud83d\\u0000\\u001b","p":"response/content","o":"APPEND"}\n\n' + END
    message, signals = run(RogueGateway(said(text)).ask())
    assert (message.status, message.content) == ("finished", "\ufffd\0\x1b")
    assert text_of(signals)["content"] in (message.content, "\ud83d\0\x1b")
