"""The line between a browser and its notebook breaks in mid-answer: what the page shows is never less, nor wrong.

What a person sees is compared with each frame that is drawn, in the page itself. A browser's EventSource has tests of
its own, where it breaks at every byte (`test_event_source.py`).
"""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest

from .hosts import Line
from .jupyter_lab import Lab
from .servers import Breath, Script, chunk, finish, model_server, usage
from .test_survival import opened, through

WORDS = 40
SECONDS = 1.8

# Each output by itself: at its end the answer's text takes the place of its view, in two messages of the kernel, and
# JupyterLab draws it a moment later. Frames between the two are counted as `between`.
WATCH = """(() => {
  const area = panel.content.widgets[1].outputArea.node;
  const watch = window.watch = { frames: 0, between: 0, most: 0, wrong: [] };
  const numbers = (text) => [...text.matchAll(/word(\\d+)/g)].map((found) => Number(found[1]));
  const frame = () => {
    if (window.watch !== watch) return;
    const outputs = [...area.querySelectorAll(":scope > .jp-OutputArea-child > .jp-OutputArea-output")];
    const shown = outputs.map((one) => numbers(one.innerText));
    const most = Math.max(0, ...shown.map((one) => one.length));
    const retired = !area.querySelector(".ssechat-root");
    if (most === 0 && retired) watch.between += watch.most > 0;
    else if (most < watch.most) watch.wrong.push(`${most} words after ${watch.most}`);
    watch.wrong.push(...shown.filter((one) => !one.every((each, at) => each === at)).map(String));
    watch.frames += 1;
    watch.most = Math.max(watch.most, most);
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
})()"""
ONCE = "(shown(1).match(/word\\d+/g) ?? []).length === argument"
CONNECTED = "context.session.kernel.connectionStatus === 'connected'"
ANSWERED = "cells.get(1).outputs.toJSON().some((output) => 'text/markdown' in (output.data ?? {}))"
FINISHED = "panel.content.widgets[1].node.querySelector('.ssechat-root')?.dataset.status === 'finished'"

LONG = [pytest.mark.soak, pytest.mark.timeout(7200), pytest.mark.flaky(reruns=0)]


@pytest.mark.parametrize("times", [1, pytest.param(100, marks=LONG)])
def test_when_the_line_of_the_page_breaks_nothing_it_shows_is_lost(times: int, lab: Lab) -> None:
    chance, counts = random.Random("6 page"), Counter[str]()
    steps = [step for number in range(WORDS) for step in (chunk(content=f"word{number} "), Breath())]
    with Line(lab.server.url) as line, model_server(Script([*steps, finish(), usage(1, WORDS)])) as server:
        with through(line, lab):
            notebook = opened(lab, server, "%%chat --bg --new\ncount")
        for _ in range(times):
            notebook.js("(cells.get(1).outputs.clear(), 0)")
            notebook.js(WATCH)
            notebook.start(1)
            notebook.wait_for_text(1, "word0")
            time.sleep(chance.uniform(0, SECONDS))
            counts["in mid-answer"] += f"word{WORDS - 1} " not in notebook.shown(1) + " "
            line.cut()
            notebook.wait_until(f"!({CONNECTED})")
            counts["cut"] += 1
            time.sleep(chance.uniform(0, SECONDS / 2))
            line.mend()
            notebook.wait_until(CONNECTED, timeout=60)  # it tries by itself
            notebook.wait_until(f"({ANSWERED} || {FINISHED}) && {ONCE}", WORDS)
            watch = notebook.js("window.watch")
            assert watch["wrong"] == []
            assert watch["most"] == WORDS
            counts["frames"] += watch["frames"]
            counts["between"] += watch["between"]
            counts["ended finished"] += 1
            counts["stands as text"] += notebook.js(ANSWERED)
    print(f"page: {dict(sorted(counts.items()))}")
    assert counts["cut"] == counts["ended finished"] == times
    assert counts["in mid-answer"] >= 0.8 * times
