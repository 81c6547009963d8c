"""A notebook → real JupyterLab in headless Chromium → what a person sees.

Playwright lives in a thread with its own loop, so that tests may run loops of their own, and so that console
messages and requests are noted at any time.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from playwright.async_api import ConsoleMessage, Dialog, Locator, Page, async_playwright
from playwright.async_api import Error as PlaywrightError

import jupyter_ssechat

from .kernels import kernel_name

Result = TypeVar("Result")

CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LOOPBACK = {"127.0.0.1", "localhost", "[::1]", "::1"}

# The words that expressions may use. What is visible in an output area is told without the prompts, "[1]:".
PRELUDE = """
const panel = jupyterapp.shell.currentWidget;
const cells = panel.content.model.cells;
const context = panel.sessionContext;
const shown = (index) => {
  const area = panel.content.widgets[index].outputArea.node;
  const outputs = area.querySelectorAll(":scope > .jp-OutputArea-child > .jp-OutputArea-output");
  return Array.from(outputs, (output) => output.innerText).join("\\n");
};
"""
OPEN = """() => {
  const panel = window.jupyterapp?.shell.currentWidget;
  return !!panel?.content?.widgets?.length && !!panel.context?.isReady && !!panel.sessionContext?.session?.kernel;
}"""


def chromium() -> str | None:
    """The browser on this machine, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for found in map(shutil.which, names) if found), None)


def write_settings(folder: Path) -> None:
    """Write JupyterLab's settings for tests: it neither asks nor looks for news or updates."""
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    plugin = folder / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    plugin.parent.mkdir(parents=True, exist_ok=True)
    plugin.write_text(json.dumps(quiet))


READ = """async (path) => {
  await jupyterapp.restored;
  const kernelPreference = { shouldStart: false };
  await jupyterapp.commands.execute("docmanager:open", { path, factory: "Notebook", kernelPreference });
}"""
READABLE = """() => {
  const panel = window.jupyterapp?.shell.currentWidget;
  return !!panel?.content?.widgets?.length && !!panel.context?.isReady;
}"""


