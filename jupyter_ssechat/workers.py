"""One piece of work → several processes that do it, kept alive until a signal ends them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

SIGNALS = (signal.SIGINT, signal.SIGTERM)
QUICK_SECONDS = 5.0
MOST_QUICK_DEATHS = 5


class Workers:
    """`count` forks of this process, each of which does `work` and ends with what it returns.

    One that dies is replaced; when they die as soon as they are born, all are ended. Before the fork nothing may
    have started a thread.
    """

    def __init__(self, count: int, work: Callable[[], int]) -> None:
        self._count = count
        self._work = work
        self._born: dict[int, float] = {}
        self._ending = False
        self._quick_deaths = 0

    def start(self) -> None:
        """Begin."""
        for _ in range(self._count):
            self._fork()
        for each in SIGNALS:
            signal.signal(each, self._end)

    def wait(self) -> bool:
        """Wait until all have ended; whether that was by a signal."""
        while self._born:
            pid, _ = os.wait()
            born = self._born.pop(pid, None)
            if born is not None and not self._ending:
                self._replace(born)
        return self._ending and self._quick_deaths < MOST_QUICK_DEATHS

    def _replace(self, born: float) -> None:
        quick = time.monotonic() - born < QUICK_SECONDS
        self._quick_deaths = self._quick_deaths + 1 if quick else 0
        if self._quick_deaths >= MOST_QUICK_DEATHS:
            self._end(signal.SIGTERM, None)
        else:
            self._fork()

    def _fork(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            for each in SIGNALS:
                signal.signal(each, signal.SIG_DFL)
            code = 1
            try:
                code = self._work()
            finally:
                sys.stderr.flush()
                os._exit(code)
        self._born[pid] = time.monotonic()

    def _end(self, number: int, _: object) -> None:
        """Tell all to end; told twice, they end at once."""
        self._ending = True
        for pid in tuple(self._born):
            os.kill(pid, number)


__all__ = ["Workers"]
