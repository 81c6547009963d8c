"""Who answers a notebook, in a real kernel: cassettes that are put in, taken out, and named by the process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .kernels import Cell, Kernel
from .servers import answer, model_server

Kernels = Callable[..., Kernel]


@pytest.fixture
def notebook(kernel: Kernels) -> Kernel:
    """A kernel with the extension; the demo model answers at once."""
    newest = kernel("7.4")
    assert newest.run("%load_ext jupyter_ssechat\n%config ChatMagics.pace = 0").error is None
    return newest


def text(cell: Cell) -> str:
    assert cell.error is None, cell.error
    return cell.data("text/markdown")[-1]


def test_what_was_recorded_is_replayed_without_the_server_that_said_it(
    notebook: Kernel, tmp_path: Path
) -> None:
    tape = tmp_path / "tape.jsonl"
    with model_server(answer("from the server")) as server:
        notebook.run(f"%chat use {server.url}")
        assert notebook.run(f"%chat record {tape}").text == f"recording to {tape}; %chat record off ends it\n"
        assert text(notebook.run("%%chat\nwho are you?")) == "from the server"
    assert (
        "cassette:    tape.jsonl, new_episodes: 1 recorded, 0 replayed" in notebook.run("%chat status").text
    )
    assert "from the server" in tape.read_text()
    notebook.run("%chat record off\n%chat use demo\n%chat new")
    assert notebook.run(f"%chat replay {tape}").text.startswith(f"replaying {tape}; ")
    assert text(notebook.run("%%chat\nwho are you?")) == "from the server"
    other = notebook.run("%%chat\nwho am I?")
    assert other.error is not None and "who am I?" in other.error and "\n" not in other.error.strip()
    notebook.run("%chat replay off\n%chat new")
    assert text(notebook.run("%%chat\nwho are you?")) != "from the server"


def test_a_cell_may_have_a_cassette_of_its_own(notebook: Kernel, tmp_path: Path) -> None:
    tape = tmp_path / "tape.jsonl"
    first = text(notebook.run(f"%%chat --new --record {tape}\nhello"))
    assert notebook.run("%config ChatMagics.cassette").text == "''"
    size = tape.stat().st_size
    notebook.run("%%chat --new\nnot recorded")
    assert text(notebook.run(f"%%chat --new --replay {tape}\nhello")) == first
    assert tape.stat().st_size == size


def test_the_process_may_name_the_cassette_of_its_notebooks(kernel: Kernels, tmp_path: Path) -> None:
    tape = tmp_path / "tape.jsonl"
    env = {"JUPYTER_SSECHAT_CASSETTE": str(tape), "JUPYTER_SSECHAT_RECORD_MODE": "once"}
    said = []
    for _ in range(2):
        notebook = kernel("7.4", **env)
        notebook.run("%load_ext jupyter_ssechat\n%config ChatMagics.pace = 0")
        said.append(text(notebook.run("%%chat\nhello")))
        said.append(notebook.run("%chat status").text.partition("cassette:")[2].splitlines()[0].strip())
    assert said[0] == said[2]
    assert said[1::2] == [
        "tape.jsonl, once: 1 recorded, 0 replayed",
        "tape.jsonl, once: 0 recorded, 1 replayed",
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%chat replay nowhere.jsonl", "nowhere.jsonl does not exist; record it first"),
        ("%chat record no/folder/tape.jsonl", "there is no folder"),
        ("%config ChatMagics.record_mode = 'twice'", "twice"),
    ],
)
def test_a_cassette_that_cannot_be_used_is_said_to_be_in_one_line(
    notebook: Kernel, line: str, said: str
) -> None:
    cell = notebook.run(line)
    assert said in (cell.error or cell.text)
    assert "Traceback" not in cell.text
    assert text(notebook.run("%%chat\nhello")), "the notebook goes on as it was"
