"""The kernel's end of a panel: what it tells its pages of a conversation, and what it does for them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, cast

import comm
import pytest
import traitlets

from jupyter_ssechat import Chat, ChatPanel, Reply
from jupyter_ssechat.gateway.server import close_embedded
from jupyter_ssechat.message import Message
from jupyter_ssechat.patches import Document, Patch
from jupyter_ssechat.talk import Asked
from jupyter_ssechat.widget import STATIC

from .servers import CUT, Pause, Script, answer, chunk, finish, model_server
from .test_chat import Following
from .test_widget import Recording

LONG = 20.0
Turn = tuple[str, str, str]


@pytest.fixture(autouse=True, scope="module")
def _closed_in_the_end() -> Iterator[None]:
    yield
    close_embedded()


class Heard(Recording):
    """A recording comm that can be waited for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.more = threading.Condition()
        self.buffers: list[bytes] = []
        super().__init__(*args, **kwargs)

    def publish_msg(self, *args: Any, buffers: list[bytes] | None = None, **kwargs: Any) -> None:
        with self.more:
            self.buffers += buffers or []
            super().publish_msg(*args, **kwargs)
            self.more.notify_all()


@pytest.fixture(autouse=True)
def _recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comm, "create_comm", Heard)


class Page:
    """What a page knows of a panel, by the receiver's rules; it opens with the state of this moment."""

    def __init__(self, panel: ChatPanel) -> None:
        self._comm = cast("Heard", panel.comm)
        self._ids = map(str, count())
        self.lost: list[int] = []
        self.answers: dict[int, tuple[int, Document, str]] = {}
        self._read = len(self._comm.sent)
        state = panel.get_state()["conversation"]
        self.seq, self._turns = state["seq"], state["turns"]
        for turn in state["turns"]:
            shown, snapshot = turn["answer"], turn["answer"]["snapshot"]
            self.answers[shown["number"]] = (
                snapshot["seq"],
                Document(snapshot["document"]),
                shown["status"],
            )

    @property
    def sent(self) -> list[tuple[str, Any]]:
        return self._comm.sent

    @property
    def buffers(self) -> list[bytes]:
        return self._comm.buffers

    def custom(self, kind: str) -> list[dict[str, Any]]:
        found = [data["content"] for _, data in list(self.sent) if data.get("method") == "custom"]
        return [content for content in found if content["type"] == kind]

    def send(self, content: Any) -> None:
        self._comm.handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})

    def ask(self, action: str, /, **fields: Any) -> dict[str, Any]:
        """Ask for something as a browser does; returns the acknowledgement."""
        request = next(self._ids)
        self.send({"type": action, "id": request, **fields})
        self.wait_until(lambda: any(ack["id"] == request for ack in self.custom("ack")))
        return next(ack for ack in self.custom("ack") if ack["id"] == request)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        with self._comm.more:
            assert self._comm.more.wait_for(condition, LONG), self.turns

    def wait_for(self, *turns: Turn) -> None:
        self.wait_until(lambda: self.turns == list(turns))

    @property
    def turns(self) -> list[Turn]:
        """The prompt, the answer and its state of each turn that is shown."""
        self._take_in()
        return [(turn["prompt"]["text"], *self._said(turn["answer"]["number"])) for turn in self._turns]

    def places(self, kind: str) -> list[list[int]]:
        self._take_in()
        return [turn[kind]["place"] for turn in self._turns]

    def number(self, kind: str, index: int = -1) -> int:
        self._take_in()
        return self._turns[index][kind]["number"]

    def _said(self, number: int) -> tuple[str, str]:
        _, document, status = self.answers[number]
        return Message(document).content, status

    def _take_in(self) -> None:
        sent = list(self.sent)
        for _, data in sent[self._read :]:
            if data.get("method") == "custom":
                self._take(data["content"])
        self._read = len(sent)

    def _take(self, content: dict[str, Any]) -> None:
        number = content.get("number")
        match content["type"]:
            case "turns":
                self._take_turns(content)
            case "patches" if number in self.answers:
                self._take_batch(content)
            case "snapshot":
                known = self.answers[content["number"]]
                self.answers[content["number"]] = (content["seq"], Document(content["document"]), known[2])
            case "status" if number in self.answers:
                seq, document, _ = self.answers[content["number"]]
                self.answers[content["number"]] = (seq, document, content["status"])
            case "end" if number in self.answers:
                assert content["seq"] == self.answers[content["number"]][0]
            case _:
                pass

    def _take_turns(self, content: dict[str, Any]) -> None:
        if content["seq"] < self.seq:
            return
        assert content["keep"] == 0 or content["seq"] == self.seq + 1
        self.seq = content["seq"]
        self._turns = [*self._turns[: content["keep"]], *content["turns"]]
        for shown in (turn["answer"] for turn in content["turns"]):
            seq, document, _ = self.answers.get(shown["number"], (0, Document({"response": {}}), ""))
            self.answers[shown["number"]] = (seq, document, shown["status"])
            if seq < shown["seq"]:
                self.lost.append(shown["number"])

    def _take_batch(self, content: dict[str, Any]) -> None:
        seq, document, status = self.answers[content["number"]]
        if content["seq"] > seq:
            assert content["seq"] == seq + 1
            for patch in content["patches"]:
                assert document.apply(Patch(patch["p"], patch["o"], patch["v"]))
            self.answers[content["number"]] = (content["seq"], document, status)


