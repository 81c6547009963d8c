"""The notebooks as they are saved: executed, without what is of one machine or one run, or a needless error."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
# Ports that are said in words and in examples: of well-known model servers, of our own examples, and one that is shut.
PORTS_OF_EXAMPLES = {"9", "1234", "3000", "4000", "8000", "8080", "8765", "11434", "30000"}

each_notebook = pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)


def code_cells(path: Path) -> list[Any]:
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def of_one_machine(text: str) -> list[str]:
    """The paths, ports and addresses of objects in a text that another machine, or another run, would not write."""
    places = re.findall(r"(?:/root|/home/|/Users/|/tmp/|/opt/|/var/|[A-Z]:\\\\)[^\s\"']*", text)
    here = [place for place in (tempfile.gettempdir(), str(Path.home())) if place in text]
    ports = re.findall(r"(?:127\.0\.0\.1|localhost):(\d+)", text)
    return [*places, *here, *(set(ports) - PORTS_OF_EXAMPLES), *re.findall(r"\b0x[0-9a-f]{6,}", text)]


def test_there_are_eight_of_them_in_order() -> None:
    assert [path.name[:2] for path in sorted(FOLDER.glob("*.ipynb"))] == [
        f"0{number}" for number in range(1, 9)
    ]


@each_notebook
def test_it_is_valid_and_each_cell_has_an_id_that_says_where_it_is_from(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    slug = path.stem.partition("_")[2].replace("_", "-")
    assert [cell.id for cell in notebook.cells] == [
        f"{slug}-{number:02d}" for number in range(len(notebook.cells))
    ]


@each_notebook
def test_all_of_it_was_executed_once_and_in_order(path: Path) -> None:
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]


@each_notebook
def test_no_cell_failed_for_papermill_lets_none(path: Path) -> None:
    for cell in code_cells(path):
        assert [output.ename for output in cell.outputs if output.output_type == "error"] == []
        assert [output.text for output in cell.outputs if output.get("name") == "stderr"] == []


@each_notebook
def test_nothing_of_one_machine_or_one_run_is_in_it(path: Path) -> None:
    assert of_one_machine(path.read_text("utf-8")) == []


@each_notebook
def test_it_holds_no_widgets_and_no_times_of_its_execution(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert "widget-view" not in json.dumps(notebook)
    assert all("execution" not in cell.metadata for cell in notebook.cells)


@each_notebook
def test_it_begins_with_a_title_and_has_words_for_what_it_shows(path: Path) -> None:
    cells = nbformat.read(path, 4).cells
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")
    assert sum(cell.cell_type == "markdown" for cell in cells) >= len(cells) / 3


@pytest.mark.parametrize(
    "text",
    [
        "in /tmp/tmpx/a.json",
        "at http://127.0.0.1:40123/v1",
        "localhost:51000",
        "<object at 0x7f3a2b1c>",
        "/home/me/x",
    ],
)
def test_what_is_of_one_machine_is_found(text: str) -> None:
    assert of_one_machine(text) != []


def test_what_is_the_same_everywhere_is_let_by() -> None:
    assert of_one_machine("http://localhost:8000/v1, a/b/c and 0x1f") == []
