"""What one token, one reader, one stream costs two workers on Redis: the unit costs of ``docs/scale.md``.

Each is a difference between two loads that differ in one thing. CPU is what the processes used by the kernel's count,
which a busy machine changes little; but where a worker is late it takes several tokens at once, which is cheaper for
each, so the streams are few enough to be in time.
"""

from __future__ import annotations

from .load import Load, Measured, measure
from .measure import Row, missing, row
from .servers import has_redis

STREAMS, FEW = 20, 5
MORE = 20
SECONDS = 10.0
IDLE_RATE = 1.0
MANY = 300
SHARES = (1, 20, 100)


def run() -> list[Row]:
    """Measure the loads, and take them from each other."""
    if not has_redis():
        return [missing("redis-server is not installed: apt-get install redis-server")]
    return [*_token(), *_memory(), *_trips()]


def _token() -> list[Row]:
    one = _at(STREAMS, own=1, other=0)
    alone, own = _at(FEW, own=1, other=0), _at(FEW, own=1 + MORE, other=0)
    followed, other = _at(FEW, own=1, other=1), _at(FEW, own=1, other=1 + MORE)
    reader = (_workers(own) - _workers(alone)) / MORE
    elsewhere = (_workers(other) - _workers(followed)) / MORE
    return [
        row("a token, produced: workers", _workers(one) - reader, "µs CPU"),
        row("a token, produced: Redis", _redis(one), "µs CPU"),
        row("a token, produced: batches", one.redis["scripts"] / one.written, "per token"),
        row("a batch, produced: Redis", _redis(one) * one.written / one.redis["scripts"], "µs CPU"),
        row(
            "a token, followed by another worker: workers",
            _workers(followed) - _workers(alone) - elsewhere,
            "µs CPU",
        ),
        row("a token, followed by another worker: Redis", _redis(followed) - _redis(alone), "µs CPU"),
        row("a token to a reader at its worker", reader, "µs CPU"),
        row("a token to a reader at another worker", elsewhere, "µs CPU"),
        row("a token to a reader", one.bytes / one.delivered, "bytes"),
        row("a token to a reader, pieces", one.pieces / one.delivered, "per token"),
        row("a token, produced: Redis, received", one.redis["bytes in"] / one.written, "bytes"),
        row("a token, produced: Redis, in its log", one.redis["memory"] / one.written, "bytes"),
        row("a token, produced: Redis, in its file", one.redis["file"] / one.written, "bytes"),
    ]


def _memory() -> list[Row]:
    few = _at(STREAMS, own=1, other=0, rate=IDLE_RATE)
    many = _at(MANY, own=1, other=0, rate=IDLE_RATE)
    read = _at(STREAMS, own=1, other=MANY // STREAMS, rate=IDLE_RATE)
    streams, readers = MANY - STREAMS, STREAMS * (MANY // STREAMS)
    return [
        row("a stream with one reader: workers", (_held(many) - _held(few)) / streams / 1024, "kB"),
        row("a reader more: workers", (_held(read) - _held(few)) / readers / 1024, "kB"),
        row("a session with one short answer: Redis", many.stored, "bytes"),
        row("a worker with next to nothing to do", _held(few) / 2 / 2**20, "MB"),
        row("Redis with next to nothing in it", few.used["redis"].memory / 2**20, "MB"),
    ]


def _trips() -> list[Row]:
    rows: list[Row] = []
    for streams in SHARES:
        found = _at(streams, own=1, other=1)
        rows += [
            row(f"{streams} streams: Redis, round trips", found.redis["reads"] / found.written, "per token"),
            row(f"{streams} streams: Redis, scripts", found.redis["scripts"] / found.written, "per token"),
            row(f"{streams} streams: Redis, commands", found.redis["commands"] / found.written, "per token"),
            row(f"{streams} streams: Redis", _redis(found), "µs CPU/token"),
            row(f"{streams} streams: workers", _workers(found), "µs CPU/token"),
        ]
    return rows


def _at(streams: int, *, own: int, other: int, rate: float = 50.0) -> Measured:
    return measure(Load(streams, rate=rate, own=own, other=other, seconds=SECONDS))


def _workers(found: Measured) -> float:
    """Microseconds of the workers' CPU for each token that was written."""
    used = sum(one.cpu for name, one in found.used.items() if name.startswith("worker"))
    return 1e6 * used / found.written


def _redis(found: Measured) -> float:
    return 1e6 * found.used["redis"].cpu / found.written


def _held(found: Measured) -> int:
    """Bytes of the workers' memory."""
    return sum(one.memory for name, one in found.used.items() if name.startswith("worker"))
