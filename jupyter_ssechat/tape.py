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
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from .cassette import (
    Ask,
    By,
    Ended,
    Ending,
    Header,
    Line,
    Omitted,
    RecordMode,
    header,
    line_of,
    read_value,
    written,
)
from .errors import BadInput, InvalidData, UpstreamError
from .matching import difference, key, nearest
from .wire_json import is_list, loads

try:
    import fcntl
except ImportError:  # on Windows one writes at a time without it
    fcntl = None

HOLD_SECONDS = 5.0
CHECKED_AT_ONCE = 4096
PLAIN = (".sse", ".json")
"""The endings of files that hold one plain stream, or the JSON in its place."""

_log = logging.getLogger(__name__)
Meaning = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an episode stands: the number of its first line, from 1, and its offset in bytes."""

    line: int
    offset: int
    at: str
    how: Ending


@dataclass(slots=True)
class Contents:
    """What a file holds: its whole episodes by what they were asked, and what is wrong with it."""

    places: dict[bytes, list[Place]] = field(default_factory=dict[bytes, list[Place]])
    omitted: list[str] = field(default_factory=list[str])
    problems: list[str] = field(default_factory=list[str])

    def __len__(self) -> int:
        return sum(map(len, self.places.values()))


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
            raise _unreadable(self.path, error) from None

    def _open(self) -> None:
        if self._begun and not self.plain:
            self._contents = contents(self.path)
            for problem in self._contents.problems:
                self.note(problem)
        elif not self._begun and (self.plain or self.record_mode == "none"):
            raise BadInput(f"{self.path} does not exist; record it first, in the mode once")
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
        try:
            with self.path.open("rb") as file:
                file.seek(place.offset)
                for raw in file:
                    line = line_of(raw.decode())
                    yield line
                    if isinstance(line, Ended):
                        return
        except (InvalidData, UnicodeDecodeError):
            pass
        except OSError as error:
            raise _unreadable(self.path, error) from None
        raise BadInput(f"{self.path} has changed since it was opened; open it again")

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
                f", which has {len(self)} episodes; the nearest differs in its {difference(meaning, found)}"
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
        if self.record_mode == "all" and not self.recorded:
            _replace(self.path, header() + block)
        else:
            _append(self.path, block)


# ---- a file ----


def contents(path: Path) -> Contents:
    """Look through a cassette; raises BadInput where it is none."""
    scan = _Scan(path.name)
    try:
        with path.open("rb") as file:
            for raw in file:
                scan.take(raw)
    except OSError as error:
        raise _unreadable(path, error) from None
    return scan.done()


class _Scan:
    """Takes the lines of a file one by one, and tells whole episodes from what is broken."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._contents = Contents()
        self._number = self._offset = 0
        self._ask: Ask | None = None
        self._by: By | None = None
        self._begins = (0, 0)
        self._skipping = False
        self._chunks: list[bytes] = []

    def take(self, raw: bytes) -> None:
        self._number += 1
        if raw.startswith(b"[") and self._number > 1:
            if not self._skipping:
                self._chunks.append(raw)
            if len(self._chunks) >= CHECKED_AT_ONCE:
                self._check(self._number)
        else:
            self._check(self._number - 1)
            self._take(raw)
        self._offset += len(raw)

    def done(self) -> Contents:
        self._check(self._number)
        self._torn()
        for places in self._contents.places.values():
            places.sort(key=lambda place: place.at)
        return self._contents

    def _take(self, raw: bytes) -> None:
        try:
            line = line_of(raw.decode())
        except (InvalidData, UnicodeDecodeError) as error:
            if self._number == 1:
                raise BadInput(f"{self._name} is no cassette: line 1: {error}") from None
            cut = "" if raw.endswith(b"\n") else "the file is cut off here: "
            self._broken(self._number, f"{cut}{error}")
            return
        if self._number == 1 and not isinstance(line, Header):
            raise BadInput(f'{self._name} is no cassette: expected {{"cassette": 1}} in its first line')
        self._place(line)

    def _place(self, line: Line) -> None:
        match line:
            case Ask():
                self._torn()
                self._ask, self._by, self._skipping = line, None, False
                self._begins = (self._number, self._offset)
            case Omitted(why):
                self._torn()
                self._contents.omitted.append(why)
            case Header():
                self._torn()
            case _ if self._skipping:
                return
            case By() if self._ask is not None and self._by is None:
                self._by = line
            case Ended() if self._ask is not None and self._by is not None:
                place = Place(*self._begins, self._by.at, line.how)
                self._contents.places.setdefault(key(self._ask.meaning), []).append(place)
                self._ask = None
            case _ if self._by is None or self._ask is None:
                self._broken(self._number, "a line that belongs to no episode")
            case _:
                return

    def _check(self, last: int) -> None:
        """Look at the chunks since the last check, which end with line `last`."""
        chunks, self._chunks = self._chunks, []
        if not chunks or self._skipping:
            return
        if self._ask is None or self._by is None:
            self._broken(last - len(chunks) + 1, "a chunk that belongs to no episode")
            return
        if _all_plain(chunks):
            return
        for number, raw in enumerate(chunks, last - len(chunks) + 1):
            try:
                read_value(loads(raw.decode()))
            except (InvalidData, UnicodeDecodeError) as error:
                cut = "" if raw.endswith(b"\n") else "the file is cut off here: "
                self._broken(number, f"{cut}{error}")
                return

    def _torn(self) -> None:
        if self._ask is not None:
            self._broken(self._number, "the episode has no end")

    def _broken(self, number: int, why: str) -> None:
        of = f"; the episode that begins in line {self._begins[0]} is passed over" if self._ask else ""
        self._contents.problems.append(f"{self._name}, line {number}: {why}{of}")
        self._ask, self._skipping = None, True


def _all_plain(chunks: list[bytes]) -> bool:
    """Whether all are a time and a text, as nearly always; read together, for that is a third of the work."""
    if any(rb"\ud" in raw for raw in chunks):  # perhaps half of a pair, which is no text
        return False
    try:
        values = loads(f"[{','.join([raw.decode() for raw in chunks])}]")
    except (InvalidData, UnicodeDecodeError):
        return False
    return len(values) == len(chunks) and all(map(_is_plain, values))


def _is_plain(value: object) -> bool:
    return (
        is_list(value)
        and len(value) == 2
        and type(value[0]) is int
        and value[0] >= 0
        and type(value[1]) is str
    )


def _append(path: Path, block: bytes) -> None:
    """Write at the end of a file, all or (where there is no room) a torn piece; others write before or after."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        if size == 0:
            block = header() + block
        elif not _ends_a_line(path):
            block = b"\n" + block
        while block:
            block = block[os.write(descriptor, block) :]
    finally:
        os.close(descriptor)


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _replace(path: Path, content: bytes) -> None:
    """Put a new file in the place of the old one, in one step."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        with contextlib.suppress(OSError):
            os.chmod(name, path.stat().st_mode if path.exists() else 0o644)
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _unreadable(path: Path, error: Exception) -> BadInput:
    return BadInput(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}")


__all__ = ["Cassette", "Contents", "Place", "contents"]
