"""A token → the user whom it names: one for all, or those of a file."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..errors import BadInput
from ..toml_file import read_toml
from ..transport import sendable_in_header
from ..wire_json import as_object
from .limits import Limits, limits_of

LOOK_SECONDS = 1.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_KEYS = ("token", "token_sha256", "operator", "limits")


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with a token. `digest` is what is kept of it: its SHA-256. An `operator` may read the figures."""

    name: str = ""
    digest: str = field(default="", repr=False)
    limits: Limits = field(default_factory=Limits)
    operator: bool = False


NAMELESS = User()
"""Who has no name: the one user of a gateway that knows only one token."""


def digest_of(token: str) -> str:
    """The SHA-256 of a token, as 64 hexadecimal digits."""
    return hashlib.sha256(token.encode()).hexdigest()


class Directory(Protocol):
    """Who is a user."""

    def with_token(self, token: str) -> User | None:
        """Find the user whom a token names."""
        ...

    def named(self, name: str) -> User | None:
        """Find a user."""
        ...


class Users:
    """Those users, whatever happens."""

    def __init__(self, users: Iterable[User]) -> None:
        self._users = list(users)
        self._by_digest = {user.digest: user for user in self._users}
        self._by_name = {user.name: user for user in self._users}

    def with_token(self, token: str) -> User | None:
        """Find the user whom a token names. The digest of a guess tells nothing about how near it is."""
        return self._by_digest.get(digest_of(token))

    def named(self, name: str) -> User | None:
        """Find a user."""
        return self._by_name.get(name)


def everybody(token: str, limits: Limits | None = None) -> User:
    """The one user of a gateway with one token."""
    return User("", digest_of(token), limits or Limits(), operator=True)


class UsersFile:
    """The users of the TOML file at `path`, beside `others`; read again when it has changed.

    ::

        [users.alice]
        token_sha256 = "…"            # or token = "…", if nobody else can read the file
        limits = {streams = 8}        # what is not said is as for each user
        operator = true

    Raises BadInput for a file that cannot be used; one that becomes so later changes nothing, and `complain` is
    called with what is wrong.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        each: Limits | None = None,
        others: Iterable[User] = (),
        complain: Callable[[str], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = Path(path).expanduser()
        self._each = each or Limits()
        self._others = list(others)
        self._complain = complain
        self._clock = clock
        self._seen = self._state()
        self._users = self._read()
        self._next = clock() + LOOK_SECONDS

    def with_token(self, token: str) -> User | None:
        """Find the user whom a token names."""
        return self._now().with_token(token)

    def named(self, name: str) -> User | None:
        """Find a user."""
        return self._now().named(name)

    def _now(self) -> Users:
        if self._clock() >= self._next:
            self._next = self._clock() + LOOK_SECONDS
            if (state := self._state()) != self._seen:
                self._seen = state
                try:
                    self._users = self._read()
                except BadInput as error:
                    self._complain(f"{error}; the users stay as they were")
        return self._users

    def _state(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except (OSError, ValueError):
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> Users:
        content, private = read_toml(self._path)
        try:
            return Users([*self._others, *users_in(content, self._each, private=private)])
        except BadInput as error:
            raise BadInput(f"{self._path}: {error}") from None


def users_in(content: Mapping[str, Any], each: Limits, *, private: bool) -> list[User]:
    """The users of a file's `content`, of which others can see nothing if it is `private`; BadInput says what is
    wrong."""
    if unknown := sorted(content.keys() - {"users"}):
        raise BadInput(f"{unknown[0]!r} is unknown; expected tables [users.NAME]")
    said = as_object(content.get("users"))
    if not said:
        raise BadInput("it names no user; expected a table [users.NAME] for each")
    users = [_user(name, as_object(fields), each, private=private) for name, fields in said.items()]
    digests = [user.digest for user in users]
    for number, user in enumerate(users):
        if user.digest in digests[:number]:
            raise BadInput(f"[users.{user.name}] has the token of another user; expected one of its own")
    return users


def _user(name: str, fields: dict[str, Any], each: Limits, *, private: bool) -> User:
    where = f"[users.{name}]"
    if not is_name(name):
        raise BadInput(f"{where} is no name of a user; expected letters, digits and . _ @ + -")
    if unknown := sorted(fields.keys() - set(_KEYS)):
        raise BadInput(f"{where} has an unknown {unknown[0]!r}; expected {', '.join(_KEYS)}")
    operator = fields.get("operator", False)
    if not isinstance(operator, bool):
        raise BadInput(f"{where} operator is {operator!r}; expected true or false")
    try:
        limits = limits_of(as_object(fields.get("limits")), each)
    except BadInput as error:
        raise BadInput(f"{where} {error}") from None
    return User(name, _digest(where, fields, private=private), limits, operator)


def _digest(where: str, fields: dict[str, Any], *, private: bool) -> str:
    token, digest = fields.get("token"), fields.get("token_sha256")
    if (token is None) == (digest is None):
        raise BadInput(f"{where} needs either token_sha256 or token")
    if digest is not None:
        if not (isinstance(digest, str) and _DIGEST.fullmatch(digest.lower())):
            raise BadInput(
                f"{where} token_sha256 is not the SHA-256 of a token; expected 64 hexadecimal digits"
            )
        return digest.lower()
    if not (isinstance(token, str) and token and sendable_in_header(token)):
        raise BadInput(f"{where} token cannot stand in a header; expected ASCII letters, digits and signs")
    if not private:
        raise BadInput(
            f"{where} has a token that others can read; expected token_sha256, or a file of mode 600"
        )
    return digest_of(token)


def is_name(text: str) -> bool:
    """Whether a user can have this name."""
    return _NAME.fullmatch(text) is not None


def new_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(24)


__all__ = [
    "NAMELESS",
    "Directory",
    "User",
    "Users",
    "UsersFile",
    "digest_of",
    "everybody",
    "new_token",
    "users_in",
]
