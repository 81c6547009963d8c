"""The facade over the embedded gateway: ask, stream, their async twins, stop and resume."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Iterator

import pytest

from jupyter_ssechat import Chat, Reply
from jupyter_ssechat.errors import AnswerFailed, BadInput, ConnectionFailed, Unauthorized
from jupyter_ssechat.gateway.server import Gateway, close_embedded, embedded
from jupyter_ssechat.message import Delta, Message
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.talk import Asked
from jupyter_ssechat.upstream import Demo

from .servers import Pause, Script, answer, chunk, finish, model_server


@pytest.fixture(autouse=True, scope="module")
def _closed_in_the_end() -> Iterator[None]:
    yield
    close_embedded()


def test_ask_returns_the_whole_reply() -> None:
    reply = Chat("demo", pace=0).ask("hello")
    assert reply.status == reply.phase == "finished"
    assert reply.content and reply.thinking and reply.usage and reply.message_id == 2
    assert reply.ttft is not None and 0 < reply.ttft <= reply.elapsed


def test_to_dict_has_exactly_the_fields_of_the_protocol() -> None:
    fields = Chat("demo", pace=0).ask("hello").to_dict()
    assert list(fields) == [
        "status",
        "finish_reason",
        "thinking",
        "content",
        "thinking_seconds",
        "usage",
        "model",
        "message_id",
        "error",
    ]
    assert (fields["status"], fields["finish_reason"], fields["error"]) == ("finished", "stop", None)


def test_stream_yields_the_text_as_it_arrives() -> None:
    with Chat("demo", pace=0).stream("hello") as deltas:
        found = list(deltas)
    kinds = [delta.kind for delta in found]
    assert kinds == sorted(kinds, key=["thinking", "content"].index)
    assert "".join(one.text for one in found if one.kind == "content") == deltas.reply.content
    assert "".join(one.text for one in found if one.kind == "thinking") == deltas.reply.thinking


def test_the_async_twins_do_the_same() -> None:
    async def both() -> tuple[str, str]:
        chat = Chat("demo", pace=0)
        text = "".join([one.text async for one in chat.astream("hello") if one.kind == "content"])
        return text, (await Chat("demo", pace=0).aask("hello")).content

    streamed, asked = asyncio.run(both())
    assert streamed == asked


def test_the_next_question_knows_the_last_answer() -> None:
    with model_server(answer("Hi"), answer("again")) as server:
        chat = Chat(server.url)
        chat.ask("one")
        assert chat.ask("two").message_id == 4
        assert [turn["content"] for turn in server.requests[1]["messages"]] == ["one", "Hi", "two"]


def test_stop_keeps_the_text_and_resume_continues_it() -> None:
    pause = Pause()
    with model_server(Script([chunk(content="one"), pause]), answer(" two")) as server:
        chat = Chat(server.url)
        deltas = chat.stream("count")
        assert next(deltas) == Delta("content", "one")
        reply = deltas.reply.stop()
        assert (reply.status, reply.content, reply.done) == ("stopped", "one", True)
        assert server.left.wait(10)
        assert reply.resume().wait().content == "one two"
        assert reply.status == "finished"


def test_stop_before_the_first_token_is_stopped_without_text() -> None:
    pause = Pause()
    with model_server(Script([pause])) as server:
        reply = Chat(server.url).send("x")
        assert pause.reached.wait(10)
        assert (reply.stop().status, reply.content) == ("stopped", "")
        assert server.left.wait(10)


def test_stop_at_once_stops_whatever_has_begun() -> None:
    reply = Chat("demo").send("hello")
    assert reply.stop().status == "stopped"
    assert reply.stop().status == "stopped"


def test_closing_a_stream_early_stops_the_generation() -> None:
    pause = Pause()
    with model_server(Script([chunk(content="a"), pause])) as server:
        with Chat(server.url).stream("x") as deltas:
            next(deltas)
        assert server.left.wait(10)
        assert deltas.reply.wait(10).status == "stopped"


def test_cancelling_an_async_question_stops_the_generation() -> None:
    pause = Pause()

    async def cancelled(url: str) -> None:
        task = asyncio.create_task(Chat(url).aask("x"))
        await asyncio.to_thread(pause.reached.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with model_server(Script([chunk(content="a"), pause])) as server:
        asyncio.run(cancelled(server.url))
        assert server.left.wait(10)


def test_a_failed_answer_says_so_and_is_no_part_of_the_conversation() -> None:
    with model_server(Script(status=400, body={"error": "oops"}), answer("fine")) as server:
        chat = Chat(server.url)
        reply = chat.ask("one")
        assert reply.status == "failed" and reply.error is not None and "oops" in reply.error.message
        with pytest.raises(AnswerFailed, match="oops"):
            reply.raise_for_status()
        assert chat.ask("two").content == "fine"
        assert [turn["content"] for turn in server.requests[1]["messages"]] == ["two"]


def test_a_loop_over_a_truncated_answer_never_ends_as_if_it_were_whole() -> None:
    with model_server(Script([chunk(content="half")])) as server:
        deltas = Chat(server.url).stream("x")
        assert next(deltas).text == "half"
        with pytest.raises(AnswerFailed):
            next(deltas)


def test_regenerate_gives_a_sibling() -> None:
    chat = Chat("demo", pace=0)
    first = chat.ask("hello")
    again = chat.regenerate().wait()
    assert again.message_id == 3 and again.content == first.content
    assert [one["message_id"] for one in chat.branch()] == [1, 3]


def test_an_answer_is_regenerated_by_its_id() -> None:
    chat = Chat("demo", pace=0)
    chat.ask("one")
    chat.ask("two")
    again = chat.regenerate(2, prompt="one").wait()
    assert (again.message_id, again.prompt) == (5, "one")
    assert [one["message_id"] for one in chat.branch()] == [1, 5]


def test_an_answer_goes_on_by_its_id() -> None:
    pause = Pause()
    with model_server(Script([chunk(content="one"), pause]), answer(" two")) as server:
        chat = Chat(server.url)
        deltas = chat.stream("count")
        next(deltas)
        deltas.reply.stop()
        reply = chat.resume(2, prompt="count").wait()
        assert (reply.status, reply.content, reply.prompt) == ("finished", "one two", "count")
        assert chat.head == reply.message_id == 2


def test_the_conversation_goes_on_from_any_answer() -> None:
    with model_server(answer("Hi"), answer("A"), answer("B"), answer("C")) as server:
        chat = Chat(server.url)
        for prompt in ("one", "two"):
            chat.ask(prompt)
        assert chat.head == 4
        chat.go_to(2)
        chat.ask("three")
        assert [turn["content"] for turn in server.requests[-1]["messages"]] == ["one", "Hi", "three"]
        chat.go_to(None)
        chat.ask("four")
        assert [turn["content"] for turn in server.requests[-1]["messages"]] == ["four"]


def test_it_goes_on_from_nowhere_else_while_an_answer_streams() -> None:
    reply = (chat := Chat("demo")).send("hello")
    with pytest.raises(BadInput, match="still streaming"):
        chat.go_to(None)
    reply.stop()


class Following:
    """A follower that keeps what it was told, and the text of every answer."""

    def __init__(self) -> None:
        self.told: list[Asked | str] = []
        self.views: list[Recorded] = []

    def asked(self, asked: Asked) -> Recorded:
        self.told.append(asked)
        self.views.append(Recorded())
        return self.views[-1]

    def renewed(self) -> None:
        self.told.append("renewed")


class Recorded:
    """A view that keeps the answer's document, and what else happened to it."""

    def __init__(self) -> None:
        self.message = Message()
        self.events: list[str] = []

    def begin(self, reply: Reply) -> None:
        self.events.append("begin")

    def ready(self, reply: Reply) -> None:
        self.events.append("ready")

    def push(self, patches: list[Patch]) -> None:
        for patch in patches:
            self.message.apply(patch)

    def end(self, reply: Reply) -> None:
        self.events.append(reply.status)

    def close(self) -> None:
        self.events.append("close")


