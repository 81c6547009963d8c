"""The pytest plugin, as users load it: nbval on their notebooks, from cassettes and without network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from jupyter_ssechat.process_cassette import CASSETTE, RECORD_MODE
from jupyter_ssechat.testing import SANITIZED

from .kernels import kernel_name
from .servers import answer, model_server

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = ("-p", "jupyter_ssechat.testing")
AWAY = "a request would leave the machine, to"
HIDES = """
import urllib.request
try:
    urllib.request.urlopen("http://192.0.2.1/", timeout=5)
except OSError:
    pass
"""
RECORDING = """
def pytest_addoption(parser):
    parser.getgroup("recording").addoption("--record-mode", choices=["once", "none", "rewrite"])
"""


def write(path: Path, *cells: str, kernel: str = "python3", ignored: bool = False) -> Path:
    """A notebook; the outputs of an `ignored` one are not compared."""
    metadata = {"tags": ["nbval-ignore-output"]} if ignored else {}
    code = [nbformat.v4.new_code_cell(cell, metadata=metadata) for cell in cells]
    notebook = nbformat.v4.new_notebook(cells=code)
    notebook.metadata["kernelspec"] = {"name": kernel, "display_name": kernel, "language": "python"}
    nbformat.write(notebook, path)
    return path


def nbval(folder: Path, *options: str, **env: str) -> tuple[dict[str, str], str]:
    """Run pytest as a user does: the outcome of each cell, and all that pytest says."""
    command = [sys.executable, "-m", "pytest", "--nbval", "-rA", "--color=no", "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [*command, "-c", os.devnull, "--rootdir", str(folder), *options, str(folder)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    found = re.findall(r"^(PASSED|FAILED|ERROR) (\S+::Cell \d+)", ran.stdout, re.M)
    return {cell: outcome for outcome, cell in found}, ran.stdout + ran.stderr


def execute(notebook: Path, **env: str) -> None:
    """Execute a notebook in place."""
    command = [str(Path(sys.executable).with_name("jupyter-nbconvert")), "--execute", "--inplace"]
    subprocess.run(
        [*command, "--to", "notebook", str(notebook)],
        env={**os.environ, **env},
        capture_output=True,
        check=True,
        timeout=200,
    )


def test_notebooks_are_replayed_and_kept_from_the_network(kernelspecs: None, tmp_path: Path) -> None:
    (tmp_path / "cassettes").mkdir()
    (tmp_path / "conftest.py").write_text('pytest_plugins = "jupyter_ssechat.testing"\n')
    with model_server(answer("It ", "is ", "recorded.")) as server:
        setup = f"%load_ext jupyter_ssechat\n%chat use {server.url} -m m"
        recorded = write(tmp_path / "recorded.ipynb", setup, "%%chat\nhello", "%chat status")
        execute(recorded, **{CASSETTE: "cassettes/recorded.jsonl", RECORD_MODE: "once"})
    assert "It is recorded." in recorded.read_text()
    write(
        tmp_path / "asks.ipynb",
        "%load_ext jupyter_ssechat\n%chat use https://model.example/v1",
        "%%chat\nhello",
    )
    write(tmp_path / "hides.ipynb", HIDES, "1 + 1;", kernel=kernel_name("7.4"))
    write(tmp_path / "demo.ipynb", "from jupyter_ssechat import Chat", "Chat('demo', pace=0).ask('hello');")

    outcomes, said = nbval(tmp_path)

    failed = {cell for cell, outcome in outcomes.items() if outcome != "PASSED"}
    assert failed == {"asks.ipynb::Cell 1", "hides.ipynb::Cell 0"}, said
    assert len(outcomes) == 9
    assert f"{AWAY} model.example:443; record its answer with --record-mode=once" in said
    assert f"{AWAY} 192.0.2.1:80;" in said
    assert "answers in notebooks are replayed, no network" in said


def recipe() -> list[str]:
    """The commands of docs/testing.md, a text for each block, but for what installs something."""
    page = (ROOT / "docs" / "testing.md").read_text("utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.M | re.S)
    return [re.sub(r"^pip install .*\n", "", block, flags=re.M) for block in blocks]


def follow(commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run commands in a shell, as a reader of the page does."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["sh", "-euc", commands],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "-p no:cacheprovider"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_the_recipe_of_the_documentation_works(tmp_path: Path) -> None:
    record, test, record_more, offline = recipe()
    (tmp_path / "pytest.ini").touch()
    with model_server(answer("Yes.")) as server:
        asks = (
            f"from jupyter_ssechat import Chat\nprint(Chat({server.url!r}, model='m').ask('hello').content)"
        )
        write(tmp_path / "asks.ipynb", asks)
        recorded = follow(record, tmp_path)
        assert recorded.returncode == 0, recorded.stderr
    tested = follow(test, tmp_path)
    assert "1 passed" in tested.stdout, tested.stdout
    assert record_more.strip() == f"{test.strip()} --record-mode=new_episodes"
    write(tmp_path / "asks.ipynb", HIDES.replace("pass", "raise"))
    kept = follow(offline, tmp_path)
    assert kept.returncode != 0
    assert "192.0.2.1:80 is not on this machine" in kept.stderr


def test_what_a_notebook_has_no_cassette_for_is_recorded_once(tmp_path: Path) -> None:
    # Beside pytest-recording, which has the option too, and hides ours.
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "pytest_recording.py").write_text(RECORDING)
    path = os.pathsep.join([str(ROOT), str(tmp_path / "installed")])
    with model_server(answer("Yes.")) as server:
        asks = (
            f"from jupyter_ssechat import Chat\nprint(Chat({server.url!r}, model='m').ask('hello').content)"
        )
        write(tmp_path / "asks.ipynb", asks, ignored=True)
        once = (*PLUGIN, "-p", "pytest_recording", "--record-mode=once")
        outcomes, said = nbval(tmp_path, *once, PYTHONPATH=path)
    assert outcomes == {"asks.ipynb::Cell 0": "PASSED"}, said
    assert "answers in notebooks are recorded, once" in said
    assert len(server.requests) == 1
    assert "Yes." in (tmp_path / "cassettes" / "asks.jsonl").read_text()


def test_nothing_of_it_is_there_where_it_is_not_asked_for() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", os.devnull, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "--nbval" in ran.stdout
    assert "--record-mode" not in ran.stdout


@pytest.mark.parametrize(
    ("output", "stable"),
    [
        ("gateway:     http://127.0.0.1:43521 (embedded)", "gateway:     http://127.0.0.1:PORT (embedded)"),
        ("http://localhost:8765/?token=aB-c_9", "http://localhost:PORT/?token=TOKEN"),
        ("8c0ed1ca-fb98-4463-819a-2db921388068", "UUID"),
        ("a.jsonl, once: 1 recorded, 0 replayed", "a.jsonl, RECORDED"),
        ("https://api.example.com:8443/v1, 12:30, 4.5 s", "https://api.example.com:8443/v1, 12:30, 4.5 s"),
    ],
)
def test_what_changes_by_itself_is_sanitized_and_nothing_else(output: str, stable: str) -> None:
    for pattern, replacement in SANITIZED.items():
        output = re.sub(pattern, replacement, output)
    assert output == stable
