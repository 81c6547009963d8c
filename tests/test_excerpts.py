"""Excerpts: short values whole, long ones by their beginning, with what was left out."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ssechat.excerpts import MAX_CHARS, cut, excerpt_of, fenced


def head(value: object) -> str:
    """The first line of the excerpt, which says what follows."""
    return excerpt_of(value).partition("\n")[0]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "text"),
        (3, "3"),
        (0.1, "0.1"),
        (None, "None"),
        ([1, "a"], "[1, 'a']"),
        ({"a": 1}, "{'a': 1}"),
        (b"ab", "b'ab'"),
        (datetime.date(2024, 2, 29), "2024-02-29"),
        (np.float64(3.5), "3.5"),
    ],
)
def test_a_short_value_is_told_as_it_is(value: object, text: str) -> None:
    assert excerpt_of(value) == text


def test_a_long_text_is_cut_and_says_how_much_is_left_out() -> None:
    told = excerpt_of("x" * (MAX_CHARS + 5))
    assert told == "x" * MAX_CHARS + "\n[5 of 20,005 characters are left out]"


@given(st.text(), st.integers(0, 20))
def test_a_cut_text_begins_as_the_whole_one_and_counts_the_rest(text: str, limit: int) -> None:
    shown = cut(text, limit)
    if len(text) <= limit:
        assert shown == text
    else:
        assert shown.startswith(text[:limit]) and f"[{len(text) - limit:,} of" in shown


# ---- tables ----


def test_a_small_table_is_whole() -> None:
    assert excerpt_of(pd.DataFrame({"a": [1, 2], "b": ["x, y", "z"]})) == (
        '[DataFrame 2 × 2, as CSV]\na,b\n1,"x, y"\n2,z'
    )


def test_of_a_long_table_the_first_rows_follow() -> None:
    told = excerpt_of(pd.DataFrame({"a": range(1000)}))
    assert told.splitlines()[:2] == ["[DataFrame 1,000 × 1; the first 20 rows follow as CSV]", "a"]
    assert told.splitlines()[2:] == [str(n) for n in range(20)]


def test_of_a_wide_table_the_first_columns_follow() -> None:
    told = excerpt_of(pd.DataFrame(np.zeros((30, 40))))
    assert head(pd.DataFrame(np.zeros((30, 40)))) == (
        "[DataFrame 30 × 40; the first 20 rows and the first 30 columns follow as CSV]"
    )
    assert told.splitlines()[1].split(",")[-1] == "29"


def test_an_index_that_says_something_is_a_column() -> None:
    table = pd.DataFrame({"size": [3]}, index=pd.Index(["Ulm"], name="city"))
    assert excerpt_of(table) == "[DataFrame 1 × 1, as CSV]\ncity,size\nUlm,3"


def test_a_series_tells_its_name_and_type() -> None:
    assert excerpt_of(pd.Series([1, 2], name="a")) == "[Series 'a', 2 values of int64]\n[1, 2]"
    assert head(pd.Series(range(1000))) == "[Series, 1,000 values of int64; the first 100 follow]"
    assert excerpt_of(pd.Series([3], index=["Ulm"])).endswith("\nUlm,3")


# ---- arrays and containers ----


def test_a_small_array_is_whole() -> None:
    assert excerpt_of(np.array([[1, 2], [3, 4]], dtype="int8")) == "[ndarray 2 × 2 of int8]\n[[1, 2], [3, 4]]"


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros(1000), "[ndarray 1,000 of float64; the first 100 values follow, row by row]"),
        (np.zeros((1000, 3)), "[ndarray 1,000 × 3 of float64; the first 20 rows follow]"),
        (np.zeros((9, 50)), "[ndarray 9 × 50 of float64; the first 100 values follow, row by row]"),
        (np.zeros((2, 3, 50)), "[ndarray 2 × 3 × 50 of float64; the first 100 values follow, row by row]"),
    ],
    ids=["long", "rows", "wide", "deep"],
)
def test_of_a_large_array_a_part_follows(array: Any, said: str) -> None:
    assert head(array) == said


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset])
def test_of_a_long_container_the_first_items_follow(kind: Any) -> None:
    told = excerpt_of(kind(range(1000)))
    assert told.startswith(f"[{kind.__name__} of 1,000; the first 100 follow]\n")
    assert "99" in told and "100," not in told.partition("\n")[2]


def test_of_a_long_dict_the_first_items_follow() -> None:
    assert head({n: n for n in range(1000)}) == "[dict of 1,000; the first 100 follow]"


def test_many_bytes_are_told_by_their_beginning() -> None:
    assert head(b"a" * 50_000) == "[50,000 bytes; the first 100 follow]"


def test_nothing_that_only_looks_like_a_table_breaks() -> None:
    class Odd:
        shape = "round"

        def __str__(self) -> str:
            return "odd"

    assert excerpt_of(Odd()) == "odd"
    assert excerpt_of(pd.DataFrame) == str(pd.DataFrame)


# ---- fences ----


def test_a_fence_is_longer_than_any_inside() -> None:
    assert fenced("a\n```\nb\n", "py") == "````py\na\n```\nb\n````"
    assert fenced("x") == "```\nx\n```"
