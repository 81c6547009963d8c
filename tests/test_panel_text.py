"""The text below a panel: folded, safe, and renewed when an answer ends; with a page in test_panel_lab.py."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from jupyter_ssechat.panel_text import PanelText, Said, folded

ONE = Said("What is <b>?", "*so*", "so")
TWO = Said("And then?", "```python\nprint()\n```", "print()")
NOTHING = {"text/plain": ""}
PANEL = {"text/plain": "ChatPanel()"}


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What a real IPython has displayed."""
    config = Config()
    config.HistoryManager.enabled = False
    module = types.ModuleType("a_notebook_of_the_tests")
    shell: Any = InteractiveShell.instance(config=config, user_module=module)
    publisher: Any = CapturingDisplayPublisher()
    monkeypatch.setattr(shell, "display_pub", publisher)
    yield publisher.outputs
    InteractiveShell.clear_instance()


def test_nothing_is_shown_of_a_conversation_that_has_not_begun() -> None:
    assert folded([]) == NOTHING


def test_the_turns_are_folded_under_one_line_that_counts_them() -> None:
    data = folded([ONE, TWO])
    assert data["text/markdown"].splitlines()[:2] == [
        "<details>",
        "<summary>The conversation as text (2 questions)</summary>",
    ]
    assert data["text/markdown"].endswith("\n```\n\n</details>")
    assert "(1 question)" in folded([ONE])["text/markdown"]
    assert data["text/plain"] == "> What is <b>?\n\nso\n\n> And then?\n\nprint()"


def test_a_prompt_can_neither_break_out_nor_bring_html() -> None:
    text = folded([Said("</details><img src=x>", "fine", "fine")])["text/markdown"]
    assert text.count("</details>") == 1
    assert "<img" not in text


def test_it_stands_below_the_panel_and_is_renewed_wherever_the_panel_is_displayed(
    outputs: list[dict[str, Any]],
) -> None:
    said: list[Said] = []
    told: list[dict[str, Any]] = []
    text = PanelText(lambda: said, told.append)
    text.show(PANEL, {})
    text.show(PANEL, {})
    assert [output["data"] for output in outputs] == [PANEL, NOTHING, PANEL, NOTHING]
    places = [outputs[at]["transient"]["display_id"] for at in (1, 3)]
    said.append(ONE)
    text.renew()
    assert [output["data"] for output in outputs[4:]] == [folded([ONE])] * 2
    assert [output["transient"]["display_id"] for output in outputs[4:]] == places
    assert told == [folded([ONE])]


def test_it_is_not_renewed_without_need(outputs: list[dict[str, Any]]) -> None:
    told: list[dict[str, Any]] = []
    text = PanelText(lambda: [ONE], told.append)
    text.renew()
    text.renew(anew=True)
    assert (outputs, told) == ([], [])
    text.show(PANEL, {})
    text.renew()
    assert (len(outputs), told) == (2, [])
    text.renew(anew=True)
    assert told == [folded([ONE])]
