"""The cassette that the environment names: one for all chats of a process, and only where none else is given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_ssechat import Chat
from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.gateway.server import close_embedded
from jupyter_ssechat.process_cassette import CASSETTE, RECORD_MODE, process_cassette
from jupyter_ssechat.upstream import Demo

from .servers import answer, model_server


@pytest.fixture(autouse=True, scope="module")
def _closed_in_the_end() -> Iterator[None]:
    yield
    close_embedded()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CASSETTE, str(tmp_path / "a.jsonl"))
    return tmp_path / "a.jsonl"


def test_without_a_name_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CASSETTE, raising=False)
    assert process_cassette() is None
    monkeypatch.setenv(CASSETTE, "")
    assert process_cassette() is None


def test_it_is_the_same_object_each_time(path: Path) -> None:
    assert process_cassette() is process_cassette()


def test_what_chats_record_others_replay_without_a_server(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with model_server(answer("one"), answer("two")) as server:
        assert Chat(server.url, model="m").ask("1").content == "one"
        assert Chat(server.url, model="m").ask("2").content == "two"
    monkeypatch.setenv(RECORD_MODE, "none")
    assert Chat(server.url, model="m").ask("2").content == "two"
    lost = Chat(server.url, model="m").ask("3")
    assert lost.error is not None and lost.error.type == "not_recorded"


def test_a_chat_with_its_own_cassette_or_upstream_keeps_it(path: Path, tmp_path: Path) -> None:
    with model_server(answer("one")) as server:
        Chat(server.url, model="m", cassette=tmp_path / "own.jsonl").ask("1")
    Chat(Demo(pace=0)).ask("hello")
    assert not path.exists()
    assert (tmp_path / "own.jsonl").exists()


def test_a_mode_that_there_is_not_is_one_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RECORD_MODE, "sometimes")
    with pytest.raises(BadInput, match="'sometimes' is not a record mode; expected one of once"):
        Chat()
