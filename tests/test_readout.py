"""A cassette read out: every episode as its message, a million tokens in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_ssechat.__main__ import main
from jupyter_ssechat.model_server import ModelServer
from jupyter_ssechat.readout import Readout
from jupyter_ssechat.recording import recording
from jupyter_ssechat.upstream import Demo

from .asking import asking, message_of, patches_of
from .servers import CUT, Script, answer, chunk, model_server
from .taping import cassette, episode

ROOT = Path(__file__).parent.parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "talk.jsonl"


def test_what_is_read_at_full_speed_is_what_is_replayed(path: Path) -> None:
    live = patches_of(recording(Demo(pace=0), path), asking("a long answer"))
    [told] = Readout(path)
    assert told.message.to_dict() == message_of(live).to_dict()
    assert told.meaning["turns"] == [{"user": "a long answer"}]


def test_bytes_of_a_model_server_are_read_in_its_dialect(path: Path) -> None:
    with model_server(
        answer("Once ", "upon", thinking=("hm",)), Script([chunk(content="half"), CUT])
    ) as server:
        for prompt in ("one", "two"):
            patches_of(
                recording(ModelServer(server.url), path, mode="new_episodes"), asking(prompt, model="m")
            )
    read = [told.message for told in Readout(path)]
    assert [(one.content, one.status) for one in read] == [("Once upon", "finished"), ("half", "interrupted")]


def test_each_ends_as_it_was_recorded(path: Path) -> None:
    cassette(path, episode("a", "x", how="stopped"), episode("b", "y", how="cut"), episode("c", "z"))
    assert [told.message.status for told in Readout(path)] == ["stopped", "interrupted", "finished"]


def test_chunks_that_are_not_of_our_making_are_read_line_by_line(path: Path) -> None:
    made = episode("a", "x", "y").replace(b'"data: {', b'": note\\n\\ndata:{', 1)
    [told] = Readout(cassette(path, made))
    assert (told.message.content, told.message.status) == ("xy", "finished")


def test_the_command_prints_every_question_with_its_answer(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cassette(path, episode("What?", "That."), episode("Why?", "So."))
    assert main(["replay", str(path)]) == 0
    printed = capsys.readouterr()
    assert all(word in printed.out for word in ("What?", "That.", "Why?", "So.", "finished"))
    assert main(["replay", str(path), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["ask"]["turns"][0]["user"], one["content"]) for one in lines] == [
        ("What?", "That."),
        ("Why?", "So."),
    ]


def test_the_command_tells_a_broken_line_and_prints_the_rest(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cassette(path, episode("What?", "That."), episode("Why?", "So."))
    path.write_bytes(path.read_bytes()[:-5])
    assert main(["replay", str(path)]) == 1
    printed = capsys.readouterr()
    assert "That." in printed.out and "So." not in printed.out
    assert printed.err.startswith("talk.jsonl, line 11: the file is cut off here")


WEIGH = """
import sys
from pathlib import Path
from benchmarks.cassette import patch_chunks, peak, read, write
from jupyter_ssechat.cassette import By
path = Path(sys.argv[1])
text = write(path, patch_chunks(1_000_000), By(dialect="patches", server="demo", at=""))
assert read(path) == text
print(peak(path), len(text.encode()))
"""


def test_a_million_tokens_are_read_in_three_times_the_memory_of_their_text(path: Path) -> None:
    command = [sys.executable, "-c", WEIGH, str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=240)
    assert ran.returncode == 0, ran.stderr
    peak, text = map(int, ran.stdout.split())
    assert text > 5_000_000
    assert peak <= 3 * text
