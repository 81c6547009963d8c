"""Every dialect against one contract, over every recorded stream, wherever it is cut."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ssechat.dialects import DIALECTS, Body, DeepSeek, Dialect, Manners, OpenAIChat
from jupyter_ssechat.dialects.deepseek import whole_message
from jupyter_ssechat.errors import InvalidData
from jupyter_ssechat.message import Delta, Message, ends
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.request import Request, Turn
from jupyter_ssechat.sse import ServerSentEvent, SSEDecoder

WIRE = Path(__file__).parent / "wire"
EXPECTED: dict[str, Any] = json.loads((WIRE / "expected.json").read_text("utf-8"))
STREAMS = sorted(name for name in EXPECTED if name.endswith(".sse"))
JSON_WIRES = sorted(set(DIALECTS) - {"plain_text"})
FIGURES = ("usage", "accumulated_token_usage", "elapsed_secs", "thinking_elapsed_secs")
# The first bytes in a stream that could be taken for an end; everything before them must be open.
MARK = re.compile(
    rb'"(?:FINISHED|INCOMPLETE|CONTENT_FILTER|TIMEOUT|CONTEXT_LENGTH_EXCEEDED)"'
    rb'|"finish_reason":\s?"|\[DONE\]|"type":"error"|"error":(?!null)|event: error|error: |"code":4'
    rb"|event: (?:response\.(?:completed|incomplete|failed|cancelled)|message_stop)"
    rb'|"finished_\w+"|"blocked":true|event: (?:close|done|end|complete)'
)

every_stream = pytest.mark.parametrize("name", STREAMS)


def read(name: str, *chunks: bytes, told: bool = True) -> Message:
    """The message that these chunks come to, in the stream's own dialect or in the one detected."""
    body = Body(DIALECTS[EXPECTED[name]["dialect"]]() if told else None)
    message = Message()
    for patches in (*map(body.feed, chunks), body.finish()):
        for patch in patches:
            message.apply(patch)
    message.interrupt()
    return message


def patches_of(dialect: Dialect, stream: bytes) -> list[Patch]:
    return [patch for event in SSEDecoder().feed(stream) for patch in dialect.feed(event)] + dialect.finish()


def test_every_recorded_stream_has_its_expectation() -> None:
    assert {path.name for path in WIRE.glob("*.sse")} == set(STREAMS)


@every_stream
def test_a_stream_comes_to_its_message(name: str) -> None:
    stream = (WIRE / name).read_bytes()
    assert read(name, stream).to_dict() == EXPECTED[name]["message"]
    assert read(name, stream, told=False).to_dict() == EXPECTED[name]["message"]


@every_stream
def test_a_stream_comes_to_the_same_message_at_every_byte_boundary(name: str) -> None:
    stream, expected = (WIRE / name).read_bytes(), EXPECTED[name]["message"]
    assert read(name, *(stream[at : at + 1] for at in range(len(stream)))).to_dict() == expected
    for at in range(1, len(stream)):
        assert read(name, stream[:at], stream[at:]).to_dict() == expected


@every_stream
def test_no_prefix_is_finished_before_the_stream_says_so(name: str) -> None:
    stream, whole = (WIRE / name).read_bytes(), EXPECTED[name]["message"]
    mark = MARK.search(stream)
    for at in range(len(stream)):
        message = read(name, stream[:at])
        if mark is None or at <= mark.start():
            assert message.status == "interrupted"
        assert message.status in ("interrupted", whole["status"])
        assert message.status == "interrupted" or (message.finish_reason, message.error) != (None, None)


HALF_A_TAG = re.compile("</?(t(h(i(nk?)?)?)?)?$")


@every_stream
def test_the_text_of_a_prefix_is_a_prefix_of_the_text(name: str) -> None:
    stream, whole = (WIRE / name).read_bytes(), EXPECTED[name]["message"]
    if any(word in name for word in ("recall", "closed_only", "inline_think")):  # text taken back, tags cut
        return
    for at in range(0, len(stream), 7):
        message = read(name, stream[:at])
        # Half a tag at the cut is text that arrived: it is shown, for nobody knows what it would have become.
        assert whole["thinking"].startswith(HALF_A_TAG.sub("", message.thinking))
        assert whole["content"].startswith(HALF_A_TAG.sub("", message.content))


