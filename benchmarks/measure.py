"""Callables → CPU seconds, and the rows of the table."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

RUNS = 7


class Row(TypedDict):
    """One measurement. `bound` is what must hold, such as "≥ 1.5", and `holds` whether it does; or None.

    `value` is None where there was nothing to measure.
    """

    case: str
    value: float | None
    unit: str
    bound: str | None
    holds: bool | None


def row(
    case: str, value: float, unit: str, *, at_least: float | None = None, at_most: float | None = None
) -> Row:
    """Make a row, with at most one bound."""
    bound, holds = None, None
    if at_least is not None:
        bound, holds = f"≥ {at_least:g}", value >= at_least
    elif at_most is not None:
        bound, holds = f"≤ {at_most:g}", value <= at_most
    return Row(case=case, value=round(value, 3), unit=unit, bound=bound, holds=holds)


def missing(case: str) -> Row:
    """Make a row that says what could not be measured, and why."""
    return Row(case=case, value=None, unit="", bound=None, holds=None)


def interleaved(contenders: Mapping[str, Callable[[], Any]], runs: int = RUNS) -> dict[str, float]:
    """Return the median CPU seconds of each; they take turns, so that a slow moment of the machine is shared."""
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(runs):
        for name, call in contenders.items():
            spent[name].append(cpu_seconds(call))
    return {name: statistics.median(times) for name, times in spent.items()}


def cpu_seconds(call: Callable[[], Any]) -> float:
    """Return the CPU seconds of one call."""
    gc.collect()
    started = time.process_time()
    call()
    return time.process_time() - started