# ---- a widget among others ----


@pytest.mark.parametrize("keyword", ["colour", "kind", "conversation", "status", "busy", "model_id"])
def test_an_unknown_keyword_is_a_type_error_that_names_the_known_ones(keyword: str) -> None:
    expected = (
        f"ChatPanel has no '{keyword}' to be set; it has value, label, placeholder, disabled and layout"
    )
    with pytest.raises(TypeError, match=expected):
        ChatPanel(None, **{keyword: "x"})


def test_it_opens_with_its_bundle_and_its_traits_and_the_demo_model() -> None:
    panel = ChatPanel(value="draft", label="Ask", placeholder="…", disabled=True, layout={"height": "300px"})
    state = cast("Heard", panel.comm).sent[0][1]["state"]
    assert state["_esm"] == (STATIC / "widget.js").read_text("utf-8")
    assert (state["kind"], state["value"], state["label"], state["placeholder"]) == (
        "panel",
        "draft",
        "Ask",
        "…",
    )
    assert (state["disabled"], state["busy"], state["status"]) == (True, False, "")
    assert state["conversation"] == {"seq": 0, "turns": []}
    assert panel.layout.height == "300px"
    assert panel.chat.upstream == "demo"
    assert repr(panel) == "ChatPanel()"


def test_its_traits_are_observed_and_linked() -> None:
    panel, other = ChatPanel(Chat("demo", pace=0)), ChatPanel(Chat("demo", pace=0))
    seen: list[tuple[str, Any]] = []
    panel.observe(lambda change: seen.append((change["name"], change["new"])), ["busy", "status"])
    link = traitlets.link((panel, "value"), (other, "value"))
    other.value = "draft"
    panel.send("hello").wait(LONG)
    assert panel.value == "draft"
    assert seen == [("status", "streaming"), ("busy", True), ("status", "finished"), ("busy", False)]
    link.unlink()


def test_a_closed_panel_says_nothing_more_and_its_chat_goes_on() -> None:
    panel = ChatPanel(Chat("demo", pace=0))
    sent = cast("Heard", panel.comm).sent
    panel.close()
    assert panel.chat.ask("hello").status == "finished"
    assert [kind for kind, _ in sent] == ["comm_open", "comm_close"]


# ---- what a page is told ----


def test_a_conversation_comes_in_batches_that_carry_their_answers_number_and_nothing_comes_twice() -> None:
    with model_server(answer("One", " two"), answer("Three")) as server:
        panel = ChatPanel(Chat(server.url))
        page = Page(panel)
        panel.send("first").wait(LONG)
        panel.send("second").wait(LONG)
        assert page.turns == [("first", "One two", "finished"), ("second", "Three", "finished")]
    assert {batch["number"] for batch in page.custom("patches")} == {2, 4}
    assert [message["keep"] for message in page.custom("turns")] == [0, 1]
    wire = json.dumps([data for _, data in page.sent[1:]])
    assert (wire.count("first"), wire.count("second"), wire.count("Three")) == (1, 1, 1)
    assert page.lost == [] and page.custom("snapshot") == []


