"""A value → a text for a prompt: whole where it is short, else its beginning and what was left out.

Tables and arrays are known by what they offer, so that no library of theirs is imported.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any, cast

MAX_CHARS = 20_000
MAX_FILE_CHARS = 100_000
MAX_ROWS = 20
MAX_COLUMNS = 30
MAX_ITEMS = 100

_CONTAINERS = (list, tuple, set, frozenset, dict)


def excerpt_of(value: object) -> str:
    """The text of a value: of text itself, of a table its first rows as CSV, of all else what `str` gives.

    At most MAX_ROWS rows, MAX_COLUMNS columns, MAX_ITEMS items and MAX_CHARS characters are shown; where there
    are more, the text says how many.
    """
    shape = _shape(value)
    if len(shape) == 2 and hasattr(value, "columns"):
        return _table(value, shape)
    if len(shape) == 1 and hasattr(value, "head"):
        return _series(value, shape[0])
    if shape and hasattr(value, "dtype") and hasattr(value, "tolist"):
        return _array(value, shape)
    if isinstance(value, (*_CONTAINERS, bytes, bytearray)):
        return _container(cast("Collection[Any]", value))
    return cut(str(value))


def cut(text: str, limit: int = MAX_CHARS) -> str:
    """The first `limit` characters of a text, and how many are left out."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n[{len(text) - limit:,} of {len(text):,} characters are left out]"


def fenced(text: str, language: str = "") -> str:
    """A text as a block of code that nothing inside it can end."""
    longest = max((len(run) for run in re.findall("`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _shape(value: object) -> tuple[int, ...]:
    """The lengths of a table's or an array's sides; () for all else."""
    shape = cast("object", getattr(value, "shape", ()))
    if isinstance(value, type) or not isinstance(shape, Sequence):
        return ()
    sides = tuple(cast("Sequence[object]", shape))
    return tuple(side for side in sides if isinstance(side, int)) if _are_whole(sides) else ()


def _are_whole(sides: Sequence[object]) -> bool:
    return all(isinstance(side, int) for side in sides)


def _table(table: Any, shape: tuple[int, ...]) -> str:
    rows, columns = shape
    shown = table.head(MAX_ROWS)
    if columns > MAX_COLUMNS:
        names = list(table.columns)[:MAX_COLUMNS]
        shown = shown.iloc[:, :MAX_COLUMNS] if hasattr(shown, "iloc") else shown[names]
    told = [_first(MAX_ROWS, rows, "rows"), _first(MAX_COLUMNS, columns, "columns")]
    what = " and ".join(filter(None, told))
    head = f"{type(table).__name__} {rows:,} × {columns:,}"
    return _headed(f"{head}; {what} follow as CSV" if what else f"{head}, as CSV", _csv(shown))


def _csv(table: Any) -> str:
    if hasattr(table, "to_csv"):  # pandas and its kin; the numbers of the rows say nothing
        return str(table.to_csv(index=type(table.index).__name__ != "RangeIndex"))
    return str(table.write_csv() if hasattr(table, "write_csv") else table)


def _series(series: Any, length: int) -> str:
    name = f" {series.name!r}" if getattr(series, "name", None) not in (None, "") else ""
    head = f"{type(series).__name__}{name}, {length:,} values of {series.dtype}"
    told = _first(MAX_ITEMS, length, "")
    shown = series.head(MAX_ITEMS)
    indexed = hasattr(shown, "to_csv") and type(shown.index).__name__ != "RangeIndex"
    text = str(shown.to_csv(header=False)) if indexed else str(shown.to_list())
    return _headed(f"{head}; {told} follow" if told else head, text)


def _array(array: Any, shape: tuple[int, ...]) -> str:
    head = f"{type(array).__name__} {' × '.join(f'{side:,}' for side in shape)} of {array.dtype}"
    size = 1
    for side in shape:
        size *= side
    if size <= MAX_ITEMS:
        return _headed(head, str(array.tolist()))
    if len(shape) == 2 and shape[1] <= MAX_COLUMNS:
        rows = "\n".join(map(str, array[:MAX_ROWS].tolist()))
        told = _first(MAX_ROWS, shape[0], "rows")
        return _headed(f"{head}; {told} follow" if told else head, rows)
    values = array.reshape(-1)[:MAX_ITEMS].tolist()
    return _headed(f"{head}; {_first(MAX_ITEMS, size, 'values')} follow, row by row", str(values))


def _container(value: Collection[Any]) -> str:
    length = len(value)
    if isinstance(value, bytes | bytearray):
        return cut(repr(value)) if length <= MAX_CHARS else _bytes(value)
    if length <= MAX_ITEMS:
        return cut(repr(value))
    head = f"{type(value).__name__} of {length:,}; {_first(MAX_ITEMS, length, '')} follow"
    return _headed(head, repr(_beginning(value)))


def _bytes(value: bytes | bytearray) -> str:
    return _headed(f"{len(value):,} bytes; the first {MAX_ITEMS} follow", repr(bytes(value[:MAX_ITEMS])))


def _beginning(value: Collection[Any]) -> Collection[Any]:
    """The first items of a container, in one of the same kind."""
    if isinstance(value, Mapping):
        return dict(islice(cast("Mapping[Any, Any]", value).items(), MAX_ITEMS))
    items = list(islice(value, MAX_ITEMS))
    if isinstance(value, tuple):
        return tuple(items)
    if isinstance(value, frozenset):
        return frozenset(items)
    return set(items) if isinstance(value, set) else items


def _first(limit: int, count: int, what: str) -> str:
    """ "the first 20 rows", where there are more; "" where there are not."""
    return f"the first {limit} {what}".rstrip() if count > limit else ""


def _headed(head: str, text: str) -> str:
    return f"[{head}]\n{cut(text.rstrip())}"


__all__ = ["MAX_FILE_CHARS", "cut", "excerpt_of", "fenced"]
