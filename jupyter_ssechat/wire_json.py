"""JSON text ↔ values, as strangers send it and as other people's clients can read it."""

from __future__ import annotations

import json
import re
from typing import Any, TypeGuard

from .errors import InvalidData

_SURROGATE = re.compile("[\ud800-\udfff]")
_BREAKS_LINES = re.compile("[\x85\u2028\u2029]")


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether `value` is a JSON object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Whether `value` is a JSON list."""
    return isinstance(value, list)


def as_object(value: object) -> dict[str, Any]:
    """Return `value` if it is an object, else an empty one."""
    return value if is_object(value) else {}


def as_list(value: object) -> list[Any]:
    """Return `value` if it is a list, else an empty one."""
    return value if is_list(value) else []


def as_text(value: object) -> str:
    """Return `value` if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def dumps(data: object) -> str:
    """Encode compactly, on one line also for clients that split lines at U+0085, U+2028 and U+2029."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    if text.isascii():
        return text
    if _SURROGATE.search(text):  # half of a pair has no UTF-8, but JSON can spell it
        return json.dumps(data, separators=(",", ":"))
    return _BREAKS_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def loads(text: str) -> Any:
    """Decode; raises InvalidData, one line, also for NaN, infinities and endless nesting."""
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        said = error.msg if isinstance(error, json.JSONDecodeError) else "a number or nesting out of bounds"
        raise InvalidData(f"data is not JSON ({said}): {excerpt(text)}") from None


def excerpt(text: str, limit: int = 80) -> str:
    """Show the beginning of `text` on one line, in at most `limit` characters."""
    line = " ".join(text[: limit * 4].split())
    return line if len(line) <= limit and len(text) <= limit * 4 else line[: limit - 1] + "…"


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(text)
    return number


def _no_constant(name: str) -> Any:
    raise ValueError(name)


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_no_constant)

__all__ = ["as_list", "as_object", "as_text", "dumps", "excerpt", "is_list", "is_object", "loads"]
