"""Messages of chat completions: what they say and show, and the message that says it."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_ssechat.openai_messages import message_of, text_of, turn_of

PICTURE = "https://example.com/a.png"
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("plain", "plain"),
        (None, ""),
        ([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}], "one\ntwo"),
        ([{"type": "image_url", "image_url": {"url": PICTURE}}], ""),
        ([17, "x", {"text": None}], ""),
    ],
)
def test_a_message_says_its_text_and_the_text_of_its_parts(content: Any, text: str) -> None:
    assert text_of({"role": "user", "content": content}) == text


@pytest.mark.parametrize("image", [PICTURE, {"url": PICTURE, "detail": "low"}])
def test_a_message_shows_the_images_of_its_parts(image: Any) -> None:
    message = {"role": "user", "content": [{"type": "image_url", "image_url": image}]}
    assert turn_of(message).images == (PICTURE,)


@pytest.mark.parametrize("role", ["user", "tool", "system", "developer", "function"])
def test_who_is_not_the_assistant_speaks_to_it(role: str) -> None:
    assert turn_of({"role": role, "content": "x"}).role == "user"
    assert turn_of({"role": "assistant", "content": "x"}).role == "assistant"


def test_a_turn_keeps_its_message_verbatim() -> None:
    message = {"role": "tool", "content": "4", "tool_call_id": "c1", "odd": [1]}
    assert turn_of(message).verbatim == message


def test_a_text_is_a_message_of_text() -> None:
    assert message_of("user", "hello") == {"role": "user", "content": "hello"}


def test_images_are_parts_after_the_text() -> None:
    text, image = {"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": PICTURE}}
    assert message_of("user", "look", images=[PICTURE])["content"] == [text, image]
    assert message_of("user", "", images=[PICTURE])["content"] == [image]


def test_calls_of_tools_stand_beside_the_text_without_their_place_in_the_stream() -> None:
    said = message_of("assistant", "", tool_calls=[{"index": 0, **CALL}])
    assert said == {"role": "assistant", "content": None, "tool_calls": [CALL]}
    assert message_of("assistant", "so", tool_calls=[CALL])["content"] == "so"
