"""Records of the journal → lines on standard error, for people or for machines: the one door to pythonjsonlogger.

Other libraries' records come out too, from warnings on, without their words: these may quote what was said. A
fault is told by its type and its places, for the same reason.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from types import TracebackType
from typing import Any

from pythonjsonlogger.json import JsonFormatter

OWN = "jupyter_ssechat"
LITERAL = ("uvicorn",)
"""Loggers whose templates are words of the library alone."""

MOST_PLACES = 6


def begin_to_log(format: str, level: str) -> None:
    """Print what happens from `level` on, one line each; `format` is ``text`` or ``json``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_make_discreet)
    handler.setFormatter(JSONLines() if format == "json" else TextLines())
    logging.getLogger().addHandler(handler)
    logging.getLogger(OWN).setLevel(level.upper())


class TextLines(logging.Formatter):
    """``2026-01-31T12:00:00.000Z info 4711 call method=GET route=/ status=200``."""

    converter = time.gmtime
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        """One line; what has blanks or signs in it stands in quotes."""
        level, event = record.levelname.lower(), record.getMessage()
        fields = [f"{name}={_word(value)}" for name, value in _fields(record).items()]
        return " ".join([self.formatTime(record), level, str(record.process), event, *fields])


class JSONLines(JsonFormatter):
    """``{"time": …, "level": "info", "pid": 4711, "event": "call", "method": "GET", …}``."""

    def __init__(self) -> None:
        self._lines = TextLines()
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            "%(levelname)s %(process)d %(message)s",
            rename_fields={"levelname": "level", "process": "pid", "message": "event"},
            reserved_attrs=[*vars(logging.makeLogRecord({})), "message", "taskName", "fields"],
        )

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Put the time first, and levels in small letters."""
        return {"time": log_data.pop("time"), **log_data, "level": log_data["level"].lower()}

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """Take the fields of an event beside what every record has."""
        super().add_fields(log_data, record, message_dict)
        log_data["time"] = self._lines.formatTime(record)
        log_data.update(_fields(record))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return getattr(record, "fields", {})


def _word(value: object) -> str:
    text = "-" if value is None else str(value)
    plain = text.isascii() and text.isprintable() and not set(text) & set(" \"'=")
    return text if plain and text else json.dumps(text)


def _make_discreet(record: logging.LogRecord) -> bool:
    """Take from a record what may quote somebody."""
    fields = _fields(record)
    if record.name.partition(".")[0] != OWN:
        literal = record.name.startswith(LITERAL)
        record.msg = str(record.msg).partition("\n")[0] if literal else "a library reported"
        record.args = None
        fields = {**fields, "logger": record.name, "at": f"{record.module}:{record.lineno}"}
    if record.exc_info and record.exc_info[1]:
        _, fault, trace = record.exc_info
        fields = {**fields, "fault": type(fault).__name__, "places": _places(trace)}
    record.exc_info = record.exc_text = record.stack_info = None
    record.fields = fields
    return True


def _places(trace: TracebackType | None) -> str:
    """Where a fault came from, the innermost place first."""
    frames = traceback.extract_tb(trace)[-MOST_PLACES:]
    return " < ".join(
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames[::-1]
    )


__all__ = ["JSONLines", "TextLines", "begin_to_log"]
