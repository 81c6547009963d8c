"""The text of an answer, whole or as far as it has come → the JSON value in it: the one door to jiter.

Models say it in a code fence, after a few words, or after thinking aloud; where it begins is looked for.
"""

from __future__ import annotations

import json
import re
from typing import Any

import jiter

from .errors import InvalidData
from .wire_json import excerpt

_THOUGHT = re.compile(r"\s*<think>.*?(?:</think>|\Z)", re.S)
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^\n`]*\n", re.M)
_JSON = re.compile(r"(?:json[c5]?)?", re.I)
# In prose stand braces and brackets that open no JSON.
_OPENING = re.compile(r"^[ \t]*(?=[{\[])", re.M)
_IN_PROSE = re.compile(r"\{(?=\s*[\"}])|\[(?=\s*(?:[\"{\[\]\-0-9]|true|false|null))")
_BEFORE_VALUES = ("", "[", ",", ":", " ", "\t", "\r", "\n")
_ESCAPED = re.compile(r"\\.", re.S)


def whole_value(text: str) -> tuple[Any, str]:
    """The value in a whole answer, and the text that spells it; raises InvalidData, one line, where there is none."""
    spoken = spoken_json(text)
    if not spoken.strip():
        raise InvalidData("the answer is empty, not JSON")
    begin = len(spoken) - len(spoken.lstrip())
    try:
        value, end = _DECODER.raw_decode(spoken, begin)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidData(f"the answer is not JSON ({error.msg}, {place}): {excerpt(spoken)}") from None
    except (ValueError, RecursionError):
        raise InvalidData(f"the answer is not JSON (out of bounds): {excerpt(spoken)}") from None
    return value, spoken[begin:end]


def partial_value(text: str) -> Any:
    """The value as far as it has come: texts and lists grow, fields are added, a number comes when it has ended.

    None before there is any. Reads all of `text`, at about 100 MB a second.
    """
    spoken = _without_open_number(spoken_json(text)).strip()
    try:
        data = spoken.encode("utf-8", "surrogatepass")
        return jiter.from_json(data, partial_mode="trailing-strings", allow_inf_nan=False)
    except ValueError:
        return None


def spoken_json(text: str) -> str:
    """The part of an answer in which its JSON stands: in the first fence, or from the first bracket on."""
    text = text[thought.end() :] if (thought := _THOUGHT.match(text)) else text
    if text.lstrip()[:1] in ("{", "[", '"'):
        return text
    if (fenced := _in_fence(text)) is not None:
        return fenced
    opening = _OPENING.search(text) or _IN_PROSE.search(text)
    return text[opening.start() :] if opening else text


def _in_fence(text: str) -> str | None:
    """What stands in the first fence of JSON, which says so, says nothing, or begins with a bracket."""
    at = 0
    while fence := _FENCE.search(text, at):
        closing = re.compile(rf"^[ \t]*{re.escape(fence[1])}", re.M).search(text, fence.end())
        inside = text[fence.end() : closing.start() if closing else len(text)]
        if _JSON.fullmatch(fence[2]) or inside.lstrip()[:1] in ("{", "["):
            return inside
        if closing is None:
            return None
        at = closing.end()
    return None


def _without_open_number(text: str) -> str:
    """The text without a number at its end, of which more may come; digits in an open text are no number."""
    before = text.rstrip("0123456789.eE+-")
    number = text[len(before) :].lstrip("-")
    if not number[:1].isdigit() or before[-1:] not in _BEFORE_VALUES:
        return text
    return text if _ESCAPED.sub("", before).count('"') % 2 else before


def _no_constant(name: str) -> Any:
    raise ValueError(name)


_DECODER = json.JSONDecoder(parse_constant=_no_constant)

__all__ = ["partial_value", "spoken_json", "whole_value"]