def test_the_cost_of_a_turn_does_not_grow_with_the_turns_before_it() -> None:
    panel = ChatPanel(Chat("demo", pace=0))
    page = Page(panel)
    sizes: list[int] = []
    for _ in range(8):
        before = len(page.sent)
        panel.send("hello").wait(LONG)
        sizes.append(sum(len(json.dumps(data)) for _, data in page.sent[before:]))
    assert max(sizes[1:]) < 1.3 * min(sizes[1:])


def test_the_whole_conversation_is_only_ever_sent_to_who_asks() -> None:
    panel = ChatPanel(Chat("demo", pace=0))
    panel.send("hello").wait(LONG)
    panel.disabled = True
    updates = [data["state"] for _, data in cast("Heard", panel.comm).sent if data.get("method") == "update"]
    assert {name for state in updates for name in state} == {"status", "busy", "disabled"}
    assert "conversation" not in panel.get_state(key="status")


def test_a_page_that_opens_in_mid_answer_has_all_of_it_once() -> None:
    pause = Pause()
    with model_server(
        answer("Before."), Script([chunk(content="One "), pause, chunk(content="two."), finish()])
    ) as s:
        panel = ChatPanel(Chat(s.url))
        panel.send("first").wait(LONG)
        early = Page(panel)
        reply = panel.send("second")
        early.wait_for(("first", "Before.", "finished"), ("second", "One ", "streaming"))
        late = Page(panel)
        assert late.turns == early.turns
        pause.end()
        reply.wait(LONG)
        whole = [("first", "Before.", "finished"), ("second", "One two.", "finished")]
        assert late.turns == early.turns == whole


def test_a_page_that_missed_something_gets_it_anew() -> None:
    panel = ChatPanel(Chat("demo", pace=0))
    page = Page(panel)
    reply = panel.send("hello").wait(LONG)
    number = page.number("answer")
    page.answers[number] = (0, Document(), "streaming")
    page.send({"type": "sync", "number": number, "have": 0})
    page.wait_for(("hello", reply.content, "finished"))
    page._turns = []
    page.send({"type": "sync"})
    page.wait_for(("hello", reply.content, "finished"))


def test_the_end_of_each_answer_tells_how_its_text_ought_to_read() -> None:
    panel = ChatPanel(Chat("demo", pace=0))
    reply = panel.send("hello").wait(LONG)
    [end] = Page(panel).custom("end")
    assert end["length"] == len(f"{reply.thinking}\0{reply.content}".encode())


def test_halves_of_characters_in_a_prompt_do_not_break_the_wire() -> None:
    panel = ChatPanel(Chat("demo", pace=0))
    page = Page(panel)
    panel.send("a\ud83d").wait(LONG)
    assert page.turns[0][0] == "a\ufffd"


# ---- whoever asks ----


def test_what_is_asked_of_the_chat_elsewhere_is_shown_too() -> None:
    with model_server(answer("Hi"), answer("Ho")) as server:
        chat = Chat(server.url)
        page = Page(ChatPanel(chat))
        chat.ask("one")
        chat.regenerate().wait(LONG)
        assert page.turns == [("one", "Ho", "finished")]
        assert page.places("answer") == [[2, 2]]


def test_a_chat_that_has_spoken_before_is_shown_with_its_branches() -> None:
    with model_server(answer("Hi"), answer("Ho"), answer("He")) as server:
        chat = Chat(server.url)
        chat.ask("one")
        first = chat.ask("two")
        chat.regenerate(first).wait(LONG)
        panel = ChatPanel(chat)
        page = Page(panel)
        assert page.turns == [("one", "Hi", "finished"), ("two", "He", "finished")]
        assert page.places("answer") == [[1, 1], [2, 2]]
        assert panel.status == "finished"


def test_a_chat_that_is_answering_is_shown_as_it_goes_on() -> None:
    pause = Pause()
    with model_server(Script([chunk(content="One "), pause, chunk(content="two."), finish()])) as server:
        chat = Chat(server.url)
        deltas = chat.stream("x")
        assert next(deltas).text == "One "
        panel = ChatPanel(chat)
        page = Page(panel)
        assert (page.turns, panel.busy) == ([("x", "One ", "streaming")], True)
        pause.end()
        deltas.reply.wait(LONG)
        assert page.turns == [("x", "One two.", "finished")]


