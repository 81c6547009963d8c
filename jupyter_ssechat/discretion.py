"""What strangers say → one line without secrets, to show to people."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .patches import Patch
from .wire_json import is_list, is_object

HIDDEN = "***"
LONGEST = 500
SHORTEST_SECRET = 6
SHORTEST_IN_BASE64 = 9

# What looks like a key of a model server, or stands where one stands, whoever's it is.
_KEYS = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|hf|ghp|glpat|nvapi|pplx|tgp|fw|r8)[-_][\w*.-]{6,}|\bAIza[\w-]{20,}"
    r"|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"
)
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=*-]{4,}", re.I)
_USER = re.compile(r"(https?://)[^\s/@]+@")
_NAMED = re.compile(
    r"(?i)\b((?:x-)?(?:api[-_]?key|access[-_]?token|auth[-_]?token|password|secret)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,;]{6,}"
)

_NAMES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos", "+": "plus", "/": "sol", "=": "equals"}
_TOLD = re.compile(r"response/(?:error(?:/.*)?|status|finish_reason)")


class Discretion:
    """Knows the secrets of one server, and lets none of them pass, in none of the forms that they are sent in."""

    def __init__(self, *secrets: str | None) -> None:
        known = {form for secret in secrets if secret for form in _forms(secret)}
        # The longest first, so that no secret is cut by one that is its beginning.
        self._secrets = sorted(known, key=len, reverse=True)

    @classmethod
    def of(cls, url: str, key: str | None) -> Discretion:
        """For a server at `url`, whose user and query may be secrets too."""
        parts = urlsplit(url)
        query = parse_qsl(parts.query) + [(name, unquote(value)) for name, value in _undecoded(parts.query)]
        values = [value for _, value in query if len(value) >= SHORTEST_SECRET]
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        pair = f"{user}:{password}" if user or password else ""  # as it stands in a header of the Basic kind
        return cls(key, pair, password or user, *values)

    def __repr__(self) -> str:
        return "Discretion()"

    def hide(self, text: str) -> str:
        """The text without secrets, as they are or as the notations of the web escape them, in any case."""
        for secret in self._written:
            text = secret.sub(HIDDEN, text)
        text = self._without_half(text)
        text = _USER.sub(rf"\1{HIDDEN}@", _KEYS.sub(HIDDEN, text))
        return _NAMED.sub(rf"\1{HIDDEN}", _BEARER.sub(rf"\1 {HIDDEN}", text))

    @cached_property
    def _written(self) -> list[re.Pattern[str]]:
        return [re.compile("".join(map(_as_written, secret)), re.I) for secret in self._secrets]

    def finds(self, text: str) -> bool:
        """Whether one of the secrets stands in a text, in any notation that is known here, in base64 or hex."""
        lower = text.lower()
        # Letters and digits are never escaped, so nearly every text is done with at the speed of C.
        near = (pattern for run, pattern in self._sought if run in lower)
        return (
            any(pattern.search(text) for pattern in near)
            or any(one in text for one in self._inside_base64)
            or any(one in lower for one in self._in_hex)
        )

    @cached_property
    def _sought(self) -> list[tuple[str, re.Pattern[str]]]:
        """For each secret its longest row of letters and digits, and its pattern."""
        runs = (max(re.split("[^a-z0-9]", secret.lower()), key=len) for secret in self._secrets)
        return list(zip(runs, self._written, strict=True))

    @cached_property
    def _inside_base64(self) -> list[str]:
        """What base64 makes of a secret in the middle of a text: the same letters but for the ends, in three ways."""
        long = [
            secret.encode("utf-8", "replace") for secret in self._secrets if len(secret) >= SHORTEST_IN_BASE64
        ]
        plain = {_middle(secret, lead) for secret in long for lead in range(3)}
        return sorted(plain | {one.replace("+", "-").replace("/", "_") for one in plain})

    @cached_property
    def _in_hex(self) -> list[str]:
        return [one.encode("utf-8", "replace").hex() for one in self._secrets if len(one) >= SHORTEST_SECRET]

    def _without_half(self, text: str) -> str:
        """The text without the first half of a secret at its end, where somebody has cut it."""
        told = text.removesuffix("…")
        lower = told.lower()
        for secret in (secret.lower() for secret in self._secrets):
            longest = min(len(secret) - 1, len(lower))
            for n in range(longest, SHORTEST_SECRET - 1, -1):
                if lower.endswith(secret[:n]):
                    return told[: len(told) - n] + HIDDEN
        return text

    def line(self, text: str) -> str:
        """One line of at most LONGEST characters, without secrets and without what controls a terminal."""
        # Hidden before it is cut, or half of a key would pass; bounded before that, for the patterns' sake.
        shown = self.hide("".join(char if char.isprintable() else " " for char in text[: LONGEST * 40]))
        return " ".join(shown.split())[:LONGEST]

    def patches(self, patches: list[Patch]) -> list[Patch]:
        """The same patches; what the server tells of an error or of the end is said in discreet lines."""
        return [
            Patch(patch.path, patch.op, self._said(patch.value)) if _TOLD.fullmatch(patch.path) else patch
            for patch in patches
        ]

    def _said(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.line(value)
        if is_list(value):
            return [self._said(one) for one in value]
        if not is_object(value):
            return value
        return {self.line(name): self._said(one) for name, one in value.items()}


def _forms(secret: str) -> list[str]:
    """A secret as it is, and as it stands in an Authorization of the Basic kind."""
    if len(secret) < SHORTEST_SECRET:
        return [secret]
    encoded = b64encode(secret.encode("utf-8", "replace")).decode()
    return [secret, encoded, encoded.rstrip("=")]


def _middle(secret: bytes, lead: int) -> str:
    """The letters of base64 that depend on a secret alone, where `lead` other bytes stand before it in its group."""
    whole = b64encode(b"\0" * lead + secret).decode().rstrip("=")
    return whole[(lead * 8 + 5) // 6 : (lead + len(secret)) * 8 // 6]


def _as_written(char: str) -> str:
    """A pattern for one character, also as JSON, an address or HTML escapes it, once or more often."""
    if char.isascii() and char.isalnum():
        return char
    units = char.encode("utf-16-be", "surrogatepass").hex()
    ways = [
        rf"\\*{re.escape(char)}",
        "".join(rf"\\+u{units[at : at + 4]}" for at in range(0, len(units), 4)),
        "".join(f"%(?:25)*{octet:02x}" for octet in char.encode("utf-8", "replace")),
        f"&#0*{ord(char)};",
        f"&#x0*{ord(char):x};",
        f"&{_NAMES.get(char, '')};",
    ]
    return f"(?:{'|'.join(ways)})"


def _undecoded(query: str) -> list[tuple[str, str]]:
    """The fields of a query as they stand there: a plus may be a plus."""
    fields = (field.partition("=") for field in query.split("&"))
    return [(name, value) for name, _, value in fields]


__all__ = ["HIDDEN", "Discretion"]
