"""Keys that are typed in: asked for where nobody sees them, kept in memory, given to their own server alone."""

from __future__ import annotations

import getpass
from dataclasses import dataclass

from IPython.core.error import StdinNotImplementedError

from .errors import BadInput
from .profiles import key_wanted


@dataclass(frozen=True, slots=True, repr=False)
class TypedKey:
    """A key that was typed in, and the server that it is for."""

    upstream: str
    url: str
    key: str

    def given_to(self, upstream: str, url: str) -> str | None:
        """The key, if it is for this server."""
        return self.key if (self.upstream, self.url) == (upstream, url) else None


def typed_key(upstream: str, url: str | None, *, always: bool) -> TypedKey | None:
    """Ask for the key of a server, if it needs one that is not set, or `always`; BadInput if none is typed in."""
    wanted = key_wanted(upstream, url)
    if not always and wanted is None:
        return None
    try:
        key = getpass.getpass(f"key for {upstream}: ").strip()
    except (EOFError, StdinNotImplementedError):
        key = ""
    if not key:
        name = wanted or "NAME"
        raise BadInput(f"{upstream} needs a key; set the environment variable {name}, or type it in")
    return TypedKey(upstream, url or "", key)


__all__ = ["TypedKey", "typed_key"]
