"""Expressions of the user, in the namespace of the user."""

from __future__ import annotations

import pytest

from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.expression import evaluated


def test_everything_that_python_has_may_stand_there() -> None:
    assert evaluated("sorted({n * k for n in range(k)})[-1]", {"k": 3}) == 6


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("citys", "there is no variable 'citys'; did you mean cities?"),
        ("lenn", "there is no variable 'lenn'; did you mean len?"),
        ("prin", "there is no variable 'prin'; did you mean print?"),
        ("qqq", "there is no variable 'qqq'"),
        ("cities.apend", "a list has no 'apend'; did you mean append?"),
        ("cities['Ulm']", "TypeError: list indices must be integers or slices, not str"),
    ],
)
def test_what_goes_wrong_is_one_line(expression: str, said: str) -> None:
    with pytest.raises(BadInput) as error:
        evaluated(expression, {"cities": [], "print": print})
    assert str(error.value) == said


def test_a_long_message_is_cut() -> None:
    with pytest.raises(BadInput) as error:
        evaluated("[].index('x' * 9000)", {})
    assert len(str(error.value)) < 400
