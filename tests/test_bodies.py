"""Request bodies: what is taken, what is refused, and by which name."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ssechat.errors import InvalidRequest
from jupyter_ssechat.gateway import bodies
from jupyter_ssechat.gateway.bodies import (
    ChatCompletion,
    Completion,
    Continue,
    EditMessage,
    ImportedSession,
    Nothing,
    OfMessage,
    OfSession,
    PlainMessage,
    Regenerate,
    SavedMessage,
    StopStream,
    checked_images,
)

KINDS = [
    Nothing,
    OfSession,
    OfMessage,
    StopStream,
    Completion,
    EditMessage,
    Regenerate,
    Continue,
    PlainMessage,
    ImportedSession,
    SavedMessage,
]
LEAST: dict[type[Any], dict[str, Any]] = {
    Nothing: {},
    OfSession: {"chat_session_id": "s"},
    OfMessage: {"chat_session_id": "s", "message_id": 2},
    StopStream: {"chat_session_id": "s", "message_id": 2},
    Completion: {"chat_session_id": "s", "prompt": "hello"},
    EditMessage: {"chat_session_id": "s", "message_id": 1, "prompt": "hello"},
    Regenerate: {"chat_session_id": "s", "child_message_id": 2},
    Continue: {"chat_session_id": "s", "message_id": 2},
    PlainMessage: {"message": "hello"},
    ImportedSession: {"chat_messages": []},
    SavedMessage: {"message_id": 1, "role": "USER"},
}
ASKING: dict[str, Any] = {
    "thinking_enabled": True,
    "search_enabled": False,
    "model": None,
    "system": None,
    "options": {},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def read(data: object, kind: type[Any]) -> Any:
    return bodies.read(json.dumps(data).encode(), kind)


def refused(raw: bytes, kind: type[Any] = Completion) -> str:
    with pytest.raises(InvalidRequest) as error:
        bodies.read(raw, kind)
    assert (error.value.status, error.value.code) == (422, 42200)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_every_call_has_its_least_body() -> None:
    assert set(LEAST) == set(KINDS)
    for kind, least in LEAST.items():
        body = read(least, kind)
        assert {name: getattr(body, name) for name in least} == least


@pytest.mark.parametrize("kind", [Completion, EditMessage, Regenerate, Continue])
def test_what_is_not_said_is_as_the_protocol_has_it(kind: type[Any]) -> None:
    body = read(LEAST[kind], kind)
    assert {name: getattr(body, name) for name in ASKING} == ASKING
    assert (body.images, body.on_disconnect, body.grace) == (None, "continue", None)


def test_the_other_optional_fields_have_their_defaults_too() -> None:
    completion = read(LEAST[Completion], Completion)
    assert (completion.parent_message_id, completion.ref_file_ids) == (None, [])
    assert read(LEAST[StopStream], StopStream).stream_id is None
    assert read(LEAST[Continue], Continue).fallback_to_resume is False


def test_a_whole_body_is_read_as_it_is() -> None:
    whole = {
        **LEAST[Completion],
        "parent_message_id": 4,
        "thinking_enabled": False,
        "search_enabled": True,
        "model": "m",
        "system": "be brief",
        "options": {"temperature": 0.5, "stop": ["\n"], "deep": {"er": [None]}},
        "ref_file_ids": ["f"],
        "images": ["https://example.com/x.png"],
        "on_disconnect": "cancel",
        "grace": 2.5,
    }
    body = read(whole, Completion)
    assert {name: getattr(body, name) for name in whole} == whole


def test_bodies_do_not_share_what_can_be_changed() -> None:
    read(LEAST[Completion], Completion).options["mine"] = 1
    assert read(LEAST[Completion], Completion).options == {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_cannot_be_changed(kind: type[Any]) -> None:
    body = read(LEAST[kind], kind)
    with pytest.raises(AttributeError):
        body.chat_session_id = "another"


def test_no_body_at_all_is_an_empty_one() -> None:
    assert bodies.read(b"", Nothing) == Nothing()
    assert refused(b"", OfSession).startswith("chat_session_id: ")


@pytest.mark.parametrize(
    "raw",
    [
        b"{oops",
        b"\xff\xfe",
        b"{",
        b"prompt=hello",
        b'{"a":1}x',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 5000,
    ],
)
def test_what_is_no_json_object_is_refused_as_a_body(raw: bytes) -> None:
    assert refused(raw).startswith("body: ")


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", "9" * 5000])
def test_a_number_that_is_out_of_bounds_is_refused_in_plain_words(number: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        bodies.read(f'{{"x": [{number}]}}'.encode(), dict[str, Any])
    assert str(error.value) == "body: a number in the body is out of bounds"


@pytest.mark.parametrize("data", [None, 3, "hello", [], [{"chat_session_id": "s"}]])
def test_json_of_another_kind_is_refused_as_a_body(data: object) -> None:
    assert refused(json.dumps(data).encode(), OfSession).startswith("body: ")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if LEAST[kind]])
def test_a_missing_field_is_named(kind: type[Any]) -> None:
    for name in LEAST[kind]:
        body = {other: value for other, value in LEAST[kind].items() if other != name}
        assert refused(json.dumps(body).encode(), kind).startswith(f"{name}: ")


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_field_is_named(kind: type[Any]) -> None:
    assert refused(json.dumps({**LEAST[kind], "colour": "red"}).encode(), kind).startswith("colour: ")


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("chat_session_id", 3, "chat_session_id"),
        ("prompt", None, "prompt"),
        ("prompt", ["hello"], "prompt"),
        ("parent_message_id", "4", "parent_message_id"),
        ("parent_message_id", 4.5, "parent_message_id"),
        ("parent_message_id", True, "parent_message_id"),
        ("thinking_enabled", 1, "thinking_enabled"),
        ("thinking_enabled", "yes", "thinking_enabled"),
        ("model", 3, "model"),
        ("options", [], "options"),
        ("options", None, "options"),
        ("ref_file_ids", [1], "ref_file_ids[0]"),
        ("images", "x.png", "images"),
        ("images", [{"any": "thing"}], "images[0]"),
        ("on_disconnect", "stay", "on_disconnect"),
        ("grace", -1, "grace"),
        ("grace", "1", "grace"),
        ("grace", True, "grace"),
    ],
)
def test_a_value_of_another_type_is_refused_by_the_name_of_its_field(
    field: str, value: Any, named: str
) -> None:
    body = {**LEAST[Completion], field: value}
    assert refused(json.dumps(body).encode()).startswith(f"{named}: ")


def test_text_survives_as_it_is() -> None:
    prompt = "{x} \ud83d 你好 \u0000 \u2028 🎉"
    assert read({**LEAST[Completion], "prompt": prompt}, Completion).prompt == prompt


@given(JSON, st.sampled_from(KINDS))
def test_any_json_is_a_body_or_refused(data: Any, kind: type[Any]) -> None:
    with suppress(InvalidRequest):
        assert isinstance(read(data, kind), kind)


@given(st.binary(), st.sampled_from(KINDS))
def test_any_bytes_are_a_body_or_refused(raw: bytes, kind: type[Any]) -> None:
    with suppress(InvalidRequest):
        assert isinstance(bodies.read(raw, kind), kind)


# ---- images ----

PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACw="


@pytest.mark.parametrize("address", [PIXEL, "https://example.com/a.png?size=1", "http://127.0.0.1:8/x"])
def test_an_image_is_an_address(address: str) -> None:
    assert checked_images([address]) == [address]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", "is not an image"),
        ("a.png", "is not an image"),
        ("file:///etc/passwd", "is not an image"),
        ("https://", "is not an image"),
        ("https://example.com/a b.png", "is not an image"),
        ("data:text/html;base64,PGI+", "is not an image"),
        ("data:image/png,abc", "is not an image"),
        ("data:image/png;base64", "is an image without data"),
        ("data:image/png;base64,", "is an image without data"),
        ("data:image/png;base64,not base64!", "is not base64"),
        ("data:image/png;base64,R0lGODlhAQABAAAAACw", "is not base64"),
        ("data:image/png;base64,é", "is not base64"),
        ("data:image/png;base64," + "A" * 28_000_000, "is larger than 20 MiB"),
    ],
)
def test_what_is_no_image_is_refused_with_its_number(address: str, said: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        checked_images([PIXEL, address])
    assert str(error.value).startswith(f"images: number 2 {said}")
    assert len(str(error.value)) < 200


def test_too_many_images_are_refused() -> None:
    assert checked_images([PIXEL] * 20) == [PIXEL] * 20
    with pytest.raises(InvalidRequest, match="images: 21 of them; expected at most 20"):
        checked_images([PIXEL] * 21)


# ---- bodies of others, of which the gateway reads a part ----

LEAST_CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}


def read_chat(data: object) -> tuple[ChatCompletion, dict[str, Any]]:
    return bodies.read_with_fields(json.dumps(data).encode(), ChatCompletion)


def test_a_chat_completion_may_say_more_than_the_gateway_reads_and_all_of_it_is_kept() -> None:
    sent = {**LEAST_CHAT, "stream": True, "stream_options": {"include_usage": True, "x": 1}, "seed": [None]}
    body, fields = read_chat(sent)
    assert fields == sent
    assert (body.stream, body.model, body.n, body.reasoning_effort) == (True, None, None, None)
    assert body.stream_options is not None and body.stream_options.include_usage is True


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": ["hello"]}]}, "messages[0].content[0]"),
        ({"n": 1.5}, "n"),
        ({"stream": 1}, "stream"),
        ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
    ],
)
def test_what_the_gateway_does_read_of_it_is_checked(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        read_chat({**LEAST_CHAT, **wrong})
    assert str(error.value).startswith(f"{named}: ")


@given(JSON)
def test_any_json_is_a_chat_completion_or_refused(data: Any) -> None:
    with suppress(InvalidRequest):
        assert isinstance(read_chat(data)[0], ChatCompletion)


# ---- saved conversations ----


def test_a_saved_message_is_told_with_what_it_says_and_how_it_ended() -> None:
    said = {
        "message_id": 2,
        "role": "ASSISTANT",
        "parent_id": 1,
        "content": "x",
        "usage": {"total_tokens": 3},
    }
    assert read(said, SavedMessage).to_wire() == {**said, "status": "FINISHED"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("message_id", 0),
        ("message_id", 2**53 + 1),
        ("message_id", True),
        ("parent_id", -1),
        ("role", "user"),
        ("content", None),
        ("status", "WIP"),
        ("status", "interrupted"),
        ("thinking_elapsed_secs", -1),
        ("inserted_at", "now"),
        ("error", {"type": "x"}),
        ("images", "x"),
        ("verbatim", {}),
        ("odd", 1),
    ],
)
def test_a_saved_message_that_cannot_be_is_refused_by_its_place_and_field(field: str, value: Any) -> None:
    message = {**LEAST[SavedMessage], field: value}
    raw = json.dumps({"chat_messages": [LEAST[SavedMessage], message]}).encode()
    assert refused(raw, ImportedSession).startswith(f"chat_messages[1].{field}")


def test_a_saved_conversation_has_no_more_messages_than_a_notebook_can() -> None:
    message = LEAST[SavedMessage]
    many = {"chat_messages": [message] * (bodies.MAX_MESSAGES + 1)}
    assert "chat_messages" in refused(json.dumps(many).encode(), ImportedSession)
    assert (
        len(read({"chat_messages": [message] * bodies.MAX_MESSAGES}, ImportedSession).chat_messages) == 10_000
    )