def test_a_follower_shows_every_answer_beside_the_view_it_was_asked_with() -> None:
    chat, follower, own = Chat("demo", pace=0), Following(), Recorded()
    chat.follow(follower)
    reply = chat.send("hello", view=own).wait()
    for view in (own, *follower.views):
        assert view.message.content == reply.content
        assert view.events == ["begin", "ready", "finished"]
    reply.dismiss()
    assert own.events[-1] == follower.views[0].events[-1] == "close"


def test_a_follower_is_told_what_is_asked_and_where() -> None:
    chat, follower = Chat("demo", pace=0), Following()
    chat.follow(follower)
    chat.ask("one")
    chat.ask("two", edit=1)
    chat.regenerate().wait()
    chat.new()
    chat.unfollow(follower)
    chat.ask("three")
    assert follower.told == [
        Asked("completion", "one"),
        Asked("edit_message", "two", 1),
        Asked("regenerate", "two", 4),
        "renewed",
    ]


def test_two_questions_at_once_are_answered_one_after_the_other() -> None:
    chat = Chat("demo", pace=0)
    replies = [chat.send("one"), chat.send("two")]
    assert [reply.wait().message_id for reply in replies] == [2, 4]


def test_a_question_that_is_stopped_while_it_waits_lets_no_other_go_before_its_turn() -> None:
    pause = Pause()
    with model_server(Script([chunk(content="one"), pause, finish()]), answer("three")) as server:
        chat = Chat(server.url)
        first, second, third = (chat.send(prompt) for prompt in ("1", "2", "3"))
        assert pause.reached.wait(10)
        assert second.stop().status == "stopped"
        pause.end()
        assert third.wait(10).content == "three"
        assert first.content == "one"
        assert [turn["content"] for turn in server.requests[-1]["messages"]] == ["1", "one", "3"]


