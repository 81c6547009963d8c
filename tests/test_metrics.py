"""The figures of a gateway: what is counted, once, and under few names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from jupyter_ssechat import exchange
from jupyter_ssechat.gateway.metrics import API, ERRORS, OTHER, Metrics, Outcome
from jupyter_ssechat.gateway.openai_error import not_whole
from jupyter_ssechat.gateway.server import Gateway
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.upstream import Demo

WORD = Patch("response/content", "APPEND", "word")


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def figures(text: bytes) -> dict[tuple[str, ...], float]:
    """(name, label values in the order of their names) → value, as Prometheus reads it."""
    return {
        (sample.name.removeprefix("ssechat_"), *(sample.labels[name] for name in sorted(sample.labels))): (
            sample.value
        )
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def read(metrics: Metrics, *key: str) -> float:
    return figures(metrics.text()).get(key, 0.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(clock: Clock) -> Metrics:
    return Metrics(clock)


@pytest.mark.parametrize("api", get_args(API))
def test_every_figure_of_an_api_begins_at_zero(metrics: Metrics, api: API) -> None:
    shown = figures(metrics.text())
    for name in ("streams_running", "tokens_total", "readers", "disconnects_total"):
        assert shown[name, api] == 0
    for outcome in get_args(Outcome):
        assert shown["streams_total", api, outcome] == 0
    assert shown["stops_total",] == shown["resumes_total",] == 0


@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_a_stream_runs_until_it_has_ended_and_is_counted_by_how(metrics: Metrics, outcome: Outcome) -> None:
    stream = metrics.open_stream("chat")
    assert read(metrics, "streams_running", "chat") == 1
    assert read(metrics, "streams_running", "patches") == 0
    stream.end(outcome)
    assert read(metrics, "streams_running", "chat") == 0
    ended = {
        key[2]: value
        for key, value in figures(metrics.text()).items()
        if key[:2] == ("streams_total", "chat")
    }
    assert ended == {**dict.fromkeys(get_args(Outcome), 0), outcome: 1}


def test_the_first_word_about_the_end_counts(metrics: Metrics) -> None:
    with metrics.open_stream("plain") as stream:
        stream.end("ok")
        stream.end("failed", "timeout")
    shown = figures(metrics.text())
    assert shown["streams_total", "plain", "ok"] == 1
    assert shown["streams_total", "plain", "failed"] == shown["streams_total", "plain", "cancelled"] == 0
    assert shown["streams_running", "plain"] == 0
    assert ("errors_total", "timeout") not in shown


def test_a_stream_that_is_left_without_an_end_was_cancelled(metrics: Metrics) -> None:
    with pytest.raises(KeyError), metrics.open_stream("patches"):
        raise KeyError
    assert read(metrics, "streams_total", "patches", "cancelled") == 1
    assert read(metrics, "streams_running", "patches") == 0


def test_tokens_are_the_patches_that_append_text(metrics: Metrics) -> None:
    stream = metrics.open_stream("patches")
    thinking = Patch("response/thinking_content", "APPEND", "hm")
    others: list[Any] = [
        Patch("response/content", "APPEND", ""),
        Patch("response/content", "SET", "text"),
        Patch("response/fragments", "APPEND", [{}]),
        Patch("response/status", "SET", "FINISHED"),
    ]
    stream.saw([])
    stream.saw(others)
    assert read(metrics, "first_token_seconds_count", "patches") == 0
    stream.saw([thinking, *others, WORD])
    stream.saw([WORD])
    assert read(metrics, "tokens_total", "patches") == 3


def test_the_time_to_the_first_token_is_taken_once_from_the_beginning(metrics: Metrics, clock: Clock) -> None:
    stream = metrics.open_stream("chat")
    for seconds in (2.0, 50.0):
        clock.now += seconds
        stream.saw([WORD])
    shown = figures(metrics.text())
    assert (shown["first_token_seconds_sum", "chat"], shown["first_token_seconds_count", "chat"]) == (2.0, 1)
    assert shown["first_token_seconds_bucket", "chat", "1.0"] == 0
    assert shown["first_token_seconds_bucket", "chat", "2.5"] == 1


@pytest.mark.parametrize("kind", sorted(ERRORS))
def test_a_known_error_is_counted_by_its_type(metrics: Metrics, kind: str) -> None:
    metrics.open_stream("chat").end("failed", kind)
    assert read(metrics, "errors_total", kind) == 1


def test_what_our_own_files_name_an_error_is_known() -> None:
    assert {
        *exchange.TYPES.values(),
        not_whole(None).type,
        "text_replaced",
        "text_lost",
        "answer_differs",
    } <= ERRORS


def test_what_strangers_name_an_error_is_no_label(metrics: Metrics) -> None:
    for number in range(100):
        metrics.open_stream("chat").end("failed", f'kind"\n{number}')
    metrics.open_stream("chat").end("failed")
    assert {key: value for key, value in figures(metrics.text()).items() if key[0] == "errors_total"} == {
        ("errors_total", OTHER): 101
    }


def test_a_missed_deadline_is_an_error_and_an_end_without_failure_is_none(metrics: Metrics) -> None:
    metrics.open_stream("chat").end("timed_out")
    metrics.open_stream("chat").end("ok")
    metrics.open_stream("chat").end("cancelled")
    assert {key: value for key, value in figures(metrics.text()).items() if key[0] == "errors_total"} == {
        ("errors_total", "timeout"): 1
    }


def test_a_reader_is_counted_while_it_is_connected(metrics: Metrics) -> None:
    with metrics.reader("patches") as one, metrics.reader("patches"):
        assert read(metrics, "readers", "patches") == 2
        one.end()
        assert read(metrics, "readers", "patches") == 1
    assert read(metrics, "readers", "patches") == 0


def test_only_a_reader_that_leaves_before_the_end_is_lost(metrics: Metrics) -> None:
    with metrics.reader("plain") as whole:
        whole.end()
    whole.lose()
    assert read(metrics, "disconnects_total", "plain") == 0
    with metrics.reader("plain") as lost:
        pass
    lost.lose()
    lost.end()
    assert read(metrics, "disconnects_total", "plain") == 1
    assert read(metrics, "readers", "plain") == 0


def test_stops_and_resumes_are_counted(metrics: Metrics) -> None:
    metrics.saw_stop()
    metrics.saw_resume()
    metrics.saw_resume()
    assert (read(metrics, "stops_total"), read(metrics, "resumes_total")) == (1, 2)


def test_an_answer_that_is_handed_over_is_not_counted_as_cancelled(metrics: Metrics) -> None:
    with metrics.open_stream("patches") as stream:
        stream.end("handed_over")
    assert read(metrics, "streams_total", "patches", "handed_over") == 1
    assert read(metrics, "streams_total", "patches", "cancelled") == 0


TOGETHER = """
import os
from jupyter_ssechat.gateway.metrics_folder import shared_folder

