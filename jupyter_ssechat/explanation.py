"""An exception → its traceback for a prompt: the user's own frames with their lines, short, without secrets."""

from __future__ import annotations

import linecache
import re
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from .discretion import HIDDEN, SHORTEST_SECRET, Discretion
from .excerpts import cut

MAX_FRAMES = 8
MAX_CHAIN = 3
MAX_GROUP = 5
MAX_MESSAGE = 2_000
MAX_LINE = 2_500
CONTEXT = 2

Titles = Callable[[str], str | None]
"""The file name of a piece of code → what the user calls it, such as ``In[3]``; None for a file."""

_SECRET_NAME = re.compile(
    r"(?:^|_)(?:\w*KEY|TOKENS?|SECRETS?|PASS(?:WORD|WD|PHRASE)?|CREDENTIALS?)(?:_|$)", re.I
)
_USER = re.compile(r"\b([a-z][a-z0-9+.-]{0,30}://)[^\s/@'\"]+@", re.I)
_ASSIGNED = re.compile(
    r"(?i)(\w{0,40}(?:api_?key|private_?key|secret|token|passw(?:or)?d|passphrase|credential)\w{0,40}[\"']?\]?\s*[=:]\s*"
    r"[rbfu]{0,2})(\"[^\"\n]+\"|'[^'\n]+')"
)
_IN_QUERY = re.compile(
    r"(?i)([?&][\w.~%-]*(?:key|token|secret|passw|pwd|sig|auth(?!or)|credential|code)[\w.~%-]*=)[^\s&#\"'<>]+"
)
# Without quotes, as an address of a database or a line of a log has it.
_BARE = re.compile(
    r"(?i)(\w{0,40}(?:(?:api_?key|token)\w{0,40}\s?="
    r"|(?:private_?key|secret|passw(?:or)?d|pwd|passphrase)\w{0,40}\s?[=:])\s?)"
    r"[^\s\"'&;,)\]}*]+"
)
_LITERAL = re.compile(r"\"(?:[^\"\\\n]|\\.){0,1000}\"|'(?:[^'\\\n]|\\.){0,1000}'")
_KEYS = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgithub_pat_\w{20,}|\bxox[abprs]-[\w-]{8,}")
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S)


def explained(error: BaseException, titles: Titles, environ: Mapping[str, str]) -> str:
    """The traceback of an exception and of those that led to it.

    Shown are the frames of the user's own code with the lines around, and where a library raised it. What looks
    like a key, and the values of variables in `environ` whose names say that they are secret, are hidden.
    """
    parts = [_one(each, titles) for each in _chain(error)]
    text = "\n\nwhich led to:\n\n".join(parts)
    return "\n".join(map(_of_bearable_length, without_secrets(text, environ).split("\n")))


def _of_bearable_length(line: str) -> str:
    """A line that is not cut before its secrets are hidden: half of one is not told as such."""
    left_out = len(line) - MAX_LINE
    return line if left_out <= 0 else f"{line[:MAX_LINE]} [{left_out:,} characters of this line are left out]"


def without_secrets(text: str, environ: Mapping[str, str]) -> str:
    """The text with everything hidden that looks like a secret, or is one in `environ`."""
    known = [value for name, value in environ.items() if _SECRET_NAME.search(name)]
    text = _PEM.sub(HIDDEN, _KEYS.sub(HIDDEN, text))
    text = _ASSIGNED.sub(rf"\1'{HIDDEN}'", _USER.sub(rf"\1{HIDDEN}@", text))
    text = _LITERAL.sub(lambda literal: _without_bare(literal[0]), _IN_QUERY.sub(rf"\1{HIDDEN}", text))
    return Discretion(*(value for value in known if len(value) >= SHORTEST_SECRET)).hide(text)


def _without_bare(text: str) -> str:
    """A message, or what stands in quotes, without ``password=…``; in code that may be a name, and stays."""
    return _BARE.sub(rf"\1{HIDDEN}", text)


def _chain(error: BaseException) -> list[BaseException]:
    """The exception last, before it those that it was raised from or met while handling."""
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found and len(found) < MAX_CHAIN:
        found.append(current)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return found[::-1]


def _one(error: BaseException, titles: Titles) -> str:
    frames = list(traceback.walk_tb(error.__traceback__))
    places = [(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in frames]
    own = [place for place in places if titles(place[0]) or not _is_library(place[0])]
    shown = [_frame(*place, titles) for place in _both_ends(own)]
    if len(own) > MAX_FRAMES:
        shown.insert(MAX_FRAMES // 2, f"({len(own) - MAX_FRAMES:,} frames are left out)")
    if isinstance(error, SyntaxError):
        shown += _unread(error, titles)
    elif places and places[-1] not in own:
        shown.append(f"raised in {_library_place(*places[-1])}")
    return "\n".join([*shown, *_message(error, titles)])


def _unread(error: SyntaxError, titles: Titles) -> list[str]:
    """The code around an error of syntax, which may have begun lines before."""
    if not error.filename or not error.lineno or not linecache.getlines(error.filename):
        return []
    return [_frame(error.filename, error.lineno, "<module>", titles)]


def _both_ends(places: list[tuple[str, int, str]]) -> list[tuple[str, int, str]]:
    half = MAX_FRAMES // 2
    return places if len(places) <= MAX_FRAMES else places[:half] + places[-half:]


def _message(error: BaseException, titles: Titles) -> Iterator[str]:
    yield cut(_said(error, titles), MAX_MESSAGE)
    group: tuple[BaseException, ...] = getattr(error, "exceptions", ())
    if isinstance(error, BaseExceptionGroup):
        yield from ("  " + cut(_said(each, titles), MAX_MESSAGE) for each in group[:MAX_GROUP])
        if len(group) > MAX_GROUP:
            yield f"  ({len(group) - MAX_GROUP} exceptions are left out)"


def _said(error: BaseException, titles: Titles) -> str:
    """The type and the message; of an error of syntax also the line, in the file as the user calls it."""
    told = traceback.TracebackException.from_exception(error)
    if isinstance(error, SyntaxError) and error.filename:
        told.filename = titles(error.filename) or _short(error.filename)
    text = "".join(told.format_exception_only()).strip()
    return text if isinstance(error, SyntaxError) else _without_bare(text)  # of which the text is code


def _frame(file: str, line: int, function: str, titles: Titles) -> str:
    inside = "" if function == "<module>" else f", in {function}"
    lines = linecache.getlines(file)
    first, last = max(line - CONTEXT, 1), min(line + CONTEXT, len(lines))
    code = [
        f"{'-->' if number == line else '   '} {number:4} {lines[number - 1].rstrip()}"
        for number in range(first, last + 1)
    ]
    return "\n".join([f"{titles(file) or _short(file)}, line {line}{inside}:", *code])


def _library_place(file: str, line: int, function: str) -> str:
    return f"{_short(file)}, line {line}, in {function}"


def _short(file: str) -> str:
    """The path below the folder of all libraries or the current one, or its last two names."""
    path = Path(file)
    for folder in (*_LIBRARIES, Path.cwd()):
        if path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
    return "/".join(path.parts[-2:]) if path.is_absolute() else file


def _is_library(file: str) -> bool:
    if file.startswith("<frozen ") or any(Path(file).is_relative_to(folder) for folder in _LIBRARIES):
        return True
    return "/site-packages/" in file.replace("\\", "/")


_LIBRARIES = [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib", "platstdlib")]

__all__ = ["Titles", "explained", "without_secrets"]