@every_stream
def test_the_deltas_add_up_to_the_text(name: str) -> None:
    shown = {"thinking": "", "content": ""}
    message = Message()
    for patch in patches_of(DIALECTS[EXPECTED[name]["dialect"]](), (WIRE / name).read_bytes()):
        for delta in message.apply(patch):
            shown[delta.kind] = delta.text if delta.replaces else shown[delta.kind] + delta.text
    assert shown == {"thinking": message.thinking, "content": message.content}


@every_stream
def test_patches_are_absolute_and_after_the_end_only_figures_follow(name: str) -> None:
    dialect = DIALECTS[EXPECTED[name]["dialect"]]()
    ended = False
    for event in SSEDecoder().feed((WIRE / name).read_bytes()):
        patches = dialect.feed(event)
        for patch in patches:
            assert patch.path.startswith("response/") or (patch.path == "" and "response" in patch.value)
            assert not ended or patch.path.rpartition("/")[2] in FIGURES
        ended = ended or any(map(ends, patches))
    assert not ended or not any(map(ends, dialect.finish()))


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_a_body_that_ends_at_once_is_cut(name: str) -> None:
    assert DIALECTS[name]().finish() == []


@pytest.mark.parametrize("name", JSON_WIRES)
def test_data_that_is_not_json_raises(name: str) -> None:
    with pytest.raises(InvalidData):
        DIALECTS[name]().feed(ServerSentEvent(data="{not json"))


@pytest.mark.parametrize("name", JSON_WIRES)
@pytest.mark.parametrize(
    "data", ["null", "[]", "1", '"text"', "{}", '{"choices":[null,5,{}]}', '{"choices":{}}']
)
def test_json_that_says_nothing_changes_nothing(name: str, data: str) -> None:
    assert DIALECTS[name]().feed(ServerSentEvent(data=data)) == []


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_an_ignored_error_event_is_a_failure(name: str) -> None:
    dialect = DIALECTS[name]()
    assert dialect.ignored("", ["keep-alive"]) == dialect.ignored("ping", []) == []
    message = after(dialect.ignored("error", ["out of", "memory"]))
    assert (message.status, message.error and message.error.message) == ("failed", "out of memory")
    assert dialect.ignored("error", []) == []


@pytest.mark.parametrize("name", sorted(DIALECTS))
@pytest.mark.parametrize(
    ("data", "said"),
    [
        ('{"error":{"message":"no","type":"t"}}', "no"),
        ('{"message":"no"}', "no"),
        ("plain words", "plain words"),
        ("", ""),
    ],
)
def test_an_error_event_is_a_failure_whatever_its_shape(name: str, data: str, said: str) -> None:
    message = after(DIALECTS[name]().feed(ServerSentEvent("error", data)))
    assert message.status == "failed"
    assert message.error is not None
    assert said in message.error.message
    assert message.error.message


def after(patches: list[Patch], message: Message | None = None) -> Message:
    message = message or Message()
    for patch in patches:
        message.apply(patch)
    return message


def chunk(delta: dict[str, Any] | None = None, reason: str | None = None, **fields: Any) -> ServerSentEvent:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
    return ServerSentEvent(data=json.dumps({"choices": choices, **fields}))


def chat(*events: ServerSentEvent, done: bool = True) -> Message:
    """The message of these chunks; [DONE] at their end."""
    dialect = OpenAIChat()
    end = [ServerSentEvent(data="[DONE]")] if done else []
    return after([patch for event in (*events, *end) for patch in dialect.feed(event)] + dialect.finish())


def test_options_inside_of_one_field_are_put_together_and_nobodys_own_is_changed() -> None:
    manners = Manners(
        thinking_off={"kwargs": {"think": False, "deep": {"a": 1}}}, effort=("kwargs", "effort")
    )
    options = {"kwargs": {"deep": {"b": 2}}, "reasoning_effort": "low"}
    request = Request(turns=(Turn("user", "Why?"),), thinking=False, options=options)
    body = OpenAIChat.ask("https://h/v1/chat/completions", request, manners).body
    assert isinstance(body, dict)
    assert body["kwargs"] == {"think": False, "deep": {"a": 1, "b": 2}, "effort": "low"}
    assert manners.thinking_off == {"kwargs": {"think": False, "deep": {"a": 1}}}
    assert options == {"kwargs": {"deep": {"b": 2}}, "reasoning_effort": "low"}


