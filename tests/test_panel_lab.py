"""The panel in real JupyterLab in Chromium: ask, stop, edit, switch, reload, a second view, a busy kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .jupyter_lab import Lab, Notebook
from .servers import ModelServerForTests, Pause, Script, answer, chunk, finish, model_server

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


TURNS = """[...document.querySelectorAll('.ssechat-panel .ssechat-turn')].map((turn) => [
  turn.querySelector('.ssechat-prompt-text').innerText,
  turn.querySelector('.ssechat-answer').innerText.trim(),
  turn.querySelector('.ssechat-reply').dataset.status])"""


HEIGHT = "(element) => element.offsetHeight"


def wait_for_turns(notebook: Notebook, *wanted: list[str]) -> None:
    """Wait until the panel rests and shows these prompts, answers and states."""
    rests = "document.querySelector('.ssechat-panel').dataset.busy === 'false'"
    notebook.wait_until(f"{rests} && JSON.stringify({TURNS}) === JSON.stringify(argument)", list(wanted))


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
        line = notebook.do(editing.evaluate(HEIGHT))
        notebook.do(editing.fill("And\n\n\n2?"))
        assert notebook.do(editing.evaluate(HEIGHT)) > 2 * line
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


def test_a_page_reloaded_in_mid_answer_and_a_second_view_show_all_there_is_once(lab: Lab) -> None:
    words = [f"word{number} " for number in range(30)]
    pauses = [Pause() for _ in words]
    steps = [step for word, pause in zip(words, pauses, strict=True) for step in (chunk(content=word), pause)]
    with model_server(answer("Before."), Script([*steps, finish()])) as server:
        notebook = opened(lab, server)
        ask(notebook, "first")
        wait_for_turns(notebook, ["first", "Before.", "finished"])
        ask(notebook, "count")
        for pause in pauses[:10]:
            pause.end()
        notebook.wait_for_text(0, "word10")
        notebook.save()
        notebook.reload()
        notebook.wait_for_text(0, "word10")
        notebook.do(notebook.page.evaluate("jupyterapp.commands.execute('notebook:create-output-view')"))
        for pause in pauses[10:]:
            pause.end()
        numbers = ",".join(str(number) for number in range(30))
        whole = """(numbers) => [...document.querySelectorAll('.ssechat-panel')].filter((panel) =>
          panel.innerText.match(/Before\\./g)?.length === 1 &&
          [...panel.innerText.matchAll(/word(\\d+)/g)].map((found) => found[1]).join() === numbers &&
          panel.querySelectorAll('.ssechat-reply[data-status=finished]').length === 2).length === 2"""
        notebook.do(notebook.page.wait_for_function(whole, arg=numbers))
        notebook.screenshot("panel-twice")
        assert notebook.errors == []


@pytest.mark.parametrize("kind", ["6.29", "7.4"])
def test_stop_works_while_a_cell_holds_the_kernel(lab: Lab, kind: str) -> None:
    pause = Pause()
    with model_server(Script([chunk(content="One"), pause])) as server:
        notebook = opened(lab, server, "import threading; over = threading.Event(); over.wait(20)", kind=kind)
        ask(notebook, "x")
        notebook.wait_for_text(0, "One")
        notebook.start(1)
        notebook.wait_until("context.session.kernel.status === 'busy'")
        notebook.press(0, "Stop")
        assert server.left.wait(5)
        wait_for_turns(notebook, ["x", "One", "stopped"])
        assert notebook.is_running(1)
        notebook.interrupt()
        notebook.wait_for_cell(1)


@pytest.mark.parametrize("kind", ["7.2", "7.4"])
def test_a_conversation_goes_on_while_a_cell_runs(lab: Lab, kind: str) -> None:
    with model_server(answer("Fine.", thinking=("Hm",))) as server:
        notebook = opened(lab, server, "import threading; over = threading.Event(); over.wait(20)", kind=kind)
        notebook.start(1)
        notebook.wait_until("context.session.kernel.status === 'busy'")
        ask(notebook, "Are you there?")
        wait_for_turns(notebook, ["Are you there?", "Fine.", "finished"])
        assert notebook.is_running(1)
        notebook.interrupt()
        notebook.wait_for_cell(1)


def test_a_prompt_for_a_kernel_that_is_held_stays_in_the_box_until_it_is_taken(lab: Lab) -> None:
    with model_server(answer("Fine.")) as server:
        notebook = opened(lab, server, "import time\nfor _ in range(200): time.sleep(0.1)", kind="6.29")
        notebook.start(1)
        notebook.wait_until("context.session.kernel.status === 'busy'")
        ask(notebook, "Are you there?")
        notebook.wait_for_text(0, "The kernel is busy: it takes this when it is free")
        assert notebook.do(box(notebook).input_value()) == "Are you there?"
        notebook.interrupt()
        wait_for_turns(notebook, ["Are you there?", "Fine.", "finished"])
        assert notebook.do(box(notebook).input_value()) == ""


def test_an_answer_is_shown_as_written_and_its_code_put_into_a_cell(lab: Lab) -> None:
    with model_server(answer("**So**:\n\n```python\n1 + 1\n```\n")) as server:
        notebook = opened(lab, server, "last")
        ask(notebook, "How?")
        notebook.wait_for_text(0, "So:")
        notebook.press(0, "Insert as cell")
        notebook.wait_until("cells.length === 3")
        assert notebook.source(1) == "1 + 1"
        notebook.press(0, "Raw")
        notebook.wait_for_text(0, "**So**:\n\n```python\n1 + 1\n```")
        notebook.screenshot("panel-raw")
        assert notebook.errors == []


def test_the_conversation_stays_below_the_panel_as_text_when_its_kernel_has_gone(lab: Lab) -> None:
    with model_server(answer("One **a**", thinking=("Hm",)), answer("Two"), answer("Three")) as server:
        notebook = opened(lab, server)
        ask(notebook, "first")
        notebook.wait_for_text(0, "The conversation as text (1 question)")
        ask(notebook, "second")
        notebook.wait_for_text(0, "The conversation as text (2 questions)")
        notebook.save()
        notebook.reload()
        notebook.do(box(notebook).wait_for())
        ask(notebook, "third")
        notebook.wait_for_text(0, "The conversation as text (3 questions)")
        assert len(notebook.outputs(0)) == 2
        notebook.js("(context.restartKernel(), 0)")
        notebook.wait_for_text(
            0, "The kernel was restarted; run the cell that shows this panel to begin anew"
        )
        assert notebook.do(box(notebook).is_disabled())
        notebook.screenshot("panel-restarted")
        notebook.wait_until("context.session.kernel.status === 'idle'")
        notebook.save()
        notebook.shutdown_kernel()
        notebook.close()
        again = lab.open(notebook.path)
        again.do(again.output_area(0).get_by_text("The conversation as text").click())
        for text in ("first", "One a", "second", "Two", "third", "Three"):
            assert again.shown(0).count(text) == 1
        again.screenshot("panel-reopened")


def test_enter_of_an_input_method_does_not_send(lab: Lab) -> None:
    with model_server(answer("好")) as server:
        notebook = opened(lab, server)
        notebook.do(box(notebook).focus())
        cdp = notebook.do(notebook.page.context.new_cdp_session(notebook.page))
        composing = {"selectionStart": 2, "selectionEnd": 2, "text": "ni"}
        notebook.do(cdp.send("Input.imeSetComposition", composing))
        enter = {"type": "rawKeyDown", "key": "Process", "code": "Enter", "windowsVirtualKeyCode": 229}
        notebook.do(cdp.send("Input.dispatchKeyEvent", enter))
        notebook.do(cdp.send("Input.dispatchKeyEvent", {**enter, "key": "Enter"}))
        notebook.do(cdp.send("Input.insertText", {"text": "你"}))
        assert notebook.do(box(notebook).input_value()) == "你"
        notebook.do(box(notebook).press("Shift+Enter"))
        notebook.do(notebook.page.keyboard.insert_text("好"))
        assert (notebook.js(TURNS), server.requests) == ([], [])
        notebook.do(box(notebook).press("Enter"))
        wait_for_turns(notebook, ["你\n好", "好", "finished"])


TALK = "document.querySelector('.ssechat-talk')"
GAP = f"(talk => talk.scrollHeight - talk.scrollTop - talk.clientHeight)({TALK})"


def test_it_scrolls_with_the_text_only_while_the_reader_is_at_the_end(lab: Lab) -> None:
    pause = Pause()
    lines = "".join(f"line {number}\n\n" for number in range(60))
    with model_server(
        Script([chunk(content=lines), pause, chunk(content=f"{lines}The end."), finish()])
    ) as server:
        notebook = opened(lab, server)
        ask(notebook, "x")
        notebook.wait_until(f"{TALK}.scrollTop > 200 && {GAP} < 24")
        assert not notebook.has_button(0, "Jump to newest")
        notebook.js(f"{TALK}.scrollTop = 100")
        notebook.wait_until("!document.querySelector('.ssechat-jump').hidden")
        pause.end()
        notebook.wait_for_text(0, "The end.")
        assert notebook.js(f"{TALK}.scrollTop") == 100
        notebook.screenshot("panel-scrolled")
        notebook.press(0, "Jump to newest")
        notebook.wait_until(f"{GAP} < 24")
        assert not notebook.has_button(0, "Jump to newest")


LAYOUT = """
import ipywidgets
from jupyter_ssechat import Chat, ChatPanel
panel = ChatPanel(Chat("demo", pace=0), layout={"height": "420px", "width": "280px"})
text = ipywidgets.Textarea()
ipywidgets.jslink((panel, "value"), (text, "value"))
panel.send("Show me *code*, math and a table").wait()
ipywidgets.HBox([panel, text])
"""


def test_it_has_its_place_in_a_layout_and_its_draft_is_linked(lab: Lab) -> None:
    notebook = lab.notebook([LAYOUT])
    notebook.run(0)
    notebook.do(box(notebook).wait_for())
    notebook.do(box(notebook).fill("a draft\nof two lines"))
    linked = notebook.output_area(0).locator(".widget-textarea textarea")
    notebook.wait_until(
        "document.querySelector('.widget-textarea textarea').value === 'a draft\\nof two lines'"
    )
    notebook.do(linked.fill("the other way"))
    notebook.wait_until("document.querySelector('.ssechat-draft').value === 'the other way'")
    size = (
        "(box => [box.width, box.height])(document.querySelector('.ssechat-panel').getBoundingClientRect())"
    )
    width, height = notebook.js(size)
    assert width <= 280 and 400 <= height <= 420
    notebook.screenshot("panel-narrow")
    darken = "jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
    notebook.do(notebook.page.evaluate(darken))
    notebook.wait_until(
        "document.body.dataset.jpThemeLight === 'false' && !document.querySelector('#jupyterlab-splash')"
    )
    notebook.screenshot("panel-narrow-dark")
    notebook.do(notebook.page.evaluate(darken.replace("Dark", "Light")))
    notebook.wait_until("document.body.dataset.jpThemeLight === 'true'")


def how_to(title: str, **instead: str) -> str:
    """The code of a how-to of the README, with the given names in place of others."""
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    code = readme.partition(f"**{title}")[2].partition("```python\n")[2].partition("```")[0]
    for name, other in instead.items():
        code = code.replace(f'"{name}"', f'"{other}"')
    return code


def test_the_readmes_view_in_a_layout_streams_stops_and_goes_on_at_its_width(lab: Lab) -> None:
    with model_server(Script([chunk(content="Blue 一"), Pause()]), answer(" because.")) as server:
        notebook = lab.notebook([how_to("One answer in a layout", ollama=server.url)])
        notebook.run(0)
        notebook.wait_for_text(0, "Blue 一")
        notebook.press(0, "Stop")
        assert server.left.wait(10)
        notebook.press(0, "Resume")
        notebook.wait_for_text(0, "Blue 一 because.")
        notebook.wait_for_text(0, "Finished")
        width = "document.querySelector(argument).getBoundingClientRect().width"
        share = notebook.js(width, ".ssechat-root") / notebook.js(width, ".widget-hbox")
        assert 0.6 < share < 0.75
        notebook.screenshot("view-in-a-layout")
        assert notebook.errors == []


AXE = Path(__file__).parents[1] / "js" / "node_modules" / "axe-core" / "axe.min.js"
BROKEN = """async () => {
  const { violations, passes } = await axe.run({ include: [['.ssechat-panel']] }, { resultTypes: ['violations'] });
  if (passes.length < 10) return ['axe-core found too little to look at'];
  return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html} ${node.failureSummary}`));
}"""
TEXT = (
    "# Heading\n\nSome **bold** text and `code`:\n\n```python\nprint('hello')\n```\n\n"
    "And $x^2$.\n\nשלום is right to left."
)


def look(notebook: Notebook, name: str) -> None:
    """Take a picture, and let axe-core find nothing wrong."""
    notebook.screenshot(name)
    assert notebook.do(notebook.page.evaluate(BROKEN)) == []


def test_axe_finds_nothing_wrong_while_it_streams_and_afterwards_in_light_and_dark(lab: Lab) -> None:
    first, last = Pause(), Pause()
    begun = Script(
        [
            chunk(reasoning_content="Let me think. 让我想一想。"),
            first,
            chunk(content=TEXT),
            last,
            finish("length"),
        ]
    )
    refused = Script(status=400, body={"error": {"message": "no such model"}})
    with model_server(begun, answer("Again."), refused) as server:
        notebook = opened(lab, server)
        notebook.do(notebook.page.evaluate(AXE.read_text()))
        ask(notebook, "Tell me of שלום,\n你好 and 🎉")
        notebook.wait_for_text(0, "Let me think.")
        look(notebook, "panel-thinking")
        first.end()
        notebook.wait_for_text(0, "right to left")
        notebook.wait_until(
            "document.querySelector('.ssechat-panel math') && document.querySelector('.ssechat-panel pre span[class]')"
        )
        ask(notebook, "next question")
        notebook.wait_for_text(0, "Not sent yet")
        look(notebook, "panel-answering")
        last.end()
        notebook.wait_for_text(0, "Cut off at the token limit")
        look(notebook, "panel-cut")
        notebook.press(0, "Regenerate")
        wait_for_turns(notebook, ["Tell me of שלום,\n你好 and 🎉", "Again.", "finished"])
        notebook.do(box(notebook).press("Enter"))
        notebook.wait_for_text(0, "no such model")
        notebook.do(notebook.output_area(0).get_by_role("button", name="Edit").last.click())
        for theme in ("Dark", "Light"):
            change = "jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab %s'})"
            notebook.do(notebook.page.evaluate(change % theme))
            notebook.wait_until(
                "document.body.dataset.jpThemeLight === argument", str(theme == "Light").lower()
            )
            notebook.wait_until("!document.querySelector('#jupyterlab-splash')")
            look(notebook, f"panel-{theme.lower()}")