class Browser:
    """Chromium, driven by Playwright in a thread of its own."""

    def __init__(self, executable: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="playwright")
        self._thread.start()
        self._playwright = self.do(async_playwright().start())
        launch = self._playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        self._chromium = self.do(launch)

    def do(self, work: Coroutine[Any, Any, Result], *, timeout: float = 120) -> Result:
        """Have the browser's thread do this."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def new_page(self, listeners: Mapping[str, Callable[[Any], Any]]) -> Page:
        """Open a page with no cookies and nothing cached; `listeners` by the name of Playwright's event."""
        return self.do(self._open(listeners))

    async def _open(self, listeners: Mapping[str, Callable[[Any], Any]]) -> Page:
        page: Any = await self._chromium.new_page(viewport={"width": 1200, "height": 900})
        for event, listener in listeners.items():
            page.on(event, listener)
        return page

    def close(self) -> None:
        """End Chromium, Playwright and the thread."""
        self.do(self._chromium.close())
        self.do(self._playwright.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class LabServer:
    """A JupyterLab server on a free port of loopback, with a folder of its own, and a browser for it."""

    def __init__(self, folder: Path, executable: str) -> None:
        self.root = folder / "root"
        self.root.mkdir()
        self.token = secrets.token_hex(16)
        self.log_path = folder / "lab.log"
        self.url = f"http://127.0.0.1:{_free_port()}"
        self._extensions = _extensions(folder)
        with self.log_path.open("wb") as sink:
            self._process = subprocess.Popen(self._command(), stdout=sink, stderr=sink, cwd=self.root)
        try:
            self._wait_until_it_answers(60)
            self.browser = Browser(executable)
        except BaseException:
            self._process.kill()
            raise

    def _command(self) -> list[str]:
        options = {
            "ServerApp.ip": "127.0.0.1",
            "ServerApp.port": urlsplit(self.url).port,
            "ServerApp.port_retries": 0,
            "ServerApp.open_browser": False,
            "ServerApp.root_dir": self.root,
            "ServerApp.allow_root": True,
            "IdentityProvider.token": self.token,
            "LabApp.expose_app_in_browser": True,
            "JupyterNotebookApp.expose_app_in_browser": True,
            "LabServerApp.extra_labextensions_path": self._extensions,
            "LabApp.news_url": None,
            "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
            "LabApp.extension_manager": "readonly",
        }
        return [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]

    def _wait_until_it_answers(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"JupyterLab did not start; its log ends with\n{self.log()[-2000:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            self.rest("GET", "api/status")
        except OSError:
            return False
        return True

    def rest(self, method: str, path: str) -> Any:
        """Call the server's REST interface."""
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(f"{self.url}/{path}", method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")

    def log(self) -> str:
        """What the server has logged."""
        return self.log_path.read_text(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.browser.close()
        self._process.terminate()
        self._process.wait(20)


class Lab:
    """JupyterLab as one test uses it."""

    def __init__(self, server: LabServer, shots: Path) -> None:
        self.server = server
        self.shots = shots
        self._notebooks: list[Notebook] = []

    def notebook(
        self, cells: Sequence[str], *, kind: str = "7.4", name: str = "", classic: bool = False
    ) -> Notebook:
        """Write a notebook with these cells and open it on a kernel of this kind; `classic` is in Notebook 7."""
        path = self.server.root / (name or f"{uuid.uuid4().hex[:8]}.ipynb")
        path.write_text(json.dumps(_document(cells, kernel_name(kind))))
        return self.open(path, classic=classic)

    def open(self, path: Path, *, classic: bool = False) -> Notebook:
        """Open a notebook that lies in the server's folder."""
        return self._page(path, classic=classic).load()

    def read(self, path: Path) -> Notebook:
        """Open a notebook that lies in the server's folder, without a kernel."""
        return self._page(path).read()

    def _page(self, path: Path, *, classic: bool = False) -> Notebook:
        notebook = Notebook(self.server, path, self.shots, classic=classic)
        self._notebooks.append(notebook)
        return notebook

    def photograph_all(self, name: str) -> None:
        """Take a picture of every page; a page that cannot be drawn any more is passed over."""
        for number, notebook in enumerate(self._notebooks):
            try:
                notebook.screenshot(f"{re.sub(r'[^A-Za-z0-9.-]+', '-', name)}-{number}")
            except PlaywrightError:
                continue

    def close(self) -> None:
        """Close the pages and end their kernels."""
        for notebook in self._notebooks:
            notebook.close()
        for session in self.server.rest("GET", "api/sessions"):
            self.server.rest("DELETE", f"api/sessions/{session['id']}")


class Notebook:
    """A page of JupyterLab, or of Notebook 7, with one notebook in it. Cells are counted from 0."""

    def __init__(self, server: LabServer, path: Path, shots: Path, *, classic: bool = False) -> None:
        self.path = path
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._server = server
        self._shots = shots
        self._classic = classic
        self._do = server.browser.do
        listeners: dict[str, Callable[[Any], Any]] = {
            "console": self._note_console,
            "pageerror": lambda error: self.errors.append(str(error)),
            "request": lambda request: self.requests.append(request.url),
            "websocket": lambda opened: self.requests.append(opened.url),
            "dialog": _accept,
        }
        self._page = server.browser.new_page(listeners)

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    # ---- the page ----

    def load(self) -> Notebook:
        """Open the notebook in a workspace of its own and wait until its kernel is idle."""
        where = self.path.relative_to(self._server.root).as_posix()
        place = "notebooks" if self._classic else f"lab/workspaces/{uuid.uuid4().hex[:8]}/tree"
        url = f"{self._server.url}/{place}/{where}?token={self._server.token}"
        self._do(self._page.goto(url, wait_until="domcontentloaded"))
        self._wait_for_function(OPEN, timeout=60)
        self.wait_until("context.session.kernel.status === 'idle'", timeout=60)
        return self

    def read(self) -> Notebook:
        """Open the notebook in JupyterLab without a kernel."""
        where = self.path.relative_to(self._server.root).as_posix()
        url = f"{self._server.url}/lab/workspaces/{uuid.uuid4().hex[:8]}?token={self._server.token}"
        self._do(self._page.goto(url, wait_until="domcontentloaded"))
        self._wait_for_function("() => !!window.jupyterapp", timeout=60)
        self._do(self._page.evaluate(READ, where))
        self._wait_for_function(READABLE, timeout=60)
        return self

    def reload(self) -> None:
        """Press the browser's reload button; the kernel may be busy when the notebook is back."""
        self._do(self._page.reload(wait_until="domcontentloaded"))
        self._wait_for_function(OPEN, timeout=60)

    def close(self) -> None:
        """Close the page."""
        self._do(self._page.close())

    def screenshot(self, name: str) -> Path:
        """Take a picture of the page; returns its file."""
        self._shots.mkdir(parents=True, exist_ok=True)
        path = self._shots / f"{name}.png"
        self._do(self._page.screenshot(path=path))
        return path

    def photograph(self, locator: Locator, name: str) -> Path:
        """Take a picture of a part of the page; returns its file."""
        self._shots.mkdir(parents=True, exist_ok=True)
        path = self._shots / f"{name}.png"
        self._do(locator.screenshot(path=path))
        return path

    def strangers(self) -> list[str]:
        """The addresses asked for that are not on loopback."""
        split = [urlsplit(url) for url in self.requests]
        return [
            url.geturl()
            for url in split
            if url.scheme in {"http", "https", "ws", "wss"} and url.hostname not in LOOPBACK
        ]

    # ---- scripts in the page ----

    def js(self, expression: str, argument: Any = None) -> Any:
        """Evaluate an expression that may use `argument` and the words of PRELUDE."""
        return self._do(self._page.evaluate(_function(expression), argument))

    def wait_until(self, expression: str, argument: Any = None, *, timeout: float = 30) -> None:
        """Wait until such an expression is true."""
        self._wait_for_function(_function(expression), argument, timeout=timeout)

    def _wait_for_function(self, function: str, argument: Any = None, *, timeout: float) -> None:
        waiting = self._page.wait_for_function(function, arg=argument, timeout=timeout * 1000, polling=20)
        self._do(waiting, timeout=timeout + 30)

    # ---- cells ----

    def run(self, index: int, *, timeout: float = 60) -> None:
        """Run a cell and wait for its end."""
        self.start(index)
        self.wait_for_cell(index, timeout=timeout)

    def start(self, index: int) -> None:
        """Run a cell, without waiting."""
        self.js(
            """(panel.content.activeCellIndex = argument, panel.content.deselectAll(),
            window.started ??= {}, window.started[argument] = 'running',
            jupyterapp.commands.execute('notebook:run-cell').finally(() => { started[argument] = 'ended' }), 0)""",
            index,
        )

    def is_running(self, index: int) -> bool:
        """Whether this cell, started in this page, has not ended."""
        return self.js("window.started?.[argument] === 'running'", index)

    def wait_for_cell(self, index: int, *, timeout: float = 60) -> None:
        """Wait for the end of a cell; after a reload, for an idle kernel."""
        idle = "context.session?.kernel?.status === 'idle'"
        ended = f"window.started?.[argument] ? started[argument] === 'ended' : {idle}"
        self.wait_until(ended, index, timeout=timeout)

    def set_source(self, index: int, source: str) -> None:
        """Replace what stands in a cell."""
        self.js("cells.get(argument[0]).sharedModel.setSource(argument[1])", [index, source])

    def source(self, index: int) -> str:
        """What stands in a cell."""
        return self.js("cells.get(argument).sharedModel.getSource()", index)

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """The outputs of a cell, as the notebook's file would hold them."""
        return self.js("cells.get(argument).outputs.toJSON()", index)

    def data(self, index: int, mime: str) -> list[Any]:
        """What the outputs hold under this MIME type, in order."""
        return [output["data"][mime] for output in self.outputs(index) if mime in output.get("data", {})]

    # ---- what a person sees and does ----

    def shown(self, index: int) -> str:
        """The text that is visible in a cell's output area."""
        return self.js("shown(argument)", index)

    def wait_for_text(self, index: int, text: str, *, timeout: float = 30) -> None:
        """Wait until this text is visible in a cell's output area."""
        self.wait_until("shown(argument[0]).includes(argument[1])", [index, text], timeout=timeout)

    def wait_for_more_text(self, index: int, than: str, *, timeout: float = 30) -> str:
        """Wait until a cell shows more than it did; returns what it shows."""
        self.wait_until("shown(argument[0]).length > argument[1].length", [index, than], timeout=timeout)
        return self.shown(index)

    def press(self, index: int, button: str) -> None:
        """Press the button with this name in a cell's output area."""
        self._do(self.output_area(index).get_by_role("button", name=button, exact=True).click())

    def has_button(self, index: int, button: str) -> bool:
        """Whether a button with this name is visible in a cell's output area."""
        return self._do(self.output_area(index).get_by_role("button", name=button, exact=True).count()) > 0

    def output_area(self, index: int) -> Locator:
        """A cell's output area, for what has no word of its own here: `notebook.do(area.click())`."""
        return self._page.locator(".jp-Notebook .jp-Cell").nth(index).locator(".jp-Cell-outputArea")

    def do(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Have the browser's thread do something with the page or a locator."""
        return self._do(work)

    @property
    def page(self) -> Page:
        """Playwright's own page."""
        return self._page

    # ---- the notebook and its kernel ----

    def save(self) -> None:
        """Save the notebook."""
        self.js("panel.context.save()")

    def saved(self) -> dict[str, Any]:
        """The notebook's file."""
        return json.loads(self.path.read_text())

    def interrupt(self) -> None:
        """Press the kernel's ■."""
        self.js("context.session.kernel.interrupt()")

    def shutdown_kernel(self) -> None:
        """Shut the kernel down."""
        self.js("context.shutdown()")


def _extensions(folder: Path) -> Path:
    """A folder of JupyterLab extensions with the checkout's own, as it was built last."""
    own = Path(jupyter_ssechat.__file__).parent / "labextension"
    (folder / "labextensions").mkdir()
    (folder / "labextensions" / "jupyter-ssechat").symlink_to(own)
    return folder / "labextensions"


def _function(expression: str) -> str:
    return f"(argument) => {{ {PRELUDE} return ({expression}); }}"


def _document(cells: Sequence[str], kernel: str) -> dict[str, Any]:
    rows = [
        {
            "cell_type": "code",
            "id": uuid.uuid4().hex[:8],
            "metadata": {},
            "execution_count": None,
            "outputs": [],
            "source": source,
        }
        for source in cells
    ]
    kernelspec = {"name": kernel, "display_name": kernel, "language": "python"}
    return {"cells": rows, "metadata": {"kernelspec": kernelspec}, "nbformat": 4, "nbformat_minor": 5}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


async def _accept(dialog: Dialog) -> None:
    await dialog.accept()