def test_a_new_conversation_begins_empty() -> None:
    panel = ChatPanel(Chat("demo", pace=0))
    page = Page(panel)
    panel.send("hello").wait(LONG)
    panel.chat.new()
    assert (page.turns, panel.status, panel.busy) == ([], "", False)
    reply = panel.send("again").wait(LONG)
    assert page.turns == [("again", reply.content, "finished")]


def test_a_new_conversation_begins_also_while_an_answer_streams() -> None:
    pause = Pause()
    with model_server(Script([chunk(content="One"), pause, finish()]), answer("Two")) as server:
        panel = ChatPanel(Chat(server.url))
        page = Page(panel)
        old = panel.send("first")
        page.wait_for(("first", "One", "streaming"))
        panel.chat.new()
        assert (page.turns, panel.busy) == ([], False)
        panel.send("second").wait(LONG)
        pause.end()
        old.wait(LONG)
        assert (page.turns, panel.status) == ([("second", "Two", "finished")], "finished")


def test_a_chat_that_has_gone_back_is_shown_as_far_as_it_stands() -> None:
    with model_server(answer("Hi"), answer("Ho")) as server:
        chat = Chat(server.url)
        chat.ask("one")
        chat.ask("two")
        chat.go_to(2)
        assert Page(ChatPanel(chat)).turns == [("one", "Hi", "finished")]


def test_each_reply_that_has_ended_is_called_back_on_a_thread_that_may_wait() -> None:
    panel = ChatPanel(Chat("demo", pace=0))
    heard: list[str] = []
    over = threading.Event()

    def follow_up(reply: Reply) -> None:
        heard.append(reply.prompt)
        if reply.prompt == "one":
            panel.send("two").wait(LONG)
        else:
            over.set()

    panel.on_reply(follow_up)
    panel.send("one")
    assert over.wait(LONG)
    assert heard == ["one", "two"]
    panel.on_reply(follow_up, remove=True)
    panel.send("three").wait(LONG)
    assert heard == ["one", "two"]


def test_a_callback_or_an_observer_that_fails_is_told_and_ends_no_answer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    panel = ChatPanel(Chat("demo", pace=0))
    page = Page(panel)

    def fail(_: object) -> None:
        raise ValueError("no\nwonder")

    panel.on_reply(fail)
    panel.observe(fail, "busy")
    assert panel.send("hello").wait(LONG).status == "finished"
    wanted = {
        f"{who} failed: ValueError: no wonder"
        for who in ("a callback of on_reply", "an observer of the panel")
    }
    page.wait_until(lambda: {one["message"] for one in page.custom("problem")} == wanted)
    assert capsys.readouterr() == ("", "")


# ---- what a page asks for ----


def test_a_page_asks_and_edits_and_switches_and_goes_on_from_where_it_is() -> None:
    answers = [answer("Hi"), answer("A"), answer("B"), answer("C")]
    with model_server(*answers) as server:
        page = Page(ChatPanel(Chat(server.url)))
        assert page.ask("send", prompt="one")["ok"]
        page.wait_for(("one", "Hi", "finished"))
        assert page.ask("send", prompt="two")["ok"]
        page.wait_for(("one", "Hi", "finished"), ("two", "A", "finished"))
        assert page.ask("edit", number=page.number("prompt"), prompt="zwei")["ok"]
        page.wait_for(("one", "Hi", "finished"), ("zwei", "B", "finished"))
        assert page.places("prompt") == [[1, 1], [2, 2]]
        assert page.ask("switch", kind="prompt", number=page.number("prompt"), step=-1)["ok"]
        page.wait_for(("one", "Hi", "finished"), ("two", "A", "finished"))
        assert page.ask("send", prompt="three")["ok"]
        page.wait_for(("one", "Hi", "finished"), ("two", "A", "finished"), ("three", "C", "finished"))
        asked = [turn["content"] for turn in server.requests[-1]["messages"]]
        assert asked == ["one", "Hi", "two", "A", "three"]