@pytest.mark.parametrize("text", ["", "what?"])
def test_images_stand_beside_the_text_if_there_is_any(text: str) -> None:
    request = Request(turns=(Turn("user", text, images=("https://h/a.png",)),))
    body = OpenAIChat.ask("https://h/v1/chat/completions", request, Manners()).body
    image = {"type": "image_url", "image_url": {"url": "https://h/a.png"}}
    said = [{"type": "text", "text": text}] if text else []
    assert isinstance(body, dict)
    assert body["messages"] == [{"role": "user", "content": [*said, image]}]


def test_of_two_reasoning_fields_one_counts() -> None:
    both = {"reasoning_content": "a", "reasoning": "a", "reasoning_details": [{"text": "a"}]}
    assert (
        chat(
            chunk(both),
            chunk({"reasoning": "b"}),
            chunk({"reasoning_details": [{"text": "c"}, {"summary": "d"}]}),
        ).thinking
        == "abcd"
    )


@pytest.mark.parametrize("content", [None, "", [], [None], {"text": "x"}, 5])
def test_content_that_is_no_text_is_none(content: Any) -> None:
    assert chat(chunk({"content": content})).content == ""


def test_the_last_usage_that_is_not_null_wins() -> None:
    usage = [{"prompt_tokens": 1, "completion_tokens": n, "total_tokens": 1 + n} for n in range(4)]
    message = chat(
        chunk({"content": "a"}, usage=usage[1]),
        chunk({}, "stop", usage=usage[2]),
        chunk(usage=None),
        chunk(x_groq={"usage": usage[3]}),
        chunk(usage=None),
    )
    assert message.usage is not None
    assert message.usage.to_dict() == usage[3]


def test_usage_inside_of_a_choice_counts() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    choice = {"index": 0, "delta": {}, "finish_reason": "stop", "usage": usage}
    message = chat(ServerSentEvent(data=json.dumps({"choices": [choice]})))
    assert message.usage is not None
    assert message.usage.to_dict() == usage


def test_usage_after_done_still_counts() -> None:
    dialect = OpenAIChat()
    message = after(
        dialect.feed(chunk({"content": "a"}, "stop")) + dialect.feed(ServerSentEvent(data="[DONE]"))
    )
    assert (message.status, message.usage) == ("finished", None)
    late = dialect.feed(chunk({"content": "late"}, usage={"total_tokens": 7}))
    assert after(late, message).usage is not None
    assert message.content == "a"
    assert message.status == "finished"


def test_usage_on_every_chunk_is_not_told_with_every_token() -> None:
    dialect = OpenAIChat()
    told = [dialect.feed(chunk({"content": "a"}, usage={"total_tokens": n})) for n in range(5)]
    assert {patch.path for patches in told for patch in patches} == {"response/content"}


@pytest.mark.parametrize(
    ("reason", "status", "ours"),
    [
        ("stop", "finished", "stop"),
        ("tool_calls", "finished", "tool_calls"),
        ("length", "finished", "length"),
        ("model_length", "finished", "length"),
        ("MAX_TOKENS", "finished", "length"),
        ("model_context_window_exceeded", "finished", "length"),
        ("eos_token", "finished", "stop"),
        ("content_filter", "filtered", "content_filter"),
        ("sensitive", "filtered", "content_filter"),
        ("SAFETY", "filtered", "content_filter"),
        ("insufficient_system_resource", "failed", "error"),
        ("error", "failed", "error"),
        ("abort", "failed", "error"),
        ("network_error", "failed", "error"),
    ],
)
@pytest.mark.parametrize("done", [True, False])
def test_finish_reasons_become_states(reason: str, status: str, ours: str, done: bool) -> None:
    message = chat(chunk({"content": "a"}), chunk({}, reason), done=done)
    assert (message.status, message.finish_reason, message.content) == (status, ours, "a")


