"""Signals → batches: a private thread and event loop, so that no cell can hold a stream up."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import json
import threading
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from .patches import Patch, mend, merge

T = TypeVar("T")
FLUSH_SECONDS = 1 / 30


class Consumer:
    """A thread with an event loop of its own; it never prints and never displays.

    The thread and each task run in a copy of the caller's context: ipykernel 7.0 looks there for the parent
    of every widget message.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._run,), name="ssechat-consumer", daemon=True
        )
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine on the loop, in the caller's context; safe from any thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def call_soon(self, function: Callable[[], object]) -> None:
        """Call a function on the loop; safe from any thread."""
        self._loop.call_soon_threadsafe(function)

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    @property
    def is_current(self) -> bool:
        """Whether the caller is on this consumer's thread, which must never block."""
        return threading.current_thread() is self._thread


_lock = threading.Lock()
_shared: list[Consumer] = []


def shared_consumer() -> Consumer:
    """The consumer of this process, started by the first call, and anew in a forked child."""
    with _lock:
        if not _shared or not _shared[0].alive:
            _shared[:] = [Consumer()]
        return _shared[0]


class Batcher:
    """Gathers patches and hands them to `sink` merged: the first text at once, then at most 30 times a second.

    Lives on one event loop. Text reaches `sink` without lone surrogates, which no comm message can carry: a
    pair that arrives in two halves is joined, half a pair becomes U+FFFD.
    """

    def __init__(self, sink: Callable[[list[Patch]], None], *, interval: float = FLUSH_SECONDS) -> None:
        self._sink = sink
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._pending: list[Patch] = []
        self._halves: dict[str, str] = {}
        self._last = -interval
        self._timer: asyncio.TimerHandle | None = None

    def add(self, patches: Iterable[Patch], *, at_once: bool = False) -> None:
        """Take patches; they leave at once, or with the next flush that is due."""
        self._pending += patches
        wait = self._last + self._interval - self._loop.time()
        if at_once or wait <= 0:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(wait, self.flush)

    def flush(self, *, last: bool = False) -> None:
        """Hand over what is pending; `last` says that no other half of anything will follow."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        merged, self._pending = merge(self._pending), []
        batch = [whole for patch in merged for whole in self._whole(patch)]
        if last:
            batch += self._given_up("")
        if batch:
            self._last = self._loop.time()
            self._sink(batch)

    def _whole(self, patch: Patch) -> list[Patch]:
        """The patch without halves of pairs; one at the end of a text is kept for the text that follows."""
        if patch.op != "APPEND" or not isinstance(patch.value, str):
            return [*self._given_up(patch.path), Patch(patch.path, patch.op, sendable(patch.value))]
        text, held = mend(self._halves.pop(patch.path, "") + patch.value)
        if held:
            self._halves[patch.path] = held
        return [Patch(patch.path, "APPEND", text)] if text else []

    def _given_up(self, path: str) -> list[Patch]:
        """The halves at or below `path`, whose other halves cannot come any more."""
        lost = [one for one in self._halves if not path or f"{one}/".startswith(f"{path}/")]
        for one in lost:
            del self._halves[one]
        return [Patch(one, "APPEND", "\ufffd") for one in lost]


def sendable(value: Any) -> Any:
    """A JSON value in which no text has lone surrogates."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        clean, held = mend(text)
        return json.loads(clean + ("\ufffd" if held else ""))
    return value
