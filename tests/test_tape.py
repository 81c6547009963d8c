"""A conversation from Python over a cassette: no server, no key, the same answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_ssechat import Cassette, Chat
from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.gateway.server import close_embedded

from .servers import answer, model_server
from .taping import cassette, episode


@pytest.fixture(autouse=True)
def gateway() -> Iterator[None]:
    """The embedded gateway ends with each test."""
    yield
    close_embedded()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "talk.jsonl"


def test_a_chat_records_its_server_and_replays_where_there_is_neither_server_nor_key(path: Path) -> None:
    with model_server(answer("Once ", "upon ", "a time."), models=["m"]) as server:
        live = Chat(server.url, model="m", cassette=path).ask("hello")
    again = Chat("openai", model="m", cassette=path).ask("hello")
    assert (again.status, again.to_dict()) == ("finished", live.to_dict())
    assert path.read_text("utf-8").startswith('{"cassette":1')


def test_chats_that_share_a_cassette_record_into_one_file(path: Path) -> None:
    shared = Cassette(path)
    chats = [Chat(cassette=shared, pace=0) for _ in range(2)]
    for chat, prompt in zip(chats, ("hello", "a table"), strict=True):
        assert chat.ask(prompt).status == "finished"
    assert shared.recorded == 2 and len(Cassette(path)) == 2


def test_a_stop_and_a_resume_replay_at_once(path: Path) -> None:
    def talk(chat: Chat) -> list[dict[str, object]]:
        stream = chat.stream("a long answer")
        for _ in zip(range(5), stream, strict=False):
            pass
        first = stream.reply.stop(30).to_dict()
        return [first, stream.reply.resume().wait(30).to_dict(), chat.ask("hello").to_dict()]

    live = talk(Chat(cassette=path, pace=0.05))
    assert [one["status"] for one in live] == ["stopped", "finished", "finished"]
    assert talk(Chat(cassette=path)) == live
    assert talk(Chat(cassette=path, pace=0.01)) == live


def test_a_question_that_is_not_there_fails_in_one_line(path: Path) -> None:
    chat = Chat(cassette=cassette(path, episode("hello", "known")), record_mode="none")
    reply = chat.ask("hullo")
    assert reply.status == "failed" and reply.error is not None
    assert reply.error.type == "not_recorded"
    assert "asked 'hullo', recorded 'hello'" in reply.error.message and "\n" not in reply.error.message


def test_a_plain_stream_answers_every_question() -> None:
    wire = Path(__file__).parent / "wire" / "openai_chat_qwen.sse"
    assert "通义千问" in Chat(cassette=wire).ask("whatever").content


def test_a_cassette_shows_its_file_and_no_folder(path: Path) -> None:
    tape = Cassette(path)
    assert (repr(tape), tape.name) == ("Cassette('talk.jsonl', 'once')", "cassette talk.jsonl")
    assert repr(Chat(cassette=tape)) == "Chat('cassette talk.jsonl')"


def test_another_gateway_records_nothing_for_us(path: Path) -> None:
    with pytest.raises(BadInput, match="gateway and cassette were both given"):
        Chat(gateway="http://127.0.0.1:1/?token=t", cassette=path)
