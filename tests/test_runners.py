"""The programs that run notebooks in the foreground: all of the text in what they save, a failed cell fails the run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest

from .servers import CUT, Script, answer, chunk, model_server

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))
THINKING, ANSWER = "Let me see.", "It is **bold** 开始 🎉, and whole."
HALF = "half an answer"
FAILED = "AnswerFailed: the answer failed: the model server's stream ended before the answer was complete"

NBCLIENT = """
import sys, nbformat, nbclient
notebook = nbformat.read(sys.argv[1], 4)
try:
    nbclient.NotebookClient(notebook).execute()
finally:
    nbformat.write(notebook, sys.argv[2])
"""


@dataclass(frozen=True)
class Runner:
    """A program; `command` gets the notebook and where the executed one goes, `keeps` says what if it failed."""

    name: str
    command: Callable[[str, str], Sequence[str]]
    keeps: bool


RUNNERS = [
    Runner("nbclient", lambda source, out: [sys.executable, "-c", NBCLIENT, source, out], True),
    Runner("papermill", lambda source, out: [tool("papermill"), "--no-progress-bar", source, out], True),
    Runner(
        "nbconvert",
        lambda source, out: [
            *(tool("jupyter-nbconvert"), "--to", "notebook", "--execute"),
            *("--output", Path(out).name, source),
        ],
        False,
    ),
    Runner(
        "jupyter execute",
        lambda source, out: [tool("jupyter-execute"), f"--output={Path(out).name}", source],
        False,
    ),
]
each_runner = pytest.mark.parametrize("runner", RUNNERS, ids=lambda runner: runner.name)


def tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def run(runner: Runner, folder: Path, *cells: str) -> tuple[subprocess.CompletedProcess[str], list[Any]]:
    """Run a notebook with these cells; what the program says, and the cells that it has saved."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "notebook.ipynb")
    command = runner.command(str(folder / "notebook.ipynb"), str(folder / "executed.ipynb"))
    ran = subprocess.run(
        command, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=120, check=False
    )
    saved = folder / "executed.ipynb"
    return ran, code_cells(saved) if saved.exists() else []


def code_cells(path: Path) -> list[Any]:
    """The cells of a notebook that are run, but for what papermill adds."""
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    return [cell for cell in cells if "injected-parameters" not in cell.metadata.get("tags", [])]


def shown(cell: Any, mime: str) -> list[str]:
    """What stands under this MIME type in the outputs of a cell."""
    found = [output.data[mime] for output in cell.get("outputs", []) if mime in output.get("data", {})]
    return [one if isinstance(one, str) else "".join(one) for one in found]


@each_runner
def test_the_saved_notebook_has_the_whole_answer(runner: Runner, tmp_path: Path) -> None:
    words = [f"{word} " for word in ANSWER.split()]
    with model_server(answer(*words, thinking=(THINKING,))) as server:
        setup = f"%load_ext jupyter_ssechat\n%chat use {server.url}"
        ran, cells = run(runner, tmp_path, setup, "%%chat --bg -o reply\nWhat is it?", "print(reply.content)")
    assert ran.returncode == 0, ran.stderr
    [markdown] = shown(cells[1], "text/markdown")
    assert ANSWER in markdown and THINKING in markdown
    assert shown(cells[1], "text/plain")[-1].strip() == ANSWER
    assert cells[2].outputs[0].text.strip() == ANSWER
    assert "widget-view" not in json.dumps(cells[1].outputs)


@each_runner
def test_a_request_that_fails_fails_the_run_with_one_line(runner: Runner, tmp_path: Path) -> None:
    with model_server(Script([chunk(content=HALF), CUT])) as server:
        setup = f"%load_ext jupyter_ssechat\n%chat use {server.url}"
        ran, cells = run(runner, tmp_path, setup, "%%chat\nWhat is it?", "print('not reached')")
    assert ran.returncode != 0
    assert FAILED in ran.stderr
    assert bool(cells) is runner.keeps
    if runner.keeps:
        [markdown] = shown(cells[1], "text/markdown")
        assert markdown.startswith(HALF) and "Failed: the model server's stream ended" in markdown
        [error] = [output for output in cells[1].outputs if output.output_type == "error"]
        assert len(error.traceback) == 1 and "\n" not in error.traceback[0]
        assert cells[2].outputs == []


@pytest.mark.soak
@each_runner
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_of_ours_runs_and_says_the_same(
    runner: Runner, notebook: Path, tmp_path: Path
) -> None:
    shutil.copytree(notebook.parent, tmp_path, dirs_exist_ok=True)
    source, out = str(tmp_path / notebook.name), str(tmp_path / "executed.ipynb")
    ran = subprocess.run(
        runner.command(source, out), cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr
    saved = [shown(cell, "text/markdown") for cell in code_cells(notebook)]
    assert [shown(cell, "text/markdown") for cell in code_cells(Path(out))] == saved
