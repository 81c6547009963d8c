"""The gateway as a server of OpenAI's chat completions: the real client, other clients, and the bytes."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from httpx_sse import connect_sse
from openai.types.chat import ChatCompletionChunk

from jupyter_ssechat.deadlines import Deadlines
from jupyter_ssechat.exchange import Patience
from jupyter_ssechat.gateway.server import Gateway
from jupyter_ssechat.gateway.settings import Settings
from jupyter_ssechat.model_server import ModelServer
from jupyter_ssechat.sse import SSEDecoder
from jupyter_ssechat.upstream import Demo, Upstream

from .servers import CUT, DONE, Breath, Pause, Script, answer, chunk, finish, model_server, usage
from .servers import ModelServerForTests as Server

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
TOOLS: list[Any] = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
WIRE = Path(__file__).parent / "wire"
AT_ONCE = Patience(retries=0)

OFTEN = Settings(keep_alive=0.05)


class Caller:
    """A gateway, and the ways to call it."""

    def __init__(self, upstream: Upstream, **options: Any) -> None:
        self.gateway = Gateway(upstream, **options)
        self.base_url = f"{self.gateway.url}/v1"
        key = self.gateway.token
        self.openai = openai.OpenAI(base_url=self.base_url, api_key=key, max_retries=0, timeout=20)
        headers = {"authorization": f"Bearer {key}"}
        self.http = httpx.Client(base_url=self.base_url, headers=headers, timeout=20, trust_env=False)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.openai.close()
        self.http.close()
        self.gateway.close()

    def streaming(self, **more: Any) -> openai.Stream[ChatCompletionChunk]:
        return self.openai.chat.completions.create(model="m", messages=HELLO, stream=True, **more)

    def asking(self, **more: Any) -> Any:
        return self.openai.chat.completions.create(model="m", messages=HELLO, **more)

    def post(self, **body: Any) -> httpx.Response:
        return self.http.post("/chat/completions", json={"model": "m", "messages": HELLO, **body})

    def bytes(self, **body: Any) -> bytes:
        """The body of a stream, whole."""
        answer = self.post(stream=True, **body)
        assert (answer.status_code, answer.headers["content-type"]) == (
            200,
            "text/event-stream; charset=utf-8",
        )
        return answer.content

    @contextmanager
    def reading(self) -> Iterator[Iterator[bytes]]:
        """A stream in the course of being read, by what comes at once."""
        body = {"model": "m", "messages": HELLO, "stream": True}
        with self.http.stream("POST", "/chat/completions", json=body) as response:
            assert response.status_code == 200
            yield response.iter_raw()

    def figures(self) -> dict[str, float]:
        """What is counted of our streams and readers; all of it when the gateway is closed."""
        text = self.gateway.metrics.text().decode()
        rows = re.findall(r'^ssechat_(\w+)\{api="chat"(?:,outcome="(\w+)")?\} (\S+)$', text, re.M)
        return {outcome or name: float(value) for name, outcome, value in rows if "created" not in name}


@contextmanager
def gateway_to(*scripts: Script, **options: Any) -> Iterator[tuple[Caller, Server]]:
    with model_server(*scripts) as server, Caller(upstream_at(server.url), **options) as caller:
        yield caller, server


def upstream_at(url: str, **more: Any) -> ModelServer:
    return ModelServer(url, dialect="openai_chat", patience=AT_ONCE, **more)


def data_of(body: bytes) -> list[Any]:
    """The data of a stream, decoded; [DONE] as it is."""
    said = [event.data for event in SSEDecoder().feed(body)]
    return [one if one == "[DONE]" else json.loads(one) for one in said]


def deltas_of(body: bytes) -> list[dict[str, Any]]:
    chunks = [one for one in data_of(body) if one != "[DONE]"]
    return [choice["delta"] for one in chunks for choice in one.get("choices", [])]


def tool_call(index: int = 0, **fields: Any) -> dict[str, Any]:
    return chunk(tool_calls=[{"index": index, **fields}])


CALLS = Script(
    [
        chunk(content="Let me see."),
        tool_call(id="c1", type="function", function={"name": "weather", "arguments": ""}),
        tool_call(function={"arguments": '{"city":'}),
        tool_call(function={"arguments": '"Ulm"}'}),
        tool_call(1, id="c2", type="function", function={"name": "weather", "arguments": "{}"}),
        finish("tool_calls"),
        usage(3, 4),
        DONE,
    ]
)


# ---- the client of OpenAI ----


def test_a_stream_brings_thinking_text_and_its_end() -> None:
    with gateway_to(answer("Hel", "lo", thinking=("hm", "…"))) as (caller, _):
        chunks = list(caller.streaming())
    deltas = [one.choices[0].delta for one in chunks]
    assert [one.role for one in deltas] == ["assistant", *[None] * 5]
    assert "".join(getattr(one, "reasoning_content", None) or "" for one in deltas) == "hm…"
    assert "".join(one.content or "" for one in deltas) == "Hello"
    assert [one.choices[0].finish_reason for one in chunks] == [*[None] * 5, "stop"]
    assert {one.model for one in chunks} == {"script"}
    assert {one.object for one in chunks} == {"chat.completion.chunk"}
    [id], [created] = {one.id for one in chunks}, {one.created for one in chunks}
    assert id.startswith("chatcmpl-") and abs(created - time.time()) < 60


def test_the_count_of_tokens_comes_last_and_only_if_it_is_asked_for() -> None:
    with gateway_to(answer("a", "b")) as (caller, _):
        *before, last = caller.streaming(stream_options={"include_usage": True})
        without = list(caller.streaming())
    assert last.choices == []
    assert last.usage is not None and last.usage.to_dict() == {
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "total_tokens": 7,
    }
    assert before[-1].choices[0].finish_reason == "stop"
    assert all(one.usage is None for one in [*before, *without])
    assert all(one.choices for one in without)


def test_a_whole_answer_is_one_object() -> None:
    with gateway_to(answer("Hel", "lo", thinking=("hm",))) as (caller, _):
        whole = caller.asking()
    [choice] = whole.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "Hello")
    assert (choice.message.reasoning_content, choice.message.tool_calls) == ("hm", None)
    assert (choice.index, choice.finish_reason) == (0, "stop")
    assert (whole.object, whole.model, whole.usage.total_tokens) == ("chat.completion", "script", 7)


def test_tool_calls_are_streamed_as_they_come() -> None:
    with (
        gateway_to(CALLS) as (caller, server),
        caller.openai.chat.completions.stream(model="m", messages=HELLO, tools=TOOLS) as stream,
    ):
        choice = stream.get_final_completion().choices[0]
    assert server.requests[0]["tools"] == TOOLS
    calls = [(one.id, one.function.name, one.function.arguments) for one in choice.message.tool_calls or []]
    assert calls == [("c1", "weather", '{"city":"Ulm"}'), ("c2", "weather", "{}")]
    assert (choice.message.content, choice.finish_reason) == ("Let me see.", "tool_calls")


def test_tool_calls_of_a_whole_answer_are_whole() -> None:
    with gateway_to(CALLS) as (caller, _):
        choice = caller.asking(tools=TOOLS).choices[0]
    calls = [(one.id, one.type, one.function.arguments) for one in choice.message.tool_calls]
    assert calls == [("c1", "function", '{"city":"Ulm"}'), ("c2", "function", "{}")]
    assert choice.finish_reason == "tool_calls"


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter"])
def test_an_answer_ends_with_the_word_of_the_server(reason: str) -> None:
    script = Script([chunk(content="x"), finish(reason), DONE])
    with gateway_to(script) as (caller, _):
        assert [*caller.streaming()][-1].choices[0].finish_reason == reason
        assert caller.asking().choices[0].finish_reason == reason


def test_the_raw_response_is_there_for_both_kinds() -> None:
    with gateway_to(answer("Hello")) as (caller, _):
        create = caller.openai.chat.completions.with_raw_response.create
        whole = create(model="m", messages=HELLO)
        streamed = create(model="m", messages=HELLO, stream=True)
        assert whole.headers["content-type"] == "application/json"
        assert streamed.headers["content-type"] == "text/event-stream; charset=utf-8"
        for raw in (whole, streamed):
            assert (raw.status_code, raw.headers["cache-control"]) == (200, "no-store")
        assert whole.parse().choices[0].message.content == "Hello"
        assert "".join(one.choices[0].delta.content or "" for one in streamed.parse()) == "Hello"
        streamed.http_response.close()


def test_a_streaming_response_can_be_read_by_lines_and_parsed() -> None:
    with gateway_to(answer("Hello")) as (caller, _):
        create = caller.openai.chat.completions.with_streaming_response.create
        with create(model="m", messages=HELLO, stream=True) as raw:
            lines = [line for line in raw.iter_lines() if line]
        assert lines[-1] == "data: [DONE]"
        assert all(line.startswith("data: ") for line in lines)
        with create(model="m", messages=HELLO, stream=True) as raw:
            assert "".join(one.choices[0].delta.content or "" for one in raw.parse()) == "Hello"
        with create(model="m", messages=HELLO) as raw:
            assert raw.parse().choices[0].message.content == "Hello"


def test_the_async_client_gets_the_same() -> None:
    async def ask(caller: Caller) -> tuple[str, str, list[str]]:
        key = caller.gateway.token
        async with openai.AsyncOpenAI(base_url=caller.base_url, api_key=key, max_retries=0) as client:
            stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
            text = "".join([one.choices[0].delta.content or "" async for one in stream])
            whole = await client.chat.completions.create(model="m", messages=HELLO)
            models = [one.id async for one in client.models.list()]
            return text, whole.choices[0].message.content or "", models

    with gateway_to(answer("Hel", "lo")) as (caller, _):
        assert asyncio.run(ask(caller)) == ("Hello", "Hello", ["script"])


def _leave_stream(client: openai.OpenAI) -> None:
    with client.chat.completions.create(model="m", messages=HELLO, stream=True) as stream:
        assert [next(stream).choices[0].delta.content for _ in range(2)] == ["", "a"]


def _leave_loop(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model="m", messages=HELLO, stream=True)
    assert any(one.choices[0].delta.content for one in stream)  # which ends at the first
    stream.close()


def _leave_raw(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="m", messages=HELLO, stream=True)
    raw.http_response.close()


def _leave_streaming_response(client: openai.OpenAI) -> None:
    create = client.chat.completions.with_streaming_response.create
    with create(model="m", messages=HELLO, stream=True) as raw:
        assert next(raw.iter_lines()).startswith("data: ")


def _leave_helper(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="m", messages=HELLO) as stream:
        assert next(iter(stream)).type == "chunk"


@pytest.mark.parametrize(
    "leave", [_leave_stream, _leave_loop, _leave_raw, _leave_streaming_response, _leave_helper]
)
def test_a_stream_that_is_closed_early_ends_the_generation(leave: Callable[[openai.OpenAI], None]) -> None:
    with gateway_to(Script([chunk(content="a"), Pause()])) as (caller, server):
        leave(caller.openai)
        assert server.left.wait(10)
    assert caller.figures()["cancelled"] == caller.figures()["disconnects_total"] == 1


def test_an_async_stream_that_is_closed_early_ends_the_generation() -> None:
    async def leave(caller: Caller) -> None:
        key = caller.gateway.token
        async with openai.AsyncOpenAI(base_url=caller.base_url, api_key=key, max_retries=0) as client:
            stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
            async with stream:
                assert (await anext(stream)).choices[0].delta.role == "assistant"

    with gateway_to(Script([chunk(content="a"), Pause()])) as (caller, server):
        asyncio.run(leave(caller))
        assert server.left.wait(10)


def test_an_async_stream_that_is_left_by_cancellation_ends_the_generation() -> None:
    pause = Pause()

    async def leave(caller: Caller) -> None:
        key = caller.gateway.token
        async with openai.AsyncOpenAI(base_url=caller.base_url, api_key=key, max_retries=0) as client:
            asking = asyncio.create_task(client.chat.completions.create(model="m", messages=HELLO))
            await asyncio.to_thread(pause.reached.wait, 10)
            asking.cancel()
            await asyncio.wait([asking])

    with gateway_to(Script([chunk(content="a"), pause])) as (caller, server):
        asyncio.run(leave(caller))
        assert server.left.wait(10)


def test_the_demo_answers_whatever_model_is_asked_for() -> None:
    with Caller(Demo(pace=0)) as caller:
        assert "demo" in caller.asking().choices[0].message.content
        assert [*caller.streaming()][-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    "name",
    [
        "deepseek_flat_b",
        "synthetic_deepseek_fragments_2026",
        "synthetic_openai_chat_mistral",
        "synthetic_openai_chat_tool_calls",
        "synthetic_anthropic_messages_interleaved",
        "synthetic_anthropic_messages_tool_use",
        "synthetic_openai_responses_openai",
        "synthetic_openai_responses_tools",
    ],
)
def test_an_answer_in_any_wire_comes_as_chunks(name: str) -> None:
    expected = json.loads((WIRE / "expected.json").read_text())[f"{name}.sse"]["message"]
    script = Script([(WIRE / f"{name}.sse").read_bytes()])
    with model_server(script) as server, Caller(ModelServer(server.url)) as caller:
        chunks = [one.choices[0] for one in caller.streaming()]
        whole = caller.asking().choices[0]
    thinking = "".join(getattr(one.delta, "reasoning_content", None) or "" for one in chunks)
    assert ("".join(one.delta.content or "" for one in chunks), thinking) == (
        expected["content"],
        expected["thinking"],
    )
    assert chunks[-1].finish_reason == whole.finish_reason == expected["finish_reason"]
    assert (whole.message.content or "") == expected["content"]


# ---- the list of models ----


def test_the_models_are_those_of_the_server() -> None:
    with (
        model_server(answer("x"), models=["a", "org/b"]) as server,
        Caller(upstream_at(server.url)) as caller,
    ):
        assert [one.id for one in caller.openai.models.list()] == ["a", "org/b"]
        assert caller.openai.models.retrieve("org/b").id == "org/b"
        with pytest.raises(openai.NotFoundError, match="does not list a model 'c'"):
            caller.openai.models.retrieve("c")


def test_a_server_that_is_not_there_has_no_models_but_an_error() -> None:
    with (
        Caller(upstream_at("http://127.0.0.1:9/v1")) as caller,
        pytest.raises(openai.InternalServerError) as error,
    ):
        caller.openai.models.list()
    assert (error.value.status_code, error.value.type) == (502, "connection_failed")


# ---- what the model server is asked ----


def test_what_is_not_ours_goes_on_as_it_is() -> None:
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "name": "me", "content": [{"type": "text", "text": "what?"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function"}]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "developer", "content": "now in French"},
    ]
    options = {
        "temperature": 0,
        "max_tokens": 5,
        "max_completion_tokens": 6,
        "stop": ["\n"],
        "seed": 7,
        "tool_choice": "none",
        "tools": TOOLS,
        "response_format": {"type": "json_object"},
        "reasoning_effort": "low",
        "user": None,
        "something": {"new": [1]},
    }
    with gateway_to(answer("ok")) as (caller, server):
        assert caller.post(messages=messages, n=1, stream=False, **options).status_code == 200
    stream = {"stream": True, "stream_options": {"include_usage": True}}
    assert server.requests == [{"model": "m", "messages": messages, **stream, **options}]


def test_the_token_of_the_gateway_is_not_sent_to_the_server() -> None:
    with gateway_to(answer("ok")) as (caller, server):
        caller.asking()
    assert "authorization" not in server.request_headers[0]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{oops", "body"),
        (b"[]", "body"),
        (b"{}", "messages"),
        (b'{"messages":[]}', "messages"),
        (b'{"messages":"hello"}', "messages"),
        (b'{"messages":[{"content":"hello"}]}', "messages[0].role"),
        (b'{"messages":[{"role":"wizard","content":"hello"}]}', "messages[0].role"),
        (b'{"messages":[{"role":"user","content":3}]}', "messages[0].content"),
        (b'{"messages":[{"role":"user","content":"x"}],"stream":"yes"}', "stream"),
        (b'{"messages":[{"role":"user","content":"x"}],"model":1}', "model"),
        (b'{"messages":[{"role":"user","content":"x"}],"n":2}', "n"),
        (b'{"messages":[{"role":"user","content":"x"}],"n":0}', "n"),
        (b'{"messages":[{"role":"user","content":"x"}],"stream_options":{"include_usage":1}}', "stream_opt"),
    ],
)
def test_a_wrong_body_is_refused_by_the_name_of_its_field(body: bytes, param: str) -> None:
    with gateway_to(answer("never")) as (caller, server):
        refused = caller.http.post("/chat/completions", content=body)
    assert server.requests == []
    assert (refused.status_code, refused.headers["content-type"]) == (400, "application/json")
    error = refused.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"].startswith(param) and error["message"].startswith(param)
    assert "\n" not in error["message"]


def test_the_client_is_told_why_only_one_answer_is_given() -> None:
    said = "3 answers are asked for; .* send n=1"
    with (
        gateway_to(answer("never")) as (caller, _),
        pytest.raises(openai.BadRequestError, match=said) as error,
    ):
        caller.asking(n=3)
    assert error.value.param == "n"


# ---- refused before the first token ----


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("said", "status"), [(400, 400), (404, 404), (422, 422), (429, 429), (500, 500), (503, 503), (529, 529)]
)
def test_a_refusal_has_the_status_of_the_server(stream: bool, said: int, status: int) -> None:
    script = Script(status=said, body={"error": {"message": "not today"}}, headers={"retry-after": "120"})
    with gateway_to(script) as (caller, _), pytest.raises(openai.APIStatusError, match="not today") as error:
        caller.asking(stream=stream)
    assert error.value.status_code == status
    assert error.value.response.headers["retry-after"] == "120"
    assert error.value.body["message"].startswith(f"the model server answered {said}: not today")


@pytest.mark.parametrize("said", [401, 403])
def test_a_wrong_key_of_the_server_is_not_the_fault_of_the_caller(said: int) -> None:
    script = Script(status=said, body={"error": {"message": "bad key"}})
    with gateway_to(script) as (caller, _), pytest.raises(openai.InternalServerError) as error:
        caller.asking()
    assert f"answered {said}: bad key" in str(error.value)
    assert error.value.status_code == 502


@pytest.mark.parametrize("stream", [True, False])
def test_no_connection_is_a_bad_gateway(stream: bool) -> None:
    with Caller(upstream_at("http://127.0.0.1:9/v1")) as caller:
        refused = caller.post(stream=stream)
    assert caller.figures()["failed"] == 1
    assert (refused.status_code, refused.json()["error"]["type"]) == (502, "connection_failed")


@pytest.mark.parametrize("stream", [True, False])
def test_a_server_that_is_too_slow_is_a_gateway_timeout(stream: bool) -> None:
    deadlines = Deadlines(first_token=0.1)
    with (
        model_server(Script([Pause()])) as server,
        Caller(upstream_at(server.url, deadlines=deadlines)) as caller,
    ):
        refused = caller.post(stream=stream)
    assert caller.figures()["timed_out"] == 1
    assert (refused.status_code, refused.json()["error"]["type"]) == (504, "timeout")


@pytest.mark.parametrize("stream", [True, False])
def test_an_error_in_place_of_the_first_token_has_a_status_too(stream: bool) -> None:
    script = Script([{"error": {"message": "too many", "type": "rate_limit_exceeded"}}, DONE])
    with gateway_to(script) as (caller, _):
        refused = caller.post(stream=stream)
    assert (refused.status_code, refused.json()["error"]["message"]) == (429, "too many")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("steps", [[], [chunk(role="assistant")], [CUT]])
def test_a_stream_that_ends_before_its_first_token_is_a_bad_gateway(stream: bool, steps: list[Any]) -> None:
    with gateway_to(Script(steps)) as (caller, _):
        assert caller.post(stream=stream).status_code == 502


def test_a_wrong_token_is_told_in_the_words_of_openai() -> None:
    with gateway_to(answer("never")) as (caller, server), pytest.raises(openai.AuthenticationError):
        caller.openai.with_options(api_key="wrong").chat.completions.create(model="m", messages=HELLO)
    assert server.requests == []


@pytest.mark.parametrize("stream", [True, False])
def test_a_server_that_is_asked_again_refuses_with_its_last_status(stream: bool) -> None:
    busy = Script(status=503, body={"error": {"message": "busy"}})
    limited = Script(status=429, body={"error": {"message": "too many"}})
    with model_server(busy, limited) as server:
        again = ModelServer(server.url, patience=Patience(retries=1, first=0.1))
        with Caller(again, settings=Settings(keep_alive=0.01)) as caller:
            refused = caller.post(stream=stream)
    assert (refused.status_code, len(server.requests)) == (429, 2)


@pytest.mark.parametrize("stream", [True, False])
def test_what_the_wire_of_the_server_cannot_say_is_a_bad_request(stream: bool) -> None:
    image = {"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}
    with (
        model_server(answer("never")) as server,
        Caller(ModelServer(server.url, dialect="plain_content")) as caller,
    ):
        refused = caller.post(messages=[{"role": "user", "content": [image]}], stream=stream)
    assert refused.status_code == 400
    assert "images cannot be sent" in refused.json()["error"]["message"]
    assert server.requests == []


def test_a_model_that_is_not_named_where_there_are_several_is_a_bad_request() -> None:
    with model_server(answer("x"), models=["a", "b"]) as server, Caller(upstream_at(server.url)) as caller:
        refused = caller.post(model=None)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "model")


# ---- failed in mid-stream ----

BROKEN: list[tuple[list[Any], str]] = [
    ([], "upstream_interrupted"),
    ([CUT], "upstream_interrupted"),
    ([{"error": {"message": "out of memory", "type": "server_error"}}, DONE], "server_error"),
    ([b"event: error\n: out of memory\n\n"], "error"),
    ([b"data: {oops\n\n"], "invalid_data"),
    ([finish("error"), DONE], "error"),
]


@pytest.mark.parametrize(("steps", "kind"), BROKEN)
def test_a_stream_that_breaks_ends_with_an_error_and_never_with_a_finish(steps: list[Any], kind: str) -> None:
    with gateway_to(Script([chunk(content="half"), *steps])) as (caller, _):
        data = data_of(caller.bytes(stream_options={"include_usage": True}))
    assert caller.figures()["failed"] == 1
    assert data[-1] == "[DONE]"
    assert set(data[-2]["error"]) == {"message", "type", "param", "code"}
    assert (data[-2]["error"]["type"], data[-2]["error"]["code"]) == (kind, "502")
    assert [one["choices"][0]["delta"].get("content") for one in data[:-2]] == ["", "half"]
    assert all(one["choices"][0]["finish_reason"] is None for one in data[:-2])


@pytest.mark.parametrize(("steps", "kind"), BROKEN)
def test_the_client_raises_after_the_text_of_a_stream_that_breaks(steps: list[Any], kind: str) -> None:
    with gateway_to(Script([chunk(content="half"), *steps])) as (caller, _):
        stream = caller.streaming()
        assert [next(stream).choices[0].delta.content for _ in range(2)] == ["", "half"]
        with pytest.raises(openai.APIError) as error:
            next(stream)
    assert error.value.type == kind


@pytest.mark.parametrize(("steps", "kind"), BROKEN)
def test_a_whole_answer_that_breaks_is_an_error_and_no_answer(steps: list[Any], kind: str) -> None:
    with gateway_to(Script([chunk(content="half"), *steps])) as (caller, _):
        refused = caller.post()
    assert (refused.status_code, refused.json()["error"]["type"]) == (502, kind)
    assert set(refused.json()) == {"error"}


def test_silence_in_mid_stream_is_a_timeout_that_is_told() -> None:
    deadlines = Deadlines(silence=0.1)
    with (
        model_server(Script([chunk(content="half"), Pause()])) as server,
        Caller(upstream_at(server.url, deadlines=deadlines)) as caller,
    ):
        data = data_of(caller.bytes())
    assert caller.figures()["timed_out"] == 1
    assert (data[-2]["error"]["type"], data[-2]["error"]["code"]) == ("timeout", "504")


def test_text_that_is_replaced_cannot_be_taken_back_and_is_an_error() -> None:
    recalled = [{"v": "No", "p": "response/content"}, {"v": "Yes"}, {"v": "FINISHED", "p": "response/status"}]
    with model_server(Script(recalled)) as server, Caller(ModelServer(server.url, model="m")) as caller:
        data = data_of(caller.bytes())
        whole = caller.asking().choices[0].message
    assert data[-2]["error"]["type"] == "text_replaced"
    assert whole.content == "Yes"


def test_a_tag_that_only_closes_stands_in_a_stream_and_tells_thinking_in_a_whole_answer() -> None:
    script = Script([chunk(content="I think"), chunk(content=" so.</think>Yes"), finish(), DONE])
    with gateway_to(script) as (caller, _):
        data = data_of(caller.bytes())
        whole = caller.asking().choices[0].message
    said = "".join(one["choices"][0]["delta"].get("content", "") for one in data[:-1])
    assert (said, data[-2]["choices"][0]["finish_reason"]) == ("I think so.</think>Yes", "stop")
    assert (whole.reasoning_content, whole.content) == ("I think so.", "Yes")


# ---- silence ----


def test_a_server_that_has_accepted_and_is_silent_is_kept_alive_by_comments() -> None:
    pause = Pause()
    with (
        gateway_to(
            Script([pause, chunk(content="a"), finish(), DONE]), settings=Settings(keep_alive=0.05)
        ) as (caller, _),
        caller.reading() as pieces,
    ):
        silence = b"".join(next(pieces) for _ in range(3))
        pause.end()
        rest = b"".join(pieces)
    assert silence == b": keep-alive\n" * 3
    assert data_of(silence + rest)[-1] == "[DONE]"


def test_a_failure_after_a_keep_alive_is_told_as_data() -> None:
    pause = Pause()
    script = Script([pause, {"error": {"message": "no", "type": "rate_limit_exceeded"}}, DONE])
    with gateway_to(script, settings=Settings(keep_alive=0.05)) as (caller, _), caller.reading() as pieces:
        body = next(pieces)
        pause.end()
        body += b"".join(pieces)
    error, done = data_of(body)
    assert (error["error"]["code"], done) == ("429", "[DONE]")


def test_a_server_that_has_not_accepted_is_waited_for_in_silence() -> None:
    server = WatchedServer()
    with Caller(
        upstream_at(server.url, deadlines=Deadlines(first_byte=0.5)), settings=Settings(keep_alive=0.02)
    ) as caller:
        assert caller.post(stream=True).status_code == 504
    server.close()


def test_the_client_does_not_see_keep_alives() -> None:
    script = Script([chunk(content="a"), Breath(), chunk(content="b"), finish(), DONE])
    with gateway_to(script, settings=Settings(keep_alive=0.01)) as (caller, _):
        seen = [one.choices[0].delta.content for one in caller.streaming()]
    assert seen == ["", "a", "b", None]


# ---- other clients, and the bytes ----


def test_httpx_sse_reads_every_event() -> None:
    script = Script([chunk(content="a\u2028b\x85c"), Breath(), chunk(content="\n\r\n"), finish(), DONE])
    body = {"messages": HELLO, "stream": True}
    with (
        gateway_to(script, settings=Settings(keep_alive=0.01)) as (caller, _),
        connect_sse(caller.http, "POST", "/chat/completions", json=body) as source,
    ):
        events = list(source.iter_sse())
    assert events.pop().data == "[DONE]"
    deltas = [one.json()["choices"][0]["delta"].get("content") for one in events]
    assert deltas == ["", "a\u2028b\x85c", "\n\r\n", None]


def test_the_stream_is_lines_of_data_with_line_feeds_alone() -> None:
    with gateway_to(answer("a\u2028b\u2029c\x85d\r\n", "😀")) as (caller, _):
        body = caller.bytes()
        head = caller.post(stream=True).headers
    assert re.fullmatch(rb"(data: [^\r\n]*\n\n)+", body)
    assert body.endswith(b"\n\ndata: [DONE]\n\n")
    assert b"a\\u2028b\\u2029c\\u0085d\\r\\n" in body
    assert (head["cache-control"], head["x-accel-buffering"]) == ("no-store", "no")


def test_a_chunk_has_the_shape_that_is_documented() -> None:
    with gateway_to(answer("a")) as (caller, _):
        first, second, last, done = data_of(caller.bytes())
    id, created = first["id"], first["created"]
    same = {"id": id, "object": "chat.completion.chunk", "created": created, "model": "script"}

    def chunk_of(delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
        return {**same, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

    assert first == chunk_of({"role": "assistant", "content": ""})
    assert second == chunk_of({"content": "a"})
    assert (last, done) == (chunk_of({}, "stop"), "[DONE]")


def test_halves_of_a_character_arrive_together() -> None:
    halves = [rb'data: {"choices":[{"delta":{"content":"x\ud83d"}}]}' + b"\n\n"]
    halves += [rb'data: {"choices":[{"delta":{"content":"\ude00"}}]}' + b"\n\n"]
    with gateway_to(Script([*halves, finish(), DONE])) as (caller, _):
        assert [delta.get("content") for delta in deltas_of(caller.bytes())] == ["", "x", "😀", None]


# ---- a reader that leaves or stalls ----


class WatchedServer:
    """A model server as a bare socket, that knows when its caller hung up and whether it is held up."""

    def __init__(self, first: bytes = b"", flood: bytes = b"") -> None:
        self.asked, self.left, self.held_up = threading.Event(), threading.Event(), threading.Event()
        self.left_at, self.sent = 0.0, 0
        self._first, self._flood = first, flood
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._main(),), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(10)

    async def _main(self) -> None:
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._closing.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = re.search(rb"content-length: (\d+)", head, re.I)
        await reader.readexactly(int(size[1]) if size else 0)
        if self._first:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + self._first)
        flooding = asyncio.create_task(self._pour(writer))
        self.asked.set()
        with suppress(ConnectionResetError):
            await reader.read()
        self.left_at = time.monotonic()
        self.left.set()
        flooding.cancel()
        writer.transport.abort()

    async def _pour(self, writer: asyncio.StreamWriter) -> None:
        while self._flood:
            writer.write(self._flood)
            self.sent += len(self._flood)
            draining = asyncio.ensure_future(writer.drain())
            done, _ = await asyncio.wait([draining], timeout=1)
            if not done:
                self.held_up.set()
                await draining


def event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def ask_on_a_socket(caller: Caller, *, stream: bool) -> socket.socket:
    """Ask, and leave the answer unread."""
    address = urlsplit(caller.gateway.url)
    assert address.hostname and address.port
    open_socket = socket.socket()
    open_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    open_socket.connect((address.hostname, address.port))
    body = json.dumps({"model": "m", "messages": HELLO, "stream": stream}).encode()
    open_socket.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: %s\r\nauthorization: Bearer %s\r\ncontent-length: %d\r\n\r\n"
        % (address.netloc.encode(), caller.gateway.token.encode(), len(body))
        + body
    )
    return open_socket


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("first", [b"", b": hello\n\n", event(chunk(content="a"))])
def test_a_reader_who_leaves_ends_the_generation_within_a_tenth_of_a_second(
    stream: bool, first: bytes
) -> None:
    took: list[float] = []
    for _ in range(3):
        server = WatchedServer(first)
        with Caller(upstream_at(server.url)) as caller:
            asking = ask_on_a_socket(caller, stream=stream)
            assert server.asked.wait(10)
            if stream and b"data" in first:
                assert asking.recv(1)
            asking.close()
            left_at = time.monotonic()
            assert server.left.wait(10)
            took.append(server.left_at - left_at)
        assert caller.figures()["cancelled"] == 1
        assert caller.figures()["streams_running"] == caller.figures()["readers"] == 0
        server.close()
    assert median(took) < 0.1


def test_a_reader_who_stalls_holds_the_server_up() -> None:
    flood = event(chunk(content="x" * 1000)) * 60
    server = WatchedServer(event(chunk(content="a")), flood)
    with Caller(upstream_at(server.url)) as caller:
        asking = ask_on_a_socket(caller, stream=True)
        assert server.held_up.wait(60)
        held_up_at = server.sent
        asking.close()
        assert server.left.wait(10)
    # What the sockets themselves hold, twice; nothing of it is ours.
    assert held_up_at < 32 * 2**20
    server.close()


# ---- the gateway ends ----


def close_when_it_answers(caller: Caller) -> threading.Thread:
    def close() -> None:
        tick = threading.Event()
        while caller.figures()["streams_running"] == 0:
            tick.wait(0.005)
        caller.gateway.close()

    thread = threading.Thread(target=close)
    thread.start()
    return thread


@pytest.mark.parametrize("stream", [True, False])
def test_a_gateway_that_is_closed_says_so_before_the_first_token(stream: bool) -> None:
    with Caller(Demo(pace=1000)) as caller:
        closing = close_when_it_answers(caller)
        refused = caller.post(stream=stream)
        closing.join()
    assert (refused.status_code, refused.json()["error"]["type"]) == (503, "gateway_closed")


def test_a_gateway_that_is_closed_says_so_in_mid_stream() -> None:
    with Caller(Demo(pace=2)) as caller, caller.reading() as pieces:
        body = next(pieces)
        closing = close_when_it_answers(caller)
        data = data_of(body + b"".join(pieces))
        closing.join()
    assert (data[-2]["error"]["type"], data[-1]) == ("gateway_closed", "[DONE]")
    assert all(one["choices"][0]["finish_reason"] is None for one in data[:-2])


def test_a_model_server_that_is_let_go_when_the_gateway_closes_leaves_no_finished_answer() -> None:
    with gateway_to(Script([chunk(content="a"), Pause()])) as (caller, _), caller.reading() as pieces:
        body = next(pieces)
        closing = close_when_it_answers(caller)
        data = data_of(body + b"".join(pieces))
        closing.join()
    assert "error" in data[-2] and data[-1] == "[DONE]"


# ---- figures ----


def test_each_answer_is_counted_by_how_it_ended() -> None:
    with gateway_to(answer("a", "b")) as (caller, _):
        caller.asking()
        list(caller.streaming())
    figures = caller.figures()
    assert (figures["ok"], figures["cancelled"], figures["failed"], figures["timed_out"]) == (2, 0, 0, 0)
    assert (figures["tokens_total"], figures["streams_running"], figures["readers"]) == (4, 0, 0)
    assert figures["disconnects_total"] == 0
