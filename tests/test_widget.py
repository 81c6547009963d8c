"""The kernel's end of a view: what it sends over its comm, and what it makes of what comes back."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Callable
from typing import Any

import comm
import ipywidgets
import pytest
from comm.base_comm import BaseComm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_ssechat import Chat, ChatPanel
from jupyter_ssechat.client import GatewayClient
from jupyter_ssechat.consumer import shared_consumer
from jupyter_ssechat.gateway.server import Gateway, close_embedded
from jupyter_ssechat.patches import Document, Patch
from jupyter_ssechat.reply import Reply
from jupyter_ssechat.upstream import Demo
from jupyter_ssechat.widget import STATIC, ChatView

from .servers import Pause, Script, answer, chunk, model_server

LONG = 20.0
CONTENT = "response/content"


class Recording(BaseComm):
    """A comm that keeps what is sent, as the JSON that would go over the wire."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.sent: list[tuple[str, Any]] = []
        super().__init__(*args, **kwargs)

    def publish_msg(
        self,
        msg_type: str,
        data: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        buffers: list[bytes] | None = None,
        **keys: Any,
    ) -> None:
        assert not buffers
        text = json.dumps(data)
        text.encode("ascii")
        json.dumps(data, ensure_ascii=False).encode()  # no lone surrogates
        self.sent.append((msg_type, json.loads(text)))


class Browser:
    """What a page knows of a view, by the receiver's rules of the protocol."""

    def __init__(self, view: ChatView) -> None:
        self._comm: Any = view.comm
        self.sent: list[tuple[str, Any]] = self._comm.sent

    @property
    def opened(self) -> dict[str, Any]:
        return self.sent[0][1]["state"]

    def custom(self, kind: str) -> list[dict[str, Any]]:
        found = [data["content"] for _, data in self.sent if data.get("method") == "custom"]
        return [content for content in found if content["type"] == kind]

    def updates(self) -> list[dict[str, Any]]:
        return [data["state"] for _, data in self.sent if data.get("method") == "update"]

    def send(self, content: Any) -> None:
        self._handle({"method": "custom", "content": content})

    def asks_state(self) -> dict[str, Any]:
        self._handle({"method": "request_state"})
        return self.updates()[-1]

    def _handle(self, data: dict[str, Any]) -> None:
        self._comm.handle_msg({"content": {"data": data}, "buffers": []})


def replayed(snapshot: dict[str, Any], batches: list[dict[str, Any]]) -> dict[str, Any]:
    """The document of one who starts from a snapshot and applies every later batch, each once."""
    document, have = Document(snapshot["document"]), snapshot["seq"]
    for batch in batches:
        if batch["seq"] > have:
            assert batch["seq"] == have + 1
            have = batch["seq"]
            for patch in batch["patches"]:
                assert document.apply(Patch(patch["p"], patch["o"], patch["v"]))
    return document.snapshot()


def says(text: str) -> Patch:
    return Patch(CONTENT, "APPEND", text)


@pytest.fixture(autouse=True)
def _recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comm, "create_comm", Recording)


@pytest.fixture
def view() -> ChatView:
    return ChatView()


@pytest.fixture
def browser(view: ChatView) -> Browser:
    return Browser(view)


def replying(view: ChatView, gateway: Gateway) -> Reply:
    """A reply of the demo that streams into `view`."""
    client = GatewayClient(gateway.url, gateway.token)
    reply = Reply(shared_consumer(), client, "hello", view=view)

    async def prepare() -> Any:
        session = await client.create_session()
        return "completion", {"chat_session_id": session, "parent_message_id": None, "prompt": "hello"}

    reply.start_with(prepare)
    return reply


# ---- a widget among others ----


@pytest.mark.parametrize("keyword", ["colour", "_seq", "value", "model_id"])
def test_an_unknown_keyword_is_a_type_error_that_names_it(keyword: str) -> None:
    with pytest.raises(TypeError, match=f"ChatView has no '{keyword}'; it has status, folded, label"):
        ChatView(**{keyword: 1})


def test_its_traits_can_be_given() -> None:
    state = Browser(ChatView(label="My answer", folded=True, tooltip="a tip")).opened
    assert (state["label"], state["folded"], state["tooltip"]) == ("My answer", True, "a tip")


def test_the_repr_is_always_the_same() -> None:
    one, two = ChatView(), ChatView(folded=True)
    two.push([says("x")])
    assert repr(one) == repr(two) == "ChatView()"


