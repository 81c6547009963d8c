"""An expression in the user's words → its value in the user's namespace, or one line that says what is wrong."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from .errors import BadInput
from .wire_json import excerpt


def evaluated(expression: str, namespace: dict[str, Any]) -> object:
    """The value; it is the user's own code, so that everything may stand there. Raises BadInput."""
    try:
        return eval(compile(expression, "<expression>", "eval"), namespace)
    except Exception as error:
        raise BadInput(_fault(error, namespace)) from None


def _fault(error: Exception, namespace: Mapping[str, Any]) -> str:
    if isinstance(error, NameError):
        return f"there is no variable {error.name!r}{_near(error.name, [*namespace, *vars(builtins)])}"
    if isinstance(error, AttributeError) and error.name and error.obj is not None:
        return f"a {type(error.obj).__name__} has no {error.name!r}{_near(error.name, dir(error.obj))}"
    return f"{type(error).__name__}: {excerpt(str(error), 300)}"


def _near(name: str | None, known: Iterable[str]) -> str:
    names = dict.fromkeys(one for one in known if not one.startswith("_"))
    found = get_close_matches(name or "", names, n=2, cutoff=0.7)
    return f"; did you mean {' or '.join(found)}?" if found else ""


__all__ = ["evaluated"]
