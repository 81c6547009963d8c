r"""A prompt with ``{{expressions}}`` → the prompt with what they stand for.

``{{ … }}`` on one line is a mark where a Python expression stands in it that uses a name; a format may follow,
``{{mean:.2f}}``. All other braces are text, as is a third one around
a mark. ``\{{name}}`` is the text ``{{name}}``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

OPEN, CLOSE = "{{", "}}"
MAX_MARK = 2_000
"""The characters that a mark may have."""
MAX_TRIES = 8
"""How many ``}}`` may be the end of a mark: those inside of it are in texts and dicts. A line of 100 kB has many."""
_OPENING = re.compile(r"\{{2,}")

# The mini-language of format(), or a date's; a blank before it is not Python's, but JSX's and YAML's.
_FORMAT = re.compile(r"(?! )(?:.?[<>=^])?[-+ ]?z?#?0?\d*[,_]?(?:\.\d+)?[a-zA-Z%]?|\S*%[a-zA-Z].*")


@dataclass(frozen=True, slots=True)
class Mark:
    """An expression in a prompt, and how its value is to be written; "" is as usual."""

    expression: str
    format: str = ""

    def __str__(self) -> str:
        return OPEN + self.expression + (f":{self.format}" if self.format else "") + CLOSE


def filled(text: str, text_of: Callable[[Mark], str]) -> str:
    """The text with each mark replaced by what `text_of` makes of it; that is not looked at again.

    What has several lines gets lines of its own.
    """
    parts = list(_parts(text))
    done: list[str] = []
    for number, part in enumerate(parts):
        if isinstance(part, str):
            done.append(part)
            continue
        value, after = text_of(part), parts[number + 1]
        if "\n" in value:
            line = "".join(done[-2:]).rpartition("\n")[2]
            value = ("\n" if line.strip() else "") + value
            value += "" if _ends_line(after, last=number + 2 == len(parts)) else "\n"
        done.append(value)
    return "".join(done)


def _ends_line(after: str | Mark, *, last: bool) -> bool:
    """Whether nothing else stands on the line before this text."""
    if not isinstance(after, str):
        return False
    line, end, _ = after.partition("\n")
    return not line.strip() and (bool(end) or last)


def _parts(text: str) -> Iterator[str | Mark]:
    done = 0
    for braces in _OPENING.finditer(text):
        at = braces.end() - len(OPEN)
        if at < done:
            continue
        mark, end = _mark_at(text, at)
        if mark is None:
            continue
        escaped = at > done and text[at - 1] == "\\"
        yield text[done : at - escaped]
        yield text[at:end] if escaped else mark
        done = end
    yield text[done:]


def _mark_at(text: str, at: int) -> tuple[Mark | None, int]:
    """The mark that begins here, and where it ends: the first ``}}`` that leaves an expression."""
    line = text[at + len(OPEN) : at + MAX_MARK].partition("\n")[0]
    end, tried = line.find(CLOSE), 0
    while end >= 0 and (tried := tried + 1) <= MAX_TRIES:
        if (mark := _read(line[:end])) is not None:
            return mark, at + len(OPEN) + end + len(CLOSE)
        end = line.find(CLOSE, end + 1)
    return None, at


def _read(inside: str) -> Mark | None:
    if _uses_a_name(inside.strip()):
        return Mark(inside.strip())
    expression, colon, format = inside.rpartition(":")
    if colon and _FORMAT.fullmatch(format) and _uses_a_name(expression.strip()):
        return Mark(expression.strip(), format)
    return None


def _uses_a_name(text: str) -> bool:
    """Whether it is an expression that the variables have something to do with; numbers are not."""
    try:
        tree: Any = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(isinstance(node, ast.Name) for node in ast.walk(tree))


__all__ = ["Mark", "filled"]
