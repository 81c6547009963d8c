"""A TOML file → its table, and whether anybody else can read it."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

from .errors import BadInput

MAX_BYTES = 2**20


def read_toml(file: str | Path) -> tuple[dict[str, Any], bool]:
    """Read a file; BadInput for one that cannot be read or is no TOML.

    It is private if nobody else can read it: as PostgreSQL has it for keys, the group may if it is root's.
    """
    try:
        with open(file, "rb") as stream:
            content, found = stream.read(MAX_BYTES + 1), os.fstat(stream.fileno())
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise BadInput(f"{file} cannot be read: {said}") from None
    if len(content) > MAX_BYTES:
        raise BadInput(f"{file} is larger than {MAX_BYTES} bytes; expected TOML")
    readable = stat.S_IRGRP | stat.S_IROTH if found.st_uid else stat.S_IROTH
    try:
        return tomllib.loads(content.decode()), os.name != "posix" or not found.st_mode & readable
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{file} is no TOML: {' '.join(str(error).split())}") from None


__all__ = ["read_toml"]