def test_it_opens_with_its_bundle_its_traits_and_an_empty_document(browser: Browser) -> None:
    state = browser.opened
    assert browser.sent[0][0] == "comm_open"
    assert state["_esm"] == (STATIC / "widget.js").read_text("utf-8")
    assert state["_css"] == (STATIC / "widget.css").read_text("utf-8")
    assert (state["status"], state["folded"], state["label"]) == ("streaming", False, "Chat answer")
    document: dict[str, Any] = {"response": {}, "phase": "connecting", "timing": {}}
    assert state["snapshot"] == {"seq": 0, "document": document}
    assert len(browser.sent) == 1


# ---- batches ----


def test_batches_are_numbered_and_every_patch_is_explicit(view: ChatView, browser: Browser) -> None:
    view.push([says("a"), says("b")])
    view.push([Patch("phase", "SET", "answering")])
    append = {"p": CONTENT, "o": "APPEND"}
    assert browser.custom("patches") == [
        {"type": "patches", "seq": 1, "patches": [{**append, "v": "a"}, {**append, "v": "b"}]},
        {"type": "patches", "seq": 2, "patches": [{"p": "phase", "o": "SET", "v": "answering"}]},
    ]


def test_the_document_is_only_ever_sent_to_who_asks(view: ChatView, browser: Browser) -> None:
    for number in range(50):
        view.push([says(f"{number} ")])
    view.status = "finished"
    view.folded = True
    assert [set(state) for state in browser.updates()] == [{"status"}, {"folded"}]
    assert browser.custom("snapshot") == []
    assert "snapshot" not in view.get_state(key="status")
    for state in (view.get_state(), view.get_state(key="snapshot"), view.get_state(drop_defaults=True)):
        assert state["snapshot"]["seq"] == 50


def test_a_page_that_opens_gets_the_document_of_this_moment(view: ChatView, browser: Browser) -> None:
    view.push([says("one")])
    snapshot = browser.asks_state()["snapshot"]
    assert (snapshot["seq"], snapshot["document"]["response"]) == (1, {"content": "one"})
    view.push([says(" two")])
    assert replayed(snapshot, browser.custom("patches"))["response"] == {"content": "one two"}


def test_a_page_that_missed_something_gets_the_document_anew(view: ChatView, browser: Browser) -> None:
    view.push([says("one")])
    browser.send({"type": "sync", "have": 0})
    [snapshot] = browser.custom("snapshot")
    assert (snapshot["seq"], snapshot["document"]["response"]["content"]) == (1, "one")


patches = st.one_of(
    st.builds(says, st.text("ab好🎉\n", max_size=4)),
    st.builds(Patch, st.just("response/thinking_content"), st.just("APPEND"), st.text("hm", max_size=3)),
    st.builds(Patch, st.just("response/usage"), st.just("SET"), st.none() | st.integers()),
    st.builds(Patch, st.just(CONTENT), st.just("SET"), st.text("xy", max_size=2)),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(patches, min_size=1, max_size=3), max_size=12), st.data())
def test_whenever_a_page_comes_and_whatever_it_misses_it_has_the_same_document(
    batches: list[list[Patch]], data: st.DataObject
) -> None:
    view = ChatView()
    browser = Browser(view)
    snapshots = [browser.opened["snapshot"]]
    for batch in batches:
        view.push(batch)
        if data.draw(st.booleans()):
            browser.send({"type": "sync", "have": 0})
            snapshots.append(browser.custom("snapshot")[-1])
    whole = view.get_state()["snapshot"]
    assert whole["seq"] == len(batches)
    for snapshot in snapshots:
        assert replayed(snapshot, browser.custom("patches")) == whole["document"]


def test_a_state_asked_for_in_mid_stream_never_stands_between_two_batches(view: ChatView) -> None:
    count = 2_000
    thread = threading.Thread(target=lambda: [view.push([says("a"), says("b")]) for _ in range(count)])
    thread.start()
    while thread.is_alive():
        snapshot = view.get_state()["snapshot"]
        assert len(snapshot["document"]["response"].get("content", "")) == 2 * snapshot["seq"]
    thread.join(LONG)
    assert view.get_state()["snapshot"]["seq"] == count


# ---- the end ----


