"""Cursors: how much was received, spelt as the id of an event; they hold whatever a text was cut into."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ssechat.gateway.cursor import Cursor, Mark

CHARACTERS = st.text(st.characters(codec=None) | st.sampled_from("\ud83c\udf89🎉é\n"))


def units(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass")


@given(st.lists(CHARACTERS), CHARACTERS)
def test_what_follows_a_mark_is_what_was_not_received(pieces: list[str], rest: str) -> None:
    mark = Mark()
    for piece in pieces:
        mark = mark.after(piece)
    text = "".join([*pieces, rest])
    assert units(mark.rest(text) or "") == units(rest)


def test_a_character_that_came_in_halves_is_the_same_as_one() -> None:
    halves = Mark().after("\ud83c").after("\udf89")
    assert halves == Mark().after("🎉")
    assert Mark().after("\ud83c").rest("🎉!") == "\udf89!"


@pytest.mark.parametrize("text", ["", "a", "ac", "xbc"])
def test_a_text_that_does_not_begin_with_what_was_received_is_told(text: str) -> None:
    assert Mark().after("ab").rest(text) is None


@given(CHARACTERS, CHARACTERS, st.sampled_from(["text", "error", "close"]))
def test_an_id_is_read_as_it_was_spelt(thinking: str, content: str, heard: str) -> None:
    cursor = Cursor("a-chat_1", Mark().after(thinking), Mark().after(content), "1f", heard)  # type: ignore[arg-type]
    assert Cursor.read(str(cursor)) == cursor


@pytest.mark.parametrize(
    "id",
    [
        "",
        "a",
        "a-1",
        "-0.0.0.0.0.text",
        "a-0.0.0.0.0.",
        "a-0.0.0.0.0.TEXT",
        "a-0.0.0.0.0.text\n",
        "a-0.0.0.0.text",
        "a-0.0.0.0.0.0.text",
        "a-1_0.0.0.0.0.text",
        "a-٣.0.0.0.0.text",
        "a-0.fffffffff.0.0.0.text",
        "a-9999999999999.0.0.0.0.text",
    ],
)
def test_what_is_no_id_of_ours_is_none(id: str) -> None:
    assert Cursor.read(id) is None
