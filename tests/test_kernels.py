"""The driver of kernels, on real kernels of the three kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .kernels import KINDS

if TYPE_CHECKING:
    from .conftest import StartKernel


def test_each_kind_starts_and_says_its_version(kernel: StartKernel, kind: str) -> None:
    cell = kernel(kind).run("import ipykernel, ipywidgets; print(ipykernel.__version__)")
    assert (cell.status, cell.text) == ("ok", f"{KINDS[kind]}\n")


def test_outputs_errors_and_updated_displays_are_collected(kernel: StartKernel, kind: str) -> None:
    started = kernel(kind)
    shown = started.run(
        "from IPython.display import Markdown, display\nd = display(Markdown('*a*'), display_id=True)"
    )
    assert shown.data("text/markdown") == ["*a*"]
    started.run("d.update(Markdown('*b*'))")
    assert shown.data("text/markdown") == ["*b*"]
    assert started.run("print('x', end=''); print('y')\n40 + 2").text == "xy\n42"
    failed = started.run("1 / 0")
    assert failed.status == "error"
    assert "ZeroDivisionError: division by zero" in str(failed.error)


def test_a_cell_carries_its_id_and_says_whether_somebody_sits_there(kernel: StartKernel, kind: str) -> None:
    started = kernel(kind)
    ask = "p = get_ipython().kernel.get_parent('shell'); p['metadata'].get('cellId'), p['content']['allow_stdin']"
    assert started.run(ask, cell_id="c-1").text == "('c-1', True)"
    assert started.run(ask, allow_stdin=False).text == "(None, False)"


def test_interrupt_ends_a_running_cell(kernel: StartKernel, kind: str) -> None:
    started = kernel(kind)
    cell = started.start("print('here', flush=True)\nimport time\ntime.sleep(60)")
    started.wait_until(lambda: "here" in cell.text)
    started.interrupt()
    assert "KeyboardInterrupt" in str(started.finish(cell, timeout=20).error)


WIDGET = """
import anywidget, traitlets
class Echo(anywidget.AnyWidget):
    _esm = "export default {}"
    heard = traitlets.Unicode().tag(sync=True)
    def __init__(self):
        super().__init__()
        self.on_msg(self.hear)
    def hear(self, _, content, buffers):
        self.heard = content["say"]
        self.send({"type": "echo", **content})
echo = Echo()
"""


def test_a_test_can_act_as_the_browser(kernel: StartKernel, kind: str) -> None:
    started = kernel(kind)
    assert started.run(WIDGET).status == "ok"
    widget = started.widget("Echo")
    widget.send({"say": "你好"})
    started.wait_until(lambda: bool(widget.of_type("echo")))
    assert widget.of_type("echo") == [{"type": "echo", "say": "你好"}]
    assert widget.state["heard"] == "你好"
    widget.set(heard="set by the browser")
    started.wait_until(lambda: started.run("echo.heard").text == "'set by the browser'")


def test_nothing_of_the_users_settings_is_read(kernel: StartKernel) -> None:
    found = kernel("7.4").run("import IPython; print(IPython.paths.get_ipython_dir())").text
    assert "ssechat-tests-" in found
