"""An answer outlives its kernel, its page and its line: all the text there is, once, and how it ended."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from nbconvert import HTMLExporter, MarkdownExporter

from .hosts import Line, Site, document
from .jupyter_lab import Lab, LabServer, Notebook
from .servers import CUT, ModelServerForTests, Pause, Script, chunk, finish, model_server, usage

THOUGHTS = ["Thinking of one.", "Thinking of two.", "Thinking of three."]
TEXTS = ["A whole answer 一 🎉.", "An answer that was stopped", "An answer whose line broke"]
ENDS = ["", "Stopped: this answer is not complete.", "Failed: the model server's stream ended before"]
MARKDOWN = "text/markdown"


def opened(lab: Lab, server: ModelServerForTests, *cells: str) -> Notebook:
    """A notebook whose extension is loaded and whose model server is the test's."""
    notebook = lab.notebook([f"%load_ext jupyter_ssechat\n%chat use {server.url}", *cells])
    notebook.run(0)
    return notebook


@contextmanager
def through(line: Line, lab: Lab) -> Iterator[Lab]:
    """Have the browser reach JupyterLab over this line."""
    direct = lab.server.url
    lab.server.url = f"http://127.0.0.1:{line.port}"
    try:
        yield lab
    finally:
        lab.server.url = direct


def asks_three_times(lab: Lab) -> Path:
    """A notebook with an answer that finished, one that was stopped and one that broke, as it is saved."""
    begun = [[chunk(reasoning_content=t), chunk(content=c)] for t, c in zip(THOUGHTS, TEXTS, strict=True)]
    ends = [[finish(), usage(1, 1)], [Pause()], [CUT]]
    scripts = [Script(first + last) for first, last in zip(begun, ends, strict=True)]
    with model_server(*scripts) as server:
        notebook = opened(lab, server, *["%%chat --new\nWhat?"] * 3)
        notebook.run(1)
        notebook.start(2)
        notebook.wait_for_text(2, TEXTS[1])
        notebook.press(2, "Stop")
        notebook.wait_for_cell(2)
        notebook.run(3)
        notebook.wait_for_text(3, "AnswerFailed")
        for cell in (1, 2, 3):
            notebook.wait_until("shown(argument[0]).split(argument[1]).length === 2", [cell, TEXTS[cell - 1]])
        notebook.save()
        notebook.shutdown_kernel()
    return notebook.path


