"""Moments → what is overdue: how long each part of an exchange may take; the clock is passed in."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Literal

from .errors import BadInput

Name = Literal["connect", "first_byte", "first_token", "silence", "idle", "total", "last_words"]

# A date further away than this is nonsense, and so is a number.
_LONGEST_WAIT = 10**9

_MISSED: dict[Name, str] = {
    "connect": "took no connection within {}",
    "first_byte": "went silent: no answer began within {}",
    "first_token": "went silent: no first token within {}",
    "silence": "went silent: no further token for {}",
    "idle": "went silent: not one byte for {}",
    "total": "was not done within {}",
    "last_words": "said the last word, and did not hang up within {}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """The longest that each part of an exchange may take, in seconds; None is without end.

    `connect`, `first_byte` (the answer's headers), `first_token` and `total` count from the beginning;
    `silence` is the time between two tokens, and `idle` that without a single byte, keep-alives included.
    `last_words` is the time for the figures that follow an answer's end. Raises BadInput for what is no time.

    The defaults let a large model on a slow machine load and read its prompt for a quarter of an hour.
    """

    connect: float | None = 10.0
    first_byte: float | None = 900.0
    first_token: float | None = 900.0
    silence: float | None = 300.0
    idle: float | None = None
    total: float | None = 6 * 3600.0
    last_words: float = 5.0

    def __post_init__(self) -> None:
        for one in fields(self):
            seconds = getattr(self, one.name)
            if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
                raise BadInput(f"the deadline {one.name} is {seconds:g}; expected seconds above 0, or None")


class Watch:
    """One exchange as its deadlines see it.

    `clock` tells seconds and never goes back. The watch is told how the exchange proceeds, and tells when it
    is overdue; it does not look by itself.
    """

    def __init__(self, deadlines: Deadlines, clock: Callable[[], float]) -> None:
        self._deadlines = deadlines
        self._clock = clock
        self._started = self._heard_at = self._token_at = clock()
        self._waits_for: Literal["connect", "first_byte", "first_token", "silence"] = "connect"
        self._ends_at: float | None = None

    @property
    def is_finishing(self) -> bool:
        """Whether the answer is there, and only figures may follow."""
        return self._ends_at is not None

    def connected(self) -> None:
        """The request can be written."""
        if self._waits_for == "connect":
            self._waits_for = "first_byte"

    def answered(self) -> None:
        """The headers of the answer have arrived."""
        if self._waits_for in ("connect", "first_byte"):
            self._waits_for = "first_token"
        self.heard()

    def heard(self) -> None:
        """Bytes have arrived, whatever they say."""
        self._heard_at = self._clock()

    def token(self) -> None:
        """The answer has become longer."""
        self._waits_for = "silence"
        self._token_at = self._clock()

    def finishing(self) -> None:
        """The answer has said its end; the first time counts."""
        if self._ends_at is None:
            self._ends_at = self._clock()

    def excuse(self, seconds: float) -> None:
        """Nobody listened for so long: the server was not silent."""
        self._heard_at += seconds
        self._token_at += seconds

    def due(self) -> float | None:
        """The moment, on the clock, at which the exchange is overdue; None is never."""
        return min((moment for moment, _ in self._running()), default=None)

    def missed(self) -> str:
        """Which deadline is due next, as the end of a sentence about the server."""
        _, name = min(self._running())
        return f"{_MISSED[name].format(f'{getattr(self._deadlines, name):g} s')} (deadline: {name})"

    def _running(self) -> Iterator[tuple[float, Name]]:
        for name, since in self._since():
            seconds = getattr(self._deadlines, name)
            if seconds is not None:
                yield since + seconds, name

    def _since(self) -> Iterator[tuple[Name, float]]:
        """The deadlines that count now, and from when."""
        if self._ends_at is not None:
            yield "last_words", self._ends_at
            return
        yield "total", self._started
        if self._waits_for == "connect":
            yield "connect", self._started
        if self._waits_for in ("connect", "first_byte"):
            yield "first_byte", self._started
        else:
            yield "idle", self._heard_at
        if self._waits_for == "silence":
            yield "silence", self._token_at
        else:
            yield "first_token", self._started


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds that ``Retry-After`` asks to wait, 0 for a date that has passed; None for no such wish.

    `headers` have names in lower case; `now` is in seconds since the epoch. RFC 9110, section 10.2.3: a number
    or a date, of any of the three forms. Fractions, which some servers send, are read too.
    """
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return min(float(text), _LONGEST_WAIT)
    try:
        date = parsedate_to_datetime(text[:100])
        moment = date.replace(tzinfo=date.tzinfo or UTC).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(moment - now, 0.0), _LONGEST_WAIT)


__all__ = ["Deadlines", "Watch", "retry_after"]
