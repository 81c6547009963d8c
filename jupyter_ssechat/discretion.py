"""What strangers say → one line without secrets, to show to people."""

from __future__ import annotations

import re
from base64 import b64encode
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from .patches import Patch
from .wire_json import as_object, as_text, dumps

HIDDEN = "***"
LONGEST = 500
SHORTEST_SECRET = 6

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
        values = [value for _, value in parse_qsl(parts.query) if len(value) >= SHORTEST_SECRET]
        return cls(key, parts.password and unquote(parts.password), parts.password, *values)

    def __repr__(self) -> str:
        return "Discretion()"

    def hide(self, text: str) -> str:
        """The text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        text = _USER.sub(rf"\1{HIDDEN}@", _KEYS.sub(HIDDEN, text))
        return _NAMED.sub(rf"\1{HIDDEN}", _BEARER.sub(rf"\1 {HIDDEN}", text))

    def line(self, text: str) -> str:
        """One line of at most LONGEST characters, without secrets and without what controls a terminal."""
        # Hidden before it is cut, or half of a key would pass; bounded before that, for the patterns' sake.
        shown = self.hide("".join(char if char.isprintable() else " " for char in text[: LONGEST * 40]))
        return " ".join(shown.split())[:LONGEST]

    def patches(self, patches: list[Patch]) -> list[Patch]:
        """The same patches; an error that the server tells in mid-stream is a discreet line."""
        return [self._error(patch) if patch.path == "response/error" else patch for patch in patches]

    def _error(self, patch: Patch) -> Patch:
        fields = as_object(patch.value)
        said = {name: self.line(as_text(fields.get(name))) for name in ("type", "message")}
        return Patch(patch.path, patch.op, {**fields, **said})


def _forms(secret: str) -> list[str]:
    """A secret as it stands in a header, an address, JSON, or an Authorization of the Basic kind."""
    if len(secret) < SHORTEST_SECRET:
        return [secret]
    encoded = b64encode(secret.encode("utf-8", "replace")).decode()
    return [secret, quote(secret, safe=""), dumps(secret)[1:-1], encoded]


__all__ = ["HIDDEN", "Discretion"]
