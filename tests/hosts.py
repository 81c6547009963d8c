"""A chat in hosts other than JupyterLab, and on a bad line → what a person sees.

voila and marimo run as they are installed, on loopback; their pages are opened in the browser of `LabServer`.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from playwright.async_api import Locator, Page, Route

from .jupyter_lab import LOOPBACK, Browser
from .kernels import kernel_name

Result = TypeVar("Result")


class Site:
    """A page of Chromium that reaches loopback only; what it asked of other machines is in `strangers`."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.errors: list[str] = []
        self.strangers: list[str] = []
        self.do = browser.do
        self.page: Page = browser.new_page({"pageerror": lambda error: self.errors.append(str(error))})
        self.do(self.page.route(lambda address: not _is_near(address), self._refuse))
        self.do(self.page.goto(url, wait_until="domcontentloaded"))

    async def _refuse(self, route: Route) -> None:
        self.strangers.append(route.request.url)
        await route.abort()

    def count(self, text: str) -> int:
        """How many elements show this text, those in shadow trees too."""
        return self.do(self.page.get_by_text(text).filter(visible=True).count())

    def wait_for(self, locator: Locator, *, timeout: float = 60) -> None:
        """Wait until this is visible; seconds."""
        self.do(locator.wait_for(timeout=timeout * 1000))

    def button(self, name: str) -> Locator:
        """The first button with this name."""
        return self.page.get_by_role("button", name=name, exact=True).first

    def photograph(self, path: Path) -> None:
        """Take a picture of the whole page."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.do(self.page.screenshot(path=path, full_page=True))

    def close(self) -> None:
        """Close the page."""
        self.do(self.page.close())


class Host:
    """A program that serves a notebook as a page, on a free port of loopback, until the block ends."""

    def __init__(self, folder: Path, module: str, *options: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/"
        self._log = folder / f"{module}.log"
        places = {name: str(folder) for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")}
        command = [sys.executable, "-m", module, *(option.format(port=port) for option in options)]
        with self._log.open("wb") as sink:
            self._process = subprocess.Popen(
                command, stdout=sink, stderr=sink, cwd=folder, env={**os.environ, **places}
            )

    def __enter__(self) -> Self:
        end = time.monotonic() + 60
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                self._process.kill()
                raise RuntimeError(f"the host did not start; its log ends with\n{self.log()[-2000:]}")
            time.sleep(0.1)
        return self

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}favicon.ico", timeout=20):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    def log(self) -> str:
        """What the host has written to its stdout and stderr."""
        return self._log.read_text(errors="replace")

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(20)


def voila(folder: Path, cells: Sequence[str]) -> Host:
    """A notebook with these cells in voila: it runs when its page is opened."""
    path = folder / "notebook.ipynb"
    path.write_text(json.dumps(document(cells)))
    return Host(folder, "voila", "--no-browser", "--Voila.ip=127.0.0.1", "--port={port}", path.name)


MARIMO = """import marimo

app = marimo.App()


@app.cell
def _():
{cell}
    return
"""


def marimo(folder: Path, cell: str) -> Host:
    """An app of marimo with this cell: it runs when its page is opened."""
    path = folder / "app.py"
    path.write_text(MARIMO.format(cell="\n".join(f"    {line}" for line in cell.strip().splitlines())))
    return Host(folder, "marimo", "run", "--headless", "--no-token", "--port={port}", path.name)


def document(cells: Sequence[str]) -> dict[str, Any]:
    """A notebook with these cells, not yet run."""
    rows = [
        {
            "cell_type": "code",
            "id": f"cell-{number}",
            "metadata": {},
            "execution_count": None,
            "outputs": [],
            "source": source,
        }
        for number, source in enumerate(cells)
    ]
    kernelspec = {"name": kernel_name("7.4"), "display_name": "Python", "language": "python"}
    return {"cells": rows, "metadata": {"kernelspec": kernelspec}, "nbformat": 4, "nbformat_minor": 5}


class Line:
    """A TCP line to a server on loopback that can be cut and mended; while it is cut, nobody gets through."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url).port
        self._whole = True
        self._pipes: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line")
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._connect, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def _do(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._whole:
                await self._join(reader, writer)
        finally:
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry both ways until one of them ends."""
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        ways = [asyncio.create_task(_carry(reader, back)), asyncio.create_task(_carry(there, writer))]
        self._pipes.update(ways)
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            back.transport.abort()
            await asyncio.gather(*ways, return_exceptions=True)
            self._pipes.difference_update(ways)

    def cut(self) -> None:
        """End every connection, and refuse new ones."""
        self._whole = False
        self._do(self._end())

    async def _end(self) -> None:
        for pipe in list(self._pipes):
            pipe.cancel()

    def mend(self) -> None:
        """Let connections through again."""
        self._whole = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.cut()
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        await self._server.wait_closed()
        await asyncio.sleep(0)  # who was let in just before has its task in the next turn of the loop
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.gather(*others, return_exceptions=True)
            await asyncio.sleep(0)


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def _is_near(address: str) -> bool:
    url = urlsplit(address)
    return url.scheme not in {"http", "https", "ws", "wss"} or url.hostname in LOOPBACK
