"""One piece of work → several processes that do it, kept alive until a signal ends them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from .gateway.journal import WARNING, tell

SIGNALS = (signal.SIGINT, signal.SIGTERM)
QUICK_SECONDS = 5.0
MOST_QUICK_DEATHS = 5


class Workers:
    """`count` forks of this process, each of which does `work` and ends with what it returns.

    One that dies is replaced, and `on_death` is told its pid; when they die as soon as they are born, all are
    ended. The first signal lets all end, by a SIGTERM that comes from here, however many of them the terminal or
    systemd has told as well; the second one kills them. If this process is killed they end, too. Before the fork
    nothing may have started a thread.
    """

    def __init__(
        self,
        count: int,
        work: Callable[[], int],
        *,
        on_end: Callable[[], object],
        on_death: Callable[[int], object],
    ) -> None:
        self._count = count
        self._work = work
        self._on_end = on_end
        self._on_death = on_death
        self._born: dict[int, float] = {}
        self._ending = False
        self._quick_deaths = 0
        self._alive, self._holds_alive = os.pipe()

    def start(self) -> None:
        """Begin."""
        for _ in range(self._count):
            self._fork()
        for each in SIGNALS:
            signal.signal(each, self._end)

    def wait(self) -> bool:
        """Wait until all have ended; whether that was by a signal."""
        while self._born:
            pid, status = os.wait()
            born = self._born.pop(pid, None)
            if born is None:
                continue
            self._on_death(pid)
            if not self._ending:
                tell("worker died", WARNING, worker=pid, status=os.waitstatus_to_exitcode(status))
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
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until it is known here, and knows what to do
        pid = os.fork()
        if pid == 0:
            self._be_a_worker()
        self._born[pid] = time.monotonic()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        tell("worker started", worker=pid)

    def _be_a_worker(self) -> NoReturn:
        code = 1
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            os.close(self._holds_alive)
            threading.Thread(target=self._end_with_parent, daemon=True).start()
            code = self._work()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _end_with_parent(self) -> None:
        os.read(self._alive, 1)  # nobody writes: it returns when the other end is closed
        os.kill(os.getpid(), signal.SIGTERM)

    def _end(self, _: int, __: object) -> None:
        """Let all end; told twice, they end at once."""
        number = signal.SIGKILL if self._ending else signal.SIGTERM
        if not self._ending:
            self._on_end()
        self._ending = True
        for pid in tuple(self._born):
            os.kill(pid, number)


__all__ = ["Workers"]