def test_a_finish_reason_is_not_the_end() -> None:
    dialect = OpenAIChat()
    assert not any(map(ends, dialect.feed(chunk({"content": "a"}, "stop"))))


@pytest.mark.parametrize(
    ("fields", "type", "said"),
    [
        ({"error": {"message": "no", "type": "t", "code": 500}}, "t", "no"),
        ({"error": {"message": "no", "code": "c"}}, "c", "no"),
        ({"error": "no"}, "upstream_error", "no"),
        ({"error": {}}, "upstream_error", "the server gave no reason"),
        ({"object": "error", "message": "no", "type": "BadRequestError"}, "BadRequestError", "no"),
        ({"x_groq": {"error": "no"}}, "upstream_error", "no"),
        ({"error": "no", "error_type": "overloaded"}, "overloaded", "no"),
        ({"error": {"message": "no", "type": "error", "code": 429}}, "429", "no"),
        ({"error": {"message": "no", "type": "None", "code": "500"}}, "500", "no"),
        ({"error": {"message": "no", "type": "error"}}, "error", "no"),
    ],
)
def test_errors_in_a_chunk_fail_and_keep_the_text(fields: dict[str, Any], type: str, said: str) -> None:
    message = chat(chunk({"content": "a"}), chunk({"content": "b"}, "error", **fields))
    assert (message.status, message.content) == ("failed", "ab")
    assert message.error is not None
    assert message.error.to_dict() == {"type": type, "message": said}


def test_a_null_error_is_none() -> None:
    assert chat(chunk({"content": "a"}, error=None)).status == "finished"


def tagged(*contents: str, **options: bool) -> tuple[str, str]:
    dialect = OpenAIChat(**options)
    events = [chunk({"content": content}) for content in contents] + [ServerSentEvent(data="[DONE]")]
    message = after([patch for event in events for patch in dialect.feed(event)])
    return message.thinking, message.content


@pytest.mark.parametrize(
    ("content", "thinking", "answer"),
    [
        ("<think>a</think>b", "a", "b"),
        ("\n <think>\n\na\n</think>\n\nb", "a\n", "b"),
        ("<think>\n\n</think>\n\nb", "", "b"),
        ("<think>a", "a", ""),
        ("<think>a</thi", "a</thi", ""),
        ("<think>a</think>b <think>c</think>", "a", "b <think>c</think>"),
        ("a</think>\nb", "a", "b"),
        ("a</think>b</think>c", "a", "b</think>c"),
        ("say `</think>` or </think>", "", "say `</think>` or </think>"),
        ("b <think>c</think>", "", "b <think>c</think>"),
        ("<thin air", "", "<thin air"),
        ("<", "", "<"),
        ("  \n", "", "  \n"),
        ("<b>x</b>", "", "<b>x</b>"),
    ],
)
def test_inline_think_tags_count_at_the_beginning_however_they_are_cut(
    content: str, thinking: str, answer: str
) -> None:
    assert tagged(content) == (thinking, answer)
    assert tagged(*content) == (thinking, answer)
    for at in range(len(content)):
        assert tagged(content[:at], content[at:]) == (thinking, answer)


def test_tags_are_text_where_thinking_has_its_own_field() -> None:
    message = chat(chunk({"reasoning": "r"}), chunk({"content": "<think>a</think>"}))
    assert (message.thinking, message.content) == ("r", "<think>a</think>")


@pytest.mark.parametrize(
    ("content", "thinking", "answer"),
    [
        ("a</think>b", "", "a</think>b"),
        ("</think>b", "", "</think>b"),
        ("\n</think>b", "", "\n</think>b"),
        ("a <think>b</think>", "", "a <think>b</think>"),
        ("<think>a</think>b", "a", "b"),
        ("\n<think>\na</think>\n\nb</think>c", "a", "b</think>c"),
        ("<think>a", "a", ""),
        ("<thin ice", "", "<thin ice"),
        (" on", "", " on"),
        ("  \n", "", "  \n"),
    ],
)
def test_where_an_older_answer_goes_on_only_tags_at_its_beginning_are_tags(
    content: str, thinking: str, answer: str
) -> None:
    assert tagged(content, continues=True) == (thinking, answer)
    assert tagged(*content, continues=True) == (thinking, answer)
    for at in range(len(content)):
        assert tagged(content[:at], content[at:], continues=True) == (thinking, answer)


