"""Notebooks under nbval → the same each time: a pytest plugin, loaded only where it is asked for.

``pytest --nbval -p jupyter_ssechat.testing``, or ``pytest_plugins = "jupyter_ssechat.testing"`` in the conftest.py at
the root. Each notebook has its cassette, ``cassettes/NAME.jsonl`` beside it; ``--record-mode`` says whether it is
recorded. Where nothing is recorded its kernel is kept from the network, and a request that would leave the machine
fails the cell that makes it, also when the notebook hides it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from nbval.plugin import IPyNbCell, NbCellError  # pyright: ignore[reportMissingTypeStubs]

from .offline import sitecustomize as offline
from .process_cassette import CASSETTE, RECORD_MODE

MODES = ("once", "new_episodes", "all", "none")
SANITIZED = {
    r"http://(127\.0\.0\.1|localhost|\[::1\]):[0-9]+": r"http://\1:PORT",
    r"([?&]token=)[\w-]+": r"\1TOKEN",
    r"\w+: [0-9]+ recorded, [0-9]+ replayed": "RECORDED",
    r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b": "UUID",
}
"""What changes by itself in the outputs of notebooks that chat; figures stand in metadata, which nbval leaves out."""

GUARD = Path(offline.__file__)
REPLY_SECONDS = 60


class Notebook:
    """A notebook under test: its cassette, and how its kernel starts."""

    def __init__(self, path: Path, mode: str) -> None:
        self.path = path
        self.cassette = path.parent / "cassettes" / f"{path.stem}.jsonl"
        self.mode = "none" if mode == "once" and self.cassette.exists() else mode
        self._folder = tempfile.TemporaryDirectory(prefix="ssechat-")
        self._refusals = Path(self._folder.name, "refusals")
        self._seen = 0
        self._ready = False

    @contextmanager
    def environment(self) -> Generator[None]:
        """The environment that its kernel starts in."""
        with pytest.MonkeyPatch.context() as patch:
            # A cassette that is not there is none: the demo model needs none, nor do servers of the notebook's own.
            used = self.mode != "none" or self.cassette.exists()
            patch.setenv(CASSETTE, str(self.cassette.absolute()) if used else "")
            patch.setenv(RECORD_MODE, self.mode)
            if self.mode != "none":
                self.cassette.parent.mkdir(exist_ok=True)
            else:
                patch.setenv(offline.VARIABLE, str(self._refusals))
                patch.setenv("PYTHONPATH", str(GUARD.parent), prepend=os.pathsep)
            yield

    def prepare(self, file: Any) -> None:
        """Before the first cell: say what to sanitize, and make sure that the kernel is kept from the network."""
        if self._ready:
            return
        self._ready = True
        for pattern, replacement in SANITIZED.items():
            file.sanitize_patterns.setdefault(pattern, replacement)
        if self.mode == "none" and file.kernel.language == "python":
            self._keep_away(file.kernel.kc)

    def _keep_away(self, client: Any) -> None:
        """Ask the kernel itself: its kernelspec may have a PYTHONPATH of its own."""
        kept = f"__import__('runpy').run_path({str(GUARD)!r})['keep_offline']({str(self._refusals)!r})"
        asked = client.execute("", silent=True, user_expressions={"kept": kept})
        while (reply := client.get_shell_msg(timeout=REPLY_SECONDS))["parent_header"].get("msg_id") != asked:
            pass
        if reply["content"]["user_expressions"]["kept"]["status"] != "ok":
            pytest.fail(f"the kernel of {self.path.name} cannot be kept from the network", pytrace=False)

    def refused(self) -> list[str]:
        """Where requests would have gone that were refused since the last call, each once."""
        if not self._refusals.exists():
            return []
        lines = self._refusals.read_text().splitlines()
        fresh, self._seen = lines[self._seen :], len(lines)
        return list(dict.fromkeys(fresh))

    def close(self) -> None:
        """Remove what was kept for it."""
        self._folder.cleanup()


_NOTEBOOK = pytest.StashKey[Notebook]()


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add ``--record-mode``, unless pytest-recording is there, whose option says the same."""
    if find_spec("pytest_recording") is not None and not pluginmanager.is_blocked("recording"):
        return
    parser.getgroup("jupyter_ssechat", "notebooks that chat with models").addoption(
        "--record-mode",
        choices=MODES,
        default="none",
        help="record the answers of model servers: once, where a notebook has no cassette yet; new_episodes, what "
        "its cassette does not have; all, everything anew; none, replay only, without network (default)",
    )


def pytest_report_header(config: pytest.Config) -> str:
    """Say what is asked for real."""
    mode = _mode(config)
    what = "replayed, no network" if mode == "none" else f"recorded, {mode}"
    return f"jupyter_ssechat: answers in notebooks are {what}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """Start the kernel of a notebook with its cassette, and without network."""
    notebook = _notebook_of(item)
    if notebook is None:
        return (yield)
    with notebook.environment():
        result = yield
    notebook.prepare(item.parent)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail a cell from which a request would have left the machine, whatever the cell made of it."""
    notebook = _notebook_of(item)
    if notebook is None:
        return (yield)
    failure: Exception | None = None
    result = None
    try:
        result = yield
    except Exception as error:
        failure = error
    if places := notebook.refused():
        raise _left_the_machine(item, places, failure) from None
    if failure is not None:
        raise failure
    return result


def _left_the_machine(item: Any, places: list[str], failure: Exception | None) -> Exception:
    said = (
        f"a request would leave the machine, to {', '.join(places)}; record its answer with --record-mode=once (or"
        " new_episodes, where there is a cassette), or ask a server on this machine"
    )
    return NbCellError(item.cell_num, said, item.cell.source, getattr(failure, "inner_traceback", None))


def _notebook_of(item: pytest.Item) -> Notebook | None:
    """The notebook that a cell belongs to; None for a test of another kind."""
    file = item.parent
    if not isinstance(item, IPyNbCell) or file is None:
        return None
    if _NOTEBOOK not in file.stash:
        notebook = file.stash[_NOTEBOOK] = Notebook(item.path, _mode(item.config))
        item.config.add_cleanup(notebook.close)
    return file.stash[_NOTEBOOK]


def _mode(config: pytest.Config) -> str:
    """The record mode; `rewrite` is what pytest-recording calls all."""
    mode = config.getoption("--record-mode", None)
    return {None: "none", "rewrite": "all"}.get(mode, str(mode))
