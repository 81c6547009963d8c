"""The wire of ``/v1/messages``: asking, and reading blocks of thinking, text and tools."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from jupyter_ssechat.dialects import DIALECTS, AnthropicMessages, Body, Manners
from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.message import Message
from jupyter_ssechat.model_server import ModelServer, dialect_of
from jupyter_ssechat.request import GO_ON, Request, Turn
from jupyter_ssechat.sse import ServerSentEvent, SSEDecoder

from .asking import KEY, asking, message_of, patches_of
from .servers import Served

WIRE = Path(__file__).parent / "wire"
ENDPOINT = "https://h/v1/messages"
OLD, NEW = "claude-sonnet-4-5-20250929", "claude-opus-4-7"


def ask(request: Request, manners: Manners = AnthropicMessages.manners) -> Any:
    call = AnthropicMessages.ask(ENDPOINT, request, manners)
    assert (call.method, call.url, dict(call.headers)) == ("POST", ENDPOINT, {})
    return call.body


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def event(kind: str, **fields: Any) -> ServerSentEvent:
    return ServerSentEvent(kind, json.dumps({"type": kind, **fields}))


def opened(index: int, kind: str, **fields: Any) -> ServerSentEvent:
    return event("content_block_start", index=index, content_block={"type": kind, **fields})


def delta(index: int, said: str) -> ServerSentEvent:
    return event("content_block_delta", index=index, delta={"type": "text_delta", "text": said})


def thought(index: int, said: str) -> ServerSentEvent:
    return event("content_block_delta", index=index, delta={"type": "thinking_delta", "thinking": said})


def closed(index: int) -> ServerSentEvent:
    return event("content_block_stop", index=index)


def because(reason: str | None, **usage: Any) -> ServerSentEvent:
    return event("message_delta", delta={"stop_reason": reason}, usage=usage)


def started(**usage: Any) -> ServerSentEvent:
    return event("message_start", message={"model": "m", "usage": usage})


STOP = event("message_stop")


def read(*events: ServerSentEvent) -> Message:
    reader = AnthropicMessages()
    return message_of([patch for one in events for patch in reader.feed(one)] + reader.finish())


def recorded(name: str) -> list[ServerSentEvent]:
    return SSEDecoder().feed((WIRE / f"synthetic_anthropic_messages_{name}.sse").read_bytes())


# ---- asking ----


@pytest.mark.parametrize(
    ("given", "complete"),
    [
        ("https://h", "https://h/v1/messages"),
        ("https://h/", "https://h/v1/messages"),
        ("https://h/v1", "https://h/v1/messages"),
        ("https://h/anthropic", "https://h/anthropic/v1/messages"),
        ("https://h/v1/messages/", "https://h/v1/messages"),
        ("https://h/v1?beta=true#x", "https://h/v1/messages?beta=true"),
    ],
)
def test_an_address_is_completed_from_wherever_it_ends(given: str, complete: str) -> None:
    assert AnthropicMessages.endpoint(given) == complete
    assert AnthropicMessages.endpoint(complete) == complete
    assert AnthropicMessages.models_url(complete) == complete.replace("/messages", "/models")


@pytest.mark.parametrize(
    ("url", "is_ours"),
    [
        ("https://api.anthropic.com", True),
        ("https://api.anthropic.com/v1/", True),
        ("https://api.anthropic.com/v1/chat/completions", False),
        ("http://h/v1/messages", True),
        ("https://h/anthropic", True),
        ("http://h/v1", False),
    ],
)
def test_the_dialect_is_told_by_its_endpoint_and_by_the_vendors_host(url: str, is_ours: bool) -> None:
    assert (dialect_of(url) is AnthropicMessages) == is_ours


def test_the_key_has_its_own_header_beside_the_version_of_the_wire() -> None:
    assert AnthropicMessages.headers("k") == {"anthropic-version": "2023-06-01", "x-api-key": "k"}
    assert AnthropicMessages.headers(None) == {"anthropic-version": "2023-06-01"}


def test_a_request_says_what_was_asked_for_and_the_limit_that_the_wire_requires() -> None:
    turns = (Turn("user", "one"), Turn("assistant", "1"), Turn("user", "two"))
    messages = [
        {"role": "user", "content": [text("one")]},
        {"role": "assistant", "content": [text("1")]},
        {"role": "user", "content": [text("two")]},
    ]
    assert ask(Request(turns=turns)) == {"messages": messages, "stream": True, "max_tokens": 8192}
    options = {"max_tokens": 9, "temperature": 0, "top_k": 1}
    assert ask(Request(turns=turns, model="m", system="be brief", options=options)) == {
        "messages": messages,
        "stream": True,
        "model": "m",
        "system": "be brief",
        **options,
    }


@pytest.mark.parametrize(("stop", "sent"), [("a", ["a"]), (["a", "b"], ["a", "b"]), (None, None), ([], None)])
def test_stop_is_a_list_under_the_name_of_the_wire(stop: Any, sent: Any) -> None:
    body = ask(asking(options={"stop": stop}))
    assert body.get("stop_sequences") == sent
    assert "stop" not in body


def test_turns_of_one_role_in_a_row_are_one_and_empty_ones_are_not_sent() -> None:
    turns = (
        Turn("user", "a"),
        Turn("assistant", " \n"),
        Turn("user", "b"),
        Turn("user", ""),
        Turn("user", "c "),
    )
    assert ask(Request(turns=turns))["messages"] == [
        {"role": "user", "content": [text("a"), text("b"), text("c ")]}
    ]


@pytest.mark.parametrize("content", ["", "\n "])
def test_a_question_without_anything_in_it_is_bad_input(content: str) -> None:
    with pytest.raises(BadInput, match="the question is empty"):
        ask(asking(content))


def test_images_stand_before_the_text() -> None:
    urls = ("data:image/png;base64,AAAA", "https://h/a.jpg")
    [message] = ask(Request(turns=(Turn("user", "what?", images=urls),)))["messages"]
    assert message["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {"type": "image", "source": {"type": "url", "url": "https://h/a.jpg"}},
        text("what?"),
    ]


@pytest.mark.parametrize("url", ["data:image/png,AAAA", "data:text/plain;base64,AAAA", "file:///etc/x", ""])
def test_an_image_that_is_no_image_is_bad_input(url: str) -> None:
    with pytest.raises(BadInput, match="expected data:image/TYPE;base64,DATA"):
        ask(Request(turns=(Turn("user", "what?", images=(url,)),)))


@pytest.mark.parametrize(
    ("model", "effort", "fields"),
    [
        (OLD, "low", {"thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 10_240}),
        ("claude-opus-4-20250514", "minimal", {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        ("claude-3-7-sonnet-latest", "high", {"thinking": {"type": "enabled", "budget_tokens": 16_384}}),
        ("some-model", "medium", {"thinking": {"type": "enabled", "budget_tokens": 8192}}),
        (NEW, "high", {"thinking": {"type": "adaptive", "display": "summarized"}, "max_tokens": 8192}),
        (NEW, "minimal", {"output_config": {"effort": "low"}}),
        ("vendor/claude-sonnet-4.6", "max", {"output_config": {"effort": "max"}}),
        ("us.anthropic.claude-opus-5-v1:0", "high", {"output_config": {"effort": "high"}}),
    ],
)
def test_the_effort_is_a_budget_or_a_word_as_the_model_takes_it(
    model: str, effort: str, fields: Mapping[str, Any]
) -> None:
    body = ask(asking(model=model, options={"reasoning_effort": effort}))
    assert {name: body[name] for name in fields} == fields
    assert "reasoning_effort" not in body


@pytest.mark.parametrize(
    ("limit", "budget"), [(1025, 1024), (2000, 1024), (6000, 3000), (40_000, 16_384), (10**6, 16_384)]
)
def test_the_budget_stays_below_the_limit_and_leaves_room_for_the_answer(limit: int, budget: int) -> None:
    body = ask(asking(model=OLD, options={"reasoning_effort": "high", "max_tokens": limit}))
    assert body["max_tokens"] == limit
    assert body["thinking"]["budget_tokens"] == budget


def test_an_effort_that_is_unknown_or_has_no_room_is_bad_input() -> None:
    with pytest.raises(BadInput, match="'much'; expected none, minimal, low, medium, high, xhigh, max"):
        ask(asking(model=OLD, options={"reasoning_effort": "much"}))
    with pytest.raises(BadInput, match="max_tokens is 1024, too few to think and to answer"):
        ask(asking(model=OLD, options={"reasoning_effort": "low", "max_tokens": 1024}))


def test_thinking_is_turned_off_where_a_model_thinks_unasked() -> None:
    off = {"type": "disabled"}
    for model, sent in ((OLD, None), (NEW, None), ("claude-opus-5", off), ("some-model", off), (None, off)):
        assert ask(asking(model=model, thinking=False)).get("thinking") == sent
        assert ask(asking(model=model, options={"reasoning_effort": "none"})).get("thinking") == sent
        assert "thinking" not in ask(asking(model=model))
    own = Manners(thinking_off={"think": False})
    assert ask(asking(thinking=False), own)["think"] is False


def test_what_is_said_of_thinking_in_the_words_of_the_wire_is_sent_as_it_is() -> None:
    thinking = {"type": "enabled", "budget_tokens": 10_000}
    body = ask(asking(model=OLD, options={"thinking": thinking, "reasoning_effort": "low"}))
    assert (body["thinking"], body["max_tokens"]) == (thinking, 18_192)
    output = {"format": {"type": "json_schema"}}
    body = ask(asking(model=NEW, options={"output_config": output, "reasoning_effort": "low"}))
    assert body["output_config"] == {"effort": "low", **output}


def test_a_beginning_to_go_on_from_has_no_blanks_at_its_end_and_is_not_thought_about() -> None:
    request = asking("tell", model=OLD, content_so_far="Once \n\n", options={"reasoning_effort": "low"})
    body = ask(request.prefilled())
    assert body["messages"][-1] == {"role": "assistant", "content": [text("Once")]}
    assert "thinking" not in body
    [question] = ask(asking("tell", content_so_far=" \n").prefilled())["messages"]
    assert question["role"] == "user"


def test_a_last_turn_of_the_assistant_has_no_blanks_at_its_end_whoever_wrote_it() -> None:
    turns = (Turn("user", "a"), Turn("assistant", " b\t\n"))
    assert ask(Request(turns=turns))["messages"][-1]["content"] == [text(" b")]


def test_blanks_at_the_end_of_older_answers_stay() -> None:
    turns = (Turn("user", "a"), Turn("assistant", "b \n"), Turn("user", "c"))
    assert ask(Request(turns=turns))["messages"][1]["content"] == [text("b \n")]


# ---- reading ----


def test_a_stream_is_told_by_its_first_event() -> None:
    for first in ("message_start", "ping"):
        body = Body()
        body.feed(f'event: {first}\ndata: {{"type":"{first}"}}\n\n'.encode())
        assert isinstance(body.dialect, AnthropicMessages)


def test_blocks_of_thinking_and_paragraphs_stand_apart_by_a_blank_line() -> None:
    message = read(
        opened(0, "thinking"),
        thought(0, "a"),
        thought(0, "b"),
        opened(1, "thinking"),
        thought(1, "c"),
        opened(2, "text"),
        delta(2, "d"),
        opened(3, "redacted_thinking", data="x"),
        opened(4, "text"),
        delta(4, "e"),
    )
    assert (message.thinking, message.content) == ("ab\n\nc", "d\n\ne")


def test_blocks_of_text_in_a_row_are_one_text() -> None:
    message = read(opened(0, "text"), delta(0, "a"), closed(0), opened(1, "text"), delta(1, "b"))
    assert message.content == "ab"


def test_text_in_the_opening_of_a_block_counts_and_an_opening_may_be_missing() -> None:
    message = read(opened(0, "text", text="a"), delta(0, "b"), delta(7, "c"), thought(8, "t"))
    assert (message.thinking, message.content) == ("t", "ab\n\nc")
    assert read(opened(0, "thinking", thinking="a"), thought(0, "b")).thinking == "ab"


def test_a_block_that_says_nothing_leaves_no_gap() -> None:
    message = read(opened(0, "text"), opened(1, "thinking"), opened(2, "text"), delta(2, "a"))
    assert message.content == "a"


@pytest.mark.parametrize(
    ("reason", "status", "ours"),
    [
        ("end_turn", "finished", "stop"),
        ("stop_sequence", "finished", "stop"),
        ("max_tokens", "finished", "length"),
        ("model_context_window_exceeded", "finished", "length"),
        ("pause_turn", "finished", "length"),
        ("tool_use", "finished", "tool_calls"),
        ("refusal", "filtered", "content_filter"),
        ("something_new", "finished", "stop"),
        (None, "finished", "stop"),
    ],
)
def test_stop_reasons_become_states_when_the_message_stops(
    reason: str | None, status: str, ours: str
) -> None:
    message = read(delta(0, "a"), because(reason), STOP)
    assert (message.status, message.finish_reason, message.content) == (status, ours, "a")
    assert not read(delta(0, "a"), because(reason)).terminal


def test_after_a_stop_reason_no_more_text_is_waited_for() -> None:
    reader = AnthropicMessages()
    reader.feed(delta(0, "a"))
    reader.feed(because(None, output_tokens=1))
    assert not reader.finishing
    reader.feed(because("end_turn", output_tokens=2))
    assert reader.finishing


def test_usage_is_cumulative_and_counts_what_was_cached_to_the_prompt() -> None:
    reader = AnthropicMessages()
    events = [
        started(input_tokens=1, cache_read_input_tokens=20, cache_creation_input_tokens=300, output_tokens=1),
        because(None, output_tokens=5),
        because("end_turn", output_tokens=7, output_tokens_details={"thinking_tokens": 4}, input_tokens=None),
        STOP,
    ]
    patches = [patch for one in events for patch in reader.feed(one)]
    [usage] = [patch.value for patch in patches if patch.path == "response/usage"]
    assert usage == {
        "prompt_tokens": 321,
        "completion_tokens": 7,
        "total_tokens": 328,
        "prompt_tokens_details": {"cached_tokens": 20, "cache_creation_tokens": 300},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }


def test_what_is_not_known_of_the_usage_is_not_made_up() -> None:
    only_output = read(because("end_turn", output_tokens=5), STOP).usage
    assert only_output is not None
    assert only_output.to_dict() == {"prompt_tokens": None, "completion_tokens": 5, "total_tokens": None}
    assert read(because("end_turn"), STOP).usage is None


def test_an_error_fails_with_its_type_and_keeps_the_text_named_or_not() -> None:
    error = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    for one in (error, ServerSentEvent("message", error.data)):
        message = read(delta(0, "a"), one, delta(0, "b"), STOP)
        assert (message.status, message.content) == ("failed", "a")
        assert message.error is not None
        assert message.error.to_dict() == {"type": "overloaded_error", "message": "Overloaded"}


def test_an_error_without_a_type_is_one_and_that_of_an_unknown_event_is_none() -> None:
    assert read(delta(0, "a"), ServerSentEvent(data='{"error":{"message":"no"}}')).status == "failed"
    assert read(delta(0, "a"), event("something_new", error={"message": "no"}), STOP).status == "finished"


def calls_of(message: Message) -> list[tuple[str, str, str]]:
    return [
        (call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in message.document.get("response/tool_calls") or []
    ]


def test_tools_are_calls_whether_their_input_comes_in_parts_or_whole() -> None:
    assert calls_of(read(*recorded("tool_use"))) == [
        ("toolu_1", "weather", '{"city":"Köln"}'),
        ("toolu_2", "time", '{"zone":"CET"}'),
    ]
    assert calls_of(read(*recorded("interleaved"))) == [("srvtoolu_1", "web_search", '{"query":"x"}')]


def test_input_that_comes_whole_and_then_in_parts_counts_once() -> None:
    part = event(
        "content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": '{"a":1}'}
    )
    message = read(opened(0, "tool_use", id="t", name="n", input={"a": 1}), part, closed(0), closed(0))
    assert calls_of(message) == [("t", "n", '{"a":1}')]


def test_a_whole_message_is_read_as_it_is_and_nothing_else_is_taken_for_one() -> None:
    whole = {
        "type": "message",
        "model": "m",
        "content": [
            {"type": "thinking", "thinking": "t", "signature": "s"},
            text("a"),
            {"type": "tool_use", "id": "i", "name": "n", "input": {"x": 1}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    message = message_of(AnthropicMessages().whole(whole))
    assert (message.thinking, message.content, message.finish_reason) == ("t", "a", "tool_calls")
    assert calls_of(message) == [("i", "n", '{"x":1}')]
    assert message.usage is not None and message.usage["total_tokens"] == 3
    for other in (None, [], {}, {"type": "message"}, {"type": "error", "error": {"type": "t"}}):
        assert AnthropicMessages().whole(other) == []
    assert [name for name, dialect in DIALECTS.items() if dialect().whole(whole)] == ["anthropic_messages"]


# ---- over HTTP ----


class Messages:
    """A server that answers with a recorded stream, and refuses to go on from a beginning if it is to."""

    def __init__(self, stream: str, *, takes_prefill: bool = True) -> None:
        self._stream = (WIRE / f"synthetic_anthropic_messages_{stream}.sse").read_bytes()
        self._takes_prefill = takes_prefill
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        routes = [Route("/{rest:path}", self._answer, methods=["GET", "POST"])]
        self._served = Served(Starlette(routes=routes))
        self.url = self._served.url

    async def _answer(self, request: HTTPRequest) -> Response:
        body = json.loads(await request.body() or b"null")
        self.asked.append((request.url.path, dict(request.headers), body))
        if request.method == "GET":
            return JSONResponse({"data": [{"type": "model", "id": OLD}], "has_more": False})
        if body["messages"][-1]["role"] == "assistant" and not self._takes_prefill:
            error = {"type": "invalid_request_error", "message": "This model does not support prefill."}
            return JSONResponse({"type": "error", "error": error}, 400)
        return Response(self._stream, media_type="text/event-stream")

    def __enter__(self) -> Messages:
        return self

    def __exit__(self, *_: object) -> None:
        self._served.close()


def test_a_server_is_asked_for_its_model_and_for_an_answer_with_the_key_in_its_header() -> None:
    with Messages("anthropic") as server:
        upstream = ModelServer(server.url, dialect="anthropic_messages", api_key=KEY)
        message = message_of(patches_of(upstream))
    assert (message.status, message.thinking, message.content) == (
        "finished",
        "Zwei oder drei? 😀",
        "It is two.",
    )
    assert [path for path, _, _ in server.asked] == ["/v1/models", "/v1/messages"]
    for _, headers, _ in server.asked:
        assert (headers["x-api-key"], headers["anthropic-version"]) == (KEY, "2023-06-01")
        assert "authorization" not in headers
    assert server.asked[-1][2]["model"] == OLD


def test_an_unexpected_stream_of_this_wire_is_read_all_the_same() -> None:
    with Messages("anthropic") as server:
        message = message_of(patches_of(ModelServer(server.url, model="m")))
    assert (message.status, message.content) == ("finished", "It is two.")


@pytest.mark.parametrize("takes_prefill", [True, False])
def test_an_answer_goes_on_from_its_beginning_or_is_asked_to_where_the_model_takes_none(
    takes_prefill: bool,
) -> None:
    request = asking("tell", continues=True, content_so_far="I say: ")
    with Messages("llama_cpp", takes_prefill=takes_prefill) as server:
        upstream = ModelServer(f"{server.url}/v1/messages", model=OLD)
        message = message_of(patches_of(upstream, request))
    assert message.content == "All of it."
    assert message.document.get("response/continuation") == ("prefill" if takes_prefill else "asked")
    said = [[block["text"] for block in turn["content"]] for turn in server.asked[-1][2]["messages"]]
    assert said == ([["tell"], ["I say:"]] if takes_prefill else [["tell"], ["I say: "], [GO_ON]])
