"""Bodies of chat completions as what an upstream is asked: nothing lost, nothing added."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jupyter_ssechat.dialects import Manners, OpenAIChat
from jupyter_ssechat.errors import InvalidRequest
from jupyter_ssechat.gateway.bodies import ChatCompletion, read_with_fields
from jupyter_ssechat.gateway.chat_request import chat_request
from jupyter_ssechat.request import Request, Turn

PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACw="


def asked(*messages: Any, **more: Any) -> Request:
    body, fields = read_with_fields(json.dumps({"messages": messages, **more}).encode(), ChatCompletion)
    return chat_request(body, fields)


def sent_on(request: Request) -> dict[str, Any]:
    """What a server of the same wire is sent."""
    body = OpenAIChat.ask("http://h/v1/chat/completions", request, Manners()).body
    assert isinstance(body, dict)
    return body


def user(content: Any = "hello", **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def test_the_history_is_turns_with_the_prompt_last() -> None:
    messages = [user("one"), {"role": "assistant", "content": "1"}, user("two")]
    request = asked(*messages, model="m")
    said = [(turn.role, turn.content) for turn in request.turns]
    assert said == [("user", "one"), ("assistant", "1"), ("user", "two")]
    assert (request.model, request.prompt, request.system, request.thinking) == ("m", "two", None, True)
    assert request.options == {}


@pytest.mark.parametrize("role", ["system", "developer"])
def test_what_stands_first_is_the_system_prompt(role: str) -> None:
    request = asked({"role": role, "content": "be brief"}, user())
    assert (request.system, len(request.turns)) == ("be brief", 1)


def test_several_of_them_are_one() -> None:
    parts = [{"type": "text", "text": "be kind"}]
    first, second = {"role": "system", "content": "be brief"}, {"role": "developer", "content": parts}
    assert asked(first, second, user()).system == "be brief\n\nbe kind"


def test_a_system_message_in_the_middle_stays_where_it_is() -> None:
    late = {"role": "system", "content": "now in French"}
    request = asked(user(), late)
    assert request.system is None
    assert sent_on(request)["messages"] == [user(), late]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "function", "name": "f", "content": "sunny"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1"}]},
        {"role": "assistant", "content": "Once", "prefix": True},
        user("hello", name="me"),
        user([{"type": "text", "text": "a"}, {"type": "input_audio", "input_audio": {"data": "…"}}]),
        user([{"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}, {"type": "text", "text": "b"}]),
    ],
)  # fmt: skip
def test_a_server_of_the_same_wire_gets_every_message_as_it_was_sent(message: dict[str, Any]) -> None:
    assert sent_on(asked(user(), message))["messages"] == [user(), message]


def test_parts_are_text_and_images_for_servers_of_other_wires() -> None:
    parts = [
        {"type": "text", "text": "what is"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "image_url", "image_url": "http://h/x.png"},
        {"type": "text", "text": "this?"},
    ]
    [turn] = asked(user(parts)).turns
    assert turn == Turn("user", "what is\nthis?", (PIXEL, "http://h/x.png"), verbatim=user(parts))


def test_what_is_not_ours_is_an_option_also_when_it_is_null_or_unheard_of() -> None:
    options = {
        "temperature": None,
        "max_completion_tokens": 9,
        "stop": ["x"],
        "tools": [],
        "tool_choice": "auto",
        "response_format": {"type": "text"},
        "reasoning_effort": "high",
        "seed": 1,
        "parallel_tool_calls": False,
        "of_the_future": {"x": [1]},
    }
    request = asked(user(), model="m", stream=True, stream_options={"include_usage": True}, n=1, **options)
    assert request.options == options


def test_an_effort_of_none_is_said_in_the_words_of_the_wire() -> None:
    request = asked(user(), reasoning_effort="none")
    assert (request.thinking, request.options) == (False, {})
    assert sent_on(request)["reasoning_effort"] == "none"


@pytest.mark.parametrize("n", [-1, 0, 2])
def test_any_number_of_answers_but_one_is_refused(n: int) -> None:
    with pytest.raises(InvalidRequest, match=f"n: {n} answers are asked for; .* send n=1"):
        asked(user(), n=n)


def test_an_empty_name_is_no_model() -> None:
    assert asked(user(), model="").model is None