def test_another_gateway_is_used_with_its_printed_address() -> None:
    with Gateway(Demo(pace=0)) as gateway:
        assert Chat(gateway=f"{gateway.url}/?token={gateway.token}").ask("hello").status == "finished"
        with pytest.raises(Unauthorized):
            Chat(gateway=gateway.url).ask("hello")


def test_a_gateway_that_is_not_there_is_one_clear_line() -> None:
    with pytest.raises(ConnectionFailed, match="no connection to http://127.0.0.1:9"):
        Chat(gateway="http://127.0.0.1:9").ask("hello")


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_an_empty_prompt_is_refused(prompt: str) -> None:
    with pytest.raises(BadInput, match="empty"):
        Chat("demo").ask(prompt)


@pytest.mark.parametrize("upstream", ["nonsense", "ftp://x", "http://"])
def test_an_upstream_that_is_none_is_refused(upstream: str) -> None:
    with pytest.raises(BadInput):
        Chat(upstream)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        Chat("demo").ask("x", colour="red")


def test_the_reply_has_a_short_stable_repr() -> None:
    assert repr(Chat("demo", pace=0).ask("hello")).startswith("Reply(status='finished', content='")


def test_text_with_halves_of_emoji_is_whole_in_the_end() -> None:
    halves = [b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n']
    halves += [b'data: {"choices":[{"index":0,"delta":{"content":"\\ude00!"}}]}\n\n']
    with model_server(Script([*halves, finish()])) as server:
        assert Chat(server.url).ask("x").content == "😀!"


def test_every_delta_can_be_printed_even_when_an_emoji_comes_in_halves() -> None:
    halves = [b'data: {"choices":[{"index":0,"delta":{"content":"a\\ud83d"}}]}\n\n']
    halves += [b'data: {"choices":[{"index":0,"delta":{"content":"\\ude00b"}}]}\n\n']
    with model_server(Script([*halves, finish()])) as server:
        texts = [delta.text for delta in Chat(server.url).stream("x")]
    assert "".join(texts).encode().decode() == "a😀b"


def test_a_loop_that_is_left_stops_the_answer() -> None:
    pause = Pause()
    with model_server(Script([chunk(content="a"), pause])) as server:
        for _ in Chat(server.url).stream("x"):
            break
        assert server.left.wait(10)


@pytest.mark.parametrize("key", ["sk-SECRET\nx", "schlüssel", "two words"])
def test_a_key_that_no_header_carries_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("ODD_KEY", key)
    with pytest.raises(BadInput, match="ODD_KEY") as error:
        Chat("http://127.0.0.1:9/v1", api_key_env="ODD_KEY")
    assert key not in str(error.value)


def test_an_answer_of_another_conversation_is_not_regenerated() -> None:
    chat = Chat("demo", pace=0)
    old = chat.ask("one")
    chat.new()
    chat.ask("two")
    with pytest.raises(BadInput, match="another conversation"):
        chat.regenerate(old)


def test_options_that_are_no_json_are_refused() -> None:
    with pytest.raises(BadInput, match="options"):
        Chat("demo").ask("x", options={"seed": {1, 2}})


def test_a_whole_completion_in_place_of_the_stream_is_taken_as_it_is() -> None:
    body = {
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "whole"}, "finish_reason": "stop"}
        ]
    }
    with model_server(Script(body=body)) as server:
        reply = Chat(server.url).ask("x")
    assert (reply.status, reply.content) == ("finished", "whole")


def test_an_error_in_place_of_the_stream_says_its_reason() -> None:
    with model_server(Script(body={"error": {"message": "your quota is over"}})) as server:
        error = Chat(server.url).ask("x").error
    assert error is not None and "your quota is over" in error.message


def test_a_chat_whose_gateway_was_closed_says_so_and_begins_anew() -> None:
    chat = Chat("demo", pace=0)
    chat.ask("hello")
    close_embedded()
    with pytest.raises(BadInput, match="was closed"):
        chat.ask("again")
    chat.new()
    assert chat.ask("again").message_id == 2


def test_a_closed_embedded_gateway_is_started_again_when_needed() -> None:
    first = embedded()
    close_embedded()
    assert embedded() is not first


def test_a_stream_that_never_began_leaves_nothing_to_complain_of(monkeypatch: pytest.MonkeyPatch) -> None:
    complaints: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    with pytest.raises(BadInput, match="the prompt is empty"):
        Chat("demo", pace=0).stream(" ")
    gc.collect()
    assert complaints == []
