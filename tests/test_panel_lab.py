"""The panel in real JupyterLab in Chromium: ask, stop, edit, switch, reload, a second view, a busy kernel."""

from __future__ import annotations

from typing import Any

from .jupyter_lab import Lab, Notebook
from .servers import ModelServerForTests, Pause, Script, answer, chunk, model_server

PANEL = """
from jupyter_ssechat import Chat, ChatPanel
panel = ChatPanel(Chat({url!r}))
panel
"""


def opened(lab: Lab, server: ModelServerForTests, *cells: str, kind: str = "7.4") -> Notebook:
    notebook = lab.notebook([PANEL.format(url=server.url), *cells], kind=kind)
    notebook.run(0)
    notebook.do(box(notebook).wait_for())
    return notebook


def box(notebook: Notebook) -> Any:
    return notebook.output_area(0).get_by_role("textbox", name="Message")


def ask(notebook: Notebook, prompt: str) -> None:
    notebook.do(box(notebook).fill(prompt))
    notebook.do(box(notebook).press("Enter"))


def turns(notebook: Notebook) -> list[list[str]]:
    """The prompt, the answer and the answer's state of each turn that is shown."""
    return notebook.js(
        """[...document.querySelectorAll('.ssechat-panel .ssechat-turn')].map((turn) => [
          turn.querySelector('.ssechat-prompt-text').innerText,
          turn.querySelector('.ssechat-answer').innerText,
          turn.querySelector('.ssechat-reply').dataset.status])"""
    )


def wait_for_turns(notebook: Notebook, *wanted: list[str]) -> None:
    notebook.wait_until(
        """JSON.stringify([...document.querySelectorAll('.ssechat-panel .ssechat-turn')].map((turn) => [
          turn.querySelector('.ssechat-prompt-text').innerText,
          turn.querySelector('.ssechat-answer').innerText.trim(),
          turn.querySelector('.ssechat-reply').dataset.status])) === JSON.stringify(argument)""",
        list(wanted),
    )


def test_a_conversation_is_led_by_the_keyboard(lab: Lab) -> None:
    first, last = Pause(), Pause()
    begun = Script([first, chunk(content="One 一 🎉"), last])
    with model_server(begun, answer("Two."), answer("Two again.")) as server:
        notebook = opened(lab, server)
        ask(notebook, "What is 一?")
        assert first.reached.wait(10)
        assert notebook.has_button(0, "Stop")
        first.end()
        notebook.wait_for_text(0, "One 一 🎉")
        notebook.do(box(notebook).press("Escape"))
        wait_for_turns(notebook, ["What is 一?", "One 一 🎉", "stopped"])
        ask(notebook, "And 二?")
        wait_for_turns(notebook, ["What is 一?", "One 一 🎉", "stopped"], ["And 二?", "Two.", "finished"])
        notebook.do(box(notebook).press("ArrowUp"))
        editing = notebook.output_area(0).get_by_role("textbox", name="Edit the prompt")
        notebook.do(editing.fill("And 2?"))
        notebook.screenshot("panel-editing")
        notebook.do(editing.press("Enter"))
        wait_for_turns(
            notebook, ["What is 一?", "One 一 🎉", "stopped"], ["And 2?", "Two again.", "finished"]
        )
        notebook.wait_for_text(0, "2/2")
        notebook.screenshot("panel-edited")
        notebook.press(0, "Previous version of the prompt")
        wait_for_turns(notebook, ["What is 一?", "One 一 🎉", "stopped"], ["And 二?", "Two.", "finished"])
        assert notebook.errors == []
        assert notebook.strangers() == []