def test_an_earlier_answer_is_regenerated_and_the_old_branch_stays() -> None:
    with model_server(answer("Hi"), answer("A"), answer("Ho")) as server:
        page = Page(ChatPanel(Chat(server.url)))
        page.ask("send", prompt="one")
        page.wait_for(("one", "Hi", "finished"))
        page.ask("send", prompt="two")
        page.wait_for(("one", "Hi", "finished"), ("two", "A", "finished"))
        assert page.ask("regenerate", number=page.number("answer", 0))["ok"]
        page.wait_for(("one", "Ho", "finished"))
        page.ask("switch", kind="answer", number=page.number("answer"), step=-1)
        page.wait_for(("one", "Hi", "finished"), ("two", "A", "finished"))


def test_a_page_that_switches_to_what_it_never_saw_is_told_that_there_is_more() -> None:
    with model_server(answer("Hi"), answer("Ho")) as server:
        panel = ChatPanel(Chat(server.url))
        reply = panel.send("one").wait(LONG)
        panel.chat.regenerate(reply).wait(LONG)
        page = Page(panel)
        page.ask("switch", kind="answer", number=page.number("answer"), step=-1)
        page.wait_for(("one", "", "finished"))
        [number] = page.lost
        page.send({"type": "sync", "number": number, "have": 0})
        page.wait_for(("one", "Hi", "finished"))


def test_stop_keeps_the_text_and_resume_goes_on() -> None:
    pause = Pause()
    with model_server(Script([chunk(content="One"), pause]), answer(" two")) as server:
        panel = ChatPanel(Chat(server.url))
        page = Page(panel)
        page.ask("send", prompt="x")
        page.wait_for(("x", "One", "streaming"))
        assert page.ask("stop", number=page.number("answer"))["ok"]
        page.wait_for(("x", "One", "stopped"))
        page.wait_until(lambda: not panel.busy)
        assert page.ask("resume", number=page.number("answer"))["ok"]
        page.wait_for(("x", "One two", "finished"))
        assert page.places("answer") == [[1, 1]]


def test_stop_works_before_the_first_token_and_twice() -> None:
    pause = Pause()
    with model_server(Script([pause])) as server:
        page = Page(ChatPanel(Chat(server.url)))
        page.ask("send", prompt="x")
        assert pause.reached.wait(LONG)
        for _ in range(2):
            assert page.ask("stop", number=page.number("answer"))["ok"]
        page.wait_for(("x", "", "stopped"))


def test_an_answer_of_before_is_resumed_without_its_reply() -> None:
    pauses = [Pause(), Pause()]
    stopped = [Script([chunk(content="One"), pauses[0]]), Script([chunk(content="Uno"), pauses[1]])]
    with model_server(*stopped, answer(" two")) as server:
        chat = Chat(server.url)
        for turn in (chat.stream("x"), None):
            deltas = turn or _stream_again(chat)
            next(deltas)
            deltas.reply.stop(LONG)
        panel = ChatPanel(chat)
        page = Page(panel)
        page.ask("switch", kind="answer", number=page.number("answer"), step=-1)
        page.send({"type": "sync", "number": page.number("answer"), "have": 0})
        page.wait_for(("x", "One", "stopped"))
        assert page.ask("resume", number=page.number("answer"))["ok"]
        page.wait_for(("x", "One two", "finished"))
        assert chat.last is not None and chat.last.prompt == "x"


def _stream_again(chat: Chat) -> Any:
    from jupyter_ssechat.deltas import DeltaStream

    deltas = DeltaStream()
    deltas.reply = chat.regenerate(on_delta=deltas.put)
    return deltas


def test_only_the_last_answer_goes_on() -> None:
    pause = Pause()
    with model_server(Script([chunk(content="One"), pause]), answer("Two")) as server:
        page = Page(ChatPanel(Chat(server.url)))
        page.ask("send", prompt="x")
        page.wait_for(("x", "One", "streaming"))
        page.ask("stop", number=page.number("answer"))
        page.wait_for(("x", "One", "stopped"))
        page.ask("send", prompt="y")
        page.wait_for(("x", "One", "stopped"), ("y", "Two", "finished"))
        ack = page.ask("resume", number=page.number("answer", 0))
        assert (ack["ok"], ack["message"]) == (False, "only the last answer can go on; regenerate this one")


