"""Dialects by others: real distributions, found by their entry points; a broken one harms nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from jupyter_ssechat.dialects import DIALECTS, Dialect
from jupyter_ssechat.dialects.third_party import GROUP, known_dialects

ROOT = Path(__file__).resolve().parent.parent
SHOUTED = """
from jupyter_ssechat.dialects import Abilities, Dialect
from jupyter_ssechat.message import finished
from jupyter_ssechat.patches import Patch


class Shouted(Dialect):
    name = "shouted"
    abilities = Abilities(thinking="", usage="", stop="", resume="", errors="")

    @classmethod
    def lives_at(cls, host, path):
        return path.endswith("/shout")

    def feed(self, event):
        if event.event == "over":
            return finished()
        return [Patch("response/content", "APPEND", event.data.upper())]


class Taken(Shouted):
    name = "openai_chat"


class Nameless(Dialect):
    pass


class Unable(Dialect):
    name = "unable"


NOT_A_CLASS = 5
"""
NAMES = "import json; from jupyter_ssechat.dialects.third_party import known_dialects as known\n"
NAMES += "print(json.dumps(sorted(known()))); known()"


def install(folder: Path, name: str, module: str, source: str, **entry_points: str) -> None:
    """Put a package into `folder` as an installer does: its module, and its ``dist-info``."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / f"{module}.py").write_text(source)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    rows = [f"{point} = {module}:{value}" for point, value in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *rows, ""]))
    files = [f"{module}.py", *(f"{info.name}/{file}" for file in ("METADATA", "entry_points.txt", "RECORD"))]
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))


def run(folder: Path, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python where the packages of `folder` are installed."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    return subprocess.run(
        [sys.executable, *args], input=stdin, capture_output=True, text=True, check=False, env=env, timeout=60
    )


def test_without_packages_ours_are_all() -> None:
    assert known_dialects() == DIALECTS
    assert all(issubclass(dialect, Dialect) for dialect in known_dialects().values())


def test_what_is_returned_may_be_changed() -> None:
    known_dialects().clear()
    assert known_dialects() == DIALECTS


def test_a_dialect_of_an_installed_package_is_known(tmp_path: Path) -> None:
    install(tmp_path, "shouting", "shouting", SHOUTED, shouted="Shouted")
    done = run(tmp_path, "-c", NAMES)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == sorted([*DIALECTS, "shouted"])


def test_a_recording_is_replayed_in_it(tmp_path: Path) -> None:
    install(tmp_path, "shouting", "shouting", SHOUTED, shouted="Shouted")
    stream = "data: hel\n\ndata: lo\n\nevent: over\ndata: now\n\n"
    done = run(tmp_path, "-m", "jupyter_ssechat", "replay", "-", "--dialect", "shouted", stdin=stream)
    assert (done.returncode, done.stdout, done.stderr) == (0, "HELLO\n", "finished (stop)\n")


def test_nothing_of_it_is_imported_before_it_is_asked_for(tmp_path: Path) -> None:
    install(tmp_path, "shouting", "shouting", "raise SystemExit('imported')", shouted="Shouted")
    script = "import jupyter_ssechat.replay, jupyter_ssechat.dialects.third_party"
    assert run(tmp_path, "-c", script).returncode == 0
    stream = (ROOT / "tests/wire/openai_chat_qwen.sse").read_text("utf-8")
    done = run(tmp_path, "-m", "jupyter_ssechat", "replay", "-", stdin=stream)
    assert (done.returncode, "imported" in done.stderr) == (0, False)


def test_what_cannot_be_used_is_told_in_one_line_each_and_once_and_the_rest_works(tmp_path: Path) -> None:
    install(
        tmp_path,
        "mixed",
        "mixed",
        SHOUTED,
        a="Shouted",
        b="Taken",
        c="Nameless",
        d="Unable",
        e="NOT_A_CLASS",
        f="Missing",
        g="Shouted",
    )
    install(tmp_path, "broken", "broken", "import nothing_of_this_name", h="Any")
    install(tmp_path, "leaving", "leaving", "raise SystemExit(3)", i="Any")
    done = run(tmp_path, "-c", NAMES)
    assert done.returncode == 0
    assert json.loads(done.stdout) == sorted([*DIALECTS, "shouted"])
    told = dict(zip("bcdefghi", done.stderr.splitlines(), strict=True))
    for point, why in {
        "b": "the name 'openai_chat' is taken",
        "c": "Nameless has no name",
        "d": "Unable has no abilities",
        "e": "expected a subclass of jupyter_ssechat.dialects.Dialect",
        "f": "Missing",
        "g": "the name 'shouted' is taken",
        "h": "No module named 'nothing_of_this_name'",
        "i": "SystemExit",
    }.items():
        origin = {"h": "broken", "i": "leaving"}.get(point, "mixed")
        assert told[point].startswith(f"the dialect {point} of {origin} is ignored: ")
        assert why in told[point]


def test_a_model_server_speaks_it_where_it_is_named_or_lives(tmp_path: Path) -> None:
    install(tmp_path, "shouting", "shouting", SHOUTED, shouted="Shouted")
    script = "from jupyter_ssechat.model_server import ModelServer\n"
    script += "print(ModelServer('http://127.0.0.1:9/shout').dialect)\n"
    script += "print(ModelServer('http://127.0.0.1:9/v1', dialect='shouted').dialect)\n"
    script += "print(ModelServer('http://127.0.0.1:9/v1').dialect)"
    done = run(tmp_path, "-c", script)
    assert (done.stdout.split(), done.stderr) == (["shouted", "shouted", "openai_chat"], "")


def test_a_name_that_nobody_has_is_refused_with_those_of_others_among_the_expected(tmp_path: Path) -> None:
    install(tmp_path, "shouting", "shouting", SHOUTED, shouted="Shouted")
    done = run(tmp_path, "-m", "jupyter_ssechat", "replay", "-", "--dialect", "klingon")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "'klingon' is not a dialect; expected one of" in done.stderr
    assert "shouted" in done.stderr
