"""Readers come and go → a generation that nobody reads: `on_disconnect` and its grace (protocols section 4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .metrics import ReaderGuard

Action = Literal["continue", "cancel"]
GRACES: dict[Action, float] = {"continue": 600.0, "cancel": 0.0}


@dataclass(frozen=True, slots=True)
class OnDisconnect:
    """What a generation does without readers: it goes on, or is cancelled, `grace` seconds after the last one.

    Also one that goes on does not go on for ever: there its grace is a limit.
    """

    action: Action = "continue"
    grace: float = GRACES["continue"]

    @property
    def farewell(self) -> str:
        """Why the answer ended."""
        if self.action == "cancel":
            return f"the answer was cancelled {_after(self.grace)} its last reader had left"
        return f"nobody has read this answer for {_long(self.grace)}, so it was ended"


GO_ON = OnDisconnect()


class Audience:
    """The readers of one stream, each counted by `count`; tells when the last one has been gone for too long."""

    def __init__(self, count: Callable[[], ReaderGuard] | None = None) -> None:
        self._count = count
        self._present: dict[object, ReaderGuard | None] = {}
        self._elsewhere = False
        self._grace = 0.0
        self._deserted: Callable[[], object] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def await_return(self, grace: float, deserted: Callable[[], object]) -> None:
        """From now on, call `deserted` when the last reader has been gone for `grace` seconds."""
        self._grace, self._deserted = grace, deserted
        self._look()

    def dismiss(self) -> None:
        """Let readers go as they like from now on."""
        self._deserted = None
        self._look()

    def elsewhere(self, present: bool) -> None:
        """Note whether others have readers of the same answer."""
        if present != self._elsewhere:
            self._elsewhere = present
            self._look()

    def came(self, reader: object) -> None:
        """Note a reader."""
        self._present[reader] = self._count() if self._count else None
        self._look()

    def left(self, reader: object, *, whole: bool) -> None:
        """Note that a reader has gone, with all that there was or before the end; once."""
        if reader not in self._present:
            return
        if guard := self._present.pop(reader):
            guard.end() if whole else guard.lose()
        self._look()

    def _look(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not (self._present or self._elsewhere) and self._deserted is not None:
            self._timer = asyncio.get_running_loop().call_later(self._grace, self._deserted)


def _after(seconds: float) -> str:
    return f"{_long(seconds)} after" if seconds else "when"


def _long(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"


__all__ = ["GO_ON", "GRACES", "Action", "Audience", "OnDisconnect"]
