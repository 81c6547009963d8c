"""So many streams, workers and readers → what came, how late, and what it cost each process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import psutil
from redis import Redis

from .calls import create_session, post_bytes
from .endless import endless
from .listeners import Call, Heard, Wanted, listeners
from .processes import Process
from .servers import TOKEN, Server, redis_server, worker

LOOK_SECONDS = 0.1
ATTACH_SECONDS = 60.0
SETTLE_SECONDS = 2.0
END_SECONDS = 30.0
LATE_SECONDS = 1.0


class Load(NamedTuple):
    """How much there is to do: streams of `rate` tokens a second, dealt out to the workers in turns, each with so
    many readers at its own worker, who asks among them, and so many at the next one. Seconds are those that are
    measured."""

    streams: int
    rate: float = 50.0
    own: int = 1
    other: int = 1
    workers: int = 2
    store: str = "redis"
    seconds: float = 20.0

    @property
    def readers(self) -> int:
        """How many readers there are of each stream."""
        return self.own + self.other


class Used(NamedTuple):
    """What one process used while it was measured: CPU seconds; and what it holds: bytes of memory."""

    cpu: float
    memory: int


class Measured(NamedTuple):
    """What happened in `seconds`. `written` and `delivered` are tokens; `asked` and `resumed` the seconds that
    they were on their way to the reader who asked and to those who resumed; `redis` what Redis counted meanwhile.

    `lost` are the tokens that were written and had not reached a reader when the streams had ended or, where
    `ended` is false, were given up; `calls` is how often the model server was asked, once for each stream unless
    its owner changed. `stored` are the bytes that Redis needs for a session at the end. `elsewhere` is the share of
    the machine that something else had, of 1.
    """

    load: Load
    seconds: float
    written: int
    delivered: int
    pieces: int
    bytes: int
    asked: Sequence[float]
    resumed: Sequence[float]
    used: Mapping[str, Used]
    redis: Mapping[str, float]
    lost: int
    ended: bool
    calls: int
    stored: float
    elsewhere: float

    @property
    def holds(self) -> bool:
        """Whether the readers got what they ought to have got, in time and whole."""
        in_time = self.delivered >= 0.99 * self.offered and self.p(99) <= LATE_SECONDS
        return in_time and self.ended and self.lost == 0

    @property
    def offered(self) -> float:
        """The tokens that all readers together ought to have got."""
        return self.load.streams * self.load.readers * self.load.rate * self.seconds

    def p(self, percent: int) -> float:
        """The seconds within which so many of a hundred tokens reached their readers."""
        return percentile([*self.asked, *self.resumed], percent)


def percentile(seconds: Sequence[float], percent: int) -> float:
    """The value below which so many of a hundred lie; endless where nothing came."""
    return statistics.quantiles(seconds, n=100)[percent - 1] if len(seconds) > 1 else float("inf")


def measure(load: Load) -> Measured:
    """Start everything, let it run, and look at it for `load.seconds`."""
    with ExitStack() as stack:
        model = stack.enter_context(Process(endless, load.rate))
        redis = stack.enter_context(redis_server()) if load.store == "redis" else None
        store = f"redis://127.0.0.1:{redis.port}" if redis else load.store
        workers = [stack.enter_context(worker(model.opened, store)) for _ in range(load.workers)]
        readers = stack.enter_context(Process(listeners, _wanted(load, workers)))
        pids = {"model server": model.pid, "readers": readers.pid}
        pids |= {f"worker {number}": one.pid for number, one in enumerate(workers, 1)}
        pids |= {"redis": redis.pid} if redis else {}
        _wait_for_all(readers)
        return _watched(load, model, readers, pids, redis)


def _wanted(load: Load, workers: Sequence[Server]) -> list[Wanted]:
    wanted: list[Wanted] = []
    for number in range(load.streams):
        here, there = (workers[(number + step) % len(workers)].port for step in (0, 1))
        session = create_session(here, TOKEN)
        ask = {"chat_session_id": session, "parent_message_id": None, "prompt": "go", "model": "bench"}
        again = {"chat_session_id": session, "message_id": 2}
        resume = [_resume(port, again) for port in [here] * (load.own - 1) + [there] * load.other]
        wanted.append(Wanted((here, post_bytes(here, "/api/v0/chat/completion", TOKEN, ask)), resume))
    return wanted


def _resume(port: int, body: Any) -> Call:
    return port, post_bytes(port, "/api/v0/chat/resume_stream", TOKEN, body)


def _wait_for_all(readers: Process) -> None:
    until = time.monotonic() + ATTACH_SECONDS
    while readers.ask("missing") and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
    time.sleep(SETTLE_SECONDS)


def _watched(
    load: Load, model: Process, readers: Process, pids: Mapping[str, int], redis: Server | None
) -> Measured:
    counts = _Counts(model, readers, pids, redis)
    before = counts.now()
    readers.ask("late")
    psutil.cpu_percent()
    began = time.monotonic()
    time.sleep(load.seconds)
    seconds, after = time.monotonic() - began, counts.now()
    asked, resumed = readers.ask("late")
    all_cores = psutil.cpu_percent() / 100 * (psutil.cpu_count() or 1) * seconds
    used = {name: Used(after.cpu[name] - before.cpu[name], after.memory[name]) for name in pids}
    ended, lost = _ended(load, model, readers)
    return Measured(
        load,
        seconds,
        after.written - before.written,
        after.heard.tokens - before.heard.tokens,
        after.heard.pieces - before.heard.pieces,
        after.heard.bytes - before.heard.bytes,
        asked,
        resumed,
        used,
        {name: after.redis[name] - before.redis.get(name, 0) for name in after.redis},
        lost,
        ended,
        model.ask("calls"),
        _stored(redis.port) / load.streams if redis else 0,
        max(all_cores - sum(one.cpu for one in used.values()), 0) / seconds / (psutil.cpu_count() or 1),
    )


def _ended(load: Load, model: Process, readers: Process) -> tuple[bool, int]:
    """End all streams; whether every reader saw its end in time, and how many tokens are missing."""
    written: int = model.ask("finish")
    until = time.monotonic() + END_SECONDS
    while True:
        heard: Heard = readers.ask("heard")
        ended = heard.ended == load.streams * load.readers
        if ended or time.monotonic() > until:
            return ended, written * load.readers - heard.tokens
        time.sleep(LOOK_SECONDS)


class _Moment(NamedTuple):
    written: int
    heard: Heard
    cpu: Mapping[str, float]
    memory: Mapping[str, int]
    redis: Mapping[str, float]


class _Counts:
    """Everything that is counted, as it stands now."""

    def __init__(
        self, model: Process, readers: Process, pids: Mapping[str, int], redis: Server | None
    ) -> None:
        self._model = model
        self._readers = readers
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._redis = redis

    def now(self) -> _Moment:
        times = {name: process.cpu_times() for name, process in self._processes.items()}
        return _Moment(
            self._model.ask("written"),
            self._readers.ask("heard"),
            {name: one.user + one.system for name, one in times.items()},
            {name: process.memory_info().rss for name, process in self._processes.items()},
            _info(self._redis.port) if self._redis else {},
        )


def _stored(port: int) -> int:
    """The bytes of all sessions without their logs."""
    with Redis(port=port) as client:
        names = client.scan_iter("ssechat:{*}", _type="hash", count=1000)
        return sum(client.memory_usage(name, samples=0) or 0 for name in names)


def _info(port: int) -> dict[str, float]:
    """What Redis has counted; a blocking read counts as one command and as one round trip, like any other."""
    with Redis(port=port) as client:
        said: dict[str, Any] = {**client.info("all"), **client.info("commandstats")}
    scripts = said.get("cmdstat_evalsha", {}).get("calls", 0)
    inside = sum(one["calls"] for name, one in said.items() if name.startswith("cmdstat_"))
    return {
        "commands": said["total_commands_processed"],
        "calls": inside,
        "scripts": scripts,
        "reading": said.get("cmdstat_xread", {}).get("calls", 0),
        "reads": said["total_reads_processed"],
        "bytes in": said["total_net_input_bytes"],
        "bytes out": said["total_net_output_bytes"],
        "memory": said["used_memory_dataset"],
        "file": said["aof_current_size"],
    }


__all__ = ["Load", "Measured", "Used", "measure", "percentile"]
