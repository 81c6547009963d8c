"""One answer: its texts, what becomes visible, its states (protocols section 6)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ssechat.message import (
    Delta,
    Failure,
    Message,
    Source,
    Usage,
    ends,
    failed,
    filtered,
    finished,
    stopped,
)
from jupyter_ssechat.patches import Document, Patch

WIRE = Path(__file__).parent / "wire"
THINKING, CONTENT = "response/thinking_content", "response/content"


def snapshot(**fields: Any) -> Patch:
    return Patch("", "SET", {"response": {"status": "WIP", **fields}})


def message(*patches: Patch) -> Message:
    one = Message()
    for patch in patches:
        one.apply(patch)
    return one


def fragment(type: str, content: Any = "", **fields: Any) -> dict[str, Any]:
    return {"type": type, "content": content, **fields}


def opened(*fragments: dict[str, Any]) -> Patch:
    return Patch("response/fragments", "APPEND", list(fragments))


def grown(index: int, text: str) -> Patch:
    return Patch(f"response/fragments/{index}/content", "APPEND", text)


def test_a_new_message_streams_and_has_nothing() -> None:
    assert Message().to_dict() == {
        "status": "streaming",
        "finish_reason": None,
        "thinking": "",
        "content": "",
        "thinking_seconds": None,
        "usage": None,
        "model": None,
        "message_id": None,
        "error": None,
    }
    assert not Message().started


def test_to_dict_is_the_object_of_the_protocol() -> None:
    usage = {"prompt_tokens": 22, "completion_tokens": 17, "total_tokens": 39}
    head = {
        "message_id": 5,
        "parent_id": 4,
        "model": "qwen-max",
        "thinking_elapsed_secs": 41,
        "usage": {**usage, "cost": 1},
    }
    one = message(
        snapshot(**head), Patch(THINKING, "APPEND", "…"), Patch(CONTENT, "APPEND", "…"), *finished()
    )
    assert json.dumps(one.to_dict(), ensure_ascii=False) == (
        '{"status": "finished", "finish_reason": "stop", "thinking": "…", "content": "…", "thinking_seconds": 41.0, '
        '"usage": {"prompt_tokens": 22, "completion_tokens": 17, "total_tokens": 39}, "model": "qwen-max", '
        '"message_id": 5, "error": null}'
    )
    assert one.parent_id == 4
    assert one.started


@pytest.mark.parametrize(
    ("wire", "said", "status", "reason"),
    [
        ("WIP", None, "streaming", None),
        ("WIP", "stop", "streaming", None),
        (None, None, "streaming", None),
        ("FINISHED", None, "finished", "stop"),
        ("FINISHED", "tool_calls", "finished", "tool_calls"),
        ("FINISHED", "length", "finished", "length"),
        ("INCOMPLETE", None, "stopped", "stopped"),
        ("INCOMPLETE", "length", "stopped", "length"),
        ("CONTENT_FILTER", "stop", "filtered", "content_filter"),
        ("CONTEXT_LENGTH_EXCEEDED", None, "finished", "length"),
        ("TIMEOUT", None, "failed", "error"),
        ("FAILED", "stop", "failed", "error"),
        ("SOMETHING_NEW", None, "failed", "error"),
    ],
)
def test_wire_states_become_ours(wire: Any, said: Any, status: str, reason: str | None) -> None:
    one = message(snapshot(status=wire, finish_reason=said))
    assert (one.status, one.finish_reason) == (status, reason)
    assert one.terminal == (status != "streaming")
    assert (one.error is not None) == (status == "failed")
    assert ends(snapshot(status=wire)) == one.terminal


def test_seals_end_a_message_and_set_the_status_last() -> None:
    seals = {
        ("finished", "stop"): finished(),
        ("finished", "length"): finished("length"),
        ("stopped", "stopped"): stopped(),
        ("filtered", "content_filter"): filtered(),
        ("failed", "error"): failed("t", "why"),
    }
    for (status, reason), seal in seals.items():
        one = message(snapshot(content="kept"), *seal)
        assert (one.status, one.finish_reason, one.content) == (status, reason, "kept")
        assert [ends(patch) for patch in seal] == [False] * (len(seal) - 1) + [True]
    assert message(*failed("t", "why")).error == Failure("t", "why")


def test_an_interruption_is_undone_by_resuming_and_never_stronger_than_the_wire() -> None:
    one = message(snapshot())
    one.interrupt()
    assert (one.status, one.terminal, one.finish_reason, one.error) == ("interrupted", False, None, None)
    one.resume()
    assert one.status == "streaming"
    one.interrupt()
    one.apply(Patch("response/status", "SET", "FINISHED"))
    assert one.status == "finished"


def test_a_local_failure_ends_what_has_not_ended() -> None:
    one = message(snapshot())
    one.interrupt()
    one.fail("t", "why")
    assert (one.status, one.finish_reason, one.error) == ("failed", "error", Failure("t", "why"))
    ended = message(snapshot(), *finished())
    ended.fail("t", "why")
    assert (ended.status, ended.error) == ("finished", None)


def test_a_new_snapshot_is_a_new_truth() -> None:
    one = message(snapshot())
    one.fail("t", "why")
    one.apply(Patch("phase", "SET", "waiting"))
    one.apply(Patch("", "SET", {"phase": "waiting"}))
    assert one.status == "failed"
    one.apply(snapshot())
    assert one.status == "streaming"


def test_usage_falls_back_to_the_total_of_the_wire() -> None:
    assert message(snapshot(accumulated_token_usage=0)).usage is None
    assert message(snapshot(accumulated_token_usage=9)).usage == Usage(None, None, 9)
    both = message(snapshot(accumulated_token_usage=9, usage={"prompt_tokens": 1, "total_tokens": "many"}))
    assert both.usage == Usage(1, None, None)


@pytest.mark.parametrize(
    ("value", "seconds"), [(None, None), (0, 0.0), (41, 41.0), (1.5, 1.5), ("3", None), (True, None)]
)
def test_thinking_seconds_are_a_number_or_unknown(value: Any, seconds: float | None) -> None:
    assert message(snapshot(thinking_elapsed_secs=value)).thinking_seconds == seconds


def test_an_empty_model_is_unknown() -> None:
    assert message(snapshot(model="")).model is None


def test_appended_text_is_what_becomes_visible() -> None:
    one = message(snapshot(content=None))
    assert one.apply(Patch(THINKING, "APPEND", "a")) == (Delta("thinking", "a"),)
    assert one.apply(Patch(CONTENT, "APPEND", "b")) == (Delta("content", "b"),)
    assert one.apply(Patch(CONTENT, "APPEND", "")) == ()
    assert one.apply(Patch("response/n", "SET", 1)) == ()
    assert one.apply(Patch(CONTENT, "APPEND", "c")) == (Delta("content", "c"),)
    assert (one.thinking, one.content) == ("a", "bc")


def test_a_set_or_snapshot_shows_only_what_is_new() -> None:
    one = message(snapshot(content="one"))
    assert one.apply(snapshot(content="one two", thinking_content="hm")) == (
        Delta("thinking", "hm"),
        Delta("content", " two"),
    )
    assert one.apply(snapshot(content="one two", thinking_content="hm")) == ()
    assert one.apply(Patch(CONTENT, "SET", "one two three")) == (Delta("content", " three"),)
    assert one.apply(Patch(CONTENT, "SET", "other")) == (Delta("content", "other", replaces=True),)
    assert one.apply(snapshot()) == (
        Delta("thinking", "", replaces=True),
        Delta("content", "", replaces=True),
    )


def test_fragments_are_told_apart_by_their_type() -> None:
    one = message(snapshot(fragments=[]))
    assert one.apply(opened(fragment("THINK", "a"))) == (Delta("thinking", "a"),)
    assert one.apply(grown(-1, "b")) == (Delta("thinking", "b"),)
    assert one.apply(opened(fragment("TOOL_SEARCH", "hidden", queries=[]))) == ()
    assert one.apply(grown(-1, "hidden")) == ()
    assert one.apply(opened(fragment("THINK", None, elapsed_secs=2), fragment("RESPONSE", "c"))) == (
        Delta("content", "c"),
    )
    assert one.apply(grown(2, "d")) == (Delta("thinking", "d"),)
    assert one.apply(grown(-1, "e")) == (Delta("content", "e"),)
    assert (one.thinking, one.content, one.thinking_seconds) == ("abd", "ce", 2.0)
    assert [each["type"] for each in one.fragments] == ["THINK", "TOOL_SEARCH", "THINK", "RESPONSE"]


def test_text_in_the_middle_replaces_what_is_shown() -> None:
    one = message(snapshot(fragments=[fragment("THINK", "a"), fragment("THINK", "c")]))
    assert one.apply(grown(0, "b")) == (Delta("thinking", "abc", replaces=True),)


def test_a_fragment_can_change_its_type() -> None:
    one = message(snapshot(fragments=[fragment("RESPONSE", "a")]))
    deltas = one.apply(Patch("response/fragments/0/type", "SET", "THINK"))
    assert deltas == (Delta("thinking", "a"), Delta("content", "", replaces=True))


def test_what_the_document_refuses_shows_nothing() -> None:
    one = message(snapshot(fragments=[fragment("RESPONSE", "a")]))
    for patch in (grown(3, "x"), grown(-2, "x"), Patch(f"{CONTENT}/x/0", "SET", 1), Patch("", "SET", 5)):
        assert one.apply(patch) == ()
    assert one.content == "a"


def test_a_message_can_begin_from_a_document() -> None:
    one = Message(Document({"response": {"content": "a", "status": "WIP"}}))
    assert one.started
    assert one.apply(Patch(CONTENT, "APPEND", "b")) == (Delta("content", "b"),)
    assert one.content == "ab"


def test_halves_of_a_character_are_one_in_the_text() -> None:
    one = message(snapshot(), Patch(CONTENT, "APPEND", "a\ud83d"))
    assert one.content == "a\ufffd"
    one.apply(Patch(CONTENT, "APPEND", "\ude00"))
    assert one.content == "a😀"


texts = st.text("ab😀", max_size=3)
kinds = st.sampled_from(["THINK", "RESPONSE", "TEMPLATE_RESPONSE", "TOOL_SEARCH"])
fragments = st.builds(fragment, kinds, texts | st.none())
steps = st.one_of(
    st.builds(Patch, st.sampled_from([THINKING, CONTENT]), st.sampled_from(["APPEND", "SET"]), texts),
    st.builds(grown, st.integers(-3, 3), texts),
    st.builds(opened, fragments),
    st.builds(
        lambda index, kind: Patch(f"response/fragments/{index}/type", "SET", kind), st.integers(0, 3), kinds
    ),
    st.builds(
        lambda text, more: snapshot(content=text, fragments=more),
        texts,
        st.none() | st.lists(fragments, max_size=3),
    ),
    st.builds(
        lambda value: Patch("response/fragments", "SET", value),
        st.lists(fragments | st.integers(), max_size=2),
    ),
)


@given(st.lists(steps, max_size=20))
def test_the_deltas_always_add_up_to_the_text(sequence: list[Patch]) -> None:
    one, plain = Message(), Document()
    shown = {"thinking": "", "content": ""}
    for patch in sequence:
        for delta in one.apply(patch):
            shown[delta.kind] = delta.text if delta.replaces else shown[delta.kind] + delta.text
        plain.apply(patch)
    fresh = Message(plain)
    assert shown == {"thinking": one.thinking, "content": one.content}
    assert one.to_dict() == fresh.to_dict()


def test_the_recorded_resume_snapshot_continues() -> None:
    frame = json.loads((WIRE / "deepseek_resume_snapshot.json").read_text("utf-8"))
    one = message(Patch("", "SET", frame["v"]))
    before = one.content
    assert before
    assert one.apply(Patch(CONTENT, "APPEND", "断开")) == (Delta("content", "断开"),)
    assert one.content == before + "断开"
    assert one.apply(Patch("", "SET", frame["v"])) == (Delta("content", before, replaces=True),)


def nanoseconds_per_token(count: int, start: Patch, path: str) -> float:
    one = message(start)
    patches = [Patch(path, "APPEND", "字"), Patch("response/accumulated_token_usage", "SET", 5)]
    started = time.process_time()
    for _ in range(count):
        for patch in patches:
            one.apply(patch)
    spent = time.process_time() - started
    assert len(one.content) == count
    return spent / count


@pytest.mark.parametrize(
    ("start", "path"),
    [(snapshot(), CONTENT), (snapshot(fragments=[fragment("RESPONSE")]), "response/fragments/-1/content")],
    ids=["flat", "fragments"],
)
def test_a_token_costs_the_same_in_a_long_answer_also_with_figures_between(start: Patch, path: str) -> None:
    short = min(nanoseconds_per_token(2_000, start, path) for _ in range(10))
    assert nanoseconds_per_token(100_000, start, path) < 4 * short


def test_calls_of_tools_are_told_as_far_as_they_have_arrived() -> None:
    message = Message()
    assert message.tool_calls == []
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": "{"}}
    message.apply(Patch("response/tool_calls", "APPEND", [call]))
    message.apply(Patch("response/tool_calls/0/function/arguments", "APPEND", '"q": 1}'))
    assert message.tool_calls == [{**call, "function": {"name": "look", "arguments": '{"q": 1}'}}]


def test_sources_are_the_pages_found_and_read_each_once_in_their_order() -> None:
    a, b = {"title": "A", "url": "https://a.example/", "snippet": "…"}, {"url": "https://b.example/"}
    searched = {"type": "TOOL_SEARCH", "content": "", "results": [a, b]}
    read = {"type": "TOOL_OPEN", "result": {"title": "B", "url": "https://b.example/"}}
    one = message(snapshot(fragments=[searched, read], search_results=[{"title": "C"}, a]))
    assert one.sources == [
        Source("A", "https://a.example/"),
        Source("B", "https://b.example/"),
        Source("C", ""),
    ]


@pytest.mark.parametrize("results", [None, "x", {}, [None, 1, [], {}, {"title": 1, "url": None}]])
def test_results_of_another_shape_are_no_sources(results: Any) -> None:
    one = message(snapshot(search_results=results, fragments=[{"type": "TOOL_SEARCH", "results": results}]))
    assert one.sources == []


def test_sources_grow_with_the_stream() -> None:
    one = message(snapshot(search_results=None))
    one.apply(Patch("response/search_results", "APPEND", [{"title": "A", "url": "https://a.example/"}]))
    assert one.sources == [Source("A", "https://a.example/")]
