"""Entry points → the dialects that installed packages bring, beside our own."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from ..wire_json import excerpt
from .dialect import Dialect
from .registry import DIALECTS

GROUP = "jupyter_ssechat.dialects"

_log = logging.getLogger(__name__)


def known_dialects() -> dict[str, type[Dialect]]:
    """All dialects by name: ours, then those by others.

    Packages are looked for at the first call. A dialect is an entry point of the group
    ``jupyter_ssechat.dialects`` whose value is a subclass of `Dialect`. One that is broken, or whose name is
    taken, is left out, and logged in one line. A dialect by others is used where it is named, or where it
    `lives_at` an address; a stream is not told by its first event to be in one.
    """
    return {**DIALECTS, **_by_others()}


@cache
def _by_others() -> dict[str, type[Dialect]]:
    return _loaded(sorted(entry_points(group=GROUP), key=lambda one: (one.name, one.value)))


def _loaded(points: Iterable[EntryPoint]) -> dict[str, type[Dialect]]:
    found: dict[str, type[Dialect]] = {}
    for point in points:
        try:
            dialect = _checked(point.load())
        except (Exception, SystemExit) as error:  # whatever their code does, ours goes on
            _ignore(point, f"{type(error).__name__}: {error}")
            continue
        if dialect.name in DIALECTS or dialect.name in found:
            _ignore(point, f"the name {dialect.name!r} is taken; it has to have another one")
        else:
            found[dialect.name] = dialect
    return found


def _checked(value: object) -> type[Dialect]:
    """The value of an entry point, if it is a dialect; raises TypeError if not."""
    if not isinstance(value, type) or not issubclass(value, Dialect) or value is Dialect:
        raise TypeError("expected a subclass of jupyter_ssechat.dialects.Dialect")
    for attribute, kind in (("name", str), ("abilities", object)):
        if not isinstance(getattr(value, attribute, None), kind) or not getattr(value, attribute, None):
            raise TypeError(f"{value.__name__} has no {attribute}")
    return value


def _ignore(point: EntryPoint, why: str) -> None:
    origin = point.dist.name if point.dist is not None else point.value
    _log.warning("the dialect %s of %s is ignored: %s", point.name, origin, excerpt(why, 300))


__all__ = ["GROUP", "known_dialects"]
