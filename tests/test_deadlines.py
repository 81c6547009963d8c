"""What is overdue, told by a clock of the test: each deadline, what counts as progress, and Retry-After."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ssechat.deadlines import Deadlines, Watch, retry_after
from jupyter_ssechat.errors import BadInput

NEVER = Deadlines(connect=None, first_byte=None, first_token=None, silence=None, total=None)
ALL = Deadlines(connect=1, first_byte=10, first_token=20, silence=5, idle=3, total=100, last_words=2)


class Clock:
    """Stands until it is put forward."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def due_in(watch: Watch, clock: Clock) -> tuple[float | None, str]:
    """How long until the watch is overdue, and the name of the deadline that will be missed."""
    due = watch.due()
    name = watch.missed().rpartition("(deadline: ")[2].rstrip(")") if due is not None else ""
    return (None if due is None else due - clock.now), name


def test_each_part_of_an_exchange_has_its_deadline(clock: Clock) -> None:
    watch = Watch(ALL, clock)
    assert due_in(watch, clock) == (1, "connect")
    clock.now += 0.5
    watch.connected()
    assert due_in(watch, clock) == (9.5, "first_byte")
    clock.now += 4
    watch.answered()
    assert due_in(watch, clock) == (3, "idle")
    clock.now += 14
    watch.heard()
    assert due_in(watch, clock) == (1.5, "first_token")
    watch.token()
    clock.now += 2.5
    watch.heard()
    assert due_in(watch, clock) == (2.5, "silence")
    watch.finishing()
    assert due_in(watch, clock) == (2, "last_words")


@pytest.mark.parametrize("name", ["first_byte", "first_token", "silence", "total", "idle"])
def test_a_deadline_that_is_alone_counts_also_where_those_before_it_are_none(name: str, clock: Clock) -> None:
    watch = Watch(Deadlines(**{**{one.name: None for one in fields(NEVER)}, name: 7, "last_words": 1}), clock)
    if name in ("silence", "idle"):
        assert due_in(watch, clock) == (None, "")
        watch.answered()
        watch.token()
    assert due_in(watch, clock) == (7, name)


def test_without_deadlines_nothing_is_ever_overdue(clock: Clock) -> None:
    watch = Watch(NEVER, clock)
    for step in (watch.connected, watch.answered, watch.heard, watch.token):
        step()
        assert watch.due() is None
    watch.finishing()
    assert due_in(watch, clock) == (5, "last_words")


def test_keep_alives_are_no_tokens(clock: Clock) -> None:
    watch = Watch(ALL, clock)
    watch.answered()
    watch.token()
    for _ in range(4):
        clock.now += 1
        watch.heard()
    assert due_in(watch, clock) == (1, "silence")


def test_keep_alives_before_the_first_token_do_not_wait_for_it_forever(clock: Clock) -> None:
    watch = Watch(ALL, clock)
    watch.answered()
    for _ in range(19):
        clock.now += 1
        watch.heard()
    assert due_in(watch, clock) == (1, "first_token")


def test_no_stream_of_tokens_outlasts_the_total(clock: Clock) -> None:
    watch = Watch(ALL, clock)
    watch.answered()
    for _ in range(99):
        clock.now += 1
        watch.heard()
        watch.token()
    assert due_in(watch, clock) == (1, "total")


def test_the_time_for_last_words_counts_from_the_first_time(clock: Clock) -> None:
    watch = Watch(ALL, clock)
    assert not watch.is_finishing
    watch.finishing()
    clock.now += 1
    watch.token()
    watch.heard()
    watch.finishing()
    assert watch.is_finishing
    assert due_in(watch, clock) == (1, "last_words")


def test_while_nobody_listened_the_server_was_not_silent(clock: Clock) -> None:
    watch = Watch(ALL, clock)
    watch.answered()
    watch.token()
    clock.now += 50
    watch.excuse(50)
    assert due_in(watch, clock) == (3, "idle")
    watch.heard()
    clock.now += 2
    assert due_in(watch, clock)[0] == 1
    clock.now += 46
    watch.excuse(46)
    assert due_in(watch, clock) == (1, "idle")
    assert watch.due() == 1099  # and the total, which excuses nothing, is due a moment later


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("connect", "took no connection within 2.5 s (deadline: connect)"),
        ("first_byte", "went silent: no answer began within 2.5 s (deadline: first_byte)"),
        ("first_token", "went silent: no first token within 2.5 s (deadline: first_token)"),
        ("total", "was not done within 2.5 s (deadline: total)"),
    ],
)
def test_the_missed_deadline_is_told_in_words(name: str, said: str, clock: Clock) -> None:
    limits: dict[str, Any] = {**{one.name: None for one in fields(NEVER)}, "last_words": 1, name: 2.5}
    assert Watch(Deadlines(**limits), clock).missed() == said


@pytest.mark.parametrize("name", [one.name for one in fields(Deadlines)])
@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_a_deadline_is_a_time_or_none(name: str, seconds: float) -> None:
    with pytest.raises(BadInput, match=f"the deadline {name} is .*; expected seconds above 0, or None"):
        Deadlines(**{name: seconds})


def test_by_default_a_slow_model_has_minutes_and_no_answer_hangs_forever(clock: Clock) -> None:
    watch = Watch(Deadlines(), clock)
    watch.connected()
    assert due_in(watch, clock)[0] == 15 * 60
    watch.answered()
    watch.token()
    assert due_in(watch, clock) == (5 * 60, "silence")
    assert Deadlines().total == 6 * 3600


# ---- Retry-After ----

NOW = datetime(1994, 11, 6, 8, 49, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("1.5", 1.5),
        ("9" * 400, 10**9),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 37),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 37),
        ("Sun Nov  6 08:49:37 1994", 37),
        ("Sun, 06 Nov 1994 08:48:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 10**9),
    ],
)
def test_retry_after_is_a_number_or_a_date_of_any_form(text: str, seconds: float) -> None:
    assert retry_after({"retry-after": text}, NOW) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-5",
        "1e5",
        "soon",
        "5, 7",
        "٣",
        "Sun, 99 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 99999999 08:49:37",
        "\0",
    ],
)
def test_what_is_neither_is_no_wish(text: str) -> None:
    assert retry_after({"retry-after": text}, NOW) is None
    assert retry_after({}, NOW) is None


@given(st.text(max_size=300))
def test_no_text_breaks_it(text: str) -> None:
    seconds = retry_after({"retry-after": text}, NOW)
    assert seconds is None or 0 <= seconds <= 10**9
