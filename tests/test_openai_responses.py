"""The wire of ``/v1/responses``: asking, reading, and background responses taken up where they were cut."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from jupyter_ssechat.dialects import DIALECTS, Body, Call, Manners, OpenAIResponses
from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.exchange import Patience
from jupyter_ssechat.message import Message, ends
from jupyter_ssechat.model_server import ModelServer, dialect_of
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.request import Request, Turn
from jupyter_ssechat.sse import ServerSentEvent, SSEDecoder

from .asking import asking, message_of, patches_of, run
from .servers import Pause, Served

WIRE = Path(__file__).parent / "wire"
ENDPOINT = "https://h/v1/responses"


def ask(request: Request, manners: Manners = OpenAIResponses.manners) -> Any:
    call = OpenAIResponses.ask(ENDPOINT, request, manners)
    assert (call.method, call.url, dict(call.headers)) == ("POST", ENDPOINT, {})
    return call.body


def event(kind: str, **fields: Any) -> ServerSentEvent:
    name = kind if kind == "error" else f"response.{kind}"
    return ServerSentEvent(name, json.dumps({"type": name, **fields}))


def created(**fields: Any) -> ServerSentEvent:
    return event("created", response={"id": "resp_1", "model": "m", "status": "in_progress", **fields})


def delta(text: str, place: int = 0, **fields: Any) -> ServerSentEvent:
    return event("output_text.delta", **{"output_index": place, "content_index": 0, "delta": text, **fields})


def ended(status: str = "completed", *output: Any, **fields: Any) -> ServerSentEvent:
    return event(status, response={"id": "resp_1", "status": status, "output": output, **fields})


def text_item(*texts: str) -> dict[str, Any]:
    return {"type": "message", "content": [{"type": "output_text", "text": text} for text in texts]}


def read(*events: ServerSentEvent, reader: OpenAIResponses | None = None) -> Message:
    reader = reader or OpenAIResponses()
    return message_of([patch for event in events for patch in reader.feed(event)] + reader.finish())


def recorded(name: str) -> list[ServerSentEvent]:
    return SSEDecoder().feed((WIRE / f"synthetic_openai_responses_{name}.sse").read_bytes())


# ---- asking ----


@pytest.mark.parametrize(
    ("given", "complete"),
    [
        ("http://h", "http://h/v1/responses"),
        ("http://h/", "http://h/v1/responses"),
        ("http://h/v1", "http://h/v1/responses"),
        ("http://h/v1/responses/", "http://h/v1/responses"),
        ("http://h/openai/v1?api-version=1#x", "http://h/openai/v1/responses?api-version=1"),
    ],
)
def test_an_address_is_completed_from_wherever_it_ends(given: str, complete: str) -> None:
    assert OpenAIResponses.endpoint(given) == complete
    assert OpenAIResponses.endpoint(complete) == complete
    models = OpenAIResponses.models_url(complete)
    assert models == complete.replace("/responses", "/models")


def test_the_dialect_is_told_by_its_endpoint() -> None:
    assert dialect_of(ENDPOINT) is OpenAIResponses
    assert dialect_of("https://api.openai.com/v1") is not OpenAIResponses


def test_a_request_says_what_was_asked_for_and_nothing_else() -> None:
    turns = (Turn("user", "one"), Turn("assistant", "1"), Turn("user", "two"))
    said = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "two"},
    ]
    assert ask(Request(turns=turns)) == {"input": said, "stream": True}
    options = {"background": True, "store": True, "temperature": 0}
    assert ask(Request(turns=turns, model="m", system="be brief", options=options)) == {
        "input": said,
        "stream": True,
        "model": "m",
        "instructions": "be brief",
        **options,
    }


def test_images_are_parts_beside_the_text() -> None:
    urls = ("data:image/png;base64,AAAA", "https://h/a.jpg")
    parts = [{"type": "input_image", "image_url": url} for url in urls]
    text = {"type": "input_text", "text": "what?"}
    assert ask(Request(turns=(Turn("user", "what?", images=urls),)))["input"][0]["content"] == [text, *parts]
    assert ask(Request(turns=(Turn("user", "", images=urls),)))["input"][0]["content"] == parts


def test_options_stand_under_the_names_of_the_wire() -> None:
    body = ask(
        asking(options={"max_tokens": 9, "reasoning_effort": "high", "reasoning": {"summary": "auto"}})
    )
    assert body["max_output_tokens"] == 9
    assert body["reasoning"] == {"effort": "high", "summary": "auto"}
    assert "max_tokens" not in body and "reasoning_effort" not in body


def test_thinking_is_turned_off_and_an_option_wins_over_that() -> None:
    assert ask(asking(thinking=False))["reasoning"] == {"effort": "none"}
    assert ask(asking(thinking=False, options={"reasoning_effort": "low"}))["reasoning"] == {"effort": "low"}
    assert ask(asking(thinking=False))["reasoning"] == {"effort": "none"}  # what others ask changes nothing
    assert "reasoning" not in ask(asking())


def test_a_profile_says_it_in_its_own_words() -> None:
    own = Manners(thinking_off={"think": False}, effort=("effort",), max_tokens="limit")
    body = ask(asking(thinking=False, options={"max_tokens": 9, "reasoning_effort": "low"}), own)
    assert (body["think"], body["effort"], body["limit"]) == (False, "low", 9)


def test_the_options_of_a_request_are_left_as_they_are() -> None:
    options = {"reasoning": {"summary": "auto"}, "reasoning_effort": "low"}
    ask(asking(options=options))
    assert options == {"reasoning": {"summary": "auto"}, "reasoning_effort": "low"}


def test_stop_sequences_are_refused_for_the_wire_has_none() -> None:
    with pytest.raises(BadInput, match="use the dialect openai_chat"):
        ask(asking(options={"stop": ["\n"]}))


# ---- reading ----


@pytest.mark.parametrize("first", ["created", "queued", "in_progress", "output_text.delta"])
def test_a_stream_is_told_by_any_of_its_events(first: str) -> None:
    body = Body()
    body.feed(f'event: response.{first}\ndata: {{"type":"response.{first}"}}\n\n'.encode())
    assert isinstance(body.dialect, OpenAIResponses)


def test_the_parts_of_a_summary_and_the_items_stand_apart_by_a_blank_line() -> None:
    def summary(text: str, place: int, part: int) -> ServerSentEvent:
        return event("reasoning_summary_text.delta", output_index=place, summary_index=part, delta=text)

    message = read(
        summary("a", 0, 0), summary("b", 0, 0), summary("c", 0, 1), summary("d", 2, 0), delta("e", 3)
    )
    assert (message.thinking, message.content) == ("ab\n\nc\n\nd", "e")


def test_the_parts_of_a_message_are_one_text_and_two_messages_are_two() -> None:
    message = read(delta("a"), delta("b", content_index=1), delta("c", 1))
    assert message.content == "ab\n\nc"


def test_of_one_item_reasoning_and_its_summary_are_not_both_shown() -> None:
    events = [
        event(f"{kind}.delta", output_index=0, delta=text)
        for kind, text in (
            ("reasoning_text", "long"),
            ("reasoning_summary_text", "short"),
            ("reasoning_text", "er"),
        )
    ]
    item = {"type": "reasoning", "summary": [{"text": "short"}], "content": [{"text": "longer"}]}
    whole = event("output_item.done", output_index=0, item=item)
    assert read(*events, whole).thinking == "longer"
    assert read(whole).thinking == "short"


@pytest.mark.parametrize("level", range(4))
def test_text_is_supplied_by_whichever_event_has_it_first_and_told_once(level: int) -> None:
    events = [
        delta("All"),
        event("output_text.done", output_index=0, content_index=0, text="All"),
        event("output_item.done", output_index=0, item=text_item("All")),
        ended("completed", text_item("All")),
    ]
    message = read(created(), *events[level:])
    assert (message.status, message.content) == ("finished", "All")


def test_each_part_of_an_item_is_supplied() -> None:
    message = read(
        event("output_text.done", output_index=0, content_index=0, text="a"),
        event("output_item.done", output_index=0, item=text_item("a", "b")),
        ended("completed", text_item("a", "b")),
    )
    assert message.content == "ab"


def test_done_events_that_count_their_parts_otherwise_repeat_nothing() -> None:
    counted = [delta(text, content_index=number) for number, text in enumerate("abc")]
    done = event("output_text.done", output_index=0, content_index=0, text="abc")
    assert read(*counted, done, ended("completed", text_item("abc"))).content == "abc"


def test_a_whole_response_that_counts_its_items_otherwise_repeats_nothing() -> None:
    reasoning = item("reasoning", "r", summary=[{"text": "why"}])
    message = read(delta("abc", 0), ended("completed", reasoning, text_item("abc")))
    assert (message.thinking, message.content) == ("why", "abc")


def test_ids_that_change_with_every_event_part_nothing() -> None:
    assert read(*(delta(text, item_id=f"made-up-{text}") for text in "abc")).content == "abc"


def test_an_unfinished_response_says_why() -> None:
    for reason, status, ours in (
        ("max_output_tokens", "finished", "length"),
        ("content_filter", "filtered", "content_filter"),
        ("bored", "failed", "error"),
    ):
        message = read(delta("a"), ended("incomplete", incomplete_details={"reason": reason}))
        assert (message.status, message.finish_reason, message.content) == (status, ours, "a")
    message = read(ended("incomplete", incomplete_details={"reason": "bored"}))
    assert message.error is not None and message.error.to_dict() == {
        "type": "bored",
        "message": "the response is incomplete",
    }


def test_the_status_of_the_response_counts_more_than_the_name_of_the_event() -> None:
    assert read(delta("a"), event("completed", response={"status": "cancelled"})).status == "stopped"
    assert read(delta("a"), event("completed", response={"status": "in_progress"})).status == "finished"
    assert read(delta("a"), event("completed")).status == "finished"


@pytest.mark.parametrize(
    ("fields", "type", "said"),
    [
        ({"code": "c", "message": "no"}, "c", "no"),
        ({"error": {"type": "t", "code": "c", "message": "no"}}, "t", "no"),
        ({"error": {"type": "error", "code": "c", "message": "no"}}, "c", "no"),
        ({"message": "no"}, "error", "no"),
        ({}, "error", "the server gave no reason"),
    ],
)
def test_errors_fail_and_keep_the_text_flat_or_nested_named_or_not(
    fields: dict[str, Any], type: str, said: str
) -> None:
    named = event("error", **fields)
    for one in (named, ServerSentEvent("message", named.data)):
        message = read(delta("a"), one, delta("b"))
        assert (message.status, message.content) == ("failed", "a")
        assert message.error is not None
        assert message.error.to_dict() == {"type": type, "message": said}


def test_an_error_without_a_type_is_one_and_that_of_a_tool_is_none() -> None:
    assert read(delta("a"), ServerSentEvent(data='{"error":{"message":"no"}}')).status == "failed"
    of_a_tool = event("mcp_call.failed", output_index=0, error={"message": "no"})
    assert read(delta("a"), of_a_tool, ended()).status == "finished"


def test_usage_stands_under_our_names_with_its_details() -> None:
    patches = [patch for one in recorded("openai") for patch in OpenAIResponses().feed(one)]
    [usage] = [patch.value for patch in patches if patch.path == "response/usage"]
    assert usage == {
        "prompt_tokens": 10,
        "completion_tokens": 20,
        "total_tokens": 30,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 12},
    }


def calls_of(message: Message) -> list[tuple[str, str, str]]:
    return [
        (call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in message.document.get("response/tool_calls") or []
    ]


def test_calls_of_functions_and_of_built_in_tools_are_shown() -> None:
    message = read(*recorded("tools"))
    assert calls_of(message) == [
        ("ws_1", "web_search_call", '{"action":{"type":"search","query":"Köln"}}'),
        ("call_a", "weather", '{"city":"Köln"}'),
    ]


def item(kind: str, id: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "id": id, **fields}


def arguments(text: str, place: int, id: str) -> ServerSentEvent:
    return event("function_call_arguments.delta", output_index=place, item_id=id, delta=text)


def test_two_calls_at_one_place_are_two() -> None:
    items = [item("function_call", f"fc_{n}", call_id=f"call_{n}", name=f"f{n}") for n in (1, 2)]
    added = [event("output_item.added", output_index=1, item=one) for one in items]
    done = [event("output_item.done", output_index=1, item={**one, "arguments": "{}"}) for one in items]
    message = read(*added, arguments("[1]", 1, "fc_1"), arguments("[2]", 1, "fc_2"), *done, ended())
    assert calls_of(message) == [("call_1", "f1", "[1]"), ("call_2", "f2", "[2]")]
    assert message.finish_reason == "tool_calls"


def test_a_call_that_was_not_announced_gets_its_name_when_it_is_done() -> None:
    done = item("function_call", "fc_1", call_id="call_1", name="f", arguments="{}")
    message = read(arguments("{}", 0, "other"), event("output_item.done", output_index=0, item=done), ended())
    assert calls_of(message) == [("call_1", "f", "{}")]


@pytest.mark.parametrize(
    ("called", "shown"),
    [
        (item("custom_tool_call", "i", name="n", input="text"), ("i", "n", "text")),
        (item("mcp_call", "i", name="n", arguments="{}"), ("i", "n", "{}")),
        (item("code_interpreter_call", "i", code="1 + 1"), ("i", "code_interpreter_call", "1 + 1")),
        (item("file_search_call", "i", queries=["q"]), ("i", "file_search_call", '{"queries":["q"]}')),
        (item("image_generation_call", "i", result="AAAA"), ("i", "image_generation_call", "")),
    ],
)
def test_every_kind_of_call_is_shown_with_what_it_was_called_with(
    called: dict[str, Any], shown: tuple[str, str, str]
) -> None:
    assert calls_of(read(event("output_item.done", output_index=0, item=called))) == [shown]
    assert calls_of(read(ended("completed", called))) == [shown]


def test_only_calls_that_wait_for_the_client_are_why_a_response_ends() -> None:
    assert read(ended("completed", item("web_search_call", "w"))).finish_reason == "stop"
    assert read(ended("completed", item("function_call", "f"))).finish_reason == "tool_calls"
    both = [item("function_call", "f"), item("web_search_call", "w")]
    added = [event("output_item.added", output_index=place, item=one) for place, one in enumerate(both)]
    assert read(*added, ended()).finish_reason == "tool_calls"


def test_a_whole_response_is_read_as_it_is_and_nothing_else_is_taken_for_one() -> None:
    response = json.loads(recorded("tools")[-1].data)["response"]
    message = message_of(OpenAIResponses().whole(response))
    assert (message.content, message.finish_reason) == ("Let me look.\n\nNow the weather.", "tool_calls")
    assert message.model == "gpt-5.2"
    failed = {**response, "status": "failed", "output": [], "error": {"code": "c", "message": "no"}}
    assert message_of(OpenAIResponses().whole(failed)).status == "failed"
    for other in (None, [], {}, {"choices": []}, {"error": "no"}, {**response, "status": "queued"}):
        assert OpenAIResponses().whole(other) == []
    assert [name for name, dialect in DIALECTS.items() if dialect().whole(response)] == ["openai_responses"]


# ---- background responses ----


def background(*events: ServerSentEvent) -> list[ServerSentEvent]:
    """Events with the numbers of their order, the first one of a background response."""
    numbered = [created(background=True), *events]
    return [
        ServerSentEvent(one.event, json.dumps({**json.loads(one.data), "sequence_number": number}))
        for number, one in enumerate(numbered)
    ]


def reader_of(*events: ServerSentEvent, cut: bool = True) -> OpenAIResponses:
    reader = OpenAIResponses()
    reader.called(Call(url=ENDPOINT))
    for one in events:
        reader.feed(one)
    if cut:
        reader.finish()
    return reader


def test_a_response_that_is_not_kept_has_no_handle_and_nothing_to_take_up_or_to_cancel() -> None:
    reader = reader_of(created(background=False, sequence_number=0), delta("a", sequence_number=1))
    assert reader.handle is None
    assert reader.take_up(ENDPOINT) is reader.cancel(ENDPOINT) is None


def test_a_background_response_is_taken_up_after_its_last_event_and_cancelled_by_a_call() -> None:
    reader = reader_of(*background(delta("a"), delta("b")))
    assert reader.take_up(ENDPOINT) == Call(
        method="GET", url=f"{ENDPOINT}/resp_1?stream=true&starting_after=2"
    )
    assert reader.cancel(ENDPOINT) == Call(url=f"{ENDPOINT}/resp_1/cancel")
    with_query = reader.take_up("https://h/v1/responses?api-version=1")
    assert with_query is not None
    assert with_query.url == "https://h/v1/responses/resp_1?api-version=1&stream=true&starting_after=2"


def test_the_handle_says_where_to_go_on_only_when_the_stream_was_cut() -> None:
    events = background(delta("a"))
    assert reader_of(*events, cut=False).handle == {"id": "resp_1"}
    handle = reader_of(*events).handle
    assert handle is not None
    assert (handle["id"], handle["seq"]) == ("resp_1", 1)
    assert json.loads(json.dumps(handle)) == handle
    whole = reader_of(*events, background(ended())[-1])
    assert whole.handle == {"id": "resp_1"}


def test_only_an_answer_that_was_cut_goes_on_natively() -> None:
    def go_on(handle: dict[str, Any] | None) -> Call | None:
        return OpenAIResponses.go_on(ENDPOINT, asking(continues=True, handle=handle))

    assert go_on({"id": "r", "seq": 7}) == Call(
        method="GET", url=f"{ENDPOINT}/r?stream=true&starting_after=7"
    )
    for handle in (None, {}, {"id": "r"}, {"id": "r", "seq": None}, {"id": "r", "seq": True}, {"seq": 7}):
        assert go_on(handle) is None


@pytest.mark.parametrize("id", ["../models", "a/b", "a?b=c", "a#b", "a b", "ä\ud800"])
def test_an_id_stands_in_an_address_as_one_name(id: str) -> None:
    call = OpenAIResponses.go_on(ENDPOINT, asking(handle={"id": id, "seq": 0}))
    assert call is not None
    name = call.url.removeprefix(f"{ENDPOINT}/").removesuffix("?stream=true&starting_after=0")
    assert name.isascii() and not set(name) & set("/?# ")


@pytest.mark.parametrize("id", ["", ".", "..", "x" * 1025, 5, None])
def test_an_id_that_names_nothing_is_not_called(id: Any) -> None:
    assert OpenAIResponses.go_on(ENDPOINT, asking(handle={"id": id, "seq": 0})) is None
    reader = reader_of(created(background=True, id=id, sequence_number=0))
    assert reader.handle is reader.take_up(ENDPOINT) is reader.cancel(ENDPOINT) is None


def test_events_that_come_again_after_a_take_up_are_dropped() -> None:
    events = background(delta("a"), delta("b"), delta("c"), ended())
    reader = OpenAIResponses()
    reader.called(Call(url=ENDPOINT))
    patches = [patch for one in events[:3] for patch in reader.feed(one)] + reader.finish()
    call = reader.take_up(ENDPOINT)
    assert call is not None
    reader.called(call)
    patches += [patch for one in events for patch in reader.feed(one)]
    message = message_of(patches)
    assert (message.status, message.content) == ("finished", "abc")


@pytest.mark.parametrize(("numbers", "lost"), [((0, 1, 2), True), ((0, 5, 10), False)])
def test_an_event_that_is_left_out_after_a_take_up_is_a_failure_where_they_count(
    numbers: tuple[int, ...], lost: bool
) -> None:
    reader = OpenAIResponses()
    reader.called(Call(url=ENDPOINT))
    start = event("created", response={"id": "r", "background": True}, sequence_number=numbers[0])
    said = [delta(text, sequence_number=number) for text, number in zip("ab", numbers[1:], strict=True)]
    patches = [patch for one in (start, *said) for patch in reader.feed(one)] + reader.finish()
    call = reader.take_up(ENDPOINT)
    assert call is not None
    reader.called(call)
    patches += reader.feed(delta("d", sequence_number=numbers[-1] + 2))
    message = message_of(patches)
    assert (message.content, message.status) == (("ab", "failed") if lost else ("abd", "streaming"))


def test_numbers_that_do_not_count_lose_no_text() -> None:
    assert read(*(delta(text, sequence_number=0) for text in "abc")).content == "abc"


STREAMS = ["openai", "vllm", "tools", "done_only", "last_event_only", "refusal", "length", "failed"]


@pytest.mark.parametrize("name", STREAMS)
@given(data=st.data())
def test_an_answer_that_was_cut_anywhere_goes_on_in_another_reader(name: str, data: st.DataObject) -> None:
    events = background(*recorded(name)[2:])
    at = data.draw(st.integers(1, len(events)))
    first = reader_of(cut=False)
    patches = [patch for one in events[:at] for patch in first.feed(one)]
    if any(map(ends, patches)):
        return
    first.finish()
    so_far = message_of(patches)
    handle = json.loads(json.dumps(first.handle))
    request = asking(continues=True, content_so_far=so_far.content, handle=handle)
    call, second = OpenAIResponses.go_on(ENDPOINT, request), OpenAIResponses.reader(request)
    assert call is not None
    second.called(call)
    from_where = data.draw(st.integers(0, at))
    patches += [patch for one in events[from_where:] for patch in second.feed(one)]
    assert message_of(patches).to_dict() == {**read(*events).to_dict(), "model": message_of(patches).model}
    assert calls_of(message_of(patches)) == calls_of(read(*events))


def test_a_reader_with_a_handle_reads_a_new_response_from_its_beginning() -> None:
    request = asking(continues=True, content_so_far="x", handle={"id": "old", "seq": 50})
    reader = OpenAIResponses.reader(request)
    reader.called(Call(url=ENDPOINT))
    assert read(*background(delta("a"), ended()), reader=reader).content == "a"


class Responses:
    """A server that keeps background responses, and cuts each connection after so many events."""

    def __init__(self, *cuts: int, keeps: bool = True, pause: Pause | None = None) -> None:
        texts = [delta(word) for word in ("Go", "ing", " on", " and", " on.")]
        self._events = background(*texts, ended())
        self._cuts, self._keeps, self._pause = list(cuts), keeps, pause
        self.asked: list[str] = []
        self.bodies: list[Any] = []
        self.cancelled = threading.Event()
        self._served = Served(
            Starlette(routes=[Route("/{rest:path}", self._answer, methods=["GET", "POST"])])
        )
        self.url = f"{self._served.url}/v1/responses"

    async def _answer(self, request: HTTPRequest) -> Response:
        path = f"{request.method} {request.url.path}"
        if path.endswith("/models"):
            return JSONResponse({"data": [{"id": "m"}]})
        self.asked.append(f"{path}?{request.url.query}" if request.url.query else path)
        if path.endswith("/cancel"):
            self.cancelled.set()
            return JSONResponse({"id": "resp_1", "object": "response", "status": "cancelled"})
        if request.method == "GET" and not self._keeps:
            return JSONResponse({"error": {"message": "no such response"}}, 404)
        self.bodies.append(json.loads(await request.body() or b"null"))
        return StreamingResponse(self._play(request), media_type="text/event-stream")

    async def _play(self, request: HTTPRequest) -> AsyncIterator[bytes]:
        after = int(request.query_params.get("starting_after", -1))
        cut = self._cuts.pop(0) if self._cuts else None
        for sent, one in enumerate(self._events[after + 1 :]):
            if sent == cut:
                if self._pause is None:
                    raise ConnectionResetError("cut by the test")
                await self._pause.wait()
            yield f"event: {one.event}\ndata: {one.data}\n\n".encode()

    def close(self) -> None:
        self._served.close()


@contextmanager
def responses(*cuts: int, keeps: bool = True, pause: Pause | None = None) -> Iterator[Responses]:
    server = Responses(*cuts, keeps=keeps, pause=pause)
    try:
        yield server
    finally:
        server.close()


QUICK = Patience(retries=0, take_ups=3, first=0.001)
NEVER = Patience(retries=0, take_ups=0, first=0.001)


def test_a_broken_connection_is_taken_up_with_nothing_lost_and_nothing_twice() -> None:
    with responses(3, 2) as server:
        message = message_of(patches_of(ModelServer(server.url, patience=QUICK)))
    assert (message.status, message.content) == ("finished", "Going on and on.")
    assert server.asked == [
        "POST /v1/responses",
        "GET /v1/responses/resp_1?stream=true&starting_after=2",
        "GET /v1/responses/resp_1?stream=true&starting_after=4",
    ]


def test_an_answer_that_was_cut_for_good_goes_on_later_where_it_stood() -> None:
    with responses(3) as server:
        patches = patches_of(ModelServer(server.url, patience=NEVER))
        message = message_of(patches)
        assert (message.status, message.content) == ("streaming", "Going")
        handle = message.document.get("response/upstream")
        request = asking(continues=True, content_so_far=message.content, handle=handle)
        rest = message_of(patches + patches_of(ModelServer(server.url, patience=NEVER), request))
    assert (rest.status, rest.content) == ("finished", "Going on and on.")
    assert rest.document.get("response/continuation") == "native"


def test_a_response_that_is_no_longer_kept_is_asked_to_go_on() -> None:
    with responses(3, keeps=False) as server:
        message = message_of(patches_of(ModelServer(server.url, patience=NEVER)))
        handle = message.document.get("response/upstream")
        request = asking(continues=True, content_so_far=message.content, handle=handle)
        rest = message_of(patches_of(ModelServer(server.url, patience=NEVER), request))
    assert rest.document.get("response/continuation") == "asked"
    assert rest.content.endswith(" on and on.")
    assert [asked.partition(" ")[0] for asked in server.asked] == ["POST", "GET", "POST"]


def test_a_stop_cancels_the_response_and_leaves_nothing_to_take_up() -> None:
    pause = Pause()
    found: list[Patch] = []

    async def leave(upstream: ModelServer) -> None:
        async with aclosing(upstream.stream(asking())) as stream:
            async for patches in stream:
                found.extend(patches)
                if message_of(found).content == "Going":
                    break
        await upstream.aclose()

    with responses(3, pause=pause) as server:
        run(leave(ModelServer(server.url)))
        assert server.cancelled.wait(10)
        pause.end()
        handle = message_of(found).document.get("response/upstream")
        assert handle["id"] == "resp_1" and "seq" not in handle
        assert OpenAIResponses.go_on(server.url, asking(handle=handle)) is None
    assert server.asked == ["POST /v1/responses", "POST /v1/responses/resp_1/cancel"]
