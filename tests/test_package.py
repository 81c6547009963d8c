"""The package as a whole: its public names, its floors, the doors of its libraries, and what is built from it.

The tables are the declared shape of the package: a new file gets its place here.
"""

from __future__ import annotations

import ast
import email
import importlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import types
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest

import jupyter_ssechat

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "jupyter_ssechat"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

PURE = [
    "errors",
    "deadlines",
    "content_coding",
    "wire_json",
    "sse",
    "patches",
    "message",
    "request",
    "response_format",
    "openai_messages",
    "dialects.dialect",
    "dialects.think_tags",
    "dialects.deepseek",
    "dialects.openai_chat",
    "dialects.openai_responses",
    "dialects.anthropic_messages",
    "dialects.delta_v1",
    "dialects.plain_content",
    "dialects.plain_text",
    "dialects.registry",
    "dialects.body",
    "dialects",
    "replay",
    "continuation",
    "discretion",
    "excerpts",
    "template",
    "specimen",
    "secrecy",
    "scrutiny",
    "matching",
    "cassette",
    "gateway.openai_error",
    "gateway.chunks",
    "gateway.cursor",
    "gateway.limits",
    "gateway.stores.pools",
]
"""The lowest floors: values in, values out. No clock, no thread, no socket, no Jupyter."""

FLOORS = [
    *PURE,
    "eager",
    "offline.sitecustomize",
    "dialects.third_party",
    "prose",
    "projection",
    "demo_texts",
    "demo",
    "upstream",
    "transport",
    "exchange",
    "model_server",
    "cassette_file",
    "tape",
    "recorder",
    "player",
    "readout",
    "plain_player",
    "recording",
    "process_cassette",
    "profiles",
    "upstream_spec",
    "gateway",
    "gateway.journal",
    "gateway.metrics_folder",
    "gateway.metrics",
    "gateway.envelope",
    "gateway.cors",
    "toml_file",
    "gateway.users",
    "gateway.grants",
    "gateway.access",
    "gateway.audience",
    "gateway.settings",
    "gateway.bodies",
    "gateway.chat_request",
    "gateway.relay",
    "gateway.log",
    "gateway.stores",
    "gateway.stores.store",
    "gateway.stores.memory_pools",
    "gateway.stores.memory",
    "gateway.stores.sqlite_schema",
    "gateway.stores.sqlite_rows",
    "gateway.stores.sqlite_thread",
    "gateway.stores.sqlite_pools",
    "gateway.stores.sqlite",
    "gateway.stores.redis_scripts",
    "gateway.stores.redis_rows",
    "gateway.stores.redis_calls",
    "gateway.stores.redis_cluster",
    "gateway.stores.redis_pools",
    "gateway.stores.redis",
    "gateway.stores.opening",
    "gateway.sessions",
    "gateway.patch_stream",
    "gateway.text_stream",
    "gateway.time_slice",
    "gateway.generation",
    "gateway.mirror",
    "gateway.owned_log",
    "gateway.calls",
    "gateway.ending",
    "gateway.admission",
    "gateway.appender",
    "gateway.streams",
    "gateway.stored_sessions",
    "gateway.question",
    "gateway.chats",
    "gateway.conversations",
    "gateway.event_stream",
    "gateway.endpoint",
    "gateway.own_api",
    "gateway.patch_api",
    "gateway.plain_api",
    "gateway.chat_answer",
    "gateway.openai_api",
    "gateway.app",
    "gateway.server",
    "images",
    "expression",
    "partial_json",
    "schema",
    "transcript",
    "transcript_markdown",
    "conversation_file",
    "client",
    "consumer",
    "own_gateway",
    "reply",
    "standing",
    "link",
    "talk",
    "views",
    "deltas",
    "batches",
    "widget",
    "presentation",
    "kernel",
    "cell",
    "chat",
    "autosave",
    "turns",
    "panel_text",
    "feed",
    "conversation",
    "panel",
    "loops",
    "explanation",
    "prompt",
    "cell_turns",
    "keys",
    "options",
    "connection",
    "magics",
    "workers",
    "serve_options",
    "serve_config",
    "serve_token",
    "serve_users",
    "serve_log",
    "serve",
    "server_proxy",
    "testing",
    "__init__",
    "__main__",
]
"""Every file, from the ground up: a file imports only what stands above it in this list."""

NOT_IN_THE_PURE_CORE = {"IPython", "asyncio", "httpx", "os", "socket", "threading", "time", "traitlets"}

