"""What a request means: what counts, what does not, and how two are told apart in one line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jupyter_ssechat.gateway.bodies import ChatCompletion, read_with_fields
from jupyter_ssechat.gateway.chat_request import chat_request
from jupyter_ssechat.matching import difference, key, meaning, nearest, request_of
from jupyter_ssechat.request import Request, Turn
from jupyter_ssechat.wire_json import dumps

from .asking import asking

PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
USUAL = Request(
    turns=(Turn("user", "Why?"), Turn("assistant", "So."), Turn("user", "And?")),
    model="m",
    system="Brief.",
    options={"temperature": 0, "stop": ["x"]},
)


def asked(request: Request) -> bytes:
    return key(meaning(request))


def turn(number: int, **changes: Any) -> Request:
    turns = list(USUAL.turns)
    turns[number] = replace(turns[number], **changes)
    return replace(USUAL, turns=tuple(turns))


@pytest.mark.parametrize(
    "other",
    [
        turn(2, content="And so?"),
        turn(0, content="How?"),
        turn(1, content="So!"),
        turn(1, role="user"),
        turn(2, images=(PIXEL,)),
        replace(USUAL, turns=USUAL.turns[2:]),
        replace(USUAL, model="n"),
        replace(USUAL, model=None),
        replace(USUAL, system=None),
        replace(USUAL, thinking=False),
        replace(USUAL, options={"temperature": 1, "stop": ["x"]}),
        replace(USUAL, continues=True),
    ],
    ids=range(12),
)
def test_what_the_model_is_told_counts(other: Request) -> None:
    assert asked(other) != asked(USUAL)
    assert difference(meaning(other), meaning(USUAL))


@pytest.mark.parametrize(
    "other",
    [
        turn(1, handle={"server": "http://h", "id": 7}),
        replace(USUAL, handle={"id": 3}),
        replace(USUAL, options={"stop": ["x"], "temperature": 0}),
        replace(USUAL, only_grows=True),
        replace(USUAL, content_so_far="of no account where nothing goes on"),
        turn(0, verbatim={"role": "user", "content": "Why?"}),
        turn(0, verbatim={"content": [{"type": "text", "text": "Why?"}], "role": "user"}),
    ],
    ids=range(7),
)
def test_ids_and_the_order_of_options_do_not(other: Request) -> None:
    assert asked(other) == asked(USUAL)
    assert difference(meaning(other), meaning(USUAL)) == ""


def test_an_answer_that_goes_on_is_told_by_the_text_that_stands() -> None:
    one, two = (asking(continues=True, content_so_far=text, thinking_so_far="hm") for text in ("a", "b"))
    assert asked(one) != asked(two)
    assert difference(meaning(one), meaning(two)) == "the answer that goes on: asked 'a', recorded 'b'"
    assert "begins is asked for" in difference(meaning(asking()), meaning(one))


def test_images_are_told_by_their_content_and_addresses_do_not_show_what_they_are_signed_with() -> None:
    [inline] = meaning(turn(2, images=(PIXEL,)))["turns"][2]["images"]
    assert inline.startswith("image/gif sha256:") and "R0lG" not in inline
    spelt = meaning(turn(2, images=("data:image/gif,GIF89a%01%00%01%00%00%00%00%2C",)))["turns"][2]["images"]
    assert spelt == [inline]
    [signed] = meaning(turn(2, images=("https://u:p@h/a.png?sig=s3cret",)))["turns"][2]["images"]
    assert signed.startswith("h/a.png sha256:") and "s3cret" not in signed and "p@" not in signed


def test_a_call_of_an_openai_client_means_what_the_same_question_means_elsewhere() -> None:
    body = {"model": "m", "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "hi"}]}
    request = chat_request(*read_with_fields(dumps(body).encode(), ChatCompletion))
    assert asked(request) == asked(asking("hi", model="m", system="S"))


def test_the_results_of_tools_and_parts_of_other_kinds_count() -> None:
    def called(id: str, part: str) -> dict[str, Any]:
        content = [{"type": "text", "text": "t"}, {"type": "input_audio", "input_audio": {"data": part}}]
        more = {"role": "tool", "tool_call_id": id, "content": content}
        return meaning(Request(turns=(Turn("user", "t", verbatim=more),)))

    told = called("1", "x")
    assert told["turns"][0]["tool"] == "t" and told["turns"][0]["more"] == {"tool_call_id": "1"}
    assert len({key(called(id, part)) for id in "12" for part in "xy"}) == 4


def test_a_meaning_is_json_and_comes_back_as_a_request_with_the_same_words() -> None:
    request = replace(USUAL, continues=True, content_so_far="a", thinking_so_far="b")
    read = request_of(meaning(request))
    assert [(one.role, one.content) for one in read.turns] == [(one.role, one.content) for one in USUAL.turns]
    assert (read.continues, read.content_so_far, read.thinking_so_far) == (True, "a", "b")
    assert dumps(meaning(request))


def test_the_nearest_is_the_one_with_the_most_like_words() -> None:
    recorded = [meaning(asking(text)) for text in ("Name three rivers.", "Why is the sky blue?", "hello")]
    assert nearest(meaning(asking("Why is the sky red?")), recorded) == recorded[1]
    assert nearest(meaning(asking("x")), []) is None


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (turn(2, content="And so?"), "prompt: asked 'And so?', recorded 'And?'"),
        (replace(USUAL, turns=USUAL.turns[2:]), "history: 1 turn asked, 3 turns recorded"),
        (turn(1, content="Thus."), "turn 2: asked 'Thus.', recorded 'So.'"),
        (replace(USUAL, model=None), "model: asked 'none', recorded 'm'"),
        (replace(USUAL, thinking=False), "thinking: asked 'false', recorded 'true'"),
    ],
    ids=range(5),
)
def test_a_difference_is_one_line(other: Request, said: str) -> None:
    assert difference(meaning(other), meaning(USUAL)) == said


def test_of_long_texts_the_place_where_they_differ_is_shown() -> None:
    here, there = "word " * 100 + "red", "word " * 100 + "blue"
    said = difference(meaning(asking(here)), meaning(asking(there)))
    assert "red'" in said and "blue'" in said and len(said) < 200
