"""What a live view may do ↔ a token that says so, and that only its gateway can have made.

Nothing is kept of it: every worker of the gateway knows it, and it is void when its user's token is.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ..errors import InvalidData
from ..wire_json import as_list, dumps, loads
from .users import Directory, User

MARK = "view."
SECONDS = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Grant:
    """Stop or resume one message of one session from a page at `origin`, as `user`, until then (seconds since the
    epoch)."""

    user: str
    origin: str
    session_id: str
    message_id: int
    until: float


class Grants:
    """The tokens that one gateway makes and knows; `secret` gives what all of its workers know and nobody else."""

    def __init__(self, secret: Callable[[], Awaitable[str]]) -> None:
        self._ask = secret
        self._secret = b""

    async def token(self, grant: Grant, user: User) -> str:
        """The token for a grant."""
        fields = (grant.user, grant.origin, grant.session_id, grant.message_id, grant.until)
        said = _text(dumps(fields).encode())
        return f"{MARK}{said}.{_text(await self._signature(said, user))}"

    async def read(self, token: str, users: Directory) -> Grant | None:
        """The grant that a token is for, whether it has run out or not; None for what is no such token."""
        said, _, signature = token.removeprefix(MARK).partition(".")
        if not token.startswith(MARK):
            return None
        try:
            name, origin, session_id, message_id, until = as_list(loads(_bytes(said).decode()))
            grant = Grant(str(name), str(origin), str(session_id), int(message_id), float(until))
            given = _bytes(signature)
        except (InvalidData, TypeError, ValueError):
            return None
        user = users.named(grant.user)
        known = user is not None and hmac.compare_digest(await self._signature(said, user), given)
        return grant if known else None

    async def _signature(self, said: str, user: User) -> bytes:
        self._secret = self._secret or (await self._ask()).encode()
        return hmac.digest(self._secret, f"{said}.{user.digest}".encode(), "sha256")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    if not text.isascii():
        raise binascii.Error("not ASCII")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


__all__ = ["SECONDS", "Grant", "Grants"]