DOORS = {
    "IPython": ["connection", "keys", "magics", "options", "panel_text", "presentation"],
    "anywidget": ["panel", "widget"],
    "httpx": ["transport"],
    "httpx_sse": ["transport"],
    "ipykernel": ["kernel"],
    "jiter": ["partial_json"],
    "jsonschema": ["schema"],
    "jupyter_core": ["own_gateway"],
    "jupyter_ui_poll": ["kernel"],
    "markdown_it": ["projection"],
    "msgspec": ["cassette_file", "gateway.bodies"],
    "nbval": ["testing"],
    "prometheus_client": ["gateway.metrics"],
    "pydantic": ["schema"],
    "pytest": ["testing"],
    "pythonjsonlogger": ["serve_log"],
    "redis": ["gateway.stores.redis_calls"],
    "starlette": [
        "gateway.access",
        "gateway.app",
        "gateway.calls",
        "gateway.chat_answer",
        "gateway.cors",
        "gateway.endpoint",
        "gateway.envelope",
        "gateway.event_stream",
        "gateway.openai_api",
        "gateway.own_api",
        "gateway.patch_api",
        "gateway.plain_api",
    ],
    "traitlets": ["connection", "magics", "panel", "widget"],
    "uvicorn": ["gateway.server"],
}
"""A third-party library → the files that import it: one, or one for each thing that has to be the library's own."""

DISTRIBUTIONS = {"markdown_it": "markdown_it_py", "pythonjsonlogger": "python_json_logger"}
"""Where the library is called something else than its distribution."""

GIVEN = {"ipykernel", "nbval", "pydantic", "pytest"}
"""Imported, but no dependency: what runs us, and what is asked for by those who have it."""

EXTRAS = {"redis": "gateway.stores.opening"}
"""Imported where it is asked for, by the extra of its name → who says so when it is missing."""

STATIC = {f"jupyter_ssechat/static/{name}" for name in ("widget.js", "widget.css", "extras.js")}
LABEXTENSION = {"install.json", "package.json", "static/remoteEntry.js"}


# ---- what the files import ----


@cache
def files() -> dict[str, Path]:
    """The name of every module, without the package's own, → its file."""
    found = {path.relative_to(PACKAGE).with_suffix(""): path for path in PACKAGE.rglob("*.py")}
    return {_module_name(name): path for name, path in found.items()}


def _module_name(name: Path) -> str:
    return ".".join(
        name.parts if len(name.parts) == 1 else [part for part in name.parts if part != "__init__"]
    )