def test_text_that_goes_on_is_never_taken_back() -> None:
    dialect = OpenAIChat(continues=True)
    told = [dialect.feed(chunk({"content": text})) for text in ("a", "</think>", "b")]
    assert [patch for patches in told for patch in patches if patch.op != "APPEND"] == []


def test_tool_calls_are_assembled_by_index() -> None:
    def call(index: int | None, arguments: str, **fields: Any) -> ServerSentEvent:
        one = {"index": index, "function": {"arguments": arguments, **fields.pop("function", {})}, **fields}
        return chunk({"tool_calls": [one]})

    message = chat(
        call(1, "{", id="b", function={"name": "second"}),
        call(0, "", id="a", function={"name": "first"}),
        call(0, "{}"),
        call(1, "}", id="b", function={"name": "second"}),
        call(0, "[]", id="c", function={"name": "third"}),
        chunk({}, "tool_calls"),
    )
    calls = message.document.get("response/tool_calls")
    assert [(one["id"], one["function"]["name"], one["function"]["arguments"]) for one in calls] == [
        ("b", "second", "{}"),
        ("a", "first", "{}"),
        ("c", "third", "[]"),
    ]
    assert message.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    "call",
    [
        {"function": {"name": "f", "arguments": {"city": "東京", "days": [1, 2]}}},
        {"type": "custom", "custom": {"name": "f", "input": '{"city":"東京","days":[1,2]}'}},
    ],
)
def test_arguments_may_be_an_object_and_those_of_a_custom_tool_its_input(call: dict[str, Any]) -> None:
    message = chat(chunk({"tool_calls": [{"index": 0, "id": "c", **call}]}), chunk({}, "tool_calls"))
    function = {"name": "f", "arguments": '{"city":"東京","days":[1,2]}'}
    assert [one["function"] for one in message.tool_calls] == [function]


def test_the_older_function_call_is_a_tool_call() -> None:
    message = chat(
        chunk({"function_call": {"name": "f", "arguments": "{"}}),
        chunk({"function_call": {"arguments": "}"}}),
    )
    assert message.document.get("response/tool_calls/0/function") == {"name": "f", "arguments": "{}"}
    assert message.finish_reason == "tool_calls"


def test_two_frames_in_one_event_both_count() -> None:
    dialect = DeepSeek()
    dialect.feed(ServerSentEvent(data='{"v":{"response":{"content":"","status":"WIP"}}}'))
    dialect.feed(ServerSentEvent(data='{"v":"a","p":"response/content","o":"APPEND"}'))
    patches = dialect.feed(
        ServerSentEvent(data='{"v":"b"}\n{"v":"FINISHED","p":"response/status","o":"SET"}')
    )
    assert patches == [Patch("response/content", "APPEND", "b"), Patch("response/status", "SET", "FINISHED")]


def test_a_quasi_status_ends_nothing() -> None:
    dialect = DeepSeek()
    inner = '{"p":"quasi_status","v":"FINISHED"},{"p":"fragments/0/status","v":"FINISHED"}'
    frame = f'{{"p":"response","o":"BATCH","v":[{inner}]}}'
    assert after(dialect.feed(ServerSentEvent(data=frame))).status == "streaming"


def test_hints_that_are_no_errors_are_bookkeeping() -> None:
    assert DeepSeek().feed(ServerSentEvent("hint", '{"type":"info","content":"c"}')) == []
    assert DeepSeek().feed(ServerSentEvent("title", "not json")) == []


def test_a_failure_after_the_end_changes_nothing() -> None:
    dialect = DeepSeek()
    dialect.feed(ServerSentEvent(data='{"v":{"response":{"status":"FINISHED"}}}'))
    assert dialect.feed(ServerSentEvent("hint", '{"type":"error","content":"c"}')) == []


