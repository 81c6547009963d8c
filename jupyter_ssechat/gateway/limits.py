"""What a user, or all together, may take of a gateway: ``streams=4 readers=20 stored=200MB rate=120/min``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ..errors import BadInput

EXPECTED = "streams=N, readers=N, stored=SIZE, request=SIZE, rate=N/s, N/min or N/h"

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(B|[kKMGT]i?B?)?")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_RATE = re.compile(r"(\d+)/(s|min|h)")
_PERIODS = {"s": 1.0, "min": 60.0, "h": 3600.0}


class Rate(NamedTuple):
    """So many calls in so many seconds; all of them may come at once."""

    calls: int
    seconds: float

    def __str__(self) -> str:
        unit = next(name for name, seconds in _PERIODS.items() if seconds == self.seconds)
        return f"{self.calls}/{unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`streams` that run and `readers` that are connected at a time; `stored`: bytes of conversations in the store;
    `request`: bytes of one call; `rate`: how often one may call. None is no limit.
    """

    streams: int | None = None
    readers: int | None = None
    stored: int | None = None
    request: int | None = None
    rate: Rate | None = None


def parse_limits(said: Iterable[str], beside: Limits | None = None) -> Limits:
    """Limits from words such as ``streams=4``, which stand above those `beside`; BadInput says which is wrong."""
    words = [word.partition("=") for word in said]
    return limits_of({name: value for name, _, value in words}, beside)


def limits_of(said: dict[str, Any], beside: Limits | None = None) -> Limits:
    """Limits by name, each as a number or a text; BadInput says which is wrong."""
    values: dict[str, Any] = {}
    for name, value in said.items():
        read = _READ.get(name)
        if read is None:
            raise BadInput(f"{name!r} is no limit; expected {EXPECTED}")
        values[name] = None if value == "none" else read(name, str(value))
    return replace(beside or Limits(), **values)


def _count(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text)):
        raise BadInput(f"{name}={text} is not a limit; expected a number above 0, such as {name}=4, or none")
    return int(text)


def _size(name: str, text: str) -> int:
    match = _SIZE.fullmatch(text)
    if not match or not float(match[1]):
        raise BadInput(f"{name}={text} is not a size; expected one such as 8MB or 1GiB, or none")
    unit = (match[2] or "").removesuffix("B")
    base = 1024 if unit.endswith("i") else 1000
    return int(float(match[1]) * base ** _POWERS[unit[:1].lower()])


def _rate(name: str, text: str) -> Rate:
    match = _RATE.fullmatch(text)
    if not match or not int(match[1]):
        raise BadInput(f"{name}={text} is not a rate; expected one such as 120/min, or none")
    return Rate(int(match[1]), _PERIODS[match[2]])


_READ: dict[str, Callable[[str, str], object]] = {
    "streams": _count,
    "readers": _count,
    "stored": _size,
    "request": _size,
    "rate": _rate,
}


__all__ = ["EXPECTED", "Limits", "Rate", "limits_of", "parse_limits"]