@pytest.mark.parametrize(
    ("thinking", "content"), [("", ""), ("Hm", "Yes"), ("好", "🎉\n"), ("a\0b", ""), ("", "a\ud83d")]
)
def test_the_end_tells_how_the_text_ought_to_read(
    thinking: str, content: str, view: ChatView, browser: Browser
) -> None:
    response = {
        "status": "FINISHED",
        "thinking_content": thinking,
        "content": content.replace("\ud83d", "\ufffd"),
    }
    view.push([Patch("response", "SET", response)])
    with Gateway(Demo(pace=0)) as gateway:
        reply = replying(ChatView(), gateway).wait(LONG)
    view.end(reply)
    text = f"{thinking}\0{response['content']}".encode()
    end = {"type": "end", "seq": 1, "length": len(text), "checksum": zlib.crc32(text)}
    assert browser.custom("end") == [end]
    assert browser.updates() == [{"status": "finished"}]


def test_a_whole_reply_comes_over_the_comm_as_it_is_and_not_twice() -> None:
    view = ChatView()
    browser = Browser(view)
    with Gateway(Demo(pace=0.02)) as gateway:
        reply = replying(view, gateway).wait(LONG)
    assert reply.status == view.status == "finished"
    document = replayed(browser.opened["snapshot"], browser.custom("patches"))
    assert document["response"]["content"] == reply.content
    assert document["response"]["thinking_content"] == reply.thinking
    assert (document["phase"], document["timing"]["ttft"]) == ("finished", round(reply.ttft or 0, 3))
    [end] = browser.custom("end")
    assert end["seq"] == len(browser.custom("patches"))
    text = f"{document['response']['thinking_content']}\0{document['response']['content']}".encode()
    assert (end["length"], end["checksum"]) == (len(text), zlib.crc32(text))
    assert [list(state) for state in browser.updates()] == [["status"]]
    assert sum(len(json.dumps(data)) for _, data in browser.sent[1:]) < len(text) * 2 + 700 * len(
        browser.sent
    )


def test_a_page_that_comes_late_shows_the_same_clock(view: ChatView) -> None:
    with Gateway(Demo(pace=0)) as gateway:
        reply = replying(view, gateway).wait(LONG)
    timing = view.get_state()["snapshot"]["document"]["timing"]
    assert timing == {"ttft": round(reply.ttft or 0, 3), "elapsed": round(reply.elapsed, 3)}


def test_a_reply_that_goes_on_opens_its_view_again(view: ChatView, browser: Browser) -> None:
    view.status, view.folded = "stopped", True
    with Gateway(Demo(pace=0)) as gateway:
        replying(view, gateway).wait(LONG)
    states = browser.updates()
    assert states == [
        {"status": "stopped"},
        {"folded": True},
        {"status": "streaming"},
        {"folded": False},
        {"status": "finished"},
    ]


def test_a_view_that_closes_takes_only_the_layout_that_was_made_for_it() -> None:
    shared = ipywidgets.Layout(width="70%")
    for make in (ChatView, ChatPanel):
        views = [make(), make(layout={"width": "50%"}), make(layout=shared)]
        layouts: list[Any] = [view.layout for view in views]
        for view in views:
            view.close()
            view.close()
        assert [layout.comm is None for layout in layouts] == [True, True, False]


def test_a_closed_view_says_nothing_more_and_does_not_fail(view: ChatView, browser: Browser) -> None:
    view.push([says("a")])
    view.close()
    with Gateway(Demo(pace=0)) as gateway:
        assert replying(view, gateway).wait(LONG).status == "finished"
    assert [kind for kind, _ in browser.sent] == ["comm_open", "comm_msg", "comm_close"]


# ---- what comes back ----


@pytest.mark.parametrize("action", ["stop", "resume"])
def test_a_pressed_button_is_called_back_and_acknowledged(
    action: str, view: ChatView, browser: Browser
) -> None:
    pressed: list[str] = []
    view.on_action(pressed.append)
    browser.send({"type": action, "id": "7"})
    assert pressed == [action]
    assert browser.custom("ack") == [
        {"type": "ack", "id": "7", "action": action, "ok": True, "message": ""},
    ]


def test_regenerate_and_edit_ask_with_the_prompt(view: ChatView, browser: Browser) -> None:
    asked: list[str] = []
    view.prompt = "What is a?"
    view.on_ask(asked.append)
    browser.send({"type": "regenerate", "id": "1"})
    browser.send({"type": "edit", "id": "2", "prompt": "What is b?"})
    assert asked == ["What is a?", "What is b?"]
    assert [(ack["id"], ack["action"], ack["ok"]) for ack in browser.custom("ack")] == [
        ("1", "regenerate", True),
        ("2", "edit", True),
    ]


@pytest.mark.parametrize("content", [{"type": "regenerate"}, {"type": "edit", "prompt": "x"}])
def test_a_view_that_cannot_ask_says_so(content: dict[str, Any], browser: Browser) -> None:
    browser.send({**content, "id": "1"})
    [ack] = browser.custom("ack")
    assert (ack["ok"], ack["message"]) == (False, "this view cannot ask anew; run its cell again")


