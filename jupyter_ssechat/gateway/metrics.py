"""What happens → figures for Prometheus, and a line in the journal where an answer ends: the one door to
prometheus_client.

A stream is one generation of an answer; a reader is one connection that it is sent to. A stream is counted
where it is produced, once for each token, however many readers it has. Labels come from short lists of our own:
what a stranger names an error must not become a time series, nor stand in a log.

Several processes count together where `metrics_folder.shared_folder` was opened before this file is imported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import (
    MultiProcessCollector,
    mark_process_dead,  # pyright: ignore[reportUnknownVariableType]
)

from ..patches import Patch
from .journal import INFO, WARNING, Field, tell

API = Literal["patches", "chat", "plain"]
Outcome = Literal["ok", "cancelled", "failed", "timed_out", "handed_over"]

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
OTHER = "other"
ERRORS = frozenset(
    {
        "answer_differs",
        "authentication_error",
        "body_too_large",
        "connection_failed",
        "error",
        "event_too_large",
        "gateway_closed",
        "generation_err",
        "input_exceeds_limit",
        "internal_error",
        "interrupted",
        "invalid_data",
        "invalid_request_error",
        "no_model",
        "not_an_event_stream",
        "not_found",
        "overloaded_error",
        "permission_error",
        "rate_limit_error",
        "rate_limit_exceeded",
        "rate_limit_reached",
        "redirected",
        "server_error",
        "stream_error",
        "text_lost",
        "text_replaced",
        "timeout",
        "undecodable_body",
        "upstream_error",
        "upstream_interrupted",
        "upstream_stopped",
    }
)
"""The types of errors that are counted by name; all others are counted as OTHER."""


class Metrics:
    """The figures of one gateway, or of all that share `folder`; safe from any thread. `clock` gives seconds."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, folder: Path | None = None) -> None:
        self.clock = clock
        self._folder = folder
        self._registry = CollectorRegistry()
        self.running = self._gauge("streams_running", "Answers being generated.", "api")
        self.streams = self._counter("streams", "Answers that have ended, by how.", "api", "outcome")
        self.errors = self._counter("errors", "Answers that failed, by the type of the error.", "kind")
        self.tokens = self._counter("tokens", "Pieces of text that models sent.", "api")
        self.first_token = Histogram(
            "ssechat_first_token_seconds",
            "From the request to the first piece of text.",
            ["api"],
            registry=self._registry,
            buckets=SECONDS,
        )
        self.readers = self._gauge("readers", "Connections that are being sent an answer.", "api")
        self.disconnects = self._counter("disconnects", "Readers lost before the end of an answer.", "api")
        self._stops = self._counter("stops", "Calls that asked to stop an answer.")
        self._resumes = self._counter("resumes", "Readers that took up an answer again.")
        for api in get_args(API):
            self._begin_at_zero(api)

    def __repr__(self) -> str:
        return "Metrics()"

    def open_stream(self, api: API, **about: Field) -> StreamGuard:
        """Count a stream that begins now; its end is told with what it is `about`."""
        return StreamGuard(self, api, about)

    def reader(self, api: API) -> ReaderGuard:
        """Count a reader that is connected from now on."""
        return ReaderGuard(self, api)

    def saw_stop(self) -> None:
        """Count a call that asks to stop an answer."""
        self._stops.inc()

    def saw_resume(self) -> None:
        """Count a reader that takes up an answer again."""
        self._resumes.inc()

    def text(self) -> bytes:
        """All figures in the text format of Prometheus, of `content_type`."""
        if self._folder is None:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together, str(self._folder))
        return generate_latest(together)

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(f"ssechat_{name}", about, labels, registry=self._registry, multiprocess_mode="livesum")

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"ssechat_{name}", about, labels, registry=self._registry)

    def _begin_at_zero(self, api: API) -> None:
        """Show each figure from the start: a rate needs the zero before the first one."""
        for figure in (self.running, self.tokens, self.first_token, self.readers, self.disconnects):
            figure.labels(api)
        for outcome in get_args(Outcome):
            self.streams.labels(api, outcome)


class StreamGuard:
    """One stream, from its making to its `end`; as a context manager, left without an end, it was cancelled."""

    def __init__(self, metrics: Metrics, api: API, about: dict[str, Field]) -> None:
        self._metrics = metrics
        self._api: API = api
        self._about = about
        self._counter = metrics.tokens.labels(api)
        self._began = metrics.clock()
        self._tokens = 0
        self._first_token: float | None = None
        self._ended = False
        metrics.running.labels(api).inc()

    def saw(self, patches: Sequence[Patch]) -> None:
        """Count the patches that append text; the first one tells the time to the first token."""
        tokens = sum(_appends_text(patch) for patch in patches)
        if not tokens:
            return
        if self._first_token is None:
            self._first_token = self._seconds()
            self._metrics.first_token.labels(self._api).observe(self._first_token)
        self._tokens += tokens
        self._counter.inc(tokens)

    def end(self, outcome: Outcome, error_type: str = "") -> None:
        """Say how the stream ended; only the first word counts."""
        if self._ended:
            return
        self._ended = True
        self._metrics.running.labels(self._api).dec()
        self._metrics.streams.labels(self._api, outcome).inc()
        if outcome == "timed_out":
            error_type = error_type or "timeout"
        if error_type or outcome == "failed":
            error_type = error_type if error_type in ERRORS else OTHER
            self._metrics.errors.labels(error_type).inc()
        self._tell(outcome, error_type)

    def _tell(self, outcome: Outcome, error_type: str) -> None:
        tell(
            "answer ended",
            WARNING if error_type else INFO,
            api=self._api,
            **self._about,
            outcome=outcome,
            error=error_type or None,
            tokens=self._tokens,
            seconds=round(self._seconds(), 3),
            first_token=None if self._first_token is None else round(self._first_token, 3),
        )

    def _seconds(self) -> float:
        return self._metrics.clock() - self._began

    def __enter__(self) -> StreamGuard:
        return self

    def __exit__(self, *exc: object) -> None:
        self.end("cancelled")


class ReaderGuard:
    """One connection, from its making to its `end`; left without an end, it was lost."""

    def __init__(self, metrics: Metrics, api: API) -> None:
        self._metrics = metrics
        self._api: API = api
        self._open = True
        metrics.readers.labels(api).inc()

    def end(self) -> None:
        """Say that the reader was sent all of it."""
        if self._open:
            self._open = False
            self._metrics.readers.labels(self._api).dec()

    def lose(self) -> None:
        """Say that the connection is gone before the end."""
        if self._open:
            self._metrics.disconnects.labels(self._api).inc()
            self.end()

    def __enter__(self) -> ReaderGuard:
        return self

    def __exit__(self, *exc: object) -> None:
        self.lose()


def forget_process(pid: int, folder: Path) -> None:
    """Count no more as running what a dead process ran; what it has counted stays."""
    mark_process_dead(pid, str(folder))


def _appends_text(patch: Patch) -> bool:
    return patch.op == "APPEND" and isinstance(patch.value, str) and patch.value != ""
