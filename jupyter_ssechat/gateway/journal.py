"""What happens → records of one logger, for whoever listens; nothing is printed unless somebody does.

A record is an event, a few words of ours, with its fields: numbers, ids, and words from short lists. Prompts,
answers, keys, tokens, addresses as they were called and what strangers say are no part of it, nor is anything told
for each token.
"""

from __future__ import annotations

import logging

NAME = "jupyter_ssechat.gateway"
DEBUG, INFO, WARNING = logging.DEBUG, logging.INFO, logging.WARNING

Field = str | int | float | None

_log = logging.getLogger(NAME)
_log.addHandler(logging.NullHandler())


def is_heard(level: int = INFO) -> bool:
    """Whether anybody listens."""
    return _log.isEnabledFor(level)


def tell(event: str, level: int = INFO, /, **fields: Field) -> None:
    """Tell of an event; the record has its fields as `fields`."""
    if _log.isEnabledFor(level):
        _log.log(level, event, extra={"fields": fields})


class StoreHealth:
    """Whether a store answers, as those who use it find; told when that changes, however often they try.

    It is away as long as one of them finds so.
    """

    def __init__(self) -> None:
        self._missed_by: set[str] = set()

    def away(self, user: str, error: Exception) -> None:
        """Note that the store did not answer `user`."""
        if not self._missed_by:
            # Its words may quote what was to be stored; the class of the fault below does not.
            tell("store unavailable", WARNING, cause=type(error.__context__ or error).__name__)
        self._missed_by.add(user)

    def back(self, user: str) -> None:
        """Note that the store answered `user`."""
        if self._missed_by:
            self._missed_by.discard(user)
            if not self._missed_by:
                tell("store back")


__all__ = ["DEBUG", "INFO", "NAME", "WARNING", "Field", "StoreHealth", "is_heard", "tell"]
