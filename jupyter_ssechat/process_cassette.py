"""The environment → the cassette of this process: what a program that runs notebooks sets for all of their chats."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import cast

from .cassette import RecordMode
from .tape import Cassette

CASSETTE, RECORD_MODE = "JUPYTER_SSECHAT_CASSETTE", "JUPYTER_SSECHAT_RECORD_MODE"

_lock = threading.Lock()
_opened: dict[tuple[Path, str], Cassette] = {}


def process_cassette() -> Cassette | None:
    """The cassette that the environment names, always the same object for the same file; None if it names none.

    Raises BadInput for a file that is no cassette, or a mode that there is not.
    """
    name, mode = os.environ.get(CASSETTE, "").strip(), os.environ.get(RECORD_MODE, "").strip() or "once"
    if not name:
        return None
    place = Path(name).expanduser().absolute(), mode
    with _lock:
        if place not in _opened:
            _opened[place] = Cassette(place[0], cast("RecordMode", mode))
        return _opened[place]


__all__ = ["CASSETTE", "RECORD_MODE", "process_cassette"]
