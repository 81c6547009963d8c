"""The view's kernel side, with a comm that records: what a browser would get, and what it may ask."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import comm
import pytest
from comm.base_comm import BaseComm

from jupyter_ssechat import Chat, ChatView
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.reply import Reply


class Recorder(BaseComm):
    """Keeps what is sent."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        self.sent: list[tuple[str, Any]] = []
        super().__init__(*args, **keywords)

    def publish_msg(self, msg_type: str, data: Any = None, *_: Any, **__: Any) -> None:
        self.sent.append((msg_type, data))

    @property
    def custom(self) -> list[dict[str, Any]]:
        return [
            data["content"] for kind, data in self.sent if kind == "comm_msg" and data["method"] == "custom"
        ]

    @property
    def updates(self) -> list[dict[str, Any]]:
        return [
            data["state"] for kind, data in self.sent if kind == "comm_msg" and data["method"] == "update"
        ]


@pytest.fixture
def view(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatView]:
    monkeypatch.setattr(comm, "create_comm", Recorder)
    one = ChatView()
    yield one
    one.close()


@pytest.fixture(scope="module")
def reply() -> Reply:
    return Chat("demo", pace=0).ask("hello")


def recorder(view: ChatView) -> Recorder:
    assert isinstance(view.comm, Recorder)
    return view.comm


def ask(view: ChatView, content: Any) -> None:
    """A custom message of the browser."""
    recorder(view).handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})


def text(value: str) -> Patch:
    return Patch("response/content", "APPEND", value)


def test_unknown_keywords_are_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        ChatView(colour="red")


def test_its_repr_is_stable(view: ChatView) -> None:
    assert repr(view) == "ChatView()"


def test_batches_are_numbered_and_carry_explicit_patches(view: ChatView) -> None:
    view.push([text("one"), Patch("phase", "SET", "answering")])
    view.push([text(" two")])
    assert recorder(view).custom == [
        {
            "type": "patches",
            "seq": 1,
            "patches": [
                {"p": "response/content", "o": "APPEND", "v": "one"},
                {"p": "phase", "o": "SET", "v": "answering"},
            ],
        },
        {"type": "patches", "seq": 2, "patches": [{"p": "response/content", "o": "APPEND", "v": " two"}]},
    ]


def test_a_batch_never_sends_a_trait(view: ChatView) -> None:
    view.push([text("one")])
    assert recorder(view).updates == []


def test_the_state_has_the_snapshot_of_this_moment(view: ChatView) -> None:
    for number in range(3):
        view.push([text("x")])
        snapshot = view.get_state()["snapshot"]
        assert (snapshot["seq"], snapshot["document"]["response"]["content"]) == (
            number + 1,
            "x" * (number + 1),
        )


def test_sync_is_answered_with_a_snapshot(view: ChatView) -> None:
    view.push([text("one")])
    ask(view, {"type": "sync", "have": 0})
    answer = recorder(view).custom[-1]
    assert (answer["type"], answer["seq"]) == ("snapshot", 1)
    assert answer["document"]["response"]["content"] == "one"


def test_the_end_says_length_and_checksum_of_thinking_and_answer(view: ChatView, reply: Reply) -> None:
    view.push([Patch("response/thinking_content", "APPEND", "想"), text("好 🎉")])
    view.end(reply)
    expected = "想\0好 🎉".encode()
    end = {"type": "end", "seq": 1, "length": len(expected), "checksum": zlib.crc32(expected)}
    assert recorder(view).custom[-1] == end
    assert view.status == "finished"


def test_a_stream_that_begins_again_opens_the_view(view: ChatView, reply: Reply) -> None:
    view.folded = True
    view.status = "stopped"
    view.begin(reply)
    assert (view.folded, view.status) == (False, "streaming")


def test_actions_are_acknowledged(view: ChatView) -> None:
    pressed: list[str] = []
    view.on_action(pressed.append)
    ask(view, {"type": "stop", "id": "7"})
    assert pressed == ["stop"]
    assert recorder(view).custom[-1] == {
        "type": "ack",
        "id": "7",
        "action": "stop",
        "ok": True,
        "message": "",
    }


def test_an_action_that_fails_says_why_and_raises_nothing(view: ChatView) -> None:
    def fails(_: str) -> None:
        raise RuntimeError("no\nway")

    view.on_action(fails)
    ask(view, {"type": "resume", "id": "8"})
    answer = recorder(view).custom[-1]
    assert (answer["ok"], answer["message"]) == (False, "no way")


def test_hello_tells_the_origin_and_a_grant_is_sent_as_a_message_only(view: ChatView) -> None:
    origins: list[str] = []
    view.on_hello(origins.append)
    ask(view, {"type": "hello", "origin": "http://127.0.0.1:8888"})
    view.let_control({"token": "secret"})
    assert origins == ["http://127.0.0.1:8888"]
    assert recorder(view).custom[-1] == {"type": "control", "token": "secret"}
    assert "secret" not in str(view.get_state())


@pytest.mark.parametrize("content", [None, 3, [], {}, {"type": 1}, {"type": "hello"}, {"type": "unknown"}])
def test_what_it_does_not_know_is_passed_over(view: ChatView, content: Any) -> None:
    ask(view, content)
    assert recorder(view).custom == []
