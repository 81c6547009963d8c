"""The wire of DeepSeek and of our gateways as that of a model server: asking, taking up, going on, stopping."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from jupyter_ssechat import demo
from jupyter_ssechat.client import GENERATING, GatewayClient, Patched, Signal
from jupyter_ssechat.dialects import DIALECTS, Body, Call, DeepSeek, Manners, OpenAIChat
from jupyter_ssechat.dialects.deepseek import Relay
from jupyter_ssechat.errors import UpstreamError
from jupyter_ssechat.exchange import Patience
from jupyter_ssechat.gateway.server import Gateway
from jupyter_ssechat.message import Message
from jupyter_ssechat.model_server import ModelServer
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.request import Request, Turn
from jupyter_ssechat.sse import ServerSentEvent
from jupyter_ssechat.upstream import Demo

from .servers import CuttingProxy

T = TypeVar("T")
ENDPOINT = "http://127.0.0.1:8765/api/v0/chat/completion"
HANDLE = {"chat_session_id": "s", "message_id": 2, "server": ENDPOINT}
QUESTION = Request(turns=(Turn("user", "Why?"),))
FOLLOWED = (Turn("user", "Why?"), Turn("assistant", "So.", handle=HANDLE), Turn("user", "And?"))


def asked(request: Request, session: str = "new") -> list[Call]:
    """The calls that ask `request`, the second one with the session that the first one opened."""
    call = DeepSeek.ask(ENDPOINT, request, Manners())
    if call.then is None:
        return [call]
    return [call, call.then({"code": 0, "data": {"biz_code": 0, "biz_data": {"id": session}}})]


def body(call: Call) -> dict[str, Any]:
    assert isinstance(call.body, dict)
    return call.body  # pyright: ignore[reportUnknownVariableType]


def event(value: object, name: str = "message") -> ServerSentEvent:
    return ServerSentEvent(name, json.dumps(value))


def snapshot(**fields: Any) -> ServerSentEvent:
    return event({"v": {"response": {"message_id": 9, "parent_id": 8, "role": "ASSISTANT", **fields}}})


def called(relay: Relay, path: str = "chat/completion", **fields: Any) -> Relay:
    relay.called(Call(url=f"http://h/api/v0/{path}", body={"chat_session_id": "s", **fields}))
    return relay


def shown(patches: list[Patch], message: Message | None = None) -> Message:
    message = message or Message()
    for patch in patches:
        message.apply(patch)
    return message


# ---- addresses ----


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://h:1", "http://h:1/api/v0/chat/completion"),
        ("http://h:1/?token=t", "http://h:1/api/v0/chat/completion?token=t"),
        ("http://h:1/api/v0", "http://h:1/api/v0/chat/completion"),
        ("http://h:1/hub/api/v0/", "http://h:1/hub/api/v0/chat/completion"),
        ("http://h:1/api/v0/chat/completion", "http://h:1/api/v0/chat/completion"),
        ("http://h:1/hub", "http://h:1/hub/api/v0/chat/completion"),
    ],
)
def test_an_address_is_completed_and_its_query_stays(url: str, endpoint: str) -> None:
    assert DeepSeek.endpoint(url) == endpoint
    assert DeepSeek.endpoint(endpoint) == endpoint


def test_it_lives_where_the_address_says_so() -> None:
    assert DeepSeek.lives_at("h", "/api/v0")
    assert DeepSeek.lives_at("h", "/hub/api/v0/chat/completion")
    assert not DeepSeek.lives_at("h", "/api/v01")
    assert not DeepSeek.lives_at("h", "/v1")


def test_calls_keep_the_query_which_may_hold_the_token() -> None:
    call = DeepSeek.ask(f"{ENDPOINT}?token=t", QUESTION, Manners())
    assert call.url == "http://127.0.0.1:8765/api/v0/chat_session/create?token=t"


# ---- asking ----


def test_a_first_question_opens_a_session_and_says_nothing_that_was_not_asked_for() -> None:
    create, completion = asked(QUESTION)
    assert (create.method, create.url, create.body) == (
        "POST",
        ENDPOINT.replace("chat/completion", "chat_session/create"),
        {},
    )
    assert (completion.url, completion.then) == (ENDPOINT, None)
    assert completion.body == {
        "chat_session_id": "new",
        "parent_message_id": None,
        "prompt": "Why?",
        "thinking_enabled": True,
        "search_enabled": False,
        "ref_file_ids": [],
    }


def test_what_is_asked_for_is_said() -> None:
    request = replace(
        QUESTION,
        model="m",
        system="Be brief.",
        thinking=False,
        options={"temperature": 0.5, "search_enabled": True},
    )
    said = body(asked(request)[1])
    assert {name: said[name] for name in ("model", "system", "thinking_enabled", "search_enabled")} == {
        "model": "m",
        "system": "Be brief.",
        "thinking_enabled": False,
        "search_enabled": True,
    }
    assert said["options"] == {"temperature": 0.5}
    assert said["prompt"] == "Why?"


def test_images_are_said() -> None:
    image = "data:image/png;base64,AA=="
    request = Request(turns=(Turn("user", "What is it?", images=(image,)),))
    assert body(asked(request)[1])["images"] == [image]
    assert body(asked(replace(request, turns=(*FOLLOWED[:2], *request.turns)))[0])["images"] == [image]


def test_a_further_question_follows_the_answer_that_the_server_has() -> None:
    [call] = asked(Request(turns=FOLLOWED))
    said = body(call)
    assert (call.url, said["chat_session_id"], said["parent_message_id"], said["prompt"]) == (
        ENDPOINT,
        "s",
        2,
        "And?",
    )


@pytest.mark.parametrize(
    "turns",
    [
        (FOLLOWED[0], Turn("assistant", "So."), FOLLOWED[2]),
        (FOLLOWED[0], Turn("assistant", "So.", handle={"server": "other"}), FOLLOWED[2]),
        (
            FOLLOWED[0],
            Turn("assistant", "So.", handle={"chat_session_id": "s", "message_id": True}),
            FOLLOWED[2],
        ),
    ],
)
def test_a_history_that_the_server_has_not_is_told_whole(turns: tuple[Turn, ...]) -> None:
    said = body(asked(Request(turns=turns, system="Be brief."))[1])
    assert said["prompt"] == "User: Why?\n\nAssistant: So.\n\nUser: And?"
    assert (said["parent_message_id"], said["system"]) == (None, "Be brief.")


def test_no_turn_is_lost_between_the_answer_that_the_server_has_and_the_prompt() -> None:
    turns = (*FOLLOWED, Turn("user", "Hello?"))
    assert body(asked(Request(turns=turns))[1])["prompt"] == (
        "User: Why?\n\nAssistant: So.\n\nUser: And?\n\nUser: Hello?"
    )


def test_a_session_may_be_named_in_either_form() -> None:
    create = asked(QUESTION)[0]
    assert create.then is not None
    answer = {"data": {"biz_data": {"chat_session": {"id": "nested"}}}}
    assert body(create.then(answer))["chat_session_id"] == "nested"


@pytest.mark.parametrize(
    ("answer", "type", "said"),
    [
        (
            {"code": 0, "data": {"biz_code": 26, "biz_msg": "too many", "biz_data": None}},
            "biz_code_26",
            "too many",
        ),
        ({"code": 40003, "msg": "INVALID_TOKEN", "data": None}, "code_40003", "INVALID_TOKEN"),
        (None, "upstream_error", "check the address"),
        ([], "upstream_error", "check the address"),
    ],
)
def test_a_session_that_is_refused_is_an_error_of_one_line(answer: object, type: str, said: str) -> None:
    create = asked(QUESTION)[0]
    assert create.then is not None
    with pytest.raises(UpstreamError, match=said) as raised:
        create.then(answer)
    assert raised.value.type == type


def test_an_answer_goes_on_where_the_server_has_it() -> None:
    request = replace(QUESTION, continues=True, content_so_far="So", handle=HANDLE)
    call = DeepSeek.go_on(ENDPOINT, request)
    assert call is not None
    assert call.url == ENDPOINT.replace("completion", "continue")
    assert call.body == {"chat_session_id": "s", "message_id": 2, "fallback_to_resume": True}
    assert DeepSeek.go_on(ENDPOINT, replace(request, handle=None)) is None
    how = DeepSeek.go_on(ENDPOINT, replace(request, thinking=False, system="Be brief."))
    assert how is not None
    assert body(how)["thinking_enabled"] is False
    assert body(how)["system"] == "Be brief."


# ---- reading ----


def test_a_record_of_ours_takes_text_and_figures_and_keeps_its_own_ids() -> None:
    relay = called(Relay())
    patches = relay.feed(
        snapshot(
            content="",
            thinking_content=None,
            thinking_enabled=True,
            ban_edit=True,
            inserted_at=1.0,
            files=[],
            status="WIP",
            model="m",
            upstream={"chat_session_id": "theirs"},
            continuation="native",
        )
    )
    patches += relay.feed(event({"v": "Hmm", "p": "response/thinking_content", "o": "APPEND"}))
    patches += relay.feed(event({"v": True, "p": "response/ban_regenerate", "o": "SET"}))
    patches += relay.feed(event({"v": 7, "p": "response/accumulated_token_usage", "o": "SET"}))
    patches += relay.feed(event({"v": "So.", "p": "response/content", "o": "APPEND"}))
    patches += relay.feed(event({"v": "FINISHED", "p": "response/status", "o": "SET"}))
    assert patches == [
        Patch("response/model", "SET", "m"),
        Patch("response/thinking_content", "APPEND", "Hmm"),
        Patch("response/accumulated_token_usage", "SET", 7),
        Patch("response/content", "APPEND", "So."),
        Patch("response/status", "SET", "FINISHED"),
    ]
    assert relay.finishing


def test_fragments_become_the_text_that_they_show() -> None:
    relay = called(Relay())
    events = [
        snapshot(fragments=[{"id": 1, "type": "THINK", "content": "H", "elapsed_secs": None}], status="WIP"),
        event({"v": "mm", "p": "response/fragments/-1/content", "o": "APPEND"}),
        event({"v": 1.5, "p": "response/fragments/-1/elapsed_secs", "o": "SET"}),
        event(
            {"v": [{"id": 2, "type": "RESPONSE", "content": "S"}], "p": "response/fragments", "o": "APPEND"}
        ),
        event({"v": "o.", "p": "response/fragments/-1/content"}),
    ]
    assert [patch for one in events for patch in relay.feed(one)] == [
        Patch("response/thinking_content", "APPEND", "H"),
        Patch("response/thinking_content", "APPEND", "mm"),
        Patch("response/thinking_elapsed_secs", "SET", 1.5),
        Patch("response/content", "APPEND", "S"),
        Patch("response/content", "APPEND", "o."),
    ]


def test_a_snapshot_gives_only_what_is_new() -> None:
    relay = called(Relay())
    relay.feed(snapshot(content="So", status="WIP"))
    called(relay, "chat/resume_stream", message_id=9)
    assert relay.feed(snapshot(content="So", status="WIP")) == []
    assert relay.feed(snapshot(content="So it is.", status="FINISHED")) == [
        Patch("response/content", "APPEND", " it is."),
        Patch("response/status", "SET", "FINISHED"),
    ]


def test_another_text_in_a_snapshot_replaces_what_stands() -> None:
    relay = called(Relay())
    relay.feed(snapshot(content="So", status="WIP"))
    assert relay.feed(snapshot(content="No.", status="CONTENT_FILTER")) == [
        Patch("response/content", "SET", "No."),
        Patch("response/status", "SET", "CONTENT_FILTER"),
    ]


def test_each_body_begins_with_a_new_decoder() -> None:
    relay = called(Relay())
    relay.feed(snapshot(content="", status="WIP"))
    relay.feed(event({"v": "So", "p": "response/content", "o": "APPEND"}))
    called(relay, "chat/resume_stream", message_id=9)
    assert relay.feed(event({"v": " lost"})) == []


CONTINUES = replace(QUESTION, continues=True, thinking_so_far="Hmm", content_so_far="So ", handle=HANDLE)


def test_an_answer_that_the_server_continues_is_compared_with_what_stands() -> None:
    relay = DeepSeek.reader(CONTINUES)
    assert isinstance(relay, Relay)
    called(relay, "chat/continue", message_id=2)
    assert relay.feed(snapshot(thinking_content="Hmm", content="So ", status="WIP")) == []
    assert relay.feed(event({"v": "it is.", "p": "response/content", "o": "APPEND"})) == [
        Patch("response/content", "APPEND", "it is.")
    ]
    assert relay.feed(snapshot(thinking_content="Hmm", content="Else.", status="WIP")) == [
        Patch("response/content", "SET", "Else.")
    ]


def test_a_new_answer_is_added_to_the_text_that_stands() -> None:
    relay = DeepSeek.reader(CONTINUES.asked_to_go_on())
    assert isinstance(relay, Relay)
    called(relay)
    assert relay.feed(snapshot(content="", fragments=[], status="WIP")) == []
    frame = {"v": [{"type": "RESPONSE", "content": "it is."}], "p": "response/fragments", "o": "APPEND"}
    assert relay.feed(event(frame)) == [Patch("response/content", "APPEND", "it is.")]
    assert relay.feed(snapshot(content="No.", status="WIP")) == [Patch("response/content", "SET", "So No.")]


def test_a_failure_is_passed_on_and_nothing_after_it() -> None:
    relay = called(Relay())
    hint = {"type": "error", "content": "busy", "finish_reason": "rate_limit_reached"}
    message = shown(relay.feed(snapshot(content="So", status="WIP")) + relay.feed(event(hint, "hint")))
    assert (message.status, message.content) == ("failed", "So")
    assert message.error is not None
    assert message.error.to_dict() == {"type": "rate_limit_reached", "message": "busy"}
    assert relay.feed(event(hint, "hint")) == []


def test_an_error_that_comes_in_pieces_is_passed_on_as_a_whole() -> None:
    relay = called(Relay())
    relay.feed(snapshot(status="WIP", error={"type": "t", "message": "no"}))
    told = relay.feed(event({"v": " key", "p": "response/error/message", "o": "APPEND"}))
    assert told == [Patch("response/error", "SET", {"type": "t", "message": "no key"})]


def test_the_reason_of_a_failure_comes_before_its_status() -> None:
    error = {"type": "t", "message": "no"}
    patches = called(Relay()).feed(snapshot(status="FAILED", error=error, finish_reason="error"))
    assert [patch.path for patch in patches] == [
        "response/finish_reason",
        "response/error",
        "response/status",
    ]


def test_a_whole_message_in_place_of_a_stream_is_read() -> None:
    message = {"message_id": 9, "content": "So.", "status": "FINISHED"}
    envelope = {"code": 0, "data": {"biz_code": 22, "biz_data": message}}
    read = shown(called(Relay()).whole(envelope))
    assert (read.status, read.content, read.message_id) == ("finished", "So.", None)
    refused = shown(called(Relay()).whole({"code": 40003, "msg": "INVALID_TOKEN", "data": None}))
    assert refused.error is not None
    assert refused.error.to_dict() == {"type": "code_40003", "message": "INVALID_TOKEN"}
    assert DeepSeek().whole({"error": {"message": "no"}}) == []


def test_a_stream_that_was_expected_in_another_dialect_is_relayed_too() -> None:
    reading = Body(OpenAIChat(), or_else=True)
    stream = b'data: {"v":{"response":{"message_id":9,"content":"So.","status":"FINISHED"}}}\n\n'
    message = shown(reading.feed(stream))
    assert (message.content, message.status, message.message_id) == ("So.", "finished", None)


def test_a_reader_of_its_own_stream_keeps_the_ids() -> None:
    assert shown(DeepSeek().feed(snapshot(status="WIP"))).message_id == 9


# ---- what the server calls it ----


def test_the_answer_is_called_as_ready_says() -> None:
    relay = called(Relay())
    assert (relay.handle, relay.take_up(ENDPOINT), relay.cancel(ENDPOINT)) == (None, None, None)
    relay.feed(event({"request_message_id": 3, "response_message_id": 4}, "ready"))
    place = {"chat_session_id": "s", "message_id": 4}
    assert relay.handle == place
    resume, stop = relay.take_up(ENDPOINT), relay.cancel(ENDPOINT)
    assert resume is not None
    assert stop is not None
    assert (resume.url, resume.body) == (ENDPOINT.replace("completion", "resume_stream"), place)
    assert (stop.url, stop.body) == (ENDPOINT.replace("completion", "stop_stream"), place)


def test_only_the_stream_of_our_own_gateway_is_named_when_it_is_stopped() -> None:
    ours = {"stream_id": "x", "request_message_id": 3, "response_message_id": 4}
    for ready, stream in ((ours, "x"), ({"stream_id": "x"}, None)):
        relay = called(Relay())
        relay.feed(event(ready, "ready"))
        relay.feed(snapshot(status="WIP"))
        stop = relay.cancel(ENDPOINT)
        assert stop is not None
        assert body(stop).get("stream_id") == stream


def test_an_older_server_names_the_answer_in_the_snapshot() -> None:
    relay = called(Relay())
    relay.feed(event({"stream_id": "x"}, "ready"))
    assert relay.handle is None
    relay.feed(snapshot(status="WIP"))
    assert relay.handle == {"chat_session_id": "s", "message_id": 9}


def test_its_abilities_are_told() -> None:
    told = DIALECTS["deepseek"].abilities
    assert told.resume
    assert told.stop
    assert told.goes_on != "asked to go on"


# ---- a real gateway as the model server of another ----

PROMPT = "hello"
LONG = "count to 1000"
QUICK = Patience(first=0.01, longest=0.05)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def there(gateway: Gateway, url: str | None = None) -> ModelServer:
    """A gateway as a model server, perhaps through a proxy."""
    return ModelServer(url or gateway.url, dialect="deepseek", api_key=gateway.token, patience=QUICK)


class Asker:
    """One session at a gateway of ours."""

    def __init__(self, gateway: Gateway) -> None:
        self.client = GatewayClient(gateway.url, gateway.token)
        self.session = ""
        self.text = {"thinking": "", "content": ""}

    async def __aenter__(self) -> Asker:
        """Open the session."""
        self.session = await self.client.create_session()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.client.aclose()

    async def call(
        self, call: GENERATING, message: Message | None = None, *, stop_at: int | None = None, **fields: Any
    ) -> Message:
        """Follow one call to its end; stop the answer when it has so many characters."""
        message = message or Message()
        body = {"chat_session_id": self.session, **fields}
        async with aclosing(self.client.follow(call, body, message)) as signals:
            async for signal in signals:
                self.check(message, signal)
                if stop_at is not None and len(message.content) >= stop_at:
                    stop_at = None
                    assert message.message_id is not None
                    await self.client.stop(self.session, message.message_id)
        return message

    async def ask(self, prompt: str, parent: int | None = None, **how: Any) -> Message:
        """Ask and take the answer to its end."""
        self.text = {"thinking": "", "content": ""}
        return await self.call("completion", prompt=prompt, parent_message_id=parent, **how)

    def check(self, message: Message, signal: Signal) -> None:
        """What the deltas add up to is the text."""
        if isinstance(signal, Patched):
            for delta in signal.deltas:
                assert not delta.replaces
                self.text[delta.kind] += delta.text
            assert self.text == {"thinking": message.thinking, "content": message.content}


async def kept(gateway: Gateway) -> list[list[dict[str, Any]]]:
    """What a gateway keeps: the messages of each of its sessions."""
    client = GatewayClient(gateway.url, gateway.token)
    sessions = [one["id"] for one in await client.sessions()]
    messages = [await client.history(session) for session in sessions]
    await client.aclose()
    return messages


async def said_by_the_demo(prompt: str, turn: int = 1) -> tuple[str, str]:
    texts = {"thinking": "", "content": ""}
    for token in demo.script(prompt, turn=turn):
        texts[token.kind] += token.text
    return texts["thinking"], texts["content"]


def test_an_answer_comes_through_two_gateways_whole_with_ids_of_the_nearer_one() -> None:
    async def scenario(near: Gateway) -> None:
        async with Asker(near) as asker:
            first = await asker.ask(PROMPT)
            second = await asker.ask(PROMPT, first.message_id)
        assert (first.status, first.thinking, first.content) == ("finished", *await said_by_the_demo(PROMPT))
        assert (second.status, second.thinking, second.content) == (
            "finished",
            *await said_by_the_demo(PROMPT, turn=2),
        )
        assert (second.message_id, second.parent_id, second.model) == (4, 3, "demo")
        assert second.usage is not None
        assert second.usage["completion_tokens"]

    with Gateway(Demo(pace=0)) as far, Gateway(there(far)) as near:
        run(scenario(near))
        # Both turns in one session: the second one followed the answer that was there.
        [messages] = run(kept(far))
        assert [one["message_id"] for one in messages] == [1, 2, 3, 4]


def test_a_turn_answered_elsewhere_is_told_to_a_new_session() -> None:
    async def scenario(near: Gateway, far: Gateway) -> None:
        async with Asker(near) as asker:
            first = await asker.ask(PROMPT)
            near.assign(asker.session, there(far))
            second = await asker.ask("And?", first.message_id)
        assert second.status == "finished"
        [[prompt, _]] = await kept(far)
        assert prompt["content"] == f"User: {PROMPT}\n\nAssistant: {first.content}\n\nUser: And?"

    with Gateway(Demo(pace=0)) as far, Gateway(Demo(pace=0)) as near:
        run(scenario(near, far))


def test_stop_ends_the_answer_at_the_far_gateway_and_it_goes_on_there() -> None:
    async def scenario(near: Gateway, far: Gateway, prompt: str) -> None:
        async with Asker(near) as asker, Asker(far) as witness:
            fields = {"prompt": prompt, "parent_message_id": None}
            stopped = await asker.call("completion", stop_at=40, **fields)
            assert (stopped.status, stopped.finish_reason) == ("stopped", "stopped")
            known = [one["id"] for one in await witness.client.sessions()]
            [witness.session] = [one for one in known if one != witness.session]
            witness.check = lambda message, signal: None
            seen = await witness.call("resume_stream", message_id=2)
            assert seen.status == "stopped"
            whole = await said_by_the_demo(prompt)
            assert len(seen.content) < len(whole[1])
            message = await asker.call("continue", stopped, stop_at=120, message_id=2)
            assert message.document.get("response/continuation") == "native"
            assert message.content == whole[1][: len(message.content)]
            assert len(message.content) >= 120

    with Gateway(Demo(pace=0.3)) as far, Gateway(there(far)) as near:
        run(scenario(near, far, LONG))


def test_an_answer_goes_on_natively_to_its_end() -> None:
    async def scenario(near: Gateway) -> Message:
        async with Asker(near) as asker:
            fields = {"prompt": PROMPT, "parent_message_id": None}
            message = await asker.call("completion", stop_at=10, **fields)
            assert message.status == "stopped"
            return await asker.call("continue", message, message_id=2)

    with Gateway(Demo(pace=0.05)) as far, Gateway(there(far)) as near:
        message = run(scenario(near))
        [messages] = run(kept(far))
    assert (message.status, message.thinking, message.content) == (
        "finished",
        *run(said_by_the_demo(PROMPT)),
    )
    assert len(messages) == 2


@pytest.mark.parametrize("places", [[700], [1500, 900], [4000, 1200, 800, 3000], [2000, 100, 100, 2500]])
def test_a_connection_that_drops_between_them_costs_nothing(places: list[int]) -> None:
    async def scenario(near: Gateway) -> Message:
        async with Asker(near) as asker:
            return await asker.ask(PROMPT)

    # The first connection opens the session there.
    proxy = CuttingProxy(0, dict(enumerate(places, 1)))
    with Gateway(Demo(pace=0.02), allowed_hosts=(f"127.0.0.1:{proxy.port}",)) as far:
        proxy.aim(far.access.port)
        with Gateway(there(far, proxy.url)) as near:
            message = run(scenario(near))
        [messages] = run(kept(far))
    proxy.close()
    assert (message.status, message.thinking, message.content) == (
        "finished",
        *run(said_by_the_demo(PROMPT)),
    )
    assert len(messages) == 2
    assert proxy.connections > len(places)


def test_a_far_gateway_that_refuses_the_token_is_a_failure_that_says_so() -> None:
    async def scenario(near: Gateway) -> Message:
        async with Asker(near) as asker:
            return await asker.ask(PROMPT)

    with Gateway(Demo(pace=0)) as far:
        server = ModelServer(far.url, dialect="deepseek", api_key="wrong", patience=QUICK)
        with Gateway(server) as near:
            message = run(scenario(near))
    assert message.error is not None
    assert message.error.type == "authentication_error"