def test_an_envelope_with_a_whole_message_is_that_message() -> None:
    message = {"message_id": 8, "content": "all", "status": "FINISHED"}
    for found in (message, {"response": message}, {"message": message}):
        patches = whole_message({"code": 0, "data": {"biz_code": 22, "biz_data": found}})
        assert after(patches).to_dict()["content"] == "all"
    assert after(whole_message({"code": 0, "data": {"biz_code": 0, "biz_data": None}})).status == "failed"


def test_a_body_fails_after_all_that_came_before_what_cannot_be_read() -> None:
    whole = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\ndata: {broken\n\ndata: [DONE]\n\n'
    body = Body()
    message = after(body.feed(whole) + body.finish())
    assert (message.status, message.content) == ("failed", "a")
    assert message.error is not None
    assert message.error.type == "invalid_data"
    assert body.feed(b"data: {}\n\n") == []


def test_an_event_above_the_cap_fails_the_body() -> None:
    body = Body(max_event_bytes=100)
    message = after(
        body.feed(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n' + b"data: " + b"x" * 200)
        + body.finish()
    )
    assert (message.status, message.content) == ("failed", "a")
    assert message.error is not None
    assert message.error.type == "event_too_large"


def test_a_body_that_begins_with_an_ignored_error_has_failed() -> None:
    body = Body()
    message = after(body.feed(b": hello\n\nevent: error\n: busy\n\ndata: [DONE]\n\n") + body.finish())
    assert message.status == "failed"
    assert message.error is not None
    assert message.error.message == "busy"


def test_a_tag_that_is_cut_is_text() -> None:
    for contents, thinking, answer in ((["<thi"], "", "<thi"), (["<think>a</"], "a</", "")):
        message = chat(*(chunk({"content": content}) for content in contents), done=False)
        assert (message.thinking, message.content, message.terminal) == (thinking, answer, False)


def test_what_cannot_be_read_after_the_end_changes_nothing() -> None:
    body = Body()
    whole = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: [DONE]\n\ndata: {broken\n\n'
    message = after(body.feed(whole) + body.finish())
    assert message.status == "finished"


def test_a_stream_of_chunks_that_holds_none_is_no_success() -> None:
    body = Body(OpenAIChat())
    message = after(body.feed(b"data: [DONE]\n\n") + body.finish())
    assert (message.status, message.error and message.error.type) == ("failed", "upstream_interrupted")


def test_chunks_may_come_under_any_name_of_an_event() -> None:
    named = b"event: completion\ndata: {"
    stream = named + b'"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n'
    for body in (Body(), Body(OpenAIChat(), or_else=True)):
        message = after(body.feed(stream) + body.finish())
        assert (message.status, message.content) == ("finished", "a")


@pytest.mark.parametrize(
    "stream",
    [
        b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n',
        b'data: {"v":"a","p":"response/content"}\n\ndata: {"v":"FINISHED","p":"response/status"}\n\n',
    ],
)
def test_an_event_that_tells_no_dialect_decides_nothing(stream: bytes) -> None:
    body = Body(OpenAIChat(), or_else=True)
    message = after(body.feed(b"event: ping\ndata: {}\n\n" + stream) + body.finish())
    assert (message.status, message.content) == ("finished", "a")


def test_an_event_that_tells_no_dialect_is_read_in_the_one_that_is_expected() -> None:
    body = Body(OpenAIChat(), or_else=True)
    message = after(body.feed(b'data: {"detail":"out of memory"}\n\ndata: [DONE]\n\n') + body.finish())
    assert (message.status, message.error and message.error.message) == ("failed", "out of memory")


@pytest.mark.parametrize("error", [{"detail": "out of memory"}, {"message": "out of memory", "code": 500}])
def test_an_error_among_chunks_may_stand_alone(error: dict[str, Any]) -> None:
    body = Body(OpenAIChat())
    stream = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: %s\n\ndata: [DONE]\n\n'
    message = after(body.feed(stream % json.dumps(error).encode()) + body.finish())
    assert (message.status, message.content) == ("failed", "a")
    assert message.error is not None and message.error.message == "out of memory"


def test_an_ignored_error_keeps_its_place_among_the_events() -> None:
    stream = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\nevent: error\n: gone\n\ndata: [DONE]\n\n'
    for body in (Body(), Body(OpenAIChat())):
        message = after(body.feed(stream) + body.finish())
        assert (message.status, message.content) == ("failed", "a")


def test_an_unfinished_done_is_the_end_and_nothing_else_is() -> None:
    text = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
    for end, status in (
        (b"data: [DONE]", "finished"),
        (b'data: {"choices":[', "interrupted"),
        (b"data: [DO", "interrupted"),
    ):
        body = Body()
        message = after(body.feed(text + end) + body.finish())
        message.interrupt()
        assert (message.status, message.content) == (status, "a")


def test_deltas_replace_what_is_recalled() -> None:
    message = Message()
    deltas = [
        delta
        for patch in patches_of(DeepSeek(), (WIRE / "synthetic_deepseek_recall.sse").read_bytes())
        for delta in message.apply(patch)
    ]
    assert deltas[-1] == Delta("content", "Let us talk about something else.", replaces=True)


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-1, 2)
    | st.sampled_from(["", "a", "<think>", "</think>", "stop", "error"])
)
words = [
    "choices",
    "delta",
    "content",
    "reasoning",
    "tool_calls",
    "function",
    "arguments",
    "index",
    "id",
    "usage",
    "error",
]
words += [
    "finish_reason",
    "x_groq",
    "type",
    "text",
    "message",
    "v",
    "p",
    "o",
    "response",
    "fragments",
    "status",
    "data",
    "code",
]
words += ["item", "part", "output", "output_index", "item_id", "sequence_number", "name", "background"]
words += ["summary", "content_block", "partial_json", "thinking", "input", "stop_reason", "call_id"]
# What stands in a `type`: of events, and of what they hold.
event_types = [
    *("response.created", "response.output_item.added", "response.output_item.done", "response.completed"),
    *("response.output_text.delta", "response.output_text.done", "response.reasoning_summary_text.delta"),
    *("response.function_call_arguments.delta", "response.incomplete", "error"),
    *("message_start", "content_block_start", "content_block_delta", "content_block_stop"),
    *("message_delta", "message_stop"),
]
held_types = ["message", "reasoning", "function_call", "web_search_call", "text", "thinking", "tool_use"]
held_types += ["text_delta", "thinking_delta", "input_json_delta"]
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(words), inner, max_size=4),
    max_leaves=10,
)
deltas = st.dictionaries(st.sampled_from(words), anything, max_size=4)
chunks = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries({"delta": deltas}, optional={"finish_reason": scalars}), max_size=2
        )
        | anything
    },
    optional={"usage": anything, "error": anything, "x_groq": anything, "model": anything},
)


