"""A text, delta by delta → what it cost Chromium's main thread, in milliseconds."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "benchmarks" / "browser"
INSTALLED = SOURCES / "node_modules" / ".installed"
SITE = ROOT / ".bench" / "browser"
PEERS = ("streaming-markdown", "streamdown")
STATIC = ROOT / "jupyter_ssechat" / "static"
PAGE = """\
<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="/widget.css">
<div class="ssechat-root ssechat-live"><div id="here"></div></div>
<script type="module" src="/page.js"></script>
"""
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu"]
MINUTES = 10 * 60_000


class Task(NamedTuple):
    """Who draws what: a text of so many UTF-16 units, in so many deltas, so many of them before each frame."""

    contender: str
    text: str
    length: int
    deltas: int
    per_frame: int
    extras: bool = False


class Cost(NamedTuple):
    """CPU milliseconds of the main thread: of scripts, and of all that it did, layout and paint among it."""

    script: float
    whole: float


class Frame(NamedTuple):
    """The longest ones: milliseconds of CPU, and by the clock, other processes' turns among them."""

    cpu: float
    wall: float


def missing_parts() -> str:
    """What is not there to measure with; empty when all of it is."""
    if find_chromium() is None:
        return "no Chromium: install Debian's `chromium`"
    return "" if shutil.which("npm") else "no npm: install Node.js 20 or newer"


def find_chromium() -> str | None:
    """The browser's program."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def install() -> None:
    """Get the peers from npm, once."""
    lock = SOURCES / "package-lock.json"
    if INSTALLED.exists() and INSTALLED.stat().st_mtime >= lock.stat().st_mtime:
        return
    print("installing streaming-markdown and Streamdown from npm into benchmarks/browser", flush=True)
    subprocess.run(["npm", "ci", "--silent"], cwd=SOURCES, check=True)
    INSTALLED.touch()


def build() -> Path:
    """Bundle the page as the widget is bundled; returns the folder that is served."""
    SITE.mkdir(parents=True, exist_ok=True)
    package = (ROOT / "js" / "package.json").read_text("utf-8")
    _bundle("ours", *dict.fromkeys(re.findall(r'--alias:[^\s"]+', package)))
    for name in ("page", *PEERS):
        _bundle(name)
    (SITE / "index.html").write_text(PAGE, "utf-8")
    for name in ("widget.css", "extras.js"):
        shutil.copy(STATIC / name, SITE)
    return SITE


def _bundle(name: str, *options: str) -> None:
    esbuild = ROOT / "js" / "node_modules" / ".bin" / "esbuild"
    production = '--define:process.env.NODE_ENV="production"'
    always = ["--bundle", "--minify", "--format=esm", "--target=es2022", "--log-level=error", production]
    command = [esbuild, SOURCES / f"{name}.ts", *always, f"--outfile={SITE / name}.js", *options]
    subprocess.run(command, cwd=ROOT / "js", check=True)


class Bench:
    """A browser with a fresh page for each task."""

    def __init__(self, browser: Any, url: str) -> None:
        self._browser = browser
        self._url = url

    def cost(self, task: Task) -> Cost:
        """Run one task."""
        with self._page(task) as page:
            devtools = page.context.new_cdp_session(page)
            devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
            before = _metrics(devtools)
            _run(page, task)
            after = _metrics(devtools)
        spent = {name: (after[name] - before[name]) * 1000 for name in ("ScriptDuration", "TaskDuration")}
        return Cost(spent["ScriptDuration"], spent["TaskDuration"])

    def longest_frame(self, task: Task) -> Frame:
        """Run one task; returns the longest job of the main thread, a frame being one."""
        with self._page(task) as page:
            self._browser.start_tracing(page=page, categories=["toplevel", "__metadata"])
            _run(page, task)
            return _longest_task(json.loads(self._browser.stop_tracing())["traceEvents"])

    @contextmanager
    def _page(self, task: Task) -> Iterator[Any]:
        page = self._browser.new_page(viewport={"width": 1200, "height": 900})
        page.set_default_timeout(MINUTES)
        try:
            page.goto(self._url)
            page.wait_for_function("() => globalThis.ready")
            words = task._asdict()
            words["perFrame"] = words.pop("per_frame")
            page.evaluate("(task) => prepare(task)", words)
            yield page
        finally:
            page.close()


@contextmanager
def chromium() -> Iterator[Bench]:
    """Build the page and open the browser."""
    from playwright.sync_api import sync_playwright

    install()
    with ExitStack() as stack:
        url = stack.enter_context(_served(build()))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        stack.callback(browser.close)
        yield Bench(browser, url)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/index.html"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _run(page: Any, task: Task) -> None:
    shown = page.evaluate("() => take()")
    # Markers are not shown, text is.
    assert shown > task.length / 2, f"{task.contender} showed {shown} characters of {task.length}"


def _metrics(devtools: Any) -> dict[str, float]:
    return {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}


def _longest_task(events: list[dict[str, Any]]) -> Frame:
    named = [event for event in events if event["name"] == "thread_name"]
    mains = {(one["pid"], one["tid"]) for one in named if one["args"]["name"] == "CrRendererMain"}
    tasks = [
        event
        for event in events
        if event["name"] == "ThreadControllerImpl::RunTask"
        and (event["pid"], event["tid"]) in mains
        # The one that runs when the recording ends has no length yet.
        and "dur" in event
    ]
    return Frame(
        cpu=max(event.get("tdur", 0) for event in tasks) / 1000,
        wall=max(event["dur"] for event in tasks) / 1000,
    )
