"""The documents of "delta_encoding v1": what of them is said to the user, and how each operation changes it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ssechat.dialects import Body, DeltaV1, Manners, OpenAIChat
from jupyter_ssechat.dialects.delta_v1 import MAX_MESSAGES, Messages
from jupyter_ssechat.errors import InvalidData
from jupyter_ssechat.message import Message, ends
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.request import Request, Turn
from jupyter_ssechat.sse import ServerSentEvent

WIRE = Path(__file__).parent / "wire"
PART = "/message/content/parts/0"
DONE = ServerSentEvent(data="[DONE]")


def delta(
    value: Any = None, path: str | None = None, op: str | None = None, **fields: Any
) -> ServerSentEvent:
    """One frame; a key that is None is missing."""
    keys = {"p": path, "o": op}
    frame = {name: key for name, key in keys.items() if key is not None} | {"v": value} | fields
    return ServerSentEvent("delta", json.dumps(frame))


def note(type: str, **fields: Any) -> ServerSentEvent:
    return ServerSentEvent(data=json.dumps({"type": type, **fields}))


def document(*parts: str, role: str = "assistant", type: str = "text", **fields: Any) -> dict[str, Any]:
    """A message; `fields` are its own, or of its content."""
    content = {"content_type": type, **({"parts": list(parts)} if parts else {}), **fields.pop("content", {})}
    return {"message": {"author": {"role": role}, "content": content, **fields}}


def begun(*parts: str, **fields: Any) -> ServerSentEvent:
    fields = {"status": "in_progress", **fields}
    return delta(document(*(parts or ("",)), **fields), "", "add")


def read(*events: ServerSentEvent, dialect: DeltaV1 | None = None) -> Message:
    """The message that these events come to; not interrupted when it is open."""
    dialect, message = dialect or DeltaV1(), Message()
    for patch in [patch for event in events for patch in dialect.feed(event)] + dialect.finish():
        message.apply(patch)
    return message


def content(*events: ServerSentEvent) -> str:
    return read(*events).content


# ---- operations ----


def test_p_and_o_are_sticky_apart_and_each_patch_of_text_is_one_append() -> None:
    dialect = DeltaV1()
    events = [begun(), delta("a", PART, "append"), delta("b"), delta("c", PART), delta("d", op="append")]
    assert [patch for event in events for patch in dialect.feed(event)] == [
        Patch("response/content", "APPEND", letter) for letter in "abcd"
    ]


def test_a_list_of_patches_is_never_sticky_for_a_bare_text() -> None:
    status = {"p": "/message/status", "o": "replace", "v": "in_progress"}
    events = [begun(), delta("a", PART, "append"), delta([status], "", "patch"), delta("b")]
    assert content(*events) == "ab"


def test_a_bare_list_is_a_list_of_patches() -> None:
    batch = [{"p": PART, "o": "append", "v": "b"}, {"p": PART, "v": "c"}]
    assert content(begun("a"), delta(batch), delta(batch)) == "abcbc"


def test_patches_in_a_list_are_absolute_or_below_its_path() -> None:
    below = [{"p": "/content/parts/0", "o": "append", "v": "b"}]
    absolute = [{"p": PART, "o": "append", "v": "c"}]
    assert (
        content(begun("a"), delta(below, "/message", "patch"), delta(absolute, "/message", "patch")) == "abc"
    )


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (delta("new", PART, "replace"), "new|two"),
        (delta("three", "/message/content/parts/-", "add"), "one|two|three"),
        (delta("zero", PART, "add"), "zero|one|two"),
        (delta(["three", "four"], "/message/content/parts", "append"), "one|two|three|four"),
        (delta("three", "/message/content/parts", "append"), "one|two|three"),
        (delta(None, PART, "remove"), "two"),
        (delta(2, PART, "truncate"), "on|two"),
        (delta(1, "/message/content/parts", "truncate"), "one"),
        (delta(["all"], "/message/content/parts", "replace"), "all"),
        (delta({"parts": ["merged"]}, "/message/content", "append"), "merged"),
        (delta("hidden", "/message/author/role", "replace"), ""),
        (delta(None, "/message/content", "remove"), ""),
    ],
)
def test_every_operation_changes_the_text(event: ServerSentEvent, text: str) -> None:
    parts = [part + "|" for part in ("one", "two")]
    changed = content(begun(*parts), event)
    assert changed.replace("|", "") == text.replace("|", "")


@pytest.mark.parametrize(
    "event",
    [
        delta("x", "/message/content/parts/7", "replace"),
        delta("x", "/message/content/parts/7", "append"),
        delta("x", "no/pointer", "append"),
        delta("x", "/message/content/parts/0/deeper", "add"),
        delta("x", PART, "unknown"),
        delta(-1, PART, "truncate"),
        delta("x", PART, "truncate"),
        delta(None, "/message/content/parts/7", "remove"),
        delta("x", "/message/metadata/a~1b", "add"),
        delta({"a": 1}, "/message/metadata", "append"),
        ServerSentEvent("delta", json.dumps({"p": PART, "o": "append"})),
        ServerSentEvent("delta", json.dumps({"p": 5, "o": "append", "v": "x"})),
    ],
)
def test_what_cannot_be_changes_nothing(event: ServerSentEvent) -> None:
    assert content(begun("a"), event) == "a"


def test_escapes_of_a_pointer_are_read() -> None:
    messages = Messages()
    messages.feed({"p": "", "o": "add", "v": document("a")})
    messages.feed({"p": "/message/metadata/a~0b", "o": "add", "v": 5})
    assert messages.current is not None
    assert messages.current.get("message/metadata/a~b") == 5


# ---- which text ----


@pytest.mark.parametrize(
    "hidden",
    [
        document("no", role="user"),
        document("no", role="system"),
        document("no", role="tool"),
        document("no", recipient="python"),
        document("no", metadata={"is_visually_hidden_from_conversation": True}),
        document(type="code", content={"text": "no"}),
        document(type="reasoning_recap", content={"content": "Thought for 3s"}),
        document("no", type="user_editable_context"),
        {"message": {"content": {"parts": ["no"]}}},
    ],
)
def test_what_is_not_said_to_the_user_is_no_text(hidden: dict[str, Any]) -> None:
    message = read(delta(hidden, "", "add"), delta("no", PART, "append"), begun("yes"))
    assert (message.thinking, message.content) == ("", "yes")


@pytest.mark.parametrize(
    "thought",
    [
        document(type="thoughts", content={"thoughts": [{"summary": "Why", "content": "so"}]}),
        document("Why\n\nso", type="thoughts"),
        document("Why\n\nso", channel="commentary"),
        document("Why\n\nso", channel="analysis"),
    ],
)
def test_thoughts_are_thinking(thought: dict[str, Any]) -> None:
    message = read(delta(thought, "", "add"), begun("yes", channel="final"))
    assert (message.thinking, message.content) == ("Why\n\nso", "yes")


def test_messages_stand_apart() -> None:
    assert content(begun("one", id="1"), begun("two", id="2"), delta("!", PART, "append")) == "one\n\ntwo!"


def test_a_counter_names_the_message_that_is_changed() -> None:
    first, second = begun("one", id="1"), begun("two", id="2")
    add = [delta(json.loads(event.data)["v"], "", "add", c=c) for c, event in enumerate((first, second))]
    assert content(*add, delta("+", PART, "append", c=0), delta("+"), delta("-", c=1)) == "one++\n\ntwo-"


def test_a_message_that_comes_whole_again_replaces_itself() -> None:
    frames = [document(text, id="a", status="in_progress") for text in ("All", "All of", "All of it")]
    events = [ServerSentEvent(data=json.dumps({**frame, "error": None})) for frame in frames]
    dialect = DeltaV1()
    assert [patch.value for event in events for patch in dialect.feed(event)] == ["All", " of", " it"]


def test_patches_before_any_message_are_of_the_answer() -> None:
    assert content(delta("a", PART, "append"), delta("b")) == "ab"


def test_the_model_is_named_once() -> None:
    dialect = DeltaV1()
    events = [
        note("server_ste_metadata", metadata={"model_slug": "m", "resolved_model_slug": "m-1"}),
        begun("a", metadata={"resolved_model_slug": "m-1"}),
        delta("b", PART, "append"),
    ]
    told = [patch for event in events for patch in dialect.feed(event)]
    assert [patch.value for patch in told if patch.path == "response/model"] == ["m-1"]


# ---- ends ----


def finished(status: str = "finished_successfully", **fields: Any) -> ServerSentEvent:
    batch = [{"p": "/message/status", "o": "replace", "v": status}]
    batch += [{"p": f"/message/{name}", "o": "add", "v": value} for name, value in fields.items()]
    return delta(batch, "", "patch")


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([], "streaming"),
        ([finished()], "finished"),
        ([finished(end_turn=True)], "finished"),
        ([finished(end_turn=False)], "streaming"),
        ([finished(end_turn=False), DONE], "finished"),
        ([DONE], "streaming"),
        ([note("message_stream_complete")], "finished"),
        ([finished(end_turn=True), begun("more", id="2")], "streaming"),
        ([finished(end_turn=True), note("stream_handoff"), DONE], "streaming"),
        ([finished("failed")], "failed"),
    ],
)
def test_an_answer_has_ended_when_its_message_has_or_the_stream_says_so(
    events: list[ServerSentEvent], status: str
) -> None:
    assert read(begun("a"), *events).status == status


def test_the_answer_of_a_stream_is_open_until_its_own_end() -> None:
    stream = (WIRE / "synthetic_delta_v1_chatgpt.sse").read_bytes()
    end = stream.index(b"/message/status")
    for at in range(end):
        body = Body(DeltaV1())
        assert not any(map(ends, body.feed(stream[:at]) + body.finish()))


@pytest.mark.parametrize(
    ("reason", "status", "ours"),
    [
        ("stop", "finished", "stop"),
        ("max_tokens", "finished", "length"),
        ("interrupted", "stopped", "stopped"),
        ("a new word", "finished", "stop"),
    ],
)
def test_the_details_say_why(reason: str, status: str, ours: str) -> None:
    end = finished("finished_partial_completion", metadata={"finish_details": {"type": reason}})
    message = read(begun("a"), end, DONE)
    assert (message.status, message.finish_reason) == (status, ours)


@pytest.mark.parametrize(
    ("event", "type", "said"),
    [
        (ServerSentEvent(data='{"error":"no"}'), "upstream_error", "no"),
        (ServerSentEvent(data='{"error":{"code":"c","message":"no"}}'), "c", "no"),
        (ServerSentEvent(data='{"detail":"no"}'), "upstream_error", "no"),
        (ServerSentEvent(data='{"detail":{"message":"no"}}'), "upstream_error", "no"),
        (ServerSentEvent(data='{"type":"error","message":"no"}'), "error", "no"),
        (delta("no", "/error", "replace"), "upstream_error", "no"),
        (ServerSentEvent("error", "no"), "error", "no"),
    ],
)
def test_an_error_fails_and_keeps_the_text(event: ServerSentEvent, type: str, said: str) -> None:
    message = read(begun("a"), event, DONE)
    assert (message.status, message.content) == ("failed", "a")
    assert message.error is not None
    assert message.error.to_dict() == {"type": type, "message": said}


@pytest.mark.parametrize(("blocked", "status"), [(True, "filtered"), (False, "streaming")])
def test_only_a_block_filters(blocked: bool, status: str) -> None:
    event = note("moderation", moderation_response={"flagged": True, "blocked": blocked})
    assert read(begun("a"), event).status == status


def test_figures_may_follow_only_until_the_turn_has_ended() -> None:
    dialect = DeltaV1()
    read(begun("a"), finished(), dialect=dialect)
    assert dialect.finishing  # sealed by the end of the body
    dialect = DeltaV1()
    dialect.feed(begun("a"))
    dialect.feed(finished())
    assert not dialect.finishing
    dialect.feed(finished(end_turn=True))
    assert dialect.finishing


def test_a_whole_answer_in_place_of_a_stream_is_read() -> None:
    message = Message()
    for patch in DeltaV1().whole(document("All.", status="finished_successfully", end_turn=True)):
        message.apply(patch)
    assert (message.status, message.content) == ("finished", "All.")
    assert DeltaV1().whole({"message": "no"}) == []


# ---- the dialect ----


@pytest.mark.parametrize(
    ("stream", "spoken"),
    [
        ('event: delta_encoding\ndata: "v1"\n\n', True),
        ('data: "v1"\n\n', True),
        ('event: delta\ndata: {"v":"a"}\n\n', True),
        ('event: delta\ndata: {"content":"a"}\n\n', False),
        ('data: {"p":"/message/content/parts/0","o":"append","v":"a"}\n\n', True),
        ('data: {"p":"response/content","o":"APPEND","v":"a"}\n\n', False),
        ('data: {"v":{"message":{"author":{"role":"assistant"}}}}\n\n', True),
        ('data: {"v":{"response":{"content":"a"}}}\n\n', False),
        ('data: {"message":{"author":{"role":"assistant"}},"error":null}\n\n', True),
        ('data: {"message":"no"}\n\n', False),
        ('data: {"type":"resume_conversation_token","token":"t"}\n\n', True),
    ],
)
def test_it_is_told_by_its_first_event(stream: str, spoken: bool) -> None:
    body = Body()
    body.feed(stream.encode())
    assert isinstance(body.dialect, DeltaV1) == spoken


def test_it_is_asked_as_chat_completions_at_the_address_as_it_is() -> None:
    request, url = Request(turns=(Turn("user", "Why?"),), model="m"), "http://h/backend/conversation"
    assert DeltaV1.endpoint(url) == url
    assert DeltaV1.ask(url, request, Manners()) == OpenAIChat.ask(url, request, Manners())


def test_there_is_a_limit_to_the_messages_of_a_stream() -> None:
    dialect = DeltaV1()
    for _ in range(MAX_MESSAGES):
        dialect.feed(ServerSentEvent(data=json.dumps(document("", role="tool"))))
    with pytest.raises(InvalidData, match="more than 1,000 messages"):
        dialect.feed(begun("a"))


@pytest.mark.parametrize("explicit", [False, True])
def test_a_token_more_costs_the_same_in_a_long_answer(explicit: bool) -> None:
    def seconds(tokens: int) -> float:
        dialect = DeltaV1()
        read(begun("a"), delta("b", PART, "append"), dialect=dialect)
        dialect.feed(delta("c" * tokens * 10))
        event = delta("0123456789", *((PART, "append") if explicit else ()))
        start = time.perf_counter()
        for _ in range(2000):
            dialect.feed(event)
        return time.perf_counter() - start

    short = min(seconds(10) for _ in range(3))
    assert min(seconds(200_000) for _ in range(3)) < 5 * short + 0.05


paths = st.sampled_from(
    ["", "/message", PART, "/message/content/parts", "/message/content/thoughts/0/content"]
)
paths |= st.sampled_from(
    ["/message/status", "/message/author/role", "/message/content", "/message/content/parts/1"]
)
ops = st.sampled_from(["add", "append", "replace", "remove", "truncate", "patch"])
values = st.sampled_from(["a", "b", 1, None, ["c"], {"parts": ["d"]}, {"role": "assistant"}, "assistant"])
messages = st.builds(
    lambda text, role: document(text, role=role), st.text("ab"), st.sampled_from(["assistant", "user"])
)
frames = st.fixed_dictionaries(
    {"v": values | messages}, optional={"p": paths, "o": ops, "c": st.integers(0, 2)}
)
batches = st.lists(frames, max_size=3).map(lambda items: {"o": "patch", "p": "", "v": items})


@given(st.lists(frames | batches, max_size=12))
def test_whatever_is_patched_the_deltas_add_up_to_the_text_of_the_documents(
    frames: list[dict[str, Any]],
) -> None:
    dialect, plain, message = DeltaV1(), Messages(), Message()
    dialect.feed(begun("x"))
    plain.feed(json.loads(begun("x").data))
    message.apply(Patch("response/content", "APPEND", "x"))
    for frame in frames:
        patches = dialect.feed(ServerSentEvent("delta", json.dumps(frame)))
        if any(map(ends, patches)):
            return
        plain.feed(frame)
        for patch in patches:
            message.apply(patch)
        assert {"thinking": message.thinking, "content": message.content} == plain.texts()