def test_what_a_failed_answer_has_said_is_part_of_the_conversation() -> None:
    with model_server(Script([chunk(content="Half"), CUT]), answer("Whole"), answer("Next")) as server:
        page = Page(ChatPanel(Chat(server.url)))
        page.ask("send", prompt="x")
        page.wait_for(("x", "Half", "failed"))
        page.ask("regenerate", number=page.number("answer"))
        page.wait_for(("x", "Whole", "finished"))
        page.ask("switch", kind="answer", number=page.number("answer"), step=-1)
        page.wait_for(("x", "Half", "failed"))
        page.ask("send", prompt="y")
        page.wait_for(("x", "Half", "failed"), ("y", "Next", "finished"))
        assert [turn["content"] for turn in server.requests[-1]["messages"]] == ["x", "Half", "y"]


def test_an_edit_names_the_prompt_that_it_takes_the_place_of() -> None:
    panel, follower = ChatPanel(Chat("demo", pace=0)), Following()
    page = Page(panel)
    panel.send("one").wait(LONG)
    panel.chat.follow(follower)
    page.ask("edit", number=page.number("prompt"), prompt="two")
    page.wait_until(lambda: follower.told == [Asked("edit_message", "two", 1)])
    assert panel.chat.last is not None
    panel.chat.last.wait(LONG)


def test_a_question_that_failed_is_asked_again_in_its_place() -> None:
    refused = Script(status=400, body={"error": "oops"})
    with model_server(refused, answer("fine"), answer("next")) as server:
        panel = ChatPanel(Chat(server.url))
        page = Page(panel)
        page.ask("send", prompt="x")
        page.wait_for(("x", "", "failed"))
        assert page.ask("regenerate", number=page.number("answer"))["ok"]
        page.wait_for(("x", "fine", "finished"))
        assert page.places("answer") == [[2, 2]]
        page.ask("send", prompt="y")
        page.wait_for(("x", "fine", "finished"), ("y", "next", "finished"))


def test_a_question_that_never_reached_a_gateway_is_asked_again_in_its_place() -> None:
    panel = ChatPanel(Chat(gateway="http://127.0.0.1:9"))
    page = Page(panel)
    page.ask("send", prompt="x")
    page.wait_for(("x", "", "failed"))
    assert page.ask("edit", number=page.number("prompt"), prompt="y")["ok"]
    page.wait_for(("y", "", "failed"))
    assert page.places("prompt") == [[2, 2]]
    assert panel.chat.head is None


