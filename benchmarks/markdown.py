"""Markdown that streams into a page: the view's renderer beside streaming-markdown and Streamdown, in Chromium.

80 KB come as 20,000 deltas, 40 before each frame at 60 frames a second. Ours draws as the view does: once for each
batch of a kernel, which sends at most 30 a second. streaming-markdown writes each delta as it comes, Streamdown
renders once in each frame; both as their manuals say. Milliseconds are CPU time of the page's main thread, the median
of turns that the contenders take one after the other; all that it did is scripts, style, layout, paint and the
collection of garbage. The longest frame is the least of several turns, since other processes only add to it; it is
also given by the clock. The peers are installed from npm into ``benchmarks/browser`` by the first run.
"""

from __future__ import annotations

import statistics

from .chromium import Bench, Cost, Task, chromium, missing_parts
from .measure import Row, missing, row

KB = 1024
SIZE = 80
DELTAS = 20_000
PER_FRAME = 40
RUNS = 3
TEXTS = {"mixed": 3.0, "paragraph": 2.0, "list": 2.0, "fence": 2.0}
"""Each text, and at most how many times the script time of streaming-markdown ours may take."""
PEER = "streaming-markdown"


def run() -> list[Row]:
    """Measure the mixed answer against both peers, the uniform ones against one, then growth and frames."""
    if lacking := missing_parts():
        return [missing(f"Markdown in Chromium: {lacking}")]
    with chromium() as bench:
        rows = [one for text in TEXTS for one in _compared(bench, text)]
        return rows + _growth(bench) + _frames(bench)


def _compared(bench: Bench, text: str) -> list[Row]:
    names = ["ours", PEER, "streamdown"] if text == "mixed" else ["ours", PEER]
    costs = _in_turns(bench, [_task(name, text) for name in names])
    ours, peer = costs[0], costs[1]
    case = f"{SIZE} KB, {text}"
    rows = [
        row(f"{case}: scripts, ours", ours.script, "ms"),
        row(f"{case}: scripts", ours.script / peer.script, f"× {PEER}", at_most=TEXTS[text]),
        row(f"{case}: main thread, ours", ours.whole, "ms"),
        row(
            f"{case}: main thread",
            ours.whole / peer.whole,
            f"× {PEER}",
            at_most=1 if text == "mixed" else None,
        ),
    ]
    for react in costs[2:]:
        rows.append(row(f"{case}: scripts, Streamdown / ours", react.script / ours.script, "×", at_least=5))
        rows.append(row(f"{case}: main thread, Streamdown / ours", react.whole / ours.whole, "×"))
    return rows


def _growth(bench: Bench) -> list[Row]:
    once, four = _in_turns(bench, [_task("ours", "mixed"), _task("ours", "mixed", times=4)])
    case = f"{4 * SIZE} KB / {SIZE} KB, mixed, ours"
    return [
        row(f"{case}: scripts", four.script / once.script, "×", at_most=5),
        row(f"{case}: main thread", four.whole / once.whole, "×", at_most=5),
    ]


def _frames(bench: Bench) -> list[Row]:
    rows: list[Row] = []
    for text in ("mixed", "fence"):
        task = _task("ours", text)._replace(extras=True)
        frames = [bench.longest_frame(task) for _ in range(RUNS)]
        case = f"{SIZE} KB, {text}, with colours and formulas: longest frame"
        cpu, wall = (min(times) for times in zip(*frames, strict=True))
        rows += [row(case, cpu, "ms", at_most=50), row(f"{case}, by the clock", wall, "ms")]
    return rows


def _task(contender: str, text: str, *, times: int = 1) -> Task:
    return Task(contender, text, times * SIZE * KB, times * DELTAS, PER_FRAME)


def _in_turns(bench: Bench, tasks: list[Task]) -> list[Cost]:
    taken = [[bench.cost(task) for task in tasks] for _ in range(RUNS)]
    return [Cost(*map(statistics.median, zip(*costs, strict=True))) for costs in zip(*taken, strict=True)]
