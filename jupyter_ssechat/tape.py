"""A cassette as a file: what it holds, what is added to it, and where a replay stands in it.

An episode is written when it has ended, at its end and at once: a crash leaves whole episodes behind, and at most
one that is torn, which is reported and passed over. Several processes may add to one file; they lock it for the
moment of writing.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

from .cassette import Ask, Line, Omitted, RecordMode, written
from .cassette_file import Contents, Place, append, contents, lines, put, unreadable
from .errors import BadInput, UpstreamError
from .matching import difference, key, nearest

HOLD_SECONDS = 5.0
PLAIN = (".sse", ".json")
"""The endings of files that hold one plain stream, or the JSON in its place."""

_log = logging.getLogger(__name__)
Meaning = dict[str, Any]


class Cassette:
    """A file of requests and the streams that answered them, opened to replay them, to record more, or both.

    `record_mode` is ``"once"`` (record where the file does not exist yet, else replay only), ``"new_episodes"``
    (replay what is known, record the rest), ``"all"`` (record everything anew, in place of the old file) or
    ``"none"`` (replay only). `pace` multiplies the waiting of a replay: 0 is at once, 1 as it was recorded. A file
    that ends in ``.sse`` or ``.json`` is one plain stream, in `dialect` if its first event does not tell; every
    request gets it. Chats that share a file share the object. `on_note` is told what is wrong, in one line.

    Raises BadInput for a file that is no cassette, and for what cannot be used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        record_mode: RecordMode = "once",
        *,
        pace: float = 0.0,
        dialect: str | None = None,
        on_note: Callable[[str], object] = _log.warning,
    ) -> None:
        if record_mode not in get_args(RecordMode):
            expected = ", ".join(get_args(RecordMode))
            raise BadInput(f"{record_mode!r} is not a record mode; expected one of {expected}")
        if not (math.isfinite(pace) and pace >= 0):
            raise BadInput(f"pace is {pace:g}; expected 0 (at once) or more, 1 is the pace of the recording")
        self.path = Path(path)
        self.name = f"cassette {self.path.name}"
        self.record_mode: RecordMode = record_mode
        self.pace = pace
        self.hold = HOLD_SECONDS
        self.dialect = dialect
        self.notes: list[str] = []
        self.recorded = self.replayed = 0
        self._on_note = on_note
        self._lock = threading.Lock()
        self._next: dict[bytes, int] = {}
        self._contents = Contents()
        self._begun = self._exists()
        self._anew = record_mode == "all"
        self._open()

    def __repr__(self) -> str:
        return f"Cassette({self.path.name!r}, {self.record_mode!r})"

    def __len__(self) -> int:
        """How many whole episodes it had when it was opened."""
        return len(self._contents)

    @property
    def plain(self) -> bool:
        """Whether it is one plain stream, and not a cassette."""
        return self.path.suffix.lower() in PLAIN

    @property
    def records(self) -> bool:
        """Whether a request that it does not know is asked for real, and recorded."""
        if self.plain:
            return False
        return self.record_mode in ("all", "new_episodes") or (self.record_mode == "once" and not self._begun)

    @property
    def records_all(self) -> bool:
        """Whether every request is asked for real."""
        return self.records and (self.record_mode != "new_episodes" or not len(self))

    def _exists(self) -> bool:
        try:
            return self.path.stat().st_size > 0
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            raise unreadable(self.path, error) from None

    def _open(self) -> None:
        if self._begun and not self.plain:
            self._contents = contents(self.path)
            for problem in self._contents.problems:
                self.note(problem)
        elif not self._begun and (self.plain or self.record_mode == "none"):
            what = "is empty" if self.path.exists() else "does not exist"
            raise BadInput(f"{self.path} {what}; record it first, in the mode once")
        if self.records and not self.path.parent.is_dir():
            raise BadInput(f"{self.path} cannot be written: there is no folder {self.path.parent}")

    def note(self, line: str) -> None:
        """Say what is wrong."""
        self.notes.append(line)
        self._on_note(line)

    # ---- replaying ----

    def find(self, meaning: Meaning) -> Place | None:
        """The next episode that answers a request; None for one that is to be recorded, or is not there."""
        if self.records_all:
            return None
        with self._lock:
            asked = key(meaning)
            places, number = self._contents.places.get(asked, []), self._next.get(asked, 0)
            if not places or (self.records and number >= len(places)):
                return None
            self._next[asked] = number + 1
            self.replayed += 1
            return places[min(number, len(places) - 1)]

    def lines(self, place: Place) -> Iterator[Line]:
        """The lines of one episode, read as they are taken; raises BadInput where the file is another one by now."""
        return lines(self.path, place)

    def meanings(self) -> Iterator[Meaning]:
        """What was asked, one for each kind of request."""
        for places in self._contents.places.values():
            ask = next(self.lines(places[0]), None)
            if isinstance(ask, Ask):
                yield dict(ask.meaning)

    def not_recorded(self, meaning: Meaning) -> UpstreamError:
        """The error for a request that is not there, with the nearest one that is."""
        found = nearest(meaning, self.meanings())
        said = f"this request is not on {self.name}"
        if found is None:
            said += ", which holds no whole episode"
        else:
            said += (
                f", which has {_episodes(len(self))}; the nearest differs in its {difference(meaning, found)}"
            )
        if self._contents.problems:
            said += f"; {self._contents.problems[0]}"
        if self._contents.omitted:
            said += f"; left out when it was recorded: {self._contents.omitted[0]}"
        return UpstreamError(f"{said}; record it in the mode new_episodes", type="not_recorded")

    # ---- recording ----

    def add(self, block: bytes) -> None:
        """Add an episode; one that cannot be written is noted."""
        with self._lock:
            try:
                self._write(block)
                self.recorded += 1
            except OSError as error:
                self.note(f"{self.path.name}: an answer was not recorded: {error.strerror or error}")

    def omit(self, why: str) -> None:
        """Leave an episode out, and say so in the file too."""
        self.note(f"{self.path.name}: an answer was not recorded: {why}")
        with self._lock, contextlib.suppress(OSError):
            self._write(written(Omitted(why)))

    def _write(self, block: bytes) -> None:
        (put if self._anew else append)(self.path, block)
        self._anew = False


def _episodes(count: int) -> str:
    return f"{count} episode{'' if count == 1 else 's'}"


__all__ = ["Cassette"]
