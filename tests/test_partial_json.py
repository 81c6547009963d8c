"""Partial JSON: what has come of a value never contradicts the whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ssechat.errors import InvalidData
from jupyter_ssechat.partial_json import partial_value, spoken_json, whole_value

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=12,
)


def grows_into(part: Any, whole: Any) -> bool:
    """Whether a value can become the other by growing at its end: every field and item but the last is whole."""
    if isinstance(part, dict) and isinstance(whole, dict):
        names, of_whole = list(part), list(whole)
        ended = all(part[name] == whole[name] for name in names[:-1])
        last = not names or grows_into(part[names[-1]], whole[names[-1]])
        return names == of_whole[: len(names)] and ended and last
    if isinstance(part, list) and isinstance(whole, list):
        ended = part[:-1] == whole[: max(len(part) - 1, 0)] and len(part) <= len(whole)
        return ended and (not part or grows_into(part[-1], whole[len(part) - 1]))
    if isinstance(part, str) and isinstance(whole, str):
        return whole.startswith(part)
    return type(part) is type(whole) and part == whole


@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_every_prefix_grows_into_the_whole(value: Any, indent: int | None, ascii: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii)
    for length in range(len(text)):
        part = partial_value(text[:length])
        assert part is None or grows_into(part, value), text[:length]


@given(VALUES.filter(lambda value: isinstance(value, dict | list)), st.sampled_from([None, 2]))
def test_the_whole_is_the_value_however_it_is_wrapped(value: Any, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    for wrapped in (
        text,
        f"\n{text}\n",
        f"```json\n{text}\n```",
        f"Here it is:\n\n```\n{text}\n```\nAsk for more.",
        f"~~~JSON\n{text}\n~~~",
        f"<think>maybe {{}}</think>\n{text}",
        f"Sure.\n{text}\nAnything else?",
    ):
        assert whole_value(wrapped) == (value, text)
        assert partial_value(wrapped) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": "open te', {"a": "open te"}),
        ('{"a": "x\\', {"a": "x"}),
        ('{"a": "x\\u00e', {"a": "x"}),
        ('{"a": "\\ud83d', {"a": ""}),
        ('{"a": 12', {}),
        ('{"a": 12,', {"a": 12}),
        ('{"a": -', {}),
        ('{"a": "at 12', {"a": "at 12"}),
        ('{"a": "\\"12', {"a": '"12'}),
        ('{"a": tr', {}),
        ('{"a": true', {"a": True}),
        ('{"a": [{"b": 1}, {"b', {"a": [{"b": 1}, {}]}),
        ("```json\n[1, 2, 3", [1, 2]),
        ("<think>{", None),
        ("Let me think", None),
        ("", None),
    ],
)
def test_what_has_come_is_shown(text: str, value: Any) -> None:
    assert partial_value(text) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the answer is empty, not JSON"),
        ("<think>what?</think>", "the answer is empty, not JSON"),
        ('{"a": 1', "the answer is not JSON (Expecting ',' delimiter, line 1, column 8): {\"a\": 1"),
        ("I cannot.", "the answer is not JSON (Expecting value, line 1, column 1): I cannot."),
        ('{"a": NaN}', 'the answer is not JSON (out of bounds): {"a": NaN}'),
        ("[" * 100_000, "the answer is not JSON (out of bounds): " + "[" * 79 + "…"),
    ],
    ids=["empty", "thought", "cut", "words", "nan", "deep"],
)
def test_where_there_is_no_json_one_line_says_so(text: str, said: str) -> None:
    with pytest.raises(InvalidData) as error:
        whole_value(text)
    assert str(error.value) == said


def test_a_fence_inside_a_value_is_text() -> None:
    text = json.dumps({"code": "```json\n{}\n```"})
    assert spoken_json(text) == text


@pytest.mark.parametrize(
    "text",
    [
        'I think {x} is:  {"a": 1}',
        'See [the docs] and f(x)[i]: {"a": 1}',
        '```python\nprint({})\n```\nwhich prints\n```json\n{"a": 1}\n```',
        '```js\n{"a": 1}\n```',
        '```json title="a"\n{"a": 1}\n```',
    ],
)
def test_braces_of_prose_and_code_in_another_language_are_not_taken_for_the_value(text: str) -> None:
    assert whole_value(text)[0] == {"a": 1}
    assert partial_value(text) == {"a": 1}
