"""A conversation that keeps its file: saved by itself, when it matters, and never over another one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_ssechat import Chat
from jupyter_ssechat.autosave import Autosave
from jupyter_ssechat.conversation_file import load
from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.gateway.server import close_embedded

from .servers import Pause, Script, answer, chunk, model_server

SECONDS = 20


@pytest.fixture(autouse=True, scope="module")
def _closed_in_the_end() -> Iterator[None]:
    yield
    close_embedded()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chat.json"


def contents(path: Path) -> list[str]:
    return [one.content for one in load(path).branch()]


def until_saved(path: Path, text: str) -> None:
    """Wait until the file has so much of the first answer."""
    end = time.monotonic() + SECONDS
    while not path.exists() or load(path).messages[1].content != text:
        assert time.monotonic() < end, path.read_text()
        time.sleep(0.01)


def test_the_file_has_every_answer_when_it_has_ended(path: Path) -> None:
    with model_server(answer("Hi"), answer("Yes")) as server:
        chat = Chat(server.url)
        kept = Autosave(chat, path)
        chat.ask("hello")
        assert kept.wait(SECONDS)
        assert contents(path) == ["hello", "Hi"]
        chat.ask("really?")
        assert kept.wait(SECONDS)
        assert contents(path) == ["hello", "Hi", "really?", "Yes"]
        kept.close()


def test_a_question_is_saved_before_its_answer_has_ended(path: Path) -> None:
    pause = Pause()
    with model_server(Script([chunk(content="Hi"), pause])) as server:
        chat = Chat(server.url)
        kept = Autosave(chat, path)
        deltas = chat.stream("hello")
        next(deltas)
        assert kept.wait(SECONDS)
        saved = load(path).messages
        assert saved[0].content == "hello"
        assert saved[1].error is not None and saved[1].error.type == "interrupted"
        deltas.reply.stop()
        assert kept.wait(SECONDS)
        assert load(path).messages[1].status == "INCOMPLETE"
        kept.close()


def test_what_has_arrived_is_saved_now_and_then(path: Path) -> None:
    pauses = Pause(), Pause()
    with model_server(Script([chunk(content="one"), pauses[0], chunk(content=" two"), pauses[1]])) as server:
        chat = Chat(server.url)
        kept = Autosave(chat, path, every=0)
        deltas = chat.stream("count")
        for pause, text in zip(pauses, ["one", "one two"], strict=True):
            next(deltas)
            assert pause.reached.wait(SECONDS)
            until_saved(path, text)
            pause.end()
        deltas.reply.wait(SECONDS)
        kept.close()


def test_a_new_conversation_leaves_the_file_to_the_old_one(path: Path) -> None:
    chat = Chat("demo", pace=0)
    kept = Autosave(chat, path)
    chat.ask("hello")
    chat.new()
    assert not kept.active
    chat.ask("something else")
    assert kept.wait(SECONDS)
    assert contents(path)[0] == "hello"
    assert len(load(path).messages) == 2


def test_a_question_that_never_began_does_not_empty_the_file(path: Path) -> None:
    before = Chat("demo", pace=0)
    before.ask("hello")
    before.save(path)
    chat = Chat(gateway="http://127.0.0.1:9")  # nobody is there
    kept = Autosave(chat, path)
    assert chat.send("x").wait(SECONDS).refusal is not None
    assert kept.wait(SECONDS)
    assert contents(path)[0] == "hello"
    kept.close()


def test_cells_once_known_stay_known(path: Path) -> None:
    cells = {"a": 2}
    chat = Chat("demo", pace=0)
    kept = Autosave(chat, path, cells=lambda: dict(cells))
    chat.ask("hello")
    assert kept.wait(SECONDS)
    cells.clear()
    cells["b"] = 4
    chat.ask("more")
    assert kept.wait(SECONDS)
    assert load(path).cells == {"a": 2, "b": 4}
    kept.close()


def test_what_cannot_be_saved_is_told_and_hurts_nobody(path: Path) -> None:
    path.write_text("notes")
    chat = Chat("demo", pace=0)
    kept = Autosave(chat, path)
    assert chat.ask("hello").status == "finished"
    assert kept.wait(SECONDS)
    assert isinstance(kept.error, BadInput) and "is no saved conversation" in str(kept.error)
    assert path.read_text() == "notes"
    path.unlink()
    chat.ask("again")
    assert kept.wait(SECONDS)
    assert kept.error is None and len(load(path).messages) == 4
    kept.close()


def test_closing_writes_what_is_pending_and_is_idempotent(path: Path) -> None:
    chat = Chat("demo", pace=0)
    kept = Autosave(chat, path)
    chat.ask("hello")
    kept.close()
    kept.close()
    assert contents(path)[0] == "hello"
    chat.ask("more")
    assert len(load(path).messages) == 2


def test_what_another_notebook_added_to_the_file_is_not_replaced(path: Path) -> None:
    first = Chat("demo", pace=0)
    kept = Autosave(first, path)
    first.ask("hello")
    assert kept.wait(SECONDS)
    second = Chat.load(path, "demo", pace=0)
    kept_too = Autosave(second, path)
    second.ask("from the second")
    assert kept_too.wait(SECONDS) and kept_too.error is None
    first.ask("from the first")
    assert kept.wait(SECONDS)
    assert "has messages that this conversation has not" in str(kept.error)
    assert contents(path)[2] == "from the second"
    kept.close()
    kept_too.close()


def test_the_same_conversation_saved_by_hand_is_replaced(path: Path) -> None:
    chat = Chat("demo", pace=0)
    kept = Autosave(chat, path)
    chat.ask("hello")
    assert kept.wait(SECONDS)
    chat.save(path)
    chat.ask("more")
    assert kept.wait(SECONDS)
    assert kept.error is None and len(load(path).messages) == 4
    kept.close()
