"""Limits as people write them."""

from __future__ import annotations

import pytest

from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.gateway.limits import Limits, Rate, limits_of, parse_limits


def test_limits_are_words_with_a_name_and_a_value() -> None:
    said = ["streams=4", "readers=20", "stored=200MB", "request=8MiB", "rate=120/min"]
    expected = Limits(streams=4, readers=20, stored=200_000_000, request=8 * 2**20, rate=Rate(120, 60.0))
    assert parse_limits(said) == expected
    assert parse_limits([]) == Limits()


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("1B", 1),
        ("2kB", 2000),
        ("2KiB", 2048),
        ("1.5MB", 1_500_000),
        ("3 GB", 3 * 10**9),
        ("1TiB", 2**40),
    ],
)
def test_a_size_may_have_a_unit(text: str, size: int) -> None:
    assert parse_limits([f"stored={text}"]).stored == size


@pytest.mark.parametrize(("text", "seconds"), [("5/s", 1.0), ("5/min", 60.0), ("5/h", 3600.0)])
def test_a_rate_is_so_many_in_a_second_a_minute_or_an_hour(text: str, seconds: float) -> None:
    rate = parse_limits([f"rate={text}"]).rate
    assert rate == Rate(5, seconds)
    assert str(rate) == text


def test_a_user_has_what_is_said_of_all_but_for_what_is_said_of_them() -> None:
    each = parse_limits(["streams=4", "rate=9/min"])
    assert limits_of({"streams": 8}, each) == Limits(streams=8, rate=Rate(9, 60.0))
    assert limits_of({"rate": "none"}, each) == Limits(streams=4)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("streams", "streams= is not a limit"),
        ("streams=0", "expected a number above 0"),
        ("streams=-1", "expected a number above 0"),
        ("streams=4.5", "expected a number above 0"),
        ("streams=٤", "expected a number above 0"),
        ("stored=0", "expected one such as 8MB"),
        ("stored=8 apples", "expected one such as 8MB"),
        ("rate=5", "expected one such as 120/min"),
        ("rate=0/s", "expected one such as 120/min"),
        ("rate=5/day", "expected one such as 120/min"),
        ("tokens=5", "'tokens' is no limit; expected streams=N"),
        ("", "'' is no limit"),
    ],
)
def test_what_is_no_limit_is_refused_with_what_would_be_one(word: str, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_limits([word])
    assert said in str(refused.value) and "\n" not in str(refused.value)
