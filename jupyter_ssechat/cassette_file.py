"""A cassette's file ↔ its lines: looked through as a whole, read from a place, added to at its end.

Most lines are chunks, and most chunks are a time and a text: runs of those are read at once, and the line parser sees
what is left. Only there is it told which line is wrong, and why.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, BinaryIO

from msgspec import DecodeError, Meta
from msgspec.json import Decoder

from .cassette import Ask, By, Chunk, Ended, Ending, Header, Line, Omitted, header, line_of
from .errors import BadInput, InvalidData
from .matching import key

try:
    import fcntl
except ImportError:  # on Windows, where those who write at the same time are not told apart
    fcntl = None

BLOCK_BYTES = 2**16

_BRACKET = ord("[")
_CHUNKS = Decoder(list[tuple[Annotated[int, Meta(ge=0)], str]])


@dataclass(frozen=True, slots=True)
class Place:
    """Where an episode stands: the number of its first line, from 1, and its offset in bytes."""

    line: int
    offset: int
    at: str
    how: Ending
    dialect: str


@dataclass(slots=True)
class Contents:
    """What a file holds: its whole episodes by what they were asked, and what is wrong with it.

    Of those that were asked the same the one that was asked first comes first.
    """

    places: dict[bytes, list[Place]] = field(default_factory=dict[bytes, list[Place]])
    omitted: list[str] = field(default_factory=list[str])
    problems: list[str] = field(default_factory=list[str])

    def __len__(self) -> int:
        return sum(map(len, self.places.values()))

    def __iter__(self) -> Iterator[Place]:
        """The episodes as they stand in the file."""
        return iter(
            sorted((place for places in self.places.values() for place in places), key=lambda one: one.line)
        )


# ---- reading ----


def contents(path: Path) -> Contents:
    """Look through a cassette; raises BadInput where it is none, or cannot be read."""
    scan = _Scan(path.name)
    with _readable(path) as file:
        for run in _runs(file):
            scan.take(run)
    return scan.done()


def lines(path: Path, place: Place) -> Iterator[Line]:
    """The lines of one episode, as they are taken; raises BadInput where the file is another one by now."""
    with _readable(path) as file:
        file.seek(place.offset)
        try:
            for run in _runs(file):
                for line in _lines(run):
                    yield line
                    if isinstance(line, Ended):
                        return
        except (InvalidData, UnicodeDecodeError):
            pass
    raise BadInput(f"{path} has changed since it was opened; open it again")


def chunk_texts(path: Path, place: Place) -> Iterator[str]:
    """The bytes of one episode in large pieces that end with a chunk, as text; raises BadInput as `lines` does."""
    with _readable(path) as file:
        file.seek(place.offset)
        for run in _runs(file):
            chunks = _plain(run)
            if chunks is not None:
                yield "".join([text for _, text in chunks])
            elif run.startswith(b'{"end"'):
                return
            else:
                whole = b"".join(line.data for line in _lines(run) if isinstance(line, Chunk))
                yield whole.decode("utf-8", "surrogateescape")


@contextlib.contextmanager
def _readable(path: Path) -> Generator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: Exception) -> BadInput:
    """The error for a file that cannot be read."""
    return BadInput(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}")


def _runs(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, those that follow each other and are chunks together; a last line may lack its end."""
    rest = b""
    while block := file.read(BLOCK_BYTES):
        whole, ended, rest = (rest + block).rpartition(b"\n")
        yield from _parts(whole + ended)
    if rest:
        yield rest


def _parts(block: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(block):
        end = block.find(b"\n{" if block[at] == _BRACKET else b"\n", at) + 1 or len(block)
        yield block[at:end]
        at = end


def _plain(run: bytes) -> list[tuple[int, str]] | None:
    """A run of chunks, if each is a time and a text."""
    if run[0] != _BRACKET:
        return None
    try:
        return _CHUNKS.decode(b"[%b]" % run.rstrip().replace(b"\n", b","))
    except (DecodeError, UnicodeDecodeError):  # msgspec says so of what is not UTF-8
        return None


def _lines(run: bytes) -> Iterator[Line]:
    chunks = _plain(run)
    if chunks is not None:
        yield from (Chunk(ms, text.encode()) for ms, text in chunks)
    else:
        yield from (line_of(raw.decode()) for raw in run.splitlines() if raw.strip())


class _Scan:
    """Takes the runs of a file, and tells whole episodes from what is broken."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._contents = Contents()
        self._number = self._offset = 0
        self._ask: Ask | None = None
        self._by: By | None = None
        self._begins = (0, 0)
        self._skipping = False

    def take(self, run: bytes) -> None:
        if self._number and _plain(run) is not None:
            if not self._skipping and (self._ask is None or self._by is None):
                self._broken(self._number + 1, "a chunk that belongs to no episode")
            self._number += run.count(b"\n") + (not run.endswith(b"\n"))
            self._offset += len(run)
            return
        for raw in run.splitlines(keepends=True):
            self._number += 1
            if raw.strip():
                self._take(raw)
            self._offset += len(raw)

    def done(self) -> Contents:
        if not self._number:
            raise BadInput(f"{self._name} is no cassette: it is empty")
        self._torn("the file ends here, in the middle of an episode")
        for places in self._contents.places.values():
            places.sort(key=lambda place: place.at)
        return self._contents

    def _take(self, raw: bytes) -> None:
        try:
            line = line_of(raw.decode("utf-8-sig" if self._number == 1 else "utf-8"))
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
            case Ask() | Omitted() | Header():
                self._torn("an episode has no end before this line")
                self._skipping = False
                if isinstance(line, Ask):
                    self._ask, self._by, self._begins = line, None, (self._number, self._offset)
                elif isinstance(line, Omitted):
                    self._contents.omitted.append(line.why)
            case _ if self._skipping:
                return
            case By() if self._ask is not None and self._by is None:
                self._by = line
            case _ if self._ask is None or self._by is None:
                self._broken(self._number, "a line that belongs to no episode")
            case Ended(how=how):
                place = Place(*self._begins, self._by.at, how, self._by.dialect)
                self._contents.places.setdefault(key(self._ask.meaning), []).append(place)
                self._ask = None
            case _:
                return

    def _torn(self, why: str) -> None:
        if self._ask is not None:
            self._broken(self._number, why)

    def _broken(self, number: int, why: str) -> None:
        of = f"; the episode that begins in line {self._begins[0]} is passed over" if self._ask else ""
        self._contents.problems.append(f"{self._name}, line {number}: {why}{of}")
        self._ask, self._skipping = None, True


# ---- writing ----


def append(path: Path, block: bytes) -> None:
    """Write at the end of a file, at once; others who write too do so before or after. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        if size == 0:
            block = header() + block
        elif not _ends_a_line(path):  # somebody was cut off there
            block = b"\n" + block
        try:
            while block:
                block = block[os.write(descriptor, block) :]
        except OSError:
            os.ftruncate(descriptor, size)  # half an episode is none
            raise
    finally:
        os.close(descriptor)


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def put(path: Path, block: bytes) -> None:
    """Put a new file with this block in the place of an old one, in one step. Raises OSError."""
    path = path.resolve()  # where it is a link, it stays one
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(header() + block)
        os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


__all__ = ["Contents", "Place", "append", "chunk_texts", "contents", "lines", "put", "unreadable"]
