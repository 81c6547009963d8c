"""The panel and the view in hosts other than JupyterLab, in Chromium: voila and marimo."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .hosts import Host, Site, marimo, voila
from .jupyter_lab import LabServer
from .servers import Pause, Script, answer, chunk, finish, model_server

OpenSite = Callable[[Host], Site]


@pytest.fixture
def site(lab_server: LabServer, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenSite]:
    """Open a host's page: it is closed, and photographed, at the end of the test."""
    shots = Path(os.environ.get("SSECHAT_SHOTS") or tmp_path)
    opened: list[Site] = []

    def open_site(host: Host) -> Site:
        opened.append(Site(lab_server.browser, host.url))
        return opened[-1]

    yield open_site
    for each in opened:
        each.photograph(shots / f"{request.node.name}.png")
        each.close()


RICH = "**Two**: $x^2$\n\n```python\nfor each in x: pass\n```\n"


def lead_a_conversation(site: Site, begun: Pause, held: Pause) -> None:
    """Ask in a panel whose first answer waits twice: it streams, is stopped, and the next comes with all its art."""
    box = site.page.get_by_role("textbox", name="Message")
    site.wait_for(box)
    site.do(box.fill("What is 一?"))
    site.do(box.press("Enter"))
    assert begun.reached.wait(10)
    site.wait_for(site.button("Stop"))
    begun.end()
    site.wait_for(site.page.get_by_text("One 一 🎉"))
    assert held.reached.wait(10)
    site.do(site.button("Stop").click())
    site.wait_for(site.page.locator(".ssechat-reply[data-status=stopped]"))
    site.do(box.fill("And 二?"))
    site.do(box.press("Enter"))
    site.wait_for(site.page.locator(".ssechat-reply[data-status=finished] strong", has_text="Two"))
    site.wait_for(site.page.locator("math"))
    site.wait_for(site.page.locator(".ssechat-hl-keyword", has_text="for"))
    assert site.count("One 一 🎉") == 1
    assert site.errors == []


PANEL = """
from jupyter_ssechat import Chat, ChatPanel
ChatPanel(Chat({url!r}))
"""


def test_voila_shows_a_panel_that_streams_and_stops(site: OpenSite, tmp_path: Path) -> None:
    begun, held = Pause(), Pause()
    first = Script([begun, chunk(content="One 一 🎉"), held])
    with (
        model_server(first, answer(RICH)) as server,
        voila(tmp_path, [PANEL.format(url=server.url)]) as host,
    ):
        lead_a_conversation(site(host), begun, held)
        assert server.left.wait(10)


MARIMO_PANEL = """
import marimo as mo
from jupyter_ssechat import Chat, ChatPanel
panel = mo.ui.anywidget(ChatPanel(Chat({url!r})))
panel
"""


def test_marimo_shows_a_panel_that_streams_and_stops(site: OpenSite, tmp_path: Path) -> None:
    begun, held = Pause(), Pause()
    first = Script([begun, chunk(content="One 一 🎉"), held])
    with (
        model_server(first, answer(RICH)) as server,
        marimo(tmp_path, MARIMO_PANEL.format(url=server.url)) as host,
    ):
        page = site(host)
        lead_a_conversation(page, begun, held)
        assert server.left.wait(10)
        assert page.strangers == []


def test_voila_runs_a_chat_cell_to_its_end_and_shows_it_as_markdown(site: OpenSite, tmp_path: Path) -> None:
    whole = Script([chunk(reasoning_content="Hm."), chunk(content="It is **so**."), finish()])
    with model_server(whole) as server:
        setup = f"%load_ext jupyter_ssechat\n%chat use {server.url}"
        with voila(tmp_path, [setup, "%%chat\nWhy?"]) as host:
            page = site(host)
            page.wait_for(page.page.locator("strong", has_text="so"))
            assert page.count("It is so.") == 1
            assert page.count("Error") == 0


VIEW = """
from jupyter_ssechat import Chat, ChatView
view = ChatView()
reply = Chat({url!r}).send("count", view=view)
view.on_action(lambda action: reply.ask_to_stop() if action == "stop" else reply.resume())
view
"""


def test_voila_shows_a_view_of_an_answer_that_streams_stops_and_goes_on(
    site: OpenSite, tmp_path: Path
) -> None:
    held = Pause()
    with (
        model_server(Script([chunk(content="One 一 🎉"), held]), answer(" and two.")) as server,
        voila(tmp_path, [VIEW.format(url=server.url)]) as host,
    ):
        page = site(host)
        page.wait_for(page.page.get_by_text("One 一 🎉"))
        page.do(page.button("Stop").click())
        page.wait_for(page.page.locator(".ssechat-root[data-status=stopped]"))
        page.do(page.button("Resume").click())
        page.wait_for(page.page.get_by_text("One 一 🎉 and two."))
        page.wait_for(page.page.locator(".ssechat-root[data-status=finished]"))
        assert page.errors == []
