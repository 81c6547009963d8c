"""Requests and the streams that answered them ↔ the lines of a cassette."""

from __future__ import annotations

from typing import Literal

RecordMode = Literal["once", "new_episodes", "all", "none"]
"""When to record: if the file does not exist yet; what is not in it; everything, anew; nothing."""

__all__ = ["RecordMode"]