def typed(types: list[str], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with one of these types, and with anything else."""
    rest = st.dictionaries(st.sampled_from(words), anything, max_size=4)
    own = st.fixed_dictionaries({"type": st.sampled_from(types)}, optional=fields)
    return st.builds(lambda rest, own: {**rest, **own}, rest, own)


held = typed(held_types)
events = typed(event_types, item=held, content_block=held, delta=held | st.just("a"), text=st.just("a"))


@pytest.mark.parametrize("name", sorted(DIALECTS))
@given(
    values=st.lists(anything | chunks | events, max_size=8),
    names=st.sampled_from(["message", "error", "hint", "close"]),
)
def test_no_json_whatever_breaks_a_dialect(name: str, values: list[Any], names: str) -> None:
    dialect, message = DIALECTS[name](), Message()
    shown = {"thinking": "", "content": ""}
    told = [dialect.feed(ServerSentEvent(data=json.dumps(value))) for value in values]
    told += [dialect.feed(ServerSentEvent(names, json.dumps(value))) for value in values[:1]]
    for patch in [patch for patches in (*told, dialect.finish()) for patch in patches]:
        for delta in message.apply(patch):
            shown[delta.kind] = delta.text if delta.replaces else shown[delta.kind] + delta.text
    assert shown == {"thinking": message.thinking, "content": message.content}
    json.dumps(message.to_dict())
