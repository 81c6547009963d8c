"""A text → what in it looks like a secret, whoever's it is: such a text is not for a file that is shared.

Stricter than `discretion` in what it takes for a secret, since nothing is hidden by it: an answer that says
"Basic Python" or ``api_key="sk-…"`` is no secret, and shall be recorded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

SHORTEST = 16
MANY_CHANGES = 3
SLICE = 2**14
OVERLAP = 2**12

_MATERIAL = r"[A-Za-z0-9_+/=.-]"
# All that a key may be a part of: most texts have few of these, and only there is looked for keys.
_RUN = re.compile(rf"{_MATERIAL}{{{SHORTEST + 3},}}")
# Prefixes that services give to their keys, so that they can be found.
_PREFIXED = re.compile(
    r"(?<![A-Za-z0-9])(?:sk|pk|rk|gsk|xai|hf|gh[opsur]|github_pat|glpat|nvapi|pplx|tgp|fw|r8|npm|pypi|dop_v1|xox[abeprs])"
    rf"[-_]({_MATERIAL}{{{SHORTEST},}})"
)
# What is found by a sign, which C looks for, and then by a pattern.
_FIXED = (
    ("an access key of AWS", "AKIA", re.compile(r"(?<![A-Za-z0-9])AKIA[0-9A-Z]{16}(?![0-9A-Za-z])")),
    ("an access key of AWS", "ASIA", re.compile(r"(?<![A-Za-z0-9])ASIA[0-9A-Z]{16}(?![0-9A-Za-z])")),
    ("a key of Google", "AIza", re.compile(r"(?<![A-Za-z0-9])AIza[\w-]{30,}")),
    ("a JSON web token", "eyJ", re.compile(r"(?<![A-Za-z0-9])eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*")),
    ("a private key", "PRIVATE KEY-----", re.compile(r"-----BEGIN [A-Z ]{0,80}PRIVATE KEY-----")),
    ("a password in an address", "://", re.compile(r"\bhttps?://[^\s/:@\"']+:([^\s/@\"']{6,})@")),
)
_SCHEMES = ("bearer", "basic")
_BEARER = re.compile(rf"\b(?:Bearer|Basic)\s+({_MATERIAL}{{{SHORTEST},}})", re.I)
_NAMES = ("key", "token", "secret", "passw", "credential", "authorization", "cookie")
_NAMED = re.compile(
    r"(?:key|token|secret|passw(?:or)?d|credentials?|authorization|cookie)"
    rf"(?:\\*[\"'`]|\s|[:=]|\bis\b){{1,12}}({_MATERIAL}{{{SHORTEST},}})",
    re.I,
)
# Between letters and digits: a date in a name has few, what is made at random has many.
_CHANGES = re.compile(
    r"(?:(?<=[A-Za-z])|(?<=[A-Za-z][_+/=.-]))(?=[0-9])|(?:(?<=[0-9])|(?<=[0-9][_+/=.-]))(?=[A-Za-z])"
)


def looks_secret(text: str, *, named: bool = True) -> str | None:
    """What in a text looks like a secret, in a few words that do not tell it; None if nothing does.

    With `named` what stands behind a word such as *password* counts too, if it is long and made at random.
    """
    return next(_found(text), None) or (next(_found_by_name(text), None) if named else None)


class Lookout:
    """Looks through a text while it comes, a slice at a time: at its end little is left to look at.

    `looks` says what is wrong with a text, or None. It gets every part of the text that is at most OVERLAP
    characters long as a whole.
    """

    def __init__(self, looks: Callable[[str], str | None]) -> None:
        self._looks = looks
        self._pieces: list[str] = []
        self._size = 0
        self._found: str | None = None

    def feed(self, piece: str) -> None:
        """Take the next piece."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size >= SLICE:
            self._look()

    def found(self) -> str | None:
        """What is wrong with the text so far; None if nothing is."""
        self._look()
        return self._found

    def _look(self) -> None:
        text = "".join(self._pieces)
        self._found = self._found or self._looks(text)
        # What begins where it is cut was seen just now; a digit keeps the rest of a word from beginning there.
        self._pieces = [text if len(text) <= OVERLAP else f"0{text[-OVERLAP:]}"]
        self._size = 0


def _found(text: str) -> Iterator[str]:
    for what, sign, pattern in _FIXED:
        if sign in text and pattern.search(text):
            yield what
    for run in set(_RUN.findall(text)):
        for match in _PREFIXED.finditer(run):
            if _is_random(match[1]):
                yield f"a key that begins with {match[0][:3]}"
    for match in _at(_SCHEMES, _BEARER, text):
        if _is_random(match[1]):
            yield "what stands in an authorization header"


def _found_by_name(text: str) -> Iterator[str]:
    for match in _at(_NAMES, _NAMED, text):
        if _is_random(match[1]) and len(_CHANGES.findall(match[1])) >= MANY_CHANGES:
            word = re.match(r"\w+", match[0])
            yield f"what stands behind the word {word[0].lower() if word else 'key'!r}"


def _at(signs: tuple[str, ...], pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Where a pattern matches that begins with one of these signs, in any case."""
    lower = text.lower()
    if len(lower) != len(text):  # an İ becomes two
        text = lower
    for sign in signs:
        at = lower.find(sign)
        while at >= 0:
            match = pattern.match(text, at)
            if match:
                yield match
            # After a match, as finditer does: each letter is seen once.
            at = lower.find(sign, match.end() if match else at + len(sign))


def _is_random(material: str) -> bool:
    """Whether it can be a key, and not an identifier, a path, or a row of x."""
    letters, digits = set(re.findall("[A-Za-z]", material)), re.findall("[0-9]", material)
    return len(letters) >= 4 and len(digits) >= 2


__all__ = ["OVERLAP", "SLICE", "Lookout", "looks_secret"]
