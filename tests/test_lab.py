"""The driver of JupyterLab, on real JupyterLab in Chromium."""

from __future__ import annotations

from .jupyter_lab import Lab


def test_a_notebook_opens_and_a_cell_runs(lab: Lab) -> None:
    notebook = lab.notebook(["1 + 1", "import ipykernel; ipykernel.__version__"])
    notebook.run(0)
    assert notebook.shown(0) == "2"
    notebook.run(1)
    assert "7.4.0" in notebook.shown(1)
    assert notebook.screenshot("smoke").stat().st_size > 10_000
    assert notebook.errors == []
    assert notebook.strangers() == []


def test_a_running_cell_is_watched_interrupted_and_saved(lab: Lab) -> None:
    notebook = lab.notebook(
        ["import time\nfor n in range(6000):\n    print(n, flush=True)\n    time.sleep(0.01)"], kind="6.29"
    )
    notebook.start(0)
    notebook.wait_for_text(0, "3\n")
    notebook.wait_for_more_text(0, notebook.shown(0))
    assert notebook.is_running(0)
    notebook.interrupt()
    notebook.wait_for_cell(0)
    assert "KeyboardInterrupt" in notebook.shown(0)
    notebook.save()
    assert notebook.saved()["cells"][0]["outputs"][-1]["ename"] == "KeyboardInterrupt"


def test_a_page_is_reloaded_while_a_cell_runs(lab: Lab) -> None:
    notebook = lab.notebook(["import time\ntime.sleep(5)\nprint('over')", "6 * 7"], kind="7.2")
    notebook.start(0)
    notebook.wait_until("context.session.kernel.status === 'busy'")
    notebook.save()
    notebook.reload()
    notebook.wait_for_cell(0)
    notebook.set_source(1, "6 * 9")
    notebook.run(1)
    assert notebook.shown(1) == "54"
    notebook.shutdown_kernel()
    assert lab.server.rest("GET", "api/kernels") == []


BUTTON = """
import ipywidgets
button, label = ipywidgets.Button(description="Press"), ipywidgets.Label("before")
button.on_click(lambda _: setattr(label, "value", "after"))
ipywidgets.VBox([button, label])
"""


def test_a_button_in_an_output_is_pressed(lab: Lab) -> None:
    notebook = lab.notebook([BUTTON])
    notebook.run(0)
    notebook.wait_for_text(0, "before")
    assert notebook.has_button(0, "Press")
    notebook.press(0, "Press")
    notebook.wait_for_text(0, "after")