def imports(module: str) -> Iterator[str]:
    """The full names that a file imports at run time, be it at its top or inside a function."""
    for node in _running(ast.parse(files()[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from _from(node, module)


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`."""
    yield node
    only_for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    children = node.orelse if isinstance(node, ast.If) and only_for_types else ast.iter_child_nodes(node)
    for child in children:
        yield from _running(child)


def _from(node: ast.ImportFrom, module: str) -> Iterator[str]:
    origin = ".".join(filter(None, [_package_of(module, node.level), node.module or ""]))
    for alias in node.names:
        deeper = f"{origin}.{alias.name}".removeprefix("jupyter_ssechat.")
        yield f"jupyter_ssechat.{deeper}" if deeper in files() else origin


def _package_of(module: str, level: int) -> str:
    if level == 0:
        return ""
    inside = ["jupyter_ssechat", *module.split(".")]
    is_package = files()[module].name == "__init__.py"
    return ".".join(inside[: len(inside) - level + (is_package and module != "__init__")])


def own(module: str) -> set[str]:
    """The files of the package that a file imports."""
    names = {name for name in imports(module) if name.split(".")[0] == "jupyter_ssechat"}
    return {name.removeprefix("jupyter_ssechat").lstrip(".") or "__init__" for name in names}


def third_party(module: str) -> set[str]:
    """The libraries from outside that a file imports."""
    return (
        {name.split(".")[0] for name in imports(module)} - {"jupyter_ssechat"} - set(sys.stdlib_module_names)
    )


# ---- names ----


def test_public_names_are_sorted_and_complete() -> None:
    names = jupyter_ssechat.__all__
    assert names == sorted(names)
    defined = {
        name for name, value in vars(jupyter_ssechat).items() if not isinstance(value, types.ModuleType)
    }
    imported = {"Any", "TYPE_CHECKING", "annotations"}
    public = {name for name in defined if not name.startswith("_")} - imported
    assert public <= set(names)
    assert set(jupyter_ssechat._HOMES) <= set(names)


@pytest.mark.parametrize("name", jupyter_ssechat.__all__)
def test_a_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(jupyter_ssechat, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Chatt'"):
        _ = jupyter_ssechat.Chatt


def test_the_version_is_the_installed_one() -> None:
    assert version("jupyter-ssechat") == jupyter_ssechat.__version__


def test_importing_the_package_imports_no_library() -> None:
    script = "import sys, jupyter_ssechat; print(*{name.split('.')[0] for name in sys.modules})"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert set(ran.stdout.split()).isdisjoint(DOORS)


# ---- floors and doors ----


def test_every_file_has_its_floor() -> None:
    assert sorted(FLOORS) == sorted(files())


@pytest.mark.parametrize("module", sorted(files()))
def test_imports_only_go_down(module: str) -> None:
    below = FLOORS[: FLOORS.index(module)] if module in FLOORS else []
    assert own(module) <= {*below, module}


@pytest.mark.parametrize("module", PURE)
def test_the_pure_core_imports_nothing_that_acts(module: str) -> None:
    assert third_party(module) == set()
    assert {name.split(".")[0] for name in imports(module)}.isdisjoint(NOT_IN_THE_PURE_CORE)


def test_every_library_has_its_doorkeeper() -> None:
    found: dict[str, list[str]] = {}
    for module in sorted(files()):
        for library in third_party(module):
            found.setdefault(library, []).append(module)
    assert found == DOORS


def test_every_imported_library_is_a_declared_dependency() -> None:
    requirements = PROJECT["dependencies"]
    declared = {re.split(r"[^\w-]", requirement)[0].lower().replace("-", "_") for requirement in requirements}
    needed = set(DOORS) - GIVEN - set(EXTRAS)
    assert {DISTRIBUTIONS.get(name, name).lower() for name in needed} <= declared


@pytest.mark.parametrize("name", EXTRAS)
def test_every_optional_library_is_an_extra_of_its_name(name: str) -> None:
    extras = PROJECT["optional-dependencies"]
    assert [re.split(r"[^\w-]", one)[0] for one in extras[name]] == [name]
    assert any(one.startswith(f"jupyter-ssechat[{name}]") for one in extras["test"])


def test_every_module_imports_by_itself() -> None:
    for module in files():
        if module not in {"__init__", "__main__"}:
            assert importlib.import_module(f"jupyter_ssechat.{module}").__name__.endswith(module)


# ---- what is built ----


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution of this checkout."""
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="session")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the unpacked sdist where no npm can be found."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return build("wheel", folder / sdist.name.removesuffix(".tar.gz"), folder, PATH=str(folder))


def build(target: str, source: Path, out: Path, **env: str) -> Path:
    command = [
        sys.executable,
        "-m",
        "build",
        f"--{target}",
        "--no-isolation",
        "--outdir",
        str(out),
        str(source),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env}, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    [built] = [path for path in out.iterdir() if path.suffix in {".gz", ".whl"}]
    return built


def test_the_sdist_holds_the_bundle_and_its_sources_and_nothing_installed(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "Makefile",
        "js/package-lock.json",
        "js/src/widget.ts",
    }
    assert STATIC | {f"jupyter_ssechat/labextension/{name}" for name in LABEXTENSION} | wanted <= names
    assert not [
        name for name in names if "node_modules" in name or "__pycache__" in name or name.endswith(".map")
    ]


def test_the_wheel_holds_the_bundle_and_only_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        built = {name: archive.read(name) for name in STATIC}
    assert built == {name: (ROOT / name).read_bytes() for name in STATIC}
    assert {f"jupyter_ssechat/{path.relative_to(PACKAGE).as_posix()}" for path in files().values()} <= names
    assert "jupyter_ssechat/py.typed" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"jupyter_ssechat"}


def test_the_wheel_puts_the_extension_where_jupyterlab_looks_for_it(wheel: Path) -> None:
    place = (
        f"jupyter_ssechat-{jupyter_ssechat.__version__}.data/data/share/jupyter/labextensions/jupyter-ssechat"
    )
    [paths] = jupyter_ssechat._jupyter_labextension_paths()
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name.removeprefix(f"{place}/") for name in archive.namelist() if name.startswith(place)}
        described = json.loads(archive.read(f"{place}/package.json"))
        built = archive.read(f"{place}/{described['jupyterlab']['_build']['load']}")
    assert shipped == LABEXTENSION
    assert built == (PACKAGE / paths["src"] / "static" / "remoteEntry.js").read_bytes()
    assert described["name"] == paths["dest"] == place.rpartition("/")[2]
    assert described["version"] == jupyter_ssechat.__version__


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        dist_info = f"jupyter_ssechat-{jupyter_ssechat.__version__}.dist-info"
        metadata = email.message_from_bytes(archive.read(f"{dist_info}/METADATA"))
        entry_points = archive.read(f"{dist_info}/entry_points.txt").decode()
    assert metadata["Name"] == "jupyter-ssechat"
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "jupyter-ssechat = jupyter_ssechat.__main__:main" in entry_points
