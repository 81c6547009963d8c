"""The pictures of the README, taken in real JupyterLab; `make pictures` runs this, no other verb does."""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path
from typing import Any

from PIL import Image

from .jupyter_lab import Lab, Notebook

QUESTION = "%%chat\nCompare the ways an answer can reach a notebook"
PHASE = "panel.content.widgets[1].node.querySelector('.ssechat-root')?.dataset.phase === argument"
WIDTH, HEIGHT = 800, 560
FRAMES_PER_SECOND = 12
SPEED = 2.5


def fresh(lab: Lab, theme: str = "Light") -> Notebook:
    """A notebook with the question in it, without the sidebar, so that it fills the picture's width."""
    notebook = lab.notebook(["%load_ext jupyter_ssechat", QUESTION])
    notebook.js(
        "jupyterapp.commands.execute('apputils:change-theme', { theme: argument })", f"JupyterLab {theme}"
    )
    notebook.js("(jupyterapp.shell.collapseLeft(), 0)")
    notebook.run(0)
    notebook.do(notebook.page.set_viewport_size({"width": 1000, "height": 720}))
    box = notebook.do(sheet(notebook).bounding_box())
    assert box is not None
    size = {"width": 1000 + WIDTH - round(box["width"]), "height": 720 + HEIGHT - round(box["height"])}
    notebook.do(notebook.page.set_viewport_size(size))  # pyright: ignore[reportArgumentType]
    notebook.wait_until("panel.content.node.getBoundingClientRect().width === argument", WIDTH)
    return notebook


def sheet(notebook: Notebook) -> Any:
    """The cells, without the toolbar."""
    return notebook.page.locator(".jp-NotebookPanel-notebook")


class Film:
    """What changes on the page, as Chromium draws it; `hold` lets the film stand still."""

    def __init__(self, notebook: Notebook) -> None:
        self._notebook = notebook
        self._frames: list[tuple[float, bytes]] = []
        self._pauses: dict[int, float] = {}
        page = notebook.page
        self._session: Any = notebook.do(page.context.new_cdp_session(page))
        self._session.on("Page.screencastFrame", self._take)
        notebook.do(self._session.send("Page.startScreencast", {"format": "png"}))

    async def _take(self, event: dict[str, Any]) -> None:
        self._frames.append((event["metadata"]["timestamp"], base64.b64decode(event["data"])))
        await self._session.send("Page.screencastFrameAck", {"sessionId": event["sessionId"]})

    def hold(self, seconds: float) -> None:
        """Let what is shown now be seen for so long."""
        self._frames.append((time.time(), self._notebook.do(self._notebook.page.screenshot())))
        self._pauses[len(self._frames) - 1] = seconds

    def save(self, path: Path) -> None:
        """End the film and write it as an animated WebP; it begins anew at its end."""
        self._notebook.do(self._session.send("Page.stopScreencast"))
        box = self._notebook.do(sheet(self._notebook).bounding_box())
        corner = (round(box["x"]), round(box["y"]))
        pictures, durations = [], []
        for picture, seconds in self._shown():
            whole = Image.open(io.BytesIO(picture)).convert("RGB")
            pictures.append(whole.crop((*corner, corner[0] + WIDTH, corner[1] + HEIGHT)))
            durations.append(round(seconds * 1000))
        path.parent.mkdir(parents=True, exist_ok=True)
        first, *others = pictures
        first.save(
            path, save_all=True, append_images=others, duration=durations, loop=0, quality=70, method=4
        )

    def _shown(self) -> list[tuple[bytes, float]]:
        """The frames that are kept, with the seconds each is seen."""
        kept: list[tuple[bytes, float]] = []
        wait = 0.0
        after = [at for at, _ in self._frames[1:]] + [self._frames[-1][0]]
        for number, ((at, picture), later) in enumerate(zip(self._frames, after, strict=True)):
            wait += max(0.0, later - at) / SPEED + self._pauses.get(number, 0.0)
            if wait >= 1 / FRAMES_PER_SECOND or number in self._pauses:
                kept.append((picture, wait))
                wait = 0.0
        return kept


def test_the_moving_picture(lab: Lab) -> None:
    notebook = fresh(lab)
    film = Film(notebook)
    notebook.start(1)
    notebook.wait_until(PHASE, "thinking")
    notebook.wait_until(PHASE, "answering")
    notebook.wait_for_text(1, "by a snapshot")
    notebook.press(1, "Stop")
    notebook.wait_for_cell(1)
    notebook.wait_for_text(1, "Stopped: this answer is not complete.")
    film.hold(1.0)
    notebook.press(1, "Resume")
    notebook.wait_until(
        "cells.get(1).outputs.toJSON().some((each) => each.data['text/markdown']?.includes('✨'))"
    )
    notebook.wait_until("!document.querySelector('.ssechat-root')")
    notebook.wait_for_text(1, "✨")
    film.hold(1.6)
    film.save(lab.shots / "chat.webp")
    assert (lab.shots / "chat.webp").stat().st_size < 1_500_000
    assert notebook.strangers() == []


def test_the_still_pictures(lab: Lab) -> None:
    notebook = fresh(lab)
    notebook.start(1)
    notebook.wait_until(PHASE, "thinking")
    notebook.wait_for_text(1, "I should say that first")
    notebook.photograph(sheet(notebook), "thinking")
    notebook.wait_until(PHASE, "answering")
    notebook.wait_for_text(1, "by a snapshot")
    notebook.photograph(sheet(notebook), "answering")
    notebook.wait_for_cell(1)
    notebook.wait_for_text(1, "✨")
    notebook.photograph(sheet(notebook), "finished")


def test_a_still_picture_in_the_dark(lab: Lab) -> None:
    notebook = fresh(lab, "Dark")
    notebook.start(1)
    notebook.wait_until(PHASE, "answering")
    notebook.wait_for_text(1, "seconds against")
    notebook.photograph(sheet(notebook), "answering-dark")
    notebook.wait_for_cell(1)
