"""An exchange: asked again before the first event, taken up after it, stopped at once, told to the server."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import pytest

from jupyter_ssechat.deadlines import Deadlines
from jupyter_ssechat.dialects import DIALECTS, Call, Manners, OpenAIChat
from jupyter_ssechat.errors import ConnectionFailed, InvalidData, SSEChatError, TimedOut, UpstreamError
from jupyter_ssechat.exchange import NOTICE, Patience
from jupyter_ssechat.message import Message
from jupyter_ssechat.model_server import ModelServer
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.request import Request, Turn
from jupyter_ssechat.sse import ServerSentEvent

from .asking import KEY, asking, gather, message_of, run
from .servers import CUT, DONE, ModelServerForTests, Pause, Script, answer, chunk, finish, model_server

EAGER = Patience(first=0.001)


def busy(status: int = 429, **headers: str) -> Script:
    return Script(status=status, body={"error": {"message": "too busy"}}, headers=headers)


def patches_from(server: ModelServerForTests, request: Request | None = None, **options: Any) -> list[Patch]:
    found: list[Patch] = []
    upstream = ModelServer(server.url, **{"model": "m", "patience": EAGER, **options})
    run(gather(upstream, request or asking(), found))
    return found


def refused(server: ModelServerForTests, **options: Any) -> UpstreamError:
    with pytest.raises(UpstreamError) as error:
        patches_from(server, **options)
    return error.value


# ---- before the first event ----


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
def test_a_refusal_that_may_pass_is_asked_again(status: int) -> None:
    with model_server(busy(status), answer("fine")) as server:
        message = message_of(patches_from(server))
    assert (message.status, message.content, len(server.requests)) == ("finished", "fine", 2)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 501])
def test_a_refusal_that_will_not_pass_is_told_at_once(status: int) -> None:
    with model_server(busy(status), answer("fine")) as server:
        assert refused(server).status == status
    assert len(server.requests) == 1


def test_patience_ends() -> None:
    with model_server(busy()) as server:
        error = refused(server)
    assert (error.type, len(server.requests)) == ("rate_limit_reached", 1 + EAGER.retries)


def test_the_server_says_how_long_to_wait() -> None:
    with model_server(busy(**{"retry-after": "0.3"}), answer("fine")) as server:
        began = time.monotonic()
        patches = patches_from(server)
        assert time.monotonic() - began >= 0.3
    assert message_of(patches).status == "finished"


def test_a_wait_that_is_too_long_is_told_instead_of_waited_for() -> None:
    with model_server(busy(**{"retry-after": "3600"})) as server:
        error = refused(server)
    assert (error.retry_after, len(server.requests)) == (3600, 1)
    assert "it asks to wait 3600 s" in str(error)


def test_waiting_is_told_and_forgotten_when_it_is_over() -> None:
    with model_server(busy(), answer("fine")) as server:
        notices = [patch.value for patch in patches_from(server) if patch.path == NOTICE]
    assert len(notices) == 2 and notices[1] is None
    assert re.fullmatch("the model server answered 429; trying again in 0.0 s", notices[0])


def test_a_stop_ends_the_waiting_at_once() -> None:
    async def stop(url: str) -> float:
        upstream = ModelServer(url, model="m", patience=Patience(first=60.0))
        stream = upstream.stream(asking())
        assert (await anext(stream))[0].path == NOTICE
        began = time.monotonic()
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await upstream.aclose()
        return time.monotonic() - began

    with model_server(busy()) as server:
        assert run(stop(server.url)) < 5
    assert len(server.requests) == 1


def test_a_server_that_is_not_there_is_not_waited_for_for_long() -> None:
    with model_server(answer("gone")) as server:
        pass
    with pytest.raises(ConnectionFailed):
        patches_from(server)


def test_what_took_too_long_is_not_asked_again() -> None:
    with model_server(Script([Pause()])) as server:
        hasty = Deadlines(first_byte=5.0, first_token=0.05)
        with pytest.raises(TimedOut, match="no first token within 0.05 s"):
            patches_from(server, deadlines=hasty)
    assert len(server.requests) == 1


def test_keep_alives_are_no_tokens() -> None:
    async def beats() -> None:
        async with aclosing(upstream.stream(asking())) as stream:
            async for _ in stream:
                pass

    keep_alives = [b": keep-alive\n\n"] * 5
    with model_server(Script([chunk(content="a"), *keep_alives, Pause()])) as server:
        upstream = ModelServer(server.url, model="m", deadlines=Deadlines(silence=0.05))
        with pytest.raises(TimedOut, match="no further token"):
            run(beats())


# ---- after the first event ----


def test_a_stream_that_breaks_is_not_asked_for_again_where_it_cannot_be_taken_up() -> None:
    with model_server(Script([chunk(content="half"), CUT]), answer("anew")) as server:
        message = message_of(patches_from(server))
    assert (message.status, message.content, len(server.requests)) == ("streaming", "half", 1)


def test_an_error_in_mid_stream_is_the_end_of_it() -> None:
    failing = Script([chunk(content="half"), {"error": {"message": "over", "code": 529}}, DONE])
    with model_server(failing, answer("anew")) as server:
        message = message_of(patches_from(server))
    assert (message.status, message.content, len(server.requests)) == ("failed", "half", 1)


class Kept(OpenAIChat):
    """Chat completions of a server that keeps its streams: each event has a number, asked for by a header."""

    name = "kept"

    def __init__(self, *, continues: bool = False) -> None:
        super().__init__(continues=continues)
        self._seen = 0

    def feed(self, event: ServerSentEvent) -> list[Patch]:
        self._seen += 1
        return super().feed(event)

    @property
    def handle(self) -> dict[str, Any] | None:
        return {"seen": self._seen} if self._seen else None

    @classmethod
    def go_on(cls, endpoint: str, request: Request) -> Call | None:
        return _after(endpoint, request.handle["seen"]) if request.handle else None

    def take_up(self, endpoint: str) -> Call | None:
        return _after(endpoint, self._seen)

    def cancel(self, endpoint: str) -> Call | None:
        return Call(url=endpoint, body={"cancel": True})


def _after(endpoint: str, seen: int) -> Call:
    return Call(url=endpoint, body={"after": seen})


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DIALECTS, "kept", Kept)


def test_a_stream_that_is_kept_is_taken_up_where_it_broke() -> None:
    first = Script([chunk(content="one "), chunk(content="two "), CUT])
    with model_server(first, busy(503), answer("three")) as server:
        message = message_of(patches_from(server, dialect="kept"))
    assert (message.status, message.content) == ("finished", "one two three")
    assert [asked.get("after") for asked in server.requests] == [None, 2, 2]


def test_a_stream_that_can_no_longer_be_taken_up_stays_cut() -> None:
    with model_server(Script([chunk(content="half"), CUT]), busy(404)) as server:
        message = message_of(patches_from(server, dialect="kept"))
    assert (message.status, message.content) == ("streaming", "half")


def test_fruitless_attempts_to_take_up_come_to_an_end() -> None:
    with model_server(Script([chunk(content="half"), CUT]), Script([CUT])) as server:
        patches_from(server, dialect="kept", patience=Patience(first=0.001, take_ups=3))
    assert len(server.requests) == 1 + 3


def test_a_server_that_keeps_the_stream_is_told_when_nobody_wants_the_rest() -> None:
    pause = Pause()

    async def leave(url: str) -> None:
        upstream = ModelServer(url, dialect="kept", model="m")
        async with aclosing(upstream.stream(asking())) as stream:
            async for patches in stream:
                if any(patch.op == "APPEND" for patch in patches):
                    break
        await upstream.aclose()

    with model_server(Script([chunk(content="a"), pause]), answer("ok")) as server:
        run(leave(server.url))
        assert server.left.wait(10)
        assert server.requests[1:] == [{"cancel": True}]


# ---- going on ----


def going_on(so_far: str = "The quick brown fox jumps", **more: Any) -> Request:
    return asking("tell", continues=True, content_so_far=so_far, **more)


def way(patches: list[Patch]) -> list[Any]:
    return [patch.value for patch in patches if patch.path == "response/continuation"]


def test_the_server_that_has_the_answer_still_goes_on_natively() -> None:
    with model_server(answer(" over")) as server:
        mine = {"seen": 7, "server": ModelServer(server.url).name}
        patches = patches_from(server, going_on(handle=mine), dialect="kept")
    assert way(patches) == ["native"]
    assert server.requests == [{"after": 7}]


def test_a_handle_of_another_server_is_not_used_here() -> None:
    with model_server(answer(" over")) as server:
        patches = patches_from(server, going_on(handle={"seen": 7, "server": "http://other"}), dialect="kept")
    assert way(patches) == ["asked"]


@pytest.mark.parametrize(
    ("prefill", "marks"),
    [
        ("trailing", {}),
        ("prefix", {"prefix": True}),
        ("partial", {"partial": True}),
    ],
)
def test_a_profile_with_prefill_gives_the_text_as_the_beginning_of_the_answer(
    prefill: Any, marks: Mapping[str, Any]
) -> None:
    with model_server(answer(" over")) as server:
        patches = patches_from(server, going_on(), manners=Manners(prefill=prefill))
    assert way(patches) == ["prefill"]
    last = server.requests[0]["messages"][-1]
    assert last == {"role": "assistant", "content": "The quick brown fox jumps", **marks}


def test_vllm_is_told_to_continue_the_final_message() -> None:
    with model_server(answer(" over")) as server:
        patches_from(server, going_on(), manners=Manners(prefill="continue_final_message"))
    asked = server.requests[0]
    assert (asked["continue_final_message"], asked["add_generation_prompt"]) == (True, False)


def test_a_server_that_refuses_a_prefill_is_asked_to_go_on() -> None:
    with model_server(busy(400), answer(" over")) as server:
        patches = patches_from(server, going_on(), manners=Manners(prefill="prefix"))
    assert way(patches) == ["asked"]
    assert [len(asked["messages"]) for asked in server.requests] == [2, 3]


def test_an_answer_of_which_only_thinking_stands_is_asked_for_again() -> None:
    with model_server(answer("all of it", thinking=("h", "m!"))) as server:
        request = asking("tell", continues=True, thinking_so_far="hm")
        patches = patches_from(server, request, manners=Manners(prefill="prefix"))
    assert message_of(patches).thinking == "\n\nhm!"  # apart from what stands, which is never touched
    assert way(patches) == ["again"]
    assert len(server.requests[0]["messages"]) == 1


@pytest.mark.parametrize("manners", [None, Manners(prefill="trailing")])
def test_text_that_is_said_twice_is_dropped_and_what_stands_is_not_touched(manners: Manners | None) -> None:
    with model_server(answer("brown fox ", "jumps over")) as server:
        patches = patches_from(server, going_on(), manners=manners)
    assert message_of(patches).content == " over"
    assert not any(patch.path == "response/content" and patch.op == "SET" for patch in patches)


def test_a_handle_is_given_up_with_the_answer_that_it_was_of() -> None:
    with model_server(busy(404), answer(" over")) as server:
        mine = {"seen": 7, "server": ModelServer(server.url).name}
        patches = patches_from(server, going_on(handle=mine), dialect="kept")
    handles = [patch.value for patch in patches if patch.path == "response/upstream"]
    assert way(patches) == ["asked"]
    assert handles[0] is None and handles[-1]["server"] == mine["server"]


def test_a_server_that_refuses_to_go_on_with_status_200_is_asked_in_the_next_way() -> None:
    refusing = Script([{"error": {"message": "expired", "type": "gone"}}])
    with model_server(refusing, answer(" over")) as server:
        mine = {"seen": 7, "server": ModelServer(server.url).name}
        patches = patches_from(server, going_on(handle=mine), dialect="kept")
    assert way(patches) == ["asked"]
    assert message_of(patches).status == "finished"


def test_a_conversation_that_the_server_has_forgotten_is_told_to_it_anew() -> None:
    told: list[bool] = []

    class Forgetful(Kept):
        name = "forgetful"

        @classmethod
        def ask(cls, endpoint: str, request: Request, manners: Manners) -> Call:
            told.append(any(turn.handle for turn in request.turns))
            return super().ask(endpoint, request, manners)

    with pytest.MonkeyPatch.context() as patch, model_server(busy(410), answer("ok")) as server:
        patch.setitem(DIALECTS, "forgetful", Forgetful)
        handle = {"seen": 7, "server": ModelServer(server.url).name}
        turns = (Turn("user", "one"), Turn("assistant", "1", handle=handle), Turn("user", "two"))
        patches = patches_from(server, Request(turns=turns), dialect="forgetful")
    assert (told, message_of(patches).content) == ([True, False], "ok")


def test_what_goes_wrong_between_two_calls_is_told_without_the_key() -> None:
    class TwoCalls(Kept):
        name = "two_calls"

        @classmethod
        def ask(cls, endpoint: str, request: Request, manners: Manners) -> Call:
            def then(answer: object) -> Call:
                raise InvalidData(f"no session in {answer}")

            return Call(url=endpoint, body={}, then=then)

    with pytest.MonkeyPatch.context() as patch, model_server(Script(body={"said": KEY})) as server:
        patch.setitem(DIALECTS, "two_calls", TwoCalls)
        with pytest.raises(InvalidData, match="no session in .*said.*") as error:
            patches_from(server, dialect="two_calls", api_key=KEY)
    assert KEY not in str(error.value)


@pytest.mark.parametrize(
    "script",
    [
        Script(body={}, status=302, headers={"location": "/login/A%20shapeless%20secret"}),
        Script([b"x"], headers={"content-encoding": "a shapeless secret"}),
        Script(
            [b"data: {of yours, a shapeless secret, we know nothing; so we say nothing about it to you\n\n"]
        ),
    ],
)
def test_no_error_of_a_connection_quotes_a_secret_of_the_address(script: Script) -> None:
    with model_server(script) as server:
        url = f"{server.url}?key=a%20shapeless%20secret"
        upstream = ModelServer(url, dialect="openai_chat", model="m", patience=EAGER)
        found: list[Patch] = []
        try:
            run(gather(upstream, asking(), found))
            said = str(message_of(found).error)
        except SSEChatError as error:
            said = str(error)
    assert "***" in said
    assert "shapeless" not in said


# ---- answers that are no streams ----


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (Script([b"<html>hello</html>"], content_type="text/html"), "text/html"),
        (Script(body={"hello": 1}), "application/json"),
        (Script([b"x"], content_type=""), "no content type"),
        (Script([], status=204), "204"),
    ],
)
def test_anything_but_a_stream_is_no_success(script: Script, said: str) -> None:
    with model_server(script) as server:
        assert said in str(refused(server))


@pytest.mark.parametrize(
    "steps", [[], [b": hello\n\n"], [b'data: {"choices'], [chunk(content="a"), b"data: [D"]]
)
def test_a_stream_that_says_no_end_is_never_finished(steps: list[Any]) -> None:
    with model_server(Script(steps)) as server:
        message: Message = message_of(patches_from(server))
    assert message.status == "streaming"


def test_a_strict_server_is_asked_without_stream_options() -> None:
    strict = Script(status=422, body={"detail": [{"loc": ["body", "stream_options"], "msg": "extra"}]})
    with model_server(strict, Script([chunk(content="ok"), finish(), DONE])) as server:
        assert message_of(patches_from(server)).status == "finished"
    assert ["stream_options" in asked for asked in server.requests] == [True, False]
