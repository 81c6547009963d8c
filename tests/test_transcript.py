"""Conversations as JSON: plain messages come out as they went in, the object keeps all, errors say where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.gateway.sessions import Session, restored
from jupyter_ssechat.transcript import FORMAT, Transcript, message_in, read_transcript

PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
PICTURE = "https://example.com/a.png"
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
SYSTEM: dict[str, Any] = {"role": "system", "content": "Be brief."}
ASKED: dict[str, Any] = {"role": "user", "content": "2 + 2?"}
CALLED: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT: dict[str, Any] = {"role": "tool", "tool_call_id": "c1", "content": "4"}
ANSWERED: dict[str, Any] = {"role": "assistant", "content": "4."}
LOOK: dict[str, Any] = {
    "role": "user",
    "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": PIXEL}}],
}


# ---- messages of chat completions ----

PARTS = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": st.text()}),
    st.fixed_dictionaries(
        {
            "type": st.just("image_url"),
            "image_url": st.fixed_dictionaries(
                {"url": st.sampled_from([PIXEL, PICTURE])},
                optional={"detail": st.sampled_from(["low", "high"])},
            ),
        }
    ),
    st.fixed_dictionaries(
        {"type": st.just("input_audio"), "input_audio": st.dictionaries(st.text(), st.text())}
    ),
)
CONTENT = st.text() | st.lists(PARTS, max_size=3)
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.text(),
            "type": st.just("function"),
            "function": st.fixed_dictionaries({"name": st.text(), "arguments": st.text()}),
        }
    ),
    max_size=2,
)
MESSAGES = st.one_of(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "developer", "user"]), "content": CONTENT},
        optional={"name": st.text()},
    ),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": st.none() | CONTENT},
        optional={"tool_calls": CALLS, "refusal": st.text(), "reasoning_content": st.text()},
    ),
    st.fixed_dictionaries({"role": st.just("tool"), "tool_call_id": st.text(), "content": CONTENT}),
)


@given(st.lists(MESSAGES, max_size=8))
def test_any_list_of_messages_comes_out_as_it_went_in(messages: list[dict[str, Any]]) -> None:
    transcript = read_transcript(messages)
    assert transcript.to_messages() == messages
    again = read_transcript(json.dumps(transcript.to_json()))
    assert again == transcript
    assert again.to_messages() == messages


@given(st.lists(MESSAGES, max_size=8))
def test_any_list_of_messages_is_a_tree_that_the_gateway_takes_in(messages: list[dict[str, Any]]) -> None:
    transcript = read_transcript(messages)
    session = restored(Session("s", lambda: 1.0), transcript.messages)
    roles = [record.role for record in session.records.values()]
    assert roles == ["USER", "ASSISTANT"] * (len(roles) // 2)


def test_the_text_of_messages_may_be_given_as_json() -> None:
    messages = [ASKED, ANSWERED]
    assert read_transcript(json.dumps(messages).encode()) == read_transcript(messages)


def test_a_lone_system_prompt_at_the_start_is_that_of_the_conversation() -> None:
    transcript = read_transcript([SYSTEM, ASKED, ANSWERED])
    assert (transcript.system, len(transcript.messages)) == ("Be brief.", 2)


def test_a_question_and_its_answer_are_a_turn_whose_answer_is_the_head() -> None:
    transcript = read_transcript([ASKED, ANSWERED])
    [prompt, answer] = transcript.messages
    assert (prompt.role, prompt.parent_id, prompt.content) == ("USER", None, "2 + 2?")
    assert (answer.role, answer.parent_id, answer.content) == ("ASSISTANT", 1, "4.")
    assert (answer.status, answer.finish_reason, transcript.head) == ("FINISHED", "stop", 2)
    assert prompt.verbatim is answer.verbatim is None


def test_what_stands_together_is_one_message_of_ours_kept_verbatim() -> None:
    transcript = read_transcript([ASKED, CALLED, RESULT, LOOK, ANSWERED])
    assert [one.role for one in transcript.messages] == ["USER", "ASSISTANT"] * 2
    assert transcript.messages[1].tool_calls == [CALL]
    assert transcript.messages[2].verbatim == [RESULT, LOOK]
    assert (transcript.messages[2].content, transcript.messages[2].images) == ("4\n\nsee", [PIXEL])
    assert transcript.images_of(4) == [PIXEL]


def test_a_question_without_an_answer_gets_one_that_is_interrupted_and_no_message() -> None:
    transcript = read_transcript([ASKED])
    answer = transcript.messages[-1]
    assert (transcript.head, answer.message_id, answer.content) == (2, 2, "")
    assert answer.error is not None and answer.error.type == "interrupted"
    assert message_in(answer).status == "failed"


def test_an_answer_at_the_start_has_an_empty_question() -> None:
    transcript = read_transcript([ANSWERED])
    assert [(one.role, one.content, one.verbatim) for one in transcript.messages] == [
        ("USER", "", []),
        ("ASSISTANT", "4.", None),
    ]


# ---- what the gateway has said ----


def record(number: int, parent: int | None, **fields: Any) -> dict[str, Any]:
    role = "USER" if number % 2 else "ASSISTANT"
    return {"message_id": number, "parent_id": parent, "role": role, "status": "FINISHED", **fields}


HISTORY = [
    record(1, None, content="hello", images=[PICTURE]),
    record(
        2, 1, content="Hi", thinking_content="hm", model="m", usage={"total_tokens": 3}, files=[], tips=[]
    ),
    record(4, 1, content="Hey", status="INCOMPLETE", finish_reason="stopped"),
    record(5, 4, content="more"),
    record(6, 5, content="par", status="WIP"),
]


def of_history(head: int | None = 6, **more: Any) -> Transcript:
    return Transcript.of_history(HISTORY, head=head, **more)


def test_the_messages_are_those_that_lead_to_the_head() -> None:
    said = [(one["role"], one["content"]) for one in of_history(4).to_messages()]
    hello = [{"type": "text", "text": "hello"}, {"type": "image_url", "image_url": {"url": PICTURE}}]
    assert said == [("user", hello), ("assistant", "Hey")]
    assert [one.message_id for one in of_history(6).branch()] == [1, 4, 5, 6]


def test_the_system_prompt_comes_first() -> None:
    assert of_history(system="Be brief.").to_messages()[0] == SYSTEM


def test_every_branch_is_kept_with_thinking_usage_and_how_it_ended() -> None:
    saved = {one["message_id"]: one for one in of_history().to_json()["chat_messages"]}
    assert list(saved) == [1, 2, 4, 5, 6]
    assert (saved[2]["thinking_content"], saved[2]["model"]) == ("hm", "m")
    assert saved[2]["status"] == "FINISHED"
    assert saved[2]["usage"] == {"total_tokens": 3}
    assert (saved[4]["status"], saved[4]["finish_reason"]) == ("INCOMPLETE", "stopped")


def test_an_answer_that_still_streams_is_saved_as_interrupted() -> None:
    saved = of_history().messages[-1]
    assert (saved.content, saved.status, saved.finish_reason) == ("par", "FAILED", "error")
    assert saved.error is not None and saved.error.type == "interrupted"


def test_saving_what_was_loaded_changes_nothing() -> None:
    transcript = of_history(system="s", model="m", cells={"a": 2})
    session = restored(Session("s", lambda: 1.0), transcript.messages)
    history = [one.to_wire() for one in session.records.values()]
    again = Transcript.of_history(history, head=6, system="s", model="m", cells={"a": 2})
    times = [{**one, "inserted_at": None} for one in again.to_wire()]
    assert times == [{**one, "inserted_at": None} for one in transcript.to_wire()]


def test_cells_keep_the_answers_that_are_there() -> None:
    assert of_history(cells={"a": 2, "b": 4, "gone": 99, "prompt": 1}).cells == {"a": 2, "b": 4}


def test_a_head_that_is_not_there_is_the_beginning() -> None:
    assert of_history(99).head is None
    assert of_history(99).to_messages() == []


def test_odd_fields_of_a_foreign_gateway_are_left_out_and_fragments_are_kept() -> None:
    odd = {"content": None, "usage": 17, "model": [], "thinking_elapsed_secs": "3", "inserted_at": -1, "x": 1}
    fragments = [{"id": 1, "type": "RESPONSE", "content": "Hi"}]
    foreign = [record(1, None, content="q", x=1), record(2, 1, **odd, fragments=fragments)]
    transcript = Transcript.of_history(foreign, head=2)
    assert transcript.to_messages()[1] == {"role": "assistant", "content": "Hi"}
    kept = {"message_id", "parent_id", "role", "fragments", "status", "finish_reason"}
    assert set(transcript.to_wire()[1]) == kept


def test_a_word_for_the_end_that_nobody_knows_is_a_failure() -> None:
    saved = Transcript.of_history([record(1, None), record(2, 1, status="MOON")], head=2).messages[1]
    assert saved.status == "FAILED" and saved.error is not None and "MOON" in saved.error.message


# ---- what cannot be read ----


def saved(**changes: Any) -> dict[str, Any]:
    return {**of_history(cells={"a": 2}).to_json(), **changes}


def with_message(number: int, **changes: Any) -> dict[str, Any]:
    whole = saved()
    whole["chat_messages"][number].update(changes)
    return whole


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (17, "this is no conversation; expected a list of messages"),
        ({"messages": []}, "this is no conversation"),
        ("[", "not JSON: line 1, column 2"),
        (b'[{"role": "user", "content": "\xff"}]', "is not UTF-8"),
        ("[NaN]", "NaN is not a number of JSON"),
        ("[" * 100_000, "nested too deeply"),
        ([ASKED, {1, 2}], "not JSON: Object of type set"),
        ([ASKED, 17], "messages[1]: 17 is no message"),
        ([ASKED, {"role": "bot", "content": "x"}], "messages[1].role: 'bot' is none; expected one of system"),
        ([{"content": "x"}], "messages[0].role: None is none"),
        ([ASKED, {"role": "user"}], "messages[1].content: missing"),
        ([{"role": "user", "content": 4}], "messages[0].content: 4; expected text, or a list of parts"),
        ([{"role": "user", "content": ["x"]}], "messages[0].content: ['x']"),
        ([{**CALLED, "tool_calls": [1]}], "messages[0].tool_calls: expected a list of calls"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://x"}}]}],
            "messages[0].content: images: number 1 is not an image",
        ),
        (saved(version=2), "version: 2; this release reads version 1, so install a newer one"),
        (saved(extra=1), "extra: unknown"),
        (saved(head=5), "head: 5 is no answer of this conversation"),
        (saved(head="6"), "head: '6' is no answer"),
        (saved(cells={"a": 1}), "cells.a: 1 is no answer"),
        (saved(system=3), "system: expected text or null, not 3"),
        (saved(chat_messages=None), "chat_messages: "),
        (with_message(2, role="BOT"), "chat_messages[2].role: "),
        (with_message(1, status="WIP"), "chat_messages[1].status: "),
        (with_message(3, message_id="5"), "chat_messages[3].message_id: "),
        (with_message(0, odd=1), "chat_messages[0].odd: "),
    ],
)
def test_what_cannot_be_read_is_one_line_that_says_where(data: Any, said: str) -> None:
    with pytest.raises(BadInput) as error:
        read_transcript(data)
    assert said in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_the_format_stands_first_and_the_same_conversation_gives_the_same_object() -> None:
    assert next(iter(saved())) == "format" and saved()["format"] == FORMAT
    assert json.dumps(saved()) == json.dumps(saved())


def test_the_format_in_the_documentation_is_the_format() -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "saving.md").read_text("utf-8")
    example = json.loads(page.partition("```json\n")[2].partition("```")[0])
    assert read_transcript(example).to_json() == example
    assert list(read_transcript(example).to_json()) == list(example)