with shared_folder() as folder:
    from jupyter_ssechat.gateway.metrics import Metrics, forget_process
    from jupyter_ssechat.patches import Patch

    def work():
        metrics = Metrics(folder=folder)
        stream, reader = metrics.open_stream("chat"), metrics.reader("chat")
        stream.saw([Patch("response/content", "APPEND", "word")] * 5)
        metrics.open_stream("chat").end("failed", "timeout")
        os._exit(0)

    pids = [os.fork() or work() for _ in range(3)]
    for pid in pids:
        os.waitpid(pid, 0)
    print(folder, oct(folder.stat().st_mode & 0o777), end="\\0")
    print(Metrics(folder=folder).text().decode(), end="\\0")
    for pid in pids:
        forget_process(pid, folder)
    print(Metrics(folder=folder).text().decode(), end="")
"""


def test_processes_that_share_a_folder_count_together_and_a_dead_one_runs_nothing() -> None:
    ran = subprocess.run([sys.executable, "-c", TOGETHER], capture_output=True, text=True, check=True)
    about, alive, dead = ran.stdout.split("\0")
    folder, mode = about.split()
    assert mode == "0o700" and not Path(folder).exists()
    while_alive, after = figures(alive.encode()), figures(dead.encode())
    assert (while_alive["streams_running", "chat"], while_alive["readers", "chat"]) == (3, 3)
    assert (after["streams_running", "chat"], after["readers", "chat"]) == (0, 0)
    for shown in (while_alive, after):
        assert shown["tokens_total", "chat"] == 15
        assert shown["streams_total", "chat", "failed"] == shown["errors_total", "timeout"] == 3
        assert shown["first_token_seconds_count", "chat"] == 3
        assert shown["first_token_seconds_bucket", "chat", "+Inf"] == 3


def test_two_gateways_count_for_themselves() -> None:
    one, two = Metrics(), Metrics()
    one.saw_stop()
    assert (read(one, "stops_total"), read(two, "stops_total")) == (1, 0)


def test_the_figures_are_for_those_who_have_the_token() -> None:
    with Gateway(Demo(pace=0)) as gateway:
        gateway.metrics.saw_stop()
        url = f"{gateway.url}/metrics"
        assert httpx.get(url, trust_env=False).status_code == 401
        headers = {"authorization": f"Bearer {gateway.token}"}
        answer = httpx.get(url, headers=headers, trust_env=False)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert answer.headers["content-type"] == Metrics.content_type
    assert Metrics.content_type.startswith("text/plain; version=")
    assert figures(answer.content)["stops_total",] == 1
    assert gateway.token not in answer.text