def test_a_prompt_that_is_no_text_is_refused(view: ChatView, browser: Browser) -> None:
    asked: list[str] = []
    view.on_ask(asked.append)
    browser.send({"type": "edit", "id": "1", "prompt": None})
    assert (asked, browser.custom("ack")[0]["ok"]) == ([], False)


def test_another_reply_takes_the_place_of_the_one_before(view: ChatView, browser: Browser) -> None:
    with Gateway(Demo(pace=0)) as gateway:
        first = replying(view, gateway).wait(LONG)
        shown = view.get_state()["snapshot"]["document"]
        assert shown["response"]["content"] == first.content
        second = replying(view, gateway)
        assert second.wait(LONG).status == "finished"
    resets = [
        patch
        for batch in browser.custom("patches")
        for patch in batch["patches"]
        if patch["p"] == "" and patch["v"].get("response") == {}
    ]
    assert len(resets) == 1
    assert resets[0]["v"]["continued"] is False


def test_a_button_whose_action_fails_is_acknowledged_with_the_reason_and_nothing_is_printed(
    view: ChatView, browser: Browser, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: str) -> None:
        raise ValueError("this answer\n is finished")

    view.on_action(refuse)
    browser.send({"type": "resume", "id": 1})
    [ack] = browser.custom("ack")
    assert (ack["ok"], ack["message"], ack["id"]) == (False, "this answer is finished", 1)
    assert (capsys.readouterr(), caplog.text) == (("", ""), "")


def test_a_button_that_does_nothing_is_acknowledged_too(browser: Browser) -> None:
    browser.send({"type": "stop", "id": None})
    assert [ack["ok"] for ack in browser.custom("ack")] == [True]


def test_a_page_says_where_it_is(view: ChatView, browser: Browser) -> None:
    origins: list[str] = []
    browser.send({"type": "hello", "origin": "http://too-early"})
    view.on_hello(origins.append)
    for origin in ("http://127.0.0.1:8888", None, 3, ["http://x"]):
        browser.send({"type": "hello", "origin": origin})
    browser.send({"type": "hello"})
    assert origins == ["http://127.0.0.1:8888"]


def test_a_greeting_that_fails_is_not_printed(
    view: ChatView, browser: Browser, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: str) -> None:
        raise RuntimeError("a bug")

    view.on_hello(fail)
    browser.send({"type": "hello", "origin": "http://127.0.0.1:8888"})
    assert (capsys.readouterr(), caplog.text) == (("", ""), "")


@pytest.mark.parametrize(
    "content", [None, [], "stop", {}, {"type": None}, {"type": ["stop"]}, {"type": "Stop"}]
)
def test_what_means_nothing_is_ignored(
    content: Any, view: ChatView, browser: Browser, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[str] = []
    callback: Callable[[str], object] = called.append
    view.on_action(callback)
    browser.send(content)
    assert (called, len(browser.sent), capsys.readouterr()) == ([], 1, ("", ""))


def test_how_a_view_may_stop_by_itself_is_told_and_never_saved(view: ChatView, browser: Browser) -> None:
    view.let_control({"url": "http://127.0.0.1:1", "token": "a secret", "message_id": 2})
    [control] = browser.custom("control")
    assert control == {"type": "control", "url": "http://127.0.0.1:1", "token": "a secret", "message_id": 2}
    browser.send({"type": "sync", "have": 0})
    for saved in (view.get_state(), browser.asks_state(), browser.custom("snapshot")):
        assert "a secret" not in json.dumps(saved, default=str)


def test_without_callbacks_its_buttons_reach_the_reply_that_it_shows(
    view: ChatView, browser: Browser
) -> None:
    pause = Pause()
    with model_server(Script([chunk(content="One"), pause]), answer(" two")) as server:
        browser.send({"type": "stop", "id": "early"})
        browser.send({"type": "hello", "origin": "http://page.example"})
        reply = Chat(server.url).send("count", view=view)
        assert pause.reached.wait(LONG)
        browser.send({"type": "stop", "id": "1"})
        assert reply.wait(LONG).status == "stopped"
        assert browser.custom("control")[0]["message_id"] == reply.message_id
        browser.send({"type": "resume", "id": "2"})
        assert (reply.wait(LONG).status, reply.content) == ("finished", "One two")
    assert [ack["ok"] for ack in browser.custom("ack")] == [True, True, True]
    close_embedded()
