"""Saved answers in JupyterLab and Notebook 7: as the extension of the wheel draws them, with and without a kernel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nbconvert import HTMLExporter

from jupyter_ssechat.presentation import ANSWER

from .jupyter_lab import Lab, Notebook
from .servers import Pause, Script, chunk, finish, model_server, usage

WHOLE = "**Whole** answer 一 🎉\n\n```python\nfor x in y: pass\n```"
HALF = "Half an answer"
STOPPED = "Stopped: this answer is not complete."
FIGURES = """[...panel.content.widgets[argument].outputArea.node.querySelectorAll('.ssechat-saved .ssechat-figure')]
  .filter((figure) => figure.checkVisibility()).map((figure) => figure.innerText)"""

WIDGETS = """[...panel.content.node.querySelectorAll('.jp-OutputArea-output')].filter((output) =>
  output.checkVisibility()).map((output) => output.innerText).filter((text) => /widget/i.test(text))"""


def figures(notebook: Notebook, index: int) -> list[str]:
    """The figures that are to be seen below a saved answer."""
    return notebook.js(FIGURES, index)


def asked_twice(lab: Lab) -> Notebook:
    """A notebook with an answer that is finished and one that was stopped, both with thinking, saved."""
    whole = [chunk(reasoning_content="hm"), chunk(content=WHOLE), finish(), usage(7, 12)]
    half = [chunk(reasoning_content="so"), chunk(content=HALF), Pause()]
    with model_server(Script(whole), Script(half)) as server:
        setup = f"%load_ext jupyter_ssechat\n%chat use {server.url}"
        notebook = lab.notebook([setup, "%%chat\nWhat?", "%%chat --new\nWhat?"])
        notebook.run(0)
        notebook.run(1)
        notebook.start(2)
        notebook.wait_for_text(2, HALF)
        notebook.press(2, "Stop")
        notebook.wait_for_cell(2)
    return notebook


def assert_both_are_there_once(notebook: Notebook) -> None:
    """Both answers stand, each once, with their thinking folded, their figures, and no word of a widget."""
    notebook.wait_for_text(1, "Copy")
    notebook.wait_for_text(2, "Copy")
    for index, text in ((1, "Whole answer 一 🎉"), (2, HALF)):
        assert notebook.shown(index).count(text) == 1
        assert notebook.shown(index).count("Thought") == 1
        assert figures(notebook, index)[0] == "script"
    assert figures(notebook, 1)[1:3] == ["7 in", "12 out"]
    assert STOPPED in notebook.shown(2)
    assert notebook.js("panel.content.node.querySelectorAll('.ssechat-saved > details[open]').length") == 0
    assert notebook.js(WIDGETS) == []
    assert notebook.strangers() == []


def test_a_saved_answer_has_thinking_figures_and_copy_with_its_kernel_without_one_and_with_another(
    lab: Lab,
) -> None:
    notebook = asked_twice(lab)
    notebook.wait_for_text(1, "Copy")
    assert figures(notebook, 1)[:3] == ["script", "7 in", "12 out"]
    notebook.wait_for_text(2, "Resume")
    notebook.wait_until("panel.content.widgets[2].node.querySelector('.ssechat-small-print') !== null")
    assert figures(notebook, 2) == []  # the view above has them
    assert notebook.errors == []
    notebook.save()
    notebook.shutdown_kernel()

    alone = lab.read(notebook.path)
    assert_both_are_there_once(alone)
    assert alone.js("context.session?.kernel ?? null") is None
    assert (
        alone.js("cells.get(2).outputs.get(0).trusted") is True
    )  # so the widget has its place, and says nothing
    alone.js("(jupyterapp.shell.collapseLeft(), 0)")
    alone.screenshot("mime-reopened")
    alone.do(alone.page.context.grant_permissions(["clipboard-read", "clipboard-write"]))
    alone.press(1, "Copy")
    alone.wait_for_text(1, "Copied")
    assert alone.js("navigator.clipboard.readText()") == WHOLE

    another = lab.open(notebook.path, classic=True)
    another.wait_until("context.session.kernel.status === 'idle'")
    assert_both_are_there_once(another)
    another.screenshot("mime-notebook-7")


HOSTILE = (
    "<details>\n<summary>Thinking</summary>\nhm\n</details>\n\n**text** <script>window.owned = 1</script>"
    "<b onclick='window.owned = 1'>bold</b> <a id='link' href='javascript:window.owned=1'>link</a>"
)
IMAGE = "<img src=x onerror='window.owned = 1'>"


def written(metadata: Any, **data: Any) -> dict[str, Any]:
    """An output as anybody may write it into a notebook."""
    return {"output_type": "display_data", "data": data, "metadata": metadata}


def test_a_notebook_of_a_stranger_runs_nothing_and_says_what_it_says_as_text(lab: Lab) -> None:
    fields = {
        "model": IMAGE,
        "status": "finished",
        "elapsed": IMAGE,
        "ttft": [],
        "usage": IMAGE,
        "error": IMAGE,
    }
    both = {ANSWER: {"x": IMAGE}, "text/markdown": HOSTILE, "text/plain": IMAGE}
    outputs = [
        written({"ssechat": {**fields, "thinking_seconds": IMAGE}}, **both),
        written({"ssechat": IMAGE}, **{ANSWER: IMAGE, "text/plain": IMAGE}),
        written({}, **{ANSWER: None, "text/markdown": "**no** figures", "text/plain": ""}),
    ]
    cell = {
        "cell_type": "code",
        "id": "a",
        "metadata": {},
        "execution_count": 1,
        "source": "",
        "outputs": outputs,
    }
    path = lab.server.root / "stranger.ipynb"
    path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    notebook = lab.read(path)
    notebook.wait_for_text(0, "no figures")
    assert notebook.js("cells.get(0).outputs.get(0).trusted") is False
    area = "panel.content.widgets[0].outputArea.node"
    assert notebook.js(f"{area}.querySelectorAll('.ssechat-saved').length") == 3
    assert notebook.js(f"{area}.querySelectorAll('img, script, [onclick], [href^=javascript]').length") == 0
    assert figures(notebook, 0) == [IMAGE]
    assert notebook.js(f"{area}.querySelector('summary').textContent") == "Thinking"
    assert notebook.js(f"{area}.querySelector('pre').textContent") == IMAGE
    notebook.do(notebook.page.locator(".ssechat-saved").get_by_text("bold", exact=True).click())
    assert notebook.js("window.owned ?? 0") == 0
    notebook.screenshot("mime-stranger")


def test_an_export_shows_the_markdown_as_if_nothing_stood_beside_it(
    tmp_path: Path,
) -> None:
    plain = {
        "text/markdown": "<details>\n<summary>Thinking</summary>\nhm\n</details>\n\n**So.**",
        "text/plain": "So.",
    }
    pages: list[str] = []
    for data in (plain, {ANSWER: {}, **plain}):
        cell = {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": 1, "source": ""}
        cells = [{**cell, "outputs": [written({"ssechat": {"model": "m"}}, **data)]}]
        path = tmp_path / "saved.ipynb"
        path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
        pages.append(HTMLExporter().from_filename(str(path))[0])
    assert pages[0] == pages[1]
