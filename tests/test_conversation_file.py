"""Conversations in files: whole or not at all, for the owner alone, never over something else."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from jupyter_ssechat import conversation_file
from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.transcript import Transcript, read_transcript

MESSAGES = [{"role": "user", "content": "你好 🎉"}, {"role": "assistant", "content": "Hello\u2028!"}]
OTHER = read_transcript([{"role": "user", "content": "other"}, {"role": "assistant", "content": "yes"}])


@pytest.fixture
def transcript() -> Transcript:
    return read_transcript(MESSAGES)


def test_what_is_saved_is_loaded(tmp_path: Path, transcript: Transcript) -> None:
    path = conversation_file.save(tmp_path / "chat.json", transcript)
    assert conversation_file.load(path) == transcript
    assert [one.name for one in tmp_path.iterdir()] == ["chat.json"]


def test_the_file_is_text_that_people_and_diffs_can_read(tmp_path: Path, transcript: Transcript) -> None:
    text = conversation_file.save(tmp_path / "chat.json", transcript).read_text("utf-8")
    assert "你好 🎉" in text and text.endswith("}\n")
    assert json.loads(text)["messages"] == MESSAGES
    assert max(map(len, text.split("\n"))) < 120


def test_half_of_a_surrogate_pair_is_saved_too(tmp_path: Path) -> None:
    halves = read_transcript([{"role": "user", "content": "\ud83d"}, {"role": "assistant", "content": "x"}])
    assert conversation_file.load(conversation_file.save(tmp_path / "a", halves)) == halves


def test_a_new_file_is_for_its_owner_alone_and_an_old_one_keeps_its_permissions(
    tmp_path: Path, transcript: Transcript
) -> None:
    path = conversation_file.save(tmp_path / "chat.json", transcript)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    conversation_file.save(path, OTHER)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert conversation_file.load(path) == OTHER


def test_an_empty_file_is_filled(tmp_path: Path, transcript: Transcript) -> None:
    (tmp_path / "chat.json").touch()
    conversation_file.save(tmp_path / "chat.json", transcript)
    assert conversation_file.load(tmp_path / "chat.json") == transcript


@pytest.mark.parametrize("text", ["important notes", json.dumps(MESSAGES), '{"format": "other"}', "\n"])
def test_something_else_is_not_replaced(tmp_path: Path, transcript: Transcript, text: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"notes\.txt is no saved conversation, so it is not replaced"):
        conversation_file.save(path, transcript)
    assert path.read_text() == text
    assert [one.name for one in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_is_not_replaced(tmp_path: Path, transcript: Transcript) -> None:
    with pytest.raises(BadInput, match="is no saved conversation"):
        conversation_file.save(tmp_path, transcript)


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path, transcript: Transcript) -> None:
    with pytest.raises(BadInput, match=r"cannot be saved to .*chat\.json: No such file or directory"):
        conversation_file.save(tmp_path / "gone" / "chat.json", transcript)


def test_what_stands_in_the_file_stays_whole_when_writing_fails(
    tmp_path: Path, transcript: Transcript, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = conversation_file.save(tmp_path / "chat.json", transcript)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadInput, match="No space left on device"):
        conversation_file.save(path, OTHER)
    assert conversation_file.load(path) == transcript
    assert [one.name for one in tmp_path.iterdir()] == ["chat.json"]


def test_a_link_keeps_pointing_to_the_file_that_is_written(tmp_path: Path, transcript: Transcript) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "chat.json")
    assert conversation_file.save(tmp_path / "link.json", transcript) == (tmp_path / "chat.json").resolve()
    assert (tmp_path / "link.json").is_symlink()
    assert conversation_file.load(tmp_path / "link.json") == transcript


def test_a_list_of_messages_is_loaded_too(tmp_path: Path) -> None:
    (tmp_path / "messages.json").write_text(json.dumps(MESSAGES), "utf-8")
    assert conversation_file.load(tmp_path / "messages.json").to_messages() == MESSAGES


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "not JSON: line 1, column 1"), ("[{}]", "messages[0].role"), ('{"format": 1}', "no conversation")],
)
def test_what_cannot_be_read_is_one_line_that_names_the_file(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(BadInput) as error:
        conversation_file.load(tmp_path / "bad.json")
    assert str(error.value).startswith(f"{tmp_path / 'bad.json'}: ") and said in str(error.value)
    assert "\n" not in str(error.value)


def test_every_prefix_of_a_file_is_refused_in_one_line(tmp_path: Path, transcript: Transcript) -> None:
    whole = conversation_file.save(tmp_path / "chat.json", transcript).read_bytes()
    torn = tmp_path / "torn.json"
    for length in range(len(whole) - 1):  # the last byte is a line end
        torn.write_bytes(whole[:length])
        with pytest.raises(BadInput, match=r"torn\.json: not JSON"):
            conversation_file.load(torn)


def test_a_file_that_is_not_there_or_no_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read: No such file or directory"):
        conversation_file.load(tmp_path / "gone.json")
    with pytest.raises(BadInput, match="is no file"):
        conversation_file.load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match="is no file"):
        conversation_file.load(tmp_path / "pipe")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(conversation_file.MAX_FILE_BYTES + 1)
    with pytest.raises(BadInput, match="larger than 256 MiB"):
        conversation_file.load(tmp_path / "huge.json")


def test_a_conversation_of_a_newer_release_is_not_replaced(tmp_path: Path, transcript: Transcript) -> None:
    path = conversation_file.save(tmp_path / "chat.json", transcript)
    newer = path.read_text("utf-8").replace('"version": 1', '"version": 2', 1)
    path.write_text(newer, "utf-8")
    with pytest.raises(BadInput, match="was saved by a newer release, so it is not replaced"):
        conversation_file.save(path, OTHER)
    assert path.read_text("utf-8") == newer


def test_a_number_without_end_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(f'[{{"role": "user", "content": {"9" * 5000}}}]')
    with pytest.raises(BadInput, match="not a conversation: .* digits"):
        conversation_file.load(tmp_path / "a")


@pytest.mark.parametrize(("name", "said"), [("none/a", "there is no such folder"), ("notes", "not replaced")])
def test_a_place_is_checked_before_anything_is_said(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "notes").write_text("notes")
    with pytest.raises(BadInput, match=said):
        conversation_file.check_place(tmp_path / name)
    conversation_file.check_place(tmp_path / "chat.json")
