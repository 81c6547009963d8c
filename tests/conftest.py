"""Fixtures: Jupyter and IPython folders of their own, kernels of the three kinds, one JupyterLab for all tests."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from .jupyter_lab import Lab, LabServer, chromium, write_settings
from .kernels import KINDS, Kernel, write_kernelspecs
from .redis_nodes import RedisNodes
from .redis_server import RedisServer, redis_executable

if TYPE_CHECKING:
    StartKernel = Callable[..., Kernel]

hypothesis.settings.register_profile("seeded", derandomize=True, deadline=None, database=None)
hypothesis.settings.register_profile("soak", max_examples=5000, deadline=None)

_FAILED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Let nothing of the user's own settings, keys or kernels reach the tests, nor the notebooks under nbval."""
    home = Path(tempfile.mkdtemp(prefix="ssechat-tests-"))
    config.add_cleanup(functools.partial(shutil.rmtree, home, ignore_errors=True))
    for name in [
        name for name in os.environ if name.startswith(("JUPYTER", "IPYTHON")) or name.endswith("_API_KEY")
    ]:
        del os.environ[name]
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    for name, folder in folders.items():
        os.environ[name] = str(home / folder)
        (home / folder).mkdir()
    os.environ["JUPYTER_PLATFORM_DIRS"] = "1"
    hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "seeded"))


# What is real in a test, and shares two cores with another test.
_PROCESSES = {"browser", "hub", "kernel", "lab", "lab_server", "redis_nodes", "redis_server", "site"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests with browsers, kernels and servers another try; the closing line counts those that needed it."""
    for item in items:
        own = item.get_closest_marker("flaky")
        if own is None and not _PROCESSES.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember that a test failed, so that the page it had open is photographed."""
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    return report


@pytest.fixture(scope="session")
def kernelspecs() -> None:
    """The three kinds of kernel, known to Jupyter by `kernel_name(kind)`."""
    write_kernelspecs(Path(os.environ["JUPYTER_DATA_DIR"]))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of kernel in turn."""
    return request.param


@pytest.fixture
def kernel(kernelspecs: None, tmp_path: Path) -> Iterator[StartKernel]:
    """Start kernels: `kernel("7.4")`, with environment variables as keywords; they end with the test."""
    started: list[Kernel] = []

    def start(kind: str, **env: str) -> Kernel:
        log = tmp_path / f"kernel-{len(started)}.log"
        started.append(Kernel(kind, log, env=env, cwd=tmp_path))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture(scope="session")
def installed_chromium() -> str:
    """Where Debian's Chromium is; without it tests are skipped, and fail in CI."""
    executable = chromium()
    if executable is None:
        missing = "chromium is not installed; `make test` as root installs it (apt-get install chromium)"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    return executable


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One Redis for all tests of a process; who kills one starts another."""
    server = RedisServer(redis_executable(), Path(tempfile.mkdtemp(prefix="ssechat-redis-")))
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis_nodes() -> Iterator[RedisNodes]:
    """One Redis Cluster of three for all tests of a process; who kills one of its servers starts another cluster."""
    nodes = RedisNodes(redis_executable(), Path(tempfile.mkdtemp(prefix="ssechat-nodes-")))
    yield nodes
    nodes.close()


@pytest.fixture(scope="session")
def lab_server(
    kernelspecs: None, installed_chromium: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LabServer]:
    """One JupyterLab and one Chromium for all tests."""
    write_settings(Path(os.environ["JUPYTERLAB_SETTINGS_DIR"]))
    with LabServer(tmp_path_factory.mktemp("lab"), installed_chromium) as server:
        yield server


@pytest.fixture
def lab(lab_server: LabServer, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """JupyterLab for one test: its pages and kernels end with it. Pictures go to $SSECHAT_SHOTS if that is set."""
    shots = Path(os.environ.get("SSECHAT_SHOTS") or tmp_path / "shots")
    lab = Lab(lab_server, shots)
    yield lab
    if request.node.stash.get(_FAILED, False):
        lab.photograph_all(f"failed-{request.node.name}")
    lab.close()
