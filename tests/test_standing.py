"""Conversations that are taken up again: what was said stands, goes on, and is asked for as it is known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_ssechat import Chat, Reply
from jupyter_ssechat.errors import BadInput, GatewayError
from jupyter_ssechat.gateway.server import Gateway, close_embedded, embedded
from jupyter_ssechat.upstream import Demo

from .servers import CUT, Pause, Script, answer, chunk, finish, model_server

MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "2 + 2?"},
    {"role": "assistant", "content": "4."},
]
KEY = "sk-a-secret-of-ours-0123456789"


@pytest.fixture(autouse=True, scope="module")
def _closed_in_the_end() -> Iterator[None]:
    yield
    close_embedded()


def restarted(chat: Chat, **options: Any) -> Chat:
    """The same conversation in a gateway that knows nothing of it."""
    saved = json.dumps(chat.to_json(branches=True))
    close_embedded()
    return Chat.from_json(saved, **options)


# ---- from messages ----


def test_a_model_is_asked_with_the_messages_as_they_are() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    messages: list[dict[str, Any]] = [
        *MESSAGES,
        {"role": "user", "content": "And with the tool?", "name": "Ada"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "4"},
        {"role": "assistant", "content": "4, again."},
    ]
    with model_server(answer("Yes.")) as server:
        chat = Chat.from_json(messages, server.url)
        assert chat.to_json() == messages
        assert chat.ask("Sure?").content == "Yes."
        asked = [*messages, {"role": "user", "content": "Sure?"}]
        assert server.requests[0]["messages"] == asked
        assert chat.to_json() == [*asked, {"role": "assistant", "content": "Yes."}]


def test_a_question_that_waits_for_its_answer_gets_it_by_a_resume() -> None:
    with model_server(answer("4.")) as server:
        chat = Chat.from_json(MESSAGES[:2], server.url)
        assert chat.to_json() == MESSAGES[:2]
        assert isinstance(chat.last, Reply)
        assert chat.last.resume().wait().status == "finished"
        assert server.requests[0]["messages"][:2] == MESSAGES[:2]
        assert chat.to_json() == MESSAGES


def test_an_imported_answer_that_is_asked_for_again_is_another_one() -> None:
    with model_server(answer("Four.")) as server:
        chat = Chat.from_json(MESSAGES, server.url)
        assert chat.regenerate().wait().content == "Four."
        assert chat.to_json()[-1]["content"] == "Four."
        assert [one["content"] for one in chat.history()] == ["2 + 2?", "4.", "Four."]


def test_nothing_is_the_beginning_of_a_conversation() -> None:
    chat = Chat.from_json([], pace=0)
    assert (chat.to_json(), chat.head, chat.last) == ([], None, None)
    assert chat.ask("hello").message_id == 2


def test_what_is_said_for_this_chat_goes_before_what_was_saved() -> None:
    with model_server(answer("x")) as server:
        chat = Chat.from_json(MESSAGES, server.url, system="Be long.", model="m")
        chat.ask("?")
        assert server.requests[0]["messages"][0]["content"] == "Be long."
        assert server.requests[0]["model"] == "m"


def test_a_message_that_cannot_be_is_one_line() -> None:
    with pytest.raises(BadInput, match=r"messages\[1\]\.role: 'bot' is none"):
        Chat.from_json([{"role": "user", "content": "x"}, {"role": "bot", "content": "y"}])


# ---- all of a conversation ----


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ask", "edit", "regenerate", "go_to", "stop"]),
            st.integers(0),
            st.text("ab `$", min_size=1),
        ),
        max_size=6,
    )
)
def test_every_tree_is_the_same_after_it_was_saved_and_loaded(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, str]]
) -> None:
    chat = Chat("demo", pace=0, system="s")
    for step, number, text in steps:
        take(chat, step, number, text + ".")
    path = tmp_path_factory.mktemp("saved") / "chat.json"
    chat.save(path)
    loaded = Chat.load(path, pace=0)
    assert loaded.history() == chat.history()
    assert (loaded.head, loaded.system, loaded.to_json()) == (chat.head, chat.system, chat.to_json())
    again = loaded.save(path.with_name("again.json"))
    assert again.read_bytes() == path.read_bytes()
    assert loaded.ask("more").message_id == len(chat.history()) + 2


def take(chat: Chat, step: str, number: int, text: str) -> None:
    """One step of a conversation."""
    answers = [one["message_id"] for one in chat.history() if one["role"] == "ASSISTANT"]
    chosen = answers[number % len(answers)] if answers else None
    if step == "regenerate" and chosen:
        chat.regenerate(chosen).wait()
    elif step == "go_to":
        chat.go_to(chosen)
    elif step == "edit" and chosen:
        chat.send(text, edit=chosen - 1 if chat.history()[chosen - 2]["role"] == "USER" else 1).wait()
    elif step == "stop":
        chat.send(text).stop()
    else:
        chat.ask(text)


def test_a_conversation_goes_on_in_a_gateway_that_knew_nothing_of_it() -> None:
    with model_server(answer("one"), answer("two"), answer("three")) as server:
        chat = Chat(server.url)
        chat.ask("1")
        chat.ask("2")
        chat.go_to(2)
        chat = restarted(chat, upstream=server.url)
        assert chat.ask("3").message_id == 6
        assert [one["content"] for one in server.requests[2]["messages"]] == ["1", "one", "3"]


def test_an_answer_that_streamed_when_it_was_saved_is_interrupted_and_goes_on() -> None:
    pause = Pause()
    with model_server(Script([chunk(content="one"), pause]), answer(" two")) as server:
        chat = Chat(server.url, model="m", system="s")
        deltas = chat.stream("count")
        next(deltas)
        saved = chat.to_json(branches=True)
        pause.end()
        [_, cut] = saved["chat_messages"]
        assert (cut["content"], cut["status"], cut["error"]["type"]) == ("one", "FAILED", "interrupted")
        close_embedded()
        chat = Chat.from_json(saved, server.url)
        assert chat.last is not None
        assert (chat.last.status, chat.last.content, chat.last.prompt) == ("failed", "one", "count")
        assert chat.last.resume().wait().content == "one two"
        assert (chat.last.status, chat.history()[-1]["status"]) == ("finished", "FINISHED")
        assert (server.requests[1]["model"], server.requests[1]["messages"][0]["content"]) == ("m", "s")


def test_an_answer_that_was_stopped_goes_on_after_a_restart() -> None:
    pause = Pause()
    with model_server(Script([chunk(content="one"), pause]), answer(" two")) as server:
        chat = Chat(server.url)
        deltas = chat.stream("count")
        next(deltas)
        deltas.reply.stop()
        chat = restarted(chat, upstream=server.url)
        assert chat.last is not None and chat.last.status == "stopped"
        assert chat.last.resume().wait().content == "one two"


def test_an_answer_that_failed_says_why_after_a_restart() -> None:
    with model_server(Script([chunk(content="half"), CUT])) as server:
        chat = Chat(server.url)
        reply = chat.ask("x")
        assert reply.error is not None
        chat = restarted(chat, upstream=server.url)
        assert chat.last is not None
        assert (chat.last.error, chat.last.content) == (reply.error, "half")


def test_the_next_question_waits_for_an_answer_that_goes_on() -> None:
    pause = Pause()
    begun, more = Script([chunk(content="one"), CUT]), Script([chunk(content=" two"), pause, finish()])
    with model_server(begun, more, answer("three")) as server:
        chat = Chat(server.url)
        chat.ask("count")
        chat = restarted(chat, upstream=server.url)
        assert chat.last is not None
        chat.last.resume()
        assert pause.reached.wait(10)
        after = chat.send("and then?")
        pause.end()
        assert after.wait().content == "three"
        assert server.requests[2]["messages"][-2]["content"] == "one two"


def test_every_answer_is_there_as_a_reply_that_has_ended() -> None:
    chat = Chat("demo", pace=0)
    first = chat.ask("one")
    other = chat.regenerate(first).wait()
    chat = restarted(chat, pace=0)
    replies = chat.replies()
    assert list(replies) == [2, 3]
    assert [one.content for one in replies.values()] == [first.content, other.content]
    assert [one.thinking for one in replies.values()] == [first.thinking, other.thinking]
    one = replies[2]
    assert one.done and one.prompt == "one" and one.usage == first.usage
    assert (one.session_id, one.request_message_id) == (chat.session_id, 1)
    assert (one.ttft, one.elapsed) == (None, 0.0)
    assert one.wait(0) is one and one.stop().status == "finished"
    with pytest.raises(BadInput, match="this answer is finished"):
        one.resume()


def test_an_edit_of_an_old_prompt_is_a_branch_beside_it() -> None:
    chat = Chat("demo", pace=0)
    chat.ask("one")
    chat = restarted(chat, pace=0)
    assert chat.last is not None
    chat.send("uno", edit=chat.last.request_message_id).wait()
    assert [(one["message_id"], one["parent_id"]) for one in chat.history()] == [
        (1, None),
        (2, 1),
        (3, None),
        (4, 3),
    ]


def test_a_conversation_is_taken_up_in_a_chat_that_is_already_there() -> None:
    chat = Chat("demo", pace=0)
    chat.ask("something else")
    before = chat.session_id
    chat.restore(Chat.from_json(MESSAGES, pace=0).transcript())
    assert chat.session_id != before
    assert chat.to_json() == MESSAGES[1:]  # its own system prompt, which is none
    assert [one["content"] for one in chat.history()] == ["2 + 2?", "4."]


def test_where_a_gateway_does_not_take_it_in_nothing_has_changed() -> None:
    with Gateway(Demo(pace=0)) as gateway:
        chat = Chat(gateway=gateway.url, token=gateway.token)
        chat.ask("hello")
        before = chat.session_id, chat.head, chat.last
        transcript = chat.transcript()
        object.__setattr__(transcript, "messages", transcript.messages[1:])
        with pytest.raises(GatewayError, match=r"chat_messages\[0\]\.parent_id: message 1 is not above"):
            chat.restore(transcript)
        assert (chat.session_id, chat.head, chat.last) == before


def test_another_gateway_takes_a_conversation_in_as_well() -> None:
    with Gateway(Demo(pace=0)) as gateway:
        chat = Chat.from_json(MESSAGES, gateway=gateway.url, token=gateway.token)
        assert chat.ask("hello").message_id == 4
        assert chat.to_json()[:3] == MESSAGES


# ---- what is in the file ----


@pytest.mark.parametrize("where", ["key", "address"])
def test_no_key_and_no_address_is_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setenv("SECRET_KEY_OF_OURS", KEY)
    refusal = Script(status=401, body={"error": {"message": f"wrong key {KEY}"}})
    with model_server(answer("fine"), refusal) as server:
        if where == "key":
            chat = Chat(server.url, api_key_env="SECRET_KEY_OF_OURS", options={"api_key": KEY})
        else:
            chat = Chat(server.url.replace("127.0.0.1", f"user:{KEY}@127.0.0.1"))
        chat.ask("one")
        chat.go_to(chat.regenerate().wait().message_id)
        text = chat.save(tmp_path / "chat.json").read_text()
        sent = server.request_headers[0]["authorization"]
    assert "wrong key ***" in text
    for secret in (KEY, sent.split()[1], embedded().token):
        assert secret not in text


def test_the_cells_of_a_notebook_find_their_answers(tmp_path: Path) -> None:
    chat = Chat("demo", pace=0)
    first, second = chat.ask("one"), chat.ask("two")
    assert first.message_id and second.message_id
    cells = {"cell-a": first.message_id, "cell-b": second.message_id}
    transcript = Chat.load(chat.save(tmp_path / "chat.json", cells=cells), pace=0).transcript(cells=cells)
    assert transcript.cells == cells
