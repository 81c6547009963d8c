"""One answer's view in real JupyterLab, as people have it: by keyboard, by ear, in the dark, in a narrow cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .jupyter_lab import Lab, Notebook
from .servers import Pause, Script, answer, chunk, finish, model_server

AXE = Path(__file__).parents[1] / "js" / "node_modules" / "axe-core" / "axe.min.js"

# A view for each state, with all that an answer may have.
VIEWS = r'''
from IPython.display import display
from jupyter_ssechat import ChatView
from jupyter_ssechat.patches import Patch

TEXT = """## A heading

Some **words**, a [link](https://example.org/), `code`, and $x^2$:

```python
print("hello, a line that is rather long and does not fit into a cell that is narrow", 1, 2, 3)
```

| a | b |
|---|---|
| 1 | 2 |

> - [x] done
"""
CALLS = [{"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bern"}'}}]
FOUND = [{"title": "Server-sent events", "url": "https://example.org/sse"}, {"title": "Text", "url": "javascript:1"}]

def answer(wire, status, phase, *, label, prompt="", folded=False, timing={}, **response):
    view = ChatView(label=label, prompt=prompt)
    fields = {"status": wire, "model": "a-model", "content": TEXT, "thinking_content": "Hm.\nLet me see.", **response}
    view.push([Patch("", "SET", {"response": fields, "phase": phase, "timing": {"ttft": 0.4, **timing}})])
    view.status, view.folded = status, folded
    display(view)

over = {"timing": {"elapsed": 9.3}}
answer("WIP", "streaming", "thinking", label="thinking", content="")
answer("WIP", "streaming", "answering", label="answering")
answer("FINISHED", "finished", "finished", label="finished", prompt="What is it?", tool_calls=CALLS,
       search_results=FOUND, usage={"prompt_tokens": 12, "completion_tokens": 345}, **over)
answer("FINISHED", "finished", "finished", label="folded", prompt="What is it?", folded=True, **over)
answer("INCOMPLETE", "stopped", "stopped", label="stopped", **over)
answer("FAILED", "failed", "failed", label="failed", error={"message": "the model server answered 500: out of memory"})
answer("WIP", "interrupted", "interrupted", label="interrupted", content="שלום world, וזה הסוף.\n\nמה שלומך?")
answer("CONTENT_FILTER", "filtered", "filtered", label="filtered",
       fragments=[{"type": "TEMPLATE_RESPONSE", "content": "Let us talk of something else."}])
'''
STATES = 8

BROKEN = """async () => {
  const include = [['.ssechat-root']];
  const { violations, passes } = await axe.run({ include }, { resultTypes: ['violations'] });
  const broken = violations.flatMap(({ id, nodes }) =>
    nodes.map((node) => `${id}: ${node.html.slice(0, 200)} ${node.failureSummary}`));
  return { broken, checked: passes.length };
}"""


@pytest.fixture
def views(lab: Lab) -> Notebook:
    """A notebook with a view for each state."""
    notebook = lab.notebook([VIEWS])
    notebook.js("(jupyterapp.shell.collapseLeft(), 0)")
    notebook.do(notebook.page.set_viewport_size({"width": 900, "height": 4200}))
    notebook.run(0)
    notebook.wait_until("document.querySelectorAll('.ssechat-root').length === argument", STATES)
    notebook.wait_until("document.querySelectorAll('.ssechat-root math').length >= 4")
    return notebook


def theme(notebook: Notebook, name: str) -> None:
    notebook.js(
        "jupyterapp.commands.execute('apputils:change-theme', { theme: argument })", f"JupyterLab {name}"
    )
    light = "true" if name == "Light" else "false"
    notebook.wait_until("document.body.dataset.jpThemeLight === argument", light)


def one(notebook: Notebook, label: str) -> Any:
    """The view with this label."""
    return notebook.output_area(0).get_by_role("region", name=label, exact=True)


def broken(notebook: Notebook) -> list[str]:
    """What axe-core finds wrong in the views."""
    notebook.do(notebook.page.evaluate(AXE.read_text()))
    found = notebook.do(notebook.page.evaluate(BROKEN))
    assert found["checked"] > 10
    return found["broken"]


def unfold_all(notebook: Notebook) -> None:
    """Show all there is to check, and edit a prompt."""
    closed = "[...document.querySelectorAll('.ssechat-root details:not([open]) > summary')]"
    notebook.js(f"{closed}.forEach((summary) => summary.click())")
    notebook.do(one(notebook, "finished").get_by_role("button", name="Edit", exact=True).click())


def test_axe_finds_nothing_wrong_in_any_state_light_or_dark(views: Notebook) -> None:
    unfold_all(views)
    for name in ("Light", "Dark"):
        theme(views, name)
        views.photograph(views.output_area(0), f"answers-{name.lower()}")
        assert broken(views) == []
    theme(views, "Light")
    assert (
        views.do(views.output_area(0).locator("textarea:visible").count()) == 1
    )  # of the one that is edited


def test_nothing_is_wider_than_a_narrow_cell(views: Notebook) -> None:
    unfold_all(views)
    views.js("document.querySelectorAll('.ssechat-root').forEach((root) => { root.style.width = '320px' })")
    wide = """[...document.querySelectorAll('.ssechat-root')].flatMap((root) => {
      const edge = root.getBoundingClientRect().right;
      const scrolls = '.ssechat-code-lines, .ssechat-table, .ssechat-spoken';
      return [...root.querySelectorAll('*')]
        .filter((one) => !one.closest(scrolls) && one.getBoundingClientRect().right > edge)
        .map((one) => one.outerHTML.slice(0, 120));
    })"""
    views.photograph(views.output_area(0), "answers-narrow")
    assert views.js(wide) == []


def test_with_the_colours_of_the_system_and_without_motion_all_can_still_be_told(views: Notebook) -> None:
    views.do(views.page.emulate_media(forced_colors="active", reduced_motion="reduce"))
    moving = "document.getAnimations().filter((one) => one.effect.target?.closest('.ssechat-root')).length"
    assert views.js(moving) == 0
    button = one(views, "finished").get_by_role("button", name="Raw", exact=True)
    views.do(button.press("Enter"))
    views.photograph(views.output_area(0), "answers-forced-colours")
    pressed, plain = views.js(
        """['Raw', 'Copy'].map((name) => {
          const buttons = document.querySelectorAll('[aria-label="finished"] .ssechat-actions button');
          const { textDecorationLine, outlineStyle, outlineWidth } =
            getComputedStyle([...buttons].find((button) => button.innerText === name));
          return [textDecorationLine, outlineStyle, outlineWidth];
        })"""
    )
    assert pressed == ["underline", "solid", "2px"]  # pressed, and focused by a key
    assert plain[:2] == ["none", "none"]
    views.do(views.page.emulate_media(forced_colors="none", reduced_motion="no-preference"))


def test_hebrew_runs_from_the_right_and_its_buttons_stay_where_they_are(views: Notebook) -> None:
    directions = views.js(
        """[...document.querySelectorAll('[aria-label="interrupted"] .ssechat-answer p')]
          .map((one) => getComputedStyle(one).direction)"""
    )
    assert directions == ["rtl", "rtl"]


def test_the_keyboard_reaches_every_control_in_the_order_of_the_page(views: Notebook) -> None:
    views.do(one(views, "finished").locator("summary").first.focus())
    reached: list[str] = []
    for _ in range(10):
        reached.append(views.js("document.activeElement.innerText.trim()"))
        views.do(views.page.keyboard.press("Tab"))
    assert reached == [
        "Thought",
        "Search results (2)",
        "link",
        "Insert as cell",
        "Copy",
        'print("hello, a line that is rather long and does not fit into a cell that is narrow", 1, 2, 3)',
        "Tool call: weather",
        "Raw",
        "Copy",
        "Edit",
    ]
    outline = views.js("getComputedStyle(document.activeElement).outlineStyle")
    assert (views.js("document.activeElement.innerText"), outline) == ("Regenerate", "solid")


def test_the_notebooks_own_styles_leave_links_and_code_as_they_are(views: Notebook) -> None:
    seen = views.js(
        """(() => {
          const style = (name) => getComputedStyle(document.querySelector(`.ssechat-answer ${name}`));
          return [style('.ssechat-link').textDecorationLine, style('.ssechat-code-lines').whiteSpace];
        })()"""
    )
    assert seen == ["underline", "pre"]


KEEP = "%load_ext jupyter_ssechat\n%config ChatMagics.keep_view = True\n%chat use "


def test_a_kept_view_regenerates_and_edits_and_the_text_stands_once(lab: Lab) -> None:
    with model_server(answer("One, 一."), answer("Two."), answer("Three.")) as server:
        notebook = lab.notebook([KEEP + server.url, "%%chat -o reply\nWhat is a?", "print(reply.prompt)"])
        notebook.run(0)
        notebook.run(1)
        notebook.wait_until("shown(1).split('One, 一.').length === 2")
        notebook.press(1, "Regenerate")
        notebook.wait_until("shown(1).split('Two.').length === 2 && !shown(1).includes('One')")
        notebook.press(1, "Edit")
        box = notebook.output_area(1).get_by_role("textbox", name="Edit the prompt")
        notebook.do(box.fill("What is b?"))
        notebook.screenshot("kept-editing")
        notebook.do(box.press("Enter"))
        notebook.wait_until("shown(1).split('Three.').length === 2 && !shown(1).includes('Two')")
        notebook.do(box.wait_for(state="hidden"))
        notebook.screenshot("kept-edited")
        notebook.press(1, "Show")
        notebook.wait_until("shown(1).split('Three.').length === 3")
        notebook.run(2)
        assert notebook.shown(2).strip() == "What is b?"
        assert notebook.errors == []


CELLS = "Array.from({ length: cells.length }, (_, index) => cells.get(index).sharedModel.getSource())"


@pytest.mark.parametrize("classic", [False, True])
def test_code_is_put_into_a_cell_below_its_view_by_the_keyboard(lab: Lab, classic: bool) -> None:
    with model_server(answer("Try:\n\n```python\nprint('一')\n\nprint(2)\n```\n")) as server:
        notebook = lab.notebook([KEEP + server.url, "%%chat\nHow?", "last"], classic=classic)
        notebook.run(0)
        notebook.run(1)
        notebook.press(1, "Show")
        button = notebook.output_area(1).get_by_role("button", name="Insert as cell", exact=True)
        notebook.do(button.press("Enter"))
        inserted = "print('一')\n\nprint(2)"
        notebook.wait_until(f"{CELLS}.length === 4")
        assert notebook.js(CELLS)[1:] == ["%%chat\nHow?", inserted, "last"]
        notebook.wait_until("document.activeElement.getAttribute('aria-label') === 'Inserted'")
        notebook.screenshot(f"inserted{'-classic' * classic}")
        notebook.run(2)
        assert notebook.shown(2).split() == ["一", "2"]


def test_a_view_that_makes_room_for_its_text_leaves_the_keyboard_in_its_cell(lab: Lab) -> None:
    pause = Pause()
    with model_server(Script([chunk(content="So"), pause, finish()])) as server:
        notebook = lab.notebook(
            [f"%load_ext jupyter_ssechat\n%chat use {server.url}", "%%chat\nHow?", "last"]
        )
        notebook.run(0)
        notebook.start(1)
        notebook.wait_for_text(1, "So")
        notebook.do(notebook.output_area(1).get_by_role("button", name="Stop", exact=True).focus())
        pause.end()
        notebook.wait_until("!document.querySelector('.ssechat-root')")
        notebook.wait_until("panel.content.widgets[1].node === document.activeElement")
        notebook.do(notebook.page.keyboard.press("ArrowDown"))
        notebook.wait_until("panel.content.activeCellIndex === 2")


def call(arguments: str, **first: str) -> dict[str, object]:
    """A chunk of a call of a tool."""
    function = {"name": "weather", "arguments": arguments} if first else {"arguments": arguments}
    return chunk(tool_calls=[{"index": 0, **first, "function": function}])


def test_a_call_of_a_tool_grows_in_a_block_of_its_own(lab: Lab) -> None:
    pause = Pause()
    begun = [chunk(content="I shall look."), call('{"city": ', id="1", type="function"), pause]
    with model_server(Script([*begun, call('"Bern"}'), finish("tool_calls")])) as server:
        notebook = lab.notebook([KEEP + server.url, "%%chat\nHow is the weather?"])
        notebook.run(0)
        notebook.start(1)
        notebook.wait_for_text(1, "Tool call: weather")
        notebook.wait_for_text(1, '{"city":')
        text = "panel.content.widgets[1].node.querySelector('.ssechat-answer').innerText.trim()"
        assert notebook.js(text) == "I shall look."
        notebook.screenshot("tool-call")
        pause.end()
        notebook.wait_for_cell(1)
        assert '{"city": "Bern"}' in notebook.data(1, "text/markdown")[0]