@pytest.fixture(scope="module")
def saved(lab_server: LabServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The saved notebook of all tests of this file that only read it."""
    lab = Lab(lab_server, Path(os.environ.get("SSECHAT_SHOTS") or tmp_path_factory.mktemp("shots")))
    yield asks_three_times(lab)
    lab.close()


def test_a_notebook_reopened_without_its_kernel_shows_each_answer_once(lab: Lab, saved: Path) -> None:
    notebook = lab.open(saved)
    for cell, (text, end) in enumerate(zip(TEXTS, ENDS, strict=True), 1):
        notebook.wait_for_text(cell, text)
        assert notebook.shown(cell).count(text) == 1
        assert end in notebook.shown(cell)
    notebook.screenshot("survival-reopened")
    assert notebook.strangers() == []


def test_the_file_holds_each_answer_once_as_markdown_which_says_how_it_ended(saved: Path) -> None:
    for cell, (thought, text, end) in enumerate(zip(THOUGHTS, TEXTS, ENDS, strict=True), 1):
        outputs = json.loads(saved.read_text())["cells"][cell]["outputs"]
        (lines,) = [output["data"][MARKDOWN] for output in outputs if MARKDOWN in output.get("data", {})]
        said = "".join(lines)
        assert (said.count(text), said.count(thought)) == (1, 1)
        assert end in said


def test_an_export_to_markdown_has_each_answer_once(saved: Path) -> None:
    text, resources = MarkdownExporter().from_filename(str(saved))
    assert [text.count(each) for each in THOUGHTS + TEXTS] == [1] * 6
    assert text.count(ENDS[1]) == 1
    assert not resources.get("outputs")
    assert "widget" not in text


def test_an_export_to_html_read_offline_has_each_answer_once_and_fetches_nothing_of_ours(
    lab_server: LabServer, saved: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare.ipynb"
    bare.write_text(json.dumps(document(["1"])))
    sites: list[Site] = []
    for path in (bare, saved):
        page = tmp_path / f"{path.stem}.html"
        page.write_text(HTMLExporter().from_filename(str(path))[0])
        sites.append(Site(lab_server.browser, page.as_uri()))
    site = sites[1]
    site.do(
        site.page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    )
    assert [site.count(each) for each in THOUGHTS + TEXTS] == [1] * 6
    assert site.count(ENDS[1]) == 1
    assert sorted(site.strangers) == sorted(sites[0].strangers)
    site.photograph(Path(os.environ.get("SSECHAT_SHOTS") or tmp_path) / "survival-html.png")
    for each in sites:
        each.close()


def test_an_answer_goes_on_after_the_browser_was_offline_for_a_while(lab: Lab) -> None:
    pauses = [Pause() for _ in range(40)]
    steps = [step for n, pause in enumerate(pauses) for step in (chunk(content=f"word{n} "), pause)]
    with Line(lab.server.url) as line, model_server(Script([*steps, finish(), usage(1, 40)])) as server:
        with through(line, lab):
            notebook = opened(lab, server, "%%chat --bg\ncount")
        notebook.run(1)
        for pause in pauses[:10]:
            pause.end()
        notebook.wait_for_text(1, "word10")
        line.cut()
        notebook.wait_until("context.session.kernel.connectionStatus !== 'connected'")
        for pause in pauses[10:30]:
            pause.end()
        assert pauses[30].reached.wait(10)
        assert "word11" not in notebook.shown(1)
        line.mend()
        notebook.js("context.session.kernel.reconnect()")
        notebook.wait_for_text(1, "word30")
        notebook.screenshot("survival-online-again")
        for pause in pauses[30:]:
            pause.end()
        notebook.wait_until("cells.get(1).outputs.toJSON().some((output) => 'text/markdown' in output.data)")
        notebook.wait_for_text(1, "word39")
        assert re.findall(r"word(\d+)", notebook.shown(1)) == [str(number) for number in range(40)]


STATE = """(({ node }) => [
  node.querySelector('.ssechat-state')?.textContent,
  [...node.querySelectorAll('button')].filter((each) => each.offsetParent).map((each) => each.innerText),
])(panel.content.widgets[2])"""


@pytest.mark.parametrize(
    ("classic", "how", "said"),
    [
        (False, "killed", "the kernel died and was restarted"),
        (False, "restarted", "the kernel was restarted"),
        (True, "restarted", "the kernel was restarted"),
    ],
)
def test_a_kernel_that_goes_in_mid_answer_leaves_the_text_and_is_said_to_have_gone(
    classic: bool, how: str, said: str, lab: Lab
) -> None:
    with model_server(Script([chunk(content="as far as it came"), Pause()])) as server:
        setup = f"%load_ext jupyter_ssechat\n%chat use {server.url}"
        notebook = lab.notebook([setup, "import os\nprint(os.getpid())", "%%chat\nWhat?"], classic=classic)
        notebook.run(0)
        notebook.run(1)
        process = int(notebook.shown(1))
        notebook.start(2)
        notebook.wait_for_text(2, "as far as it came")
        if how == "killed":
            os.kill(process, signal.SIGKILL)
        else:
            notebook.js("(context.restartKernel(), 0)")
        assert server.left.wait(20)
        notebook.wait_for_text(2, f"Interrupted: {said}; run the cell again")
        assert notebook.js(STATE)[1] == ["Raw", "Copy"]
        assert notebook.shown(2).count("as far as it came") == 1
        notebook.screenshot(f"survival-{how}{'-classic' * classic}")
        notebook.wait_until("context.session.kernel.status === 'idle'")
        notebook.set_source(2, "1 + 1")
        notebook.run(2)
        assert notebook.shown(2) == "2"


STANDS = "cells.get(2).outputs.toJSON().some((each) => each.data['text/markdown'] === argument)"


@pytest.mark.parametrize("keep", [False, True])
def test_a_page_reloaded_in_mid_answer_has_it_as_text_when_it_has_ended(keep: bool, lab: Lab) -> None:
    begun, more = Pause(), Pause()
    first = Script([chunk(content="One, "), begun, chunk(content="一."), finish()])
    second = Script([chunk(content="Two, "), more, chunk(content="二."), finish()])
    with model_server(first, second) as server:
        notebook = opened(lab, server, f"%config ChatMagics.keep_view = {keep}", "%%chat --bg\nWhat?")
        notebook.run(1)
        notebook.run(2)
        notebook.wait_for_text(2, "One,")
        notebook.save()
        notebook.reload()
        notebook.wait_for_text(2, "One,")
        begun.end()
        notebook.wait_until(STANDS, "One, 一.")
        notebook.wait_until("shown(2).split('One, 一.').length === 2")
        views = "!!panel.content.widgets[2].node.querySelector('.ssechat-root')"
        notebook.wait_until(f"{views} === argument", keep)
        assert notebook.data(2, MARKDOWN) == ["One, 一."]
        if keep:
            notebook.press(2, "Regenerate")
            notebook.wait_for_text(2, "Two,")
            assert "One" not in notebook.shown(2)
            more.end()
            notebook.wait_until(STANDS, "Two, 二.")
            notebook.wait_until("shown(2).split('Two, 二.').length === 2")
            assert notebook.data(2, MARKDOWN) == ["Two, 二."]
        notebook.screenshot(f"survival-reloaded{'-kept' * keep}")
        assert notebook.errors == []