def test_while_an_answer_streams_nothing_but_a_stop_is_taken_and_the_page_is_told_why() -> None:
    pause = Pause()
    with model_server(Script([chunk(content="One"), pause])) as server:
        page = Page(ChatPanel(Chat(server.url)))
        page.ask("send", prompt="x")
        page.wait_for(("x", "One", "streaming"))
        number = page.number("answer")
        asked: list[dict[str, Any]] = [
            {"action": "send", "prompt": "y"},
            {"action": "edit", "number": page.number("prompt"), "prompt": "y"},
            {"action": "regenerate", "number": number},
            {"action": "resume", "number": number},
        ]
        for fields in asked:
            ack = page.ask(fields.pop("action"), **fields)
            assert (ack["ok"], ack["message"]) == (
                False,
                "an answer is still streaming; stop it or wait for its end",
            )
        assert page.turns == [("x", "One", "streaming")]
        page.ask("stop", number=number)
        page.wait_for(("x", "One", "stopped"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"action": "send", "prompt": "  "}, "empty"),
        ({"action": "send", "prompt": 3}, "empty"),
        ({"action": "edit", "number": 99, "prompt": "x"}, "no prompt 99"),
        ({"action": "edit", "number": 2, "prompt": "x"}, "no prompt 2"),
        ({"action": "regenerate", "number": None}, "no answer None"),
        ({"action": "resume", "number": 2}, "finished"),
        ({"action": "stop", "number": "2"}, "no answer '2'"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line_and_nothing_is_printed(
    fields: dict[str, Any],
    said: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    panel = ChatPanel(Chat("demo", pace=0))
    page = Page(panel)
    panel.send("hello").wait(LONG)
    ack = page.ask(fields.pop("action"), **fields)
    assert not ack["ok"] and said in ack["message"] and "\n" not in ack["message"]
    assert (capsys.readouterr(), caplog.text) == (("", ""), "")


@pytest.mark.parametrize(("kind", "step"), [("prompt", 0), ("prompt", "1"), ("turn", 1), (None, None)])
def test_a_switch_that_means_nothing_is_refused(kind: Any, step: Any) -> None:
    panel = ChatPanel(Chat("demo", pace=0))
    page = Page(panel)
    panel.send("hello").wait(LONG)
    page.send({"type": "switch", "id": "odd", "kind": kind, "number": 1, "step": step})
    page.wait_until(lambda: [ack["ok"] for ack in page.custom("ack")] == [False])


def test_a_disabled_panel_takes_nothing_but_a_stop() -> None:
    panel = ChatPanel(Chat("demo", pace=0), disabled=True)
    page = Page(panel)
    assert page.ask("send", prompt="x")["message"] == "the panel is disabled"
    panel.send("from Python").wait(LONG)
    assert page.ask("stop", number=page.number("answer"))["ok"]


@pytest.mark.parametrize(
    "content", [None, [], "send", {}, {"type": ["send"]}, {"type": "hello", "origin": 3}]
)
def test_what_means_nothing_is_ignored(content: Any, capsys: pytest.CaptureFixture[str]) -> None:
    panel = ChatPanel(Chat("demo", pace=0))
    page = Page(panel)
    page.send(content)
    assert page.ask("send", prompt="still there")["ok"]
    assert (len(page.custom("ack")), capsys.readouterr()) == (1, ("", ""))


def test_what_a_page_asks_for_never_holds_up_the_thread_it_arrives_on() -> None:
    panel = ChatPanel(Chat("demo", pace=0))
    page = Page(panel)
    held, released = threading.Event(), threading.Event()

    def hold() -> None:
        with panel._conversation.lock:
            held.set()
            released.wait(LONG)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(LONG)
    page.send({"type": "send", "id": "1", "prompt": "x"})
    page.send({"type": "sync"})
    released.set()
    holder.join(LONG)
    page.wait_until(lambda: len(page.custom("ack")) == 1)


def test_questions_from_python_wait_for_the_answer_before_and_each_can_be_stopped() -> None:
    pauses = [Pause(), Pause()]
    with model_server(Script([chunk(content="One"), pauses[0]]), answer("Three")) as server:
        panel = ChatPanel(Chat(server.url))
        page = Page(panel)
        panel.send("first")
        panel.send("second")
        third = panel.send("third")
        page.wait_for(("first", "One", "streaming"), ("second", "", "streaming"), ("third", "", "streaming"))
        page.ask("stop", number=page.number("answer", 1))
        page.wait_until(lambda: page.turns[1:] == [("second", "", "stopped"), ("third", "", "streaming")])
        page.ask("stop", number=page.number("answer", 0))
        assert third.wait(LONG).content == "Three"
        assert [turn["content"] for turn in server.requests[-1]["messages"]] == ["first", "One", "third"]
        page.wait_for(("first", "One", "stopped"), ("second", "", "stopped"), ("third", "Three", "finished"))


def test_how_a_page_may_stop_by_itself_is_told_and_never_saved() -> None:
    pause = Pause()
    with model_server(Script([chunk(content="One"), pause])) as server:
        panel = ChatPanel(Chat(server.url))
        page = Page(panel)
        page.send({"type": "hello", "origin": "http://127.0.0.1:8888"})
        page.ask("send", prompt="x")
        page.wait_for(("x", "One", "streaming"))
        [control] = page.custom("control")
        assert (control["number"], control["message_id"]) == (page.number("answer"), 2)
        assert control["token"] not in json.dumps(panel.get_state(), default=str)
        page.ask("stop", number=page.number("answer"))
        page.wait_for(("x", "One", "stopped"))


def test_the_heavy_part_is_handed_to_a_page_that_asks_for_it() -> None:
    panel = ChatPanel(Chat("demo", pace=0))
    page = Page(panel)
    page.send({"type": "extras"})
    page.wait_until(lambda: page.custom("extras") == [{"type": "extras"}])
    assert page.buffers == [(STATIC / "extras.js").read_bytes()]


def test_only_a_text_is_sent() -> None:
    with pytest.raises(TypeError, match="a text, not dict"):
        ChatPanel(Chat("demo", pace=0)).send({"type": "x"})  # pyright: ignore[reportArgumentType]
