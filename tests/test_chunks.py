"""Patches as chunks: what is sent adds up to the answer, is never taken back, and finishes only what is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ssechat.dialects import Body
from jupyter_ssechat.gateway.chunks import Chunks, Label, completion, not_finished
from jupyter_ssechat.message import Message, failed, filtered, finished, stopped
from jupyter_ssechat.patches import Patch

WIRE = sorted((Path(__file__).parent / "wire").glob("*.sse"))
LABEL = Label(id="chatcmpl-1", created=2, model="asked")
COUNTS = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
CALLS = "response/tool_calls"


def content(text: str) -> Patch:
    return Patch("response/content", "APPEND", text)


def thinking(text: str) -> Patch:
    return Patch("response/thinking_content", "APPEND", text)


def usage(counts: object) -> Patch:
    return Patch("response/usage", "SET", counts)


def call(**fields: Any) -> dict[str, Any]:
    function = {"name": fields.get("name", ""), "arguments": fields.get("arguments", "")}
    return {"index": 0, "id": fields.get("id", ""), "type": "function", "function": function}


def arguments(text: str, place: int = 0) -> Patch:
    return Patch(f"{CALLS}/{place}/function/arguments", "APPEND", text)


def fed(*patches: Patch, **options: Any) -> tuple[Chunks, list[dict[str, Any]]]:
    chunks = Chunks(LABEL, **options)
    return chunks, chunks.feed(patches)


def one_by_one(patches: list[Patch], **options: Any) -> tuple[Chunks, list[dict[str, Any]]]:
    return in_batches([[patch] for patch in patches], **options)


def in_batches(batches: list[list[Patch]], **options: Any) -> tuple[Chunks, list[dict[str, Any]]]:
    """What a reader gets, who stops at the end or at what is wrong."""
    chunks, sent = Chunks(LABEL, **options), list[dict[str, Any]]()
    for patches in batches:
        if chunks.ended or chunks.fault is not None:
            break
        sent += chunks.feed(patches)
    return chunks, sent


def deltas(sent: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [choice["delta"] for chunk in sent for choice in chunk["choices"]]


def text_of(sent: list[dict[str, Any]], field: str = "content") -> str:
    return "".join(delta.get(field) or "" for delta in deltas(sent))


def reasons(sent: list[dict[str, Any]]) -> list[str]:
    found = [choice["finish_reason"] for chunk in sent for choice in chunk["choices"]]
    return [reason for reason in found if reason is not None]


def calls_of(sent: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """The calls as a client puts them together: every text appended to the one before."""
    found: dict[int, list[str]] = {}
    for delta in deltas(sent):
        for one in delta.get("tool_calls", []):
            known = found.setdefault(one["index"], ["", "", ""])
            function = one["function"]
            for n, text in enumerate((one.get("id"), function.get("name"), function.get("arguments"))):
                known[n] += text or ""
    return [(id, name, arguments) for id, name, arguments in found.values()]


# ---- text ----


def test_the_first_chunk_says_who_speaks_and_all_bear_the_label() -> None:
    _, sent = fed(Patch("response/model", "SET", "said"), content("a"), content("b"))
    assert deltas(sent) == [{"role": "assistant", "content": ""}, {"content": "a"}, {"content": "b"}]
    for chunk in sent:
        assert {name: value for name, value in chunk.items() if name != "choices"} == {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 2,
            "model": "said",
        }


def test_nothing_is_sent_before_there_is_something_to_say() -> None:
    chunks, sent = fed(Patch("response/model", "SET", "said"), usage(COUNTS), content(""))
    assert (sent, chunks.begun, chunks.ended, chunks.fault) == ([], False, False, None)


def test_the_model_is_the_one_asked_for_where_the_server_names_none() -> None:
    assert {chunk["model"] for chunk in fed(content("a"), *finished())[1]} == {"asked"}


def test_thinking_is_reasoning_content() -> None:
    _, sent = fed(thinking("hm"), content("a"))
    assert deltas(sent)[1:] == [{"reasoning_content": "hm"}, {"content": "a"}]


def test_an_empty_answer_is_said_by_somebody_and_finished() -> None:
    chunks, sent = fed(*finished())
    assert deltas(sent) == [{"role": "assistant", "content": ""}, {}]
    assert reasons(sent) == ["stop"] and chunks.ended


def test_half_a_character_waits_for_its_other_half_in_its_own_text() -> None:
    chunks, sent = one_by_one(
        [content("x\ud83d"), thinking("y\ud83c"), content("\ude00"), thinking("\udf89")]
    )
    assert (text_of(sent), text_of(sent, "reasoning_content")) == ("x😀", "y🎉")
    assert deltas(chunks.feed([content("\ud83d"), *finished()])) == [{"content": "\ufffd"}, {}]


@given(st.lists(st.tuples(st.booleans(), st.text(st.characters(), max_size=5)), max_size=20))
def test_the_chunks_add_up_to_the_text(pieces: list[tuple[bool, str]]) -> None:
    patches = [thinking(text) if thinks else content(text) for thinks, text in pieces]
    message = Message()
    for patch in [*patches, *finished()]:
        message.apply(patch)
    _, sent = one_by_one([*patches, *finished()])
    assert text_of(sent) == message.content
    assert text_of(sent, "reasoning_content") == message.thinking


# ---- the end ----


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (finished(), "stop"),
        (finished("length"), "length"),
        (finished("tool_calls"), "tool_calls"),
        (filtered(), "content_filter"),
        ([Patch("response/status", "SET", "FINISHED")], "stop"),
        ([Patch("response/status", "SET", "CONTEXT_LENGTH_EXCEEDED")], "length"),
        ([Patch("response/finish_reason", "SET", "length"), Patch("response/status", "SET", "INCOMPLETE")], "length"),
    ],
)  # fmt: skip
def test_an_answer_that_is_over_has_one_finish_reason(end: list[Patch], reason: str) -> None:
    chunks, sent = one_by_one([content("a"), *end])
    assert (reasons(sent), chunks.ended, chunks.fault) == ([reason], True, None)
    assert deltas(sent)[-1] == {}


@pytest.mark.parametrize(
    ("end", "kind", "status"),
    [
        (failed("server_error", "out of memory"), "server_error", 502),
        (failed("rate_limit_reached", "too many"), "rate_limit_reached", 429),
        (failed("timeout", "too slow"), "timeout", 504),
        ([Patch("response/status", "SET", "TIMEOUT")], "timeout", 504),
        ([Patch("response/status", "SET", "EXPLODED")], "exploded", 502),
        (stopped(), "upstream_stopped", 502),
    ],
)
@pytest.mark.parametrize("begun", [True, False])
def test_an_answer_that_is_not_whole_is_a_fault_and_has_no_finish(
    end: list[Patch], kind: str, status: int, begun: bool
) -> None:
    chunks, sent = one_by_one([*([content("a")] if begun else []), *end], usage=True)
    assert chunks.fault is not None and (chunks.fault.type, chunks.fault.status) == (kind, status)
    assert (reasons(sent), text_of(sent), chunks.begun, chunks.ended) == ([], "a" * begun, begun, False)
    assert bool(sent) is begun


def test_text_before_a_failure_is_sent_also_when_both_come_together() -> None:
    chunks, sent = fed(content("a"), *failed("error", "no"))
    assert text_of(sent) == "a" and chunks.fault is not None


@pytest.mark.parametrize(
    "patch",
    [
        Patch("response/content", "SET", "Sorry"),
        Patch("response/content", "SET", ""),
        Patch("response", "SET", {"content": "Sorry"}),
        Patch("", "SET", {"response": {"fragments": [{"type": "TEMPLATE_RESPONSE", "content": "Sorry"}]}}),
    ],
)
def test_text_that_is_replaced_is_a_fault_and_what_follows_is_not_sent(patch: Patch) -> None:
    chunks, sent = fed(content("Secret"), patch, content("more"), *filtered())
    assert chunks.fault is not None and chunks.fault.type == "text_replaced"
    assert "without stream" in chunks.fault.message
    assert (text_of(sent), reasons(sent)) == ("Secret", [])


def test_text_that_is_set_and_goes_on_where_it_stood_is_just_more() -> None:
    chunks, sent = fed(content("Hel"), Patch("response/content", "SET", "Hello"), *finished())
    assert (text_of(sent), chunks.fault) == ("Hello", None)


# ---- figures ----


def test_the_count_of_tokens_has_a_chunk_of_its_own_and_is_null_before() -> None:
    whole = {**COUNTS, "completion_tokens_details": {"reasoning_tokens": 1}}
    _, sent = fed(content("a"), usage(whole), *finished(), usage=True)
    assert sent[-1]["choices"] == [] and sent[-1]["usage"] == whole
    assert [chunk["usage"] for chunk in sent[:-1]] == [None] * 3
    assert all("usage" not in chunk for chunk in fed(content("a"), usage(whole), *finished())[1])


@pytest.mark.parametrize(
    "counts", [None, {}, {"total_tokens": 7}, {"prompt_tokens": "3", "completion_tokens": 4}]
)
def test_a_count_that_is_not_known_is_left_out(counts: object) -> None:
    _, sent = fed(content("a"), usage(counts), *finished(), usage=True)
    assert sent[-1]["choices"][0]["finish_reason"] == "stop"


def test_the_total_is_the_sum_where_the_server_leaves_it_out() -> None:
    counts = {"prompt_tokens": 3, "completion_tokens": 4}
    assert fed(usage(counts), *finished(), usage=True)[1][-1]["usage"] == COUNTS


# ---- calls of tools ----


def test_a_call_is_opened_by_its_id_and_name_and_grows_by_its_arguments() -> None:
    opened = Patch(CALLS, "APPEND", [call(id="c1", name="f")])
    _, sent = fed(opened, arguments('{"a"'), arguments(":1}"), *finished("tool_calls"))
    head = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
    assert deltas(sent)[1:] == [
        {"tool_calls": [head]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
        {},
    ]
    assert reasons(sent) == ["tool_calls"]


def test_calls_are_told_apart_by_their_place() -> None:
    patches = [Patch(CALLS, "APPEND", [call(id=id, name="f")]) for id in ("c1", "c2")]
    _, sent = one_by_one([*patches, arguments("a", 1), arguments("b", 0), arguments("c", 1)])
    assert calls_of(sent) == [("c1", "f", "b"), ("c2", "f", "ac")]


def test_an_id_or_a_name_that_comes_late_is_sent_when_it_comes() -> None:
    late = [Patch(f"{CALLS}/0/id", "SET", "c1"), Patch(f"{CALLS}/0/function/name", "SET", "fun")]
    _, sent = one_by_one([Patch(CALLS, "APPEND", [call()]), *late, arguments("{}")])
    assert calls_of(sent) == [("c1", "fun", "{}")]


def test_a_call_that_is_told_once_more_when_it_is_whole_is_not_sent_twice() -> None:
    opened = Patch(CALLS, "APPEND", [call(id="c1", name="f")])
    whole = call(id="c1", name="f", arguments="{}")
    for last in (
        Patch(CALLS, "SET", [whole]),
        Patch(f"{CALLS}/0", "SET", whole),
        Patch(f"{CALLS}/-1", "SET", whole),
    ):
        _, sent = one_by_one([opened, arguments("{"), last, *finished("tool_calls")])
        assert calls_of(sent) == [("c1", "f", "{}")]


@pytest.mark.parametrize(
    "patch",
    [
        Patch(f"{CALLS}/0/function/arguments", "SET", "[]"),
        Patch(f"{CALLS}/0/function/name", "SET", "g"),
        Patch(f"{CALLS}/0/id", "SET", "c2"),
        Patch(CALLS, "SET", []),
        Patch(CALLS, "SET", None),
    ],
)
def test_a_call_that_is_changed_is_a_fault(patch: Patch) -> None:
    opened = Patch(CALLS, "APPEND", [call(id="c1", name="f", arguments="{")])
    chunks, _ = one_by_one([opened, patch])
    assert chunks.fault is not None and chunks.fault.type == "text_replaced"


def test_half_a_character_in_arguments_waits_too() -> None:
    opened = Patch(CALLS, "APPEND", [call(id="c1", name="f", arguments='"\ud83d')])
    _, sent = one_by_one([opened, arguments('\ude00"')])
    assert calls_of(sent) == [("c1", "f", '"😀"')]


# ---- whole answers ----


def message_of(*patches: Patch) -> Message:
    message = Message()
    for patch in patches:
        message.apply(patch)
    return message


def test_a_whole_answer_has_what_it_has_and_nothing_else() -> None:
    plain = completion(message_of(content("a"), *finished()), LABEL)
    said = {"role": "assistant", "content": "a", "refusal": None}
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": "stop"}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 2, "model": "asked"}
    assert plain == {**head, "choices": [choice]}
    opened = Patch(CALLS, "APPEND", [call(id="c1", name="f", arguments="{}")])
    rich = completion(message_of(thinking("hm"), opened, usage(COUNTS), *finished("tool_calls")), LABEL)
    assert rich["usage"] == COUNTS
    assert rich["choices"][0]["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "reasoning_content": "hm",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }


# ---- recorded streams ----


def patches_of(path: Path) -> list[list[Patch]]:
    """The patches of each event, as they come together."""
    body = Body()
    fed = [body.feed(line) for line in path.read_bytes().splitlines(keepends=True)]
    return [patches for patches in [*fed, body.finish()] if patches]


def flat(batches: list[list[Patch]]) -> list[Patch]:
    return [patch for patches in batches for patch in patches]


@pytest.mark.parametrize("path", WIRE, ids=lambda path: path.stem)
def test_a_recorded_stream_is_sent_as_it_is_read(path: Path) -> None:
    batches = patches_of(path)
    message = message_of(*flat(batches))
    chunks, sent = in_batches(batches, usage=True)
    if chunks.fault is not None and chunks.fault.type == "text_replaced":
        assert reasons(sent) == []
        return
    assert (text_of(sent), text_of(sent, "reasoning_content")) == (message.content, message.thinking)
    whole = message.terminal and not_finished(message) is None
    assert (bool(reasons(sent)), chunks.ended) == (whole, whole)
    if whole:
        one = completion(message, LABEL)["choices"][0]
        assert reasons(sent) == [one["finish_reason"]]
        told = [tuple(made.values()) for made in one["message"].get("tool_calls", [])]
        assert len(calls_of(sent)) == len(told)


def replaces(path: Path) -> bool:
    """Whether a stream takes back text that a reader has seen."""
    message = Message()
    return any(delta.replaces for patch in flat(patches_of(path)) for delta in message.apply(patch))


def test_only_a_stream_that_takes_text_back_is_a_fault_for_it() -> None:
    faults = {path.stem: in_batches(patches_of(path))[0].fault for path in WIRE}
    refused = {name for name, fault in faults.items() if fault is not None and fault.type == "text_replaced"}
    assert refused == {path.stem for path in WIRE if replaces(path)}
    assert refused >= {"synthetic_deepseek_recall", "synthetic_openai_chat_think_closed_only"}


@pytest.mark.parametrize("path", WIRE, ids=lambda path: path.stem)
def test_a_recorded_stream_that_is_cut_anywhere_is_never_finished(path: Path) -> None:
    batches = patches_of(path)
    _, whole = in_batches(batches)
    for length in range(0, len(batches), max(1, len(batches) // 50)):
        chunks, sent = in_batches(batches[:length])
        over = message_of(*flat(batches[:length])).terminal and chunks.fault is None
        assert (bool(reasons(sent)), chunks.ended) == (over, over)
        assert text_of(whole).startswith(text_of(sent))
