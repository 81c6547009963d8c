"""Two workers on one Redis under 500 streams of 50 tokens/s with two readers each, or the most that holds here.

One reader asks at one worker, the other resumes at the other one. Redis, the workers, the model server and the readers
are processes of their own on this machine, and share its cores: what the last two use is shown too. A load *holds*
when 99 % of what is offered is delivered meanwhile, 99 of 100 tokens within a second, and every reader has every token
at the end. Beside it: the same on one worker that keeps all in memory.

Round trips are the reads of Redis, which are at least as many: a large append takes several.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from .load import Load, Measured, measure, percentile
from .measure import Row, missing, row
from .servers import has_redis

WANTED = 500
FEWER = (20, 50, 75, 100, 125, 150, 200, 250, 300, 400)
TRIPS = 0.2
_Measure = Callable[[int], Measured]


@dataclass(frozen=True, slots=True)
class Setting:
    """How many workers there are on which store, and where the readers are."""

    name: str
    own: int
    other: int
    workers: int
    store: str

    def load(self, streams: int) -> Load:
        """So many streams in this setting."""
        return Load(streams, own=self.own, other=self.other, workers=self.workers, store=self.store)


SETTINGS = (Setting("Redis, 2 workers", 1, 1, 2, "redis"), Setting("memory, 1 worker", 2, 0, 1, "memory"))


def run() -> list[Row]:
    """Measure what is wanted, and look for what holds where that does not."""
    if not has_redis():
        return [missing("redis-server is not installed: apt-get install redis-server")]
    return [one for setting in SETTINGS for one in _searched(setting)]


def _searched(setting: Setting) -> list[Row]:
    @cache
    def measured(streams: int) -> Measured:
        return measure(setting.load(streams))

    wanted = measured(WANTED)
    most = WANTED if wanted.holds else _most(measured)
    rows = [row(f"{setting.name}: streams that hold", most, f"of {WANTED}")]
    for streams in sorted({most, WANTED} - {0}, reverse=True):
        rows += rows_of(f"{setting.name}, {streams}", measured(streams))
    return rows


def _most(measured: _Measure) -> int:
    """The most of FEWER that holds; 0 for none."""
    low, high = 0, len(FEWER)  # below `low` all hold, from `high` on none does
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if measured(FEWER[middle]).holds else (low, middle)
    return FEWER[low - 1] if low else 0


def rows_of(case: str, found: Measured) -> list[Row]:
    """What was measured under one load."""
    tokens = max(found.written, 1)
    rows = [
        row(f"{case}: offered to readers", found.offered / found.seconds, "tokens/s"),
        row(f"{case}: delivered", found.delivered / found.seconds, "tokens/s"),
        row(f"{case}: not delivered when all had ended", found.lost, "tokens"),
        _way(f"{case}: on the way, p50", found.p(50)),
        _way(f"{case}: on the way, p99", found.p(99)),
    ]
    if found.load.other:
        rows += [
            _way(f"{case}: on the way to who asked, p99", percentile(found.asked, 99)),
            _way(f"{case}: on the way to who resumed, p99", percentile(found.resumed, 99)),
        ]
    for name, used in found.used.items():
        rows += [
            row(f"{case}: {name}, CPU", 100 * used.cpu / found.seconds, "% of a core"),
            row(f"{case}: {name}, memory", used.memory / 2**20, "MB"),
        ]
    rows.append(row(f"{case}: everything else on the machine", 100 * found.elsewhere, "% of it"))
    if found.redis:
        counted = found.redis
        rows += [
            row(f"{case}: Redis, commands", counted["commands"] / tokens, "per token"),
            row(f"{case}: Redis, round trips", counted["reads"] / tokens, "per token", at_most=TRIPS),
            row(f"{case}: Redis, memory", counted["memory"] / tokens, "bytes/token"),
            row(f"{case}: Redis, file", counted["file"] / tokens, "bytes/token"),
        ]
    return rows


def _way(case: str, seconds: float) -> Row:
    return row(case, 1e3 * seconds, "ms") if math.isfinite(seconds) else missing(f"{case}: nothing came")
