"""A text → what in it looks like a secret, whoever's it is: such a text is not for a file that is shared.

Stricter than `discretion` in what it takes for a secret, since nothing is hidden by it: an answer that says
"Basic Python" or ``api_key="sk-…"`` is no secret, and shall be recorded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

SHORTEST = 16
MANY_CHANGES = 3

_MATERIAL = r"[A-Za-z0-9_+/=.-]"
# Prefixes that services give to their keys, so that they can be found.
_PREFIXED = re.compile(
    r"(?<![A-Za-z0-9])(?:sk|pk|rk|gsk|xai|hf|gh[opsur]|github_pat|glpat|nvapi|pplx|tgp|fw|r8|npm|pypi|dop_v1|xox[abeprs])"
    rf"[-_]({_MATERIAL}{{{SHORTEST},}})"
)
_FIXED = (
    ("an access key of AWS", re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])")),
    ("a key of Google", re.compile(r"(?<![A-Za-z0-9])AIza[\w-]{30,}")),
    ("a JSON web token", re.compile(r"(?<![A-Za-z0-9])eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*")),
    ("a private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")),
)
_BEARER = re.compile(rf"\b(?:Bearer|Basic)\s+({_MATERIAL}{{{SHORTEST},}})", re.I)
_NAMED = re.compile(
    r"(?:key|token|secret|passw(?:or)?d|credentials?|authorization|cookie)"
    rf"(?:\\*[\"'`]|\s|[:=]|\bis\b){{1,12}}({_MATERIAL}{{{SHORTEST},}})",
    re.I,
)
# Between letters and digits: a date in a name has few, what is made at random has many.
_CHANGES = re.compile(
    r"(?:(?<=[A-Za-z])|(?<=[A-Za-z][_+/=.-]))(?=[0-9])|(?:(?<=[0-9])|(?<=[0-9][_+/=.-]))(?=[A-Za-z])"
)
_IN_ADDRESS = re.compile(r"\bhttps?://[^\s/:@\"']+:([^\s/@\"']{6,})@")


def looks_secret(text: str, *, named: bool = True) -> str | None:
    """What in a text looks like a secret, in a few words that do not tell it; None if nothing does.

    With `named` what stands behind a word such as *password* counts too, if it is long and made at random.
    """
    return next(_found(text), None) or (next(_found_by_name(text), None) if named else None)


def _found(text: str) -> Iterator[str]:
    for what, pattern in _FIXED:
        if pattern.search(text):
            yield what
    for match in _PREFIXED.finditer(text):
        if _is_random(match[1]):
            yield f"a key that begins with {match[0][:3]}"
    for match in _BEARER.finditer(text):
        if _is_random(match[1]):
            yield "what stands in an authorization header"
    if _IN_ADDRESS.search(text):
        yield "a password in an address"


def _found_by_name(text: str) -> Iterator[str]:
    for match in _NAMED.finditer(text):
        if _is_random(match[1]) and len(_CHANGES.findall(match[1])) >= MANY_CHANGES:
            word = re.match(r"\w+", match[0])
            yield f"what stands behind the word {word[0].lower() if word else 'key'!r}"


def _is_random(material: str) -> bool:
    """Whether it can be a key, and not an identifier, a path, or a row of x."""
    letters, digits = set(re.findall("[A-Za-z]", material)), re.findall("[0-9]", material)
    return len(letters) >= 4 and len(digits) >= 2


__all__ = ["looks_secret"]
