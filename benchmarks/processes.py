"""A function → a process of its own, whose CPU time is measured alone."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

SECONDS = 120.0
Serve = Callable[[Any, Mapping[str, Callable[[], Any]]], None]


class Process:
    """Runs ``target(serve, *args)``, which calls ``serve(opened, commands)`` when it is ready.

    `opened` is what it tells of itself; it ends when `serve` returns, at the end of the block. Raises EOFError
    when it fails, with its traceback on standard error.
    """

    def __init__(self, target: Callable[..., None], *args: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_run, args=(there, target, args), daemon=True)
        self._process.start()
        there.close()
        self.opened = self._answer()

    @property
    def pid(self) -> int:
        """The number of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def ask(self, command: str) -> Any:
        """Run one of its commands there and wait for what it gives."""
        self._pipe.send(command)
        return self._answer()

    def cpu(self) -> float:
        """CPU seconds that it has used so far, in all of its threads."""
        return self.ask("cpu")

    def _answer(self) -> Any:
        if not self._pipe.poll(SECONDS):
            raise TimeoutError(f"a process of the benchmark said nothing for {SECONDS:g} s")
        return self._pipe.recv()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.join(10)
        self._process.terminate()


def _run(pipe: Connection, target: Callable[..., None], args: tuple[Any, ...]) -> None:
    def serve(opened: Any, commands: Mapping[str, Callable[[], Any]]) -> None:
        pipe.send(opened)
        known = {"cpu": time.process_time, **commands}
        try:
            while True:
                pipe.send(known[pipe.recv()]())
        except EOFError:  # the benchmark has what it wants
            return

    target(serve, *args)
