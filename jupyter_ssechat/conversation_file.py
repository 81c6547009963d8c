"""A transcript ↔ a file: whole or not at all, for its owner alone, and never over something else."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import tempfile
from pathlib import Path

from .errors import BadInput
from .transcript import FORMAT, VERSION, Transcript, read_transcript

MAX_FILE_BYTES = 256 * 2**20
OWNER_ALONE = 0o600

_OURS = re.compile(
    rb'\s*\{\s*"format"\s*:\s*"' + re.escape(FORMAT.encode()) + rb'"\s*,\s*"version"\s*:\s*(\d+)'
)


def save(path: str | os.PathLike[str], transcript: Transcript) -> Path:
    """Write a conversation, and return where it stands.

    What stands there is replaced in one step if it is a saved conversation, else left alone: BadInput. A new
    file is readable for its owner alone; an old one keeps its permissions.
    """
    place = Path(path).expanduser().resolve()  # the file that a link names, and not the link
    try:
        mode = _mode_of(place)
        _replace(place, _encoded(transcript), mode)
    except OSError as error:
        raise BadInput(f"the conversation cannot be saved to {place}: {error.strerror or error}") from None
    return place


def load(path: str | os.PathLike[str]) -> Transcript:
    """Read a conversation that `save` wrote, or a list of messages of chat completions.

    Raises BadInput, one line, that names the file and what is wrong with it.
    """
    place = Path(path).expanduser()
    try:
        if not stat.S_ISREG(place.stat().st_mode):
            raise BadInput(f"{place} is no file; expected a saved conversation")
        if place.stat().st_size > MAX_FILE_BYTES:
            raise BadInput(
                f"{place} is larger than {MAX_FILE_BYTES // 2**20} MiB; no conversation is expected to be"
            )
        data = place.read_bytes()
    except OSError as error:
        raise BadInput(f"{place} cannot be read: {error.strerror or error}") from None
    try:
        return read_transcript(data)
    except BadInput as error:
        raise BadInput(f"{place}: {error}") from None


def check_place(path: str | os.PathLike[str]) -> None:
    """Raise BadInput where a conversation could not be saved."""
    place = Path(path).expanduser().resolve()
    try:
        _mode_of(place)
        if not os.access(place.parent, os.W_OK):
            why = "it cannot be written to" if place.parent.is_dir() else "there is no such folder"
            raise BadInput(f"no conversation can be saved in {place.parent}: {why}")
    except OSError as error:
        raise BadInput(f"the conversation cannot be saved to {place}: {error.strerror or error}") from None


def _mode_of(place: Path) -> int:
    """The permissions to give; BadInput where something stands that is not ours to replace."""
    try:
        found = place.stat()
    except FileNotFoundError:
        return OWNER_ALONE
    if stat.S_ISREG(found.st_mode):
        with place.open("rb") as file:
            ours = _OURS.match(file.read(1024))
        if ours and int(ours[1]) > VERSION:
            raise BadInput(
                f"{place} was saved by a newer release, so it is not replaced; choose another name"
            )
        if ours or not found.st_size:
            return stat.S_IMODE(found.st_mode)
    raise BadInput(
        f"{place} is no saved conversation, so it is not replaced; choose another name, or remove it"
    )


def _encoded(transcript: Transcript) -> bytes:
    data = transcript.to_json()
    try:
        return (json.dumps(data, ensure_ascii=False, indent=1) + "\n").encode()
    except UnicodeEncodeError:  # half of a pair has no UTF-8, but JSON can spell it
        return (json.dumps(data, indent=1) + "\n").encode()


def _replace(place: Path, data: bytes, mode: int) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{place.name[:100]}.", suffix=".tmp", dir=place.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, place)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


__all__ = ["check_place", "load", "save"]
