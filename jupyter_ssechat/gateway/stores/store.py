"""What a store of sessions and streams is: the contract that memory, SQLite and Redis keep.

A session is a tree of messages with a version, which every change but the growth of an answer raises. A
generation has a log of batches of patches and one owner, who holds a claim: a fence, higher with each owner, and
a lease, to be renewed. What has a lower fence than the row has no effect. The log begins at the row's document:
both together are the answer as it stands.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from ...errors import Expired, GatewayError, NotFound
from ...patches import Patch
from ...wire_json import dumps, loads
from .pools import Pools

Role = Literal["USER", "ASSISTANT"]


class Key(NamedTuple):
    """One generation of one message."""

    session_id: str
    message_id: int
    epoch: int


class Position(NamedTuple):
    """A place in a log: who wrote there, and the number of the entry, counted from 1 over all owners."""

    fence: int
    seq: int


START = Position(0, 0)


@dataclass(frozen=True, slots=True)
class Entry:
    """One batch of patches in a log, not empty."""

    position: Position
    patches: Sequence[Patch]


@dataclass(frozen=True, slots=True)
class Head:
    """A session without its messages, and whose it is; `updated_at` is in seconds since the epoch."""

    id: str
    title: str
    updated_at: float
    version: int = 0
    user: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One message: its document as it stood at `position`, and the entries of its log after that.

    `asked` is how its answer was asked for, `upstream` the name of who was asked; `fence` is the newest owner's.
    """

    message_id: int
    parent_id: int | None
    role: Role
    document: dict[str, Any]
    epoch: int = 0
    fence: int = 0
    stream_id: str = ""
    upstream: str = ""
    asked: dict[str, Any] | None = None
    running: bool = False
    position: Position = START
    tail: Sequence[Entry] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """A session, and those of its rows that were asked for."""

    head: Head
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Change:
    """New rows for a session whose version is still that of `head`.

    The rows that run are owned by `owner`, with their own fences, for `lease` seconds. Their logs are empty.
    """

    head: Head
    rows: Sequence[Row]
    owner: str = ""
    lease: float = 0.0


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to write to the log of `key`, for as long as nobody has a higher fence."""

    key: Key
    fence: int
    owner: str


@dataclass(frozen=True, slots=True)
class Append:
    """Entry number `seq` for a log; saying it again changes nothing.

    With a `document`, which is the answer at this position, older entries may be forgotten. `ended_at`, in
    seconds since the epoch, ends the generation; then a document is needed.
    """

    claim: Claim
    seq: int
    patches: Sequence[Patch]
    document: dict[str, Any] | None = None
    ended_at: float | None = None


Verdict = Literal["ok", "fenced", "gone", "behind"]
"""What became of an append: it stands; somebody else owns the log; the session was deleted; entries before it
are missing, so the whole document is needed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an append, and whether somebody asks that the generation be stopped."""

    verdict: Verdict
    stop: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a generation is; `attended` says that other workers have readers of it."""

    fence: int
    position: Position
    running: bool
    stop: bool
    attended: bool


@dataclass(frozen=True, slots=True)
class News:
    """What happened to followed and owned generations."""

    entries: Mapping[Key, Sequence[Entry]] = field(default_factory=dict[Key, Sequence[Entry]])
    stops: Collection[Key] = ()


class StoreUnavailable(GatewayError):
    """The store does not answer now; try again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, status=503, code=50300)
        self.retry_after = 1.0


class Store(Protocol):
    """Sessions, their messages, logs, stop requests and ownership; belongs to one event loop.

    `flush_seconds` is the pause between the appends of one worker; `shared` says that other workers may use the
    same data. Every call may raise StoreUnavailable.
    """

    flush_seconds: float
    shared: bool

    @property
    def pools(self) -> Pools:
        """Where limits are counted."""
        ...

    async def create(self, head: Head) -> None:
        """Open an empty session."""
        ...

    async def heads(self, user: str = "") -> list[Head]:
        """Every session of a user, the newest first."""
        ...

    async def stored(self, user: str | None) -> int:
        """Tell how many bytes the documents of a user's sessions are, or those of all."""
        ...

    async def load(self, session_id: str, since: int = 0) -> Stored:
        """Give the rows that were changed after version `since`, and those that run; NotFound, Expired."""
        ...

    async def commit(self, change: Change) -> int:
        """Change a session, all or nothing, and return its version; 0 if that was another one meanwhile."""
        ...

    async def delete(self, session_id: str) -> None:
        """Forget a session, but for that it was there; NotFound, Expired."""
        ...

    async def append(self, appends: Sequence[Append]) -> list[Outcome]:
        """Write to logs; what is "ok" is there for good."""
        ...

    async def stop(self, session_id: str, message_id: int, stream_id: str | None) -> None:
        """Ask the owner of what runs, if it is `stream_id` or that is None, to stop it."""
        ...

    async def standing(self, keys: Sequence[Key], attend: float = 0.0) -> list[Standing | None]:
        """Tell where generations are, None for what is gone; `attend` says for how long they have a reader here."""
        ...

    async def renew(self, claims: Sequence[Claim], lease: float) -> list[Standing | None]:
        """Hold claims for `lease` more seconds, where they still hold; 0 lets go."""
        ...

    async def expired(self) -> list[Key]:
        """The generations whose owner has not renewed its lease in time."""
        ...

    async def seize(self, key: Key, owner: str, lease: float) -> Claim | None:
        """Own a generation whose lease is over; None when it is not, or not any more."""
        ...

    async def news(self, owner: str, followed: Mapping[Key, Position], owned: Collection[Key]) -> News:
        """Wait for entries after those positions, for requests to stop what is owned, or for `wake`."""
        ...

    def wake(self, owner: str) -> None:
        """Let `news` return, because its caller has others to ask for."""
        ...

    async def secret(self) -> str:
        """Give what all workers of this store know and nobody else; made when it is asked for first."""
        ...

    async def aclose(self) -> None:
        """Let go of the data; it stays."""
        ...


def spell(patches: Sequence[Patch]) -> str:
    """Patches as a text."""
    return dumps([(one.path, one.op, one.value) for one in patches])


def read(text: str) -> list[Patch]:
    """The patches of a text."""
    return [Patch(*fields) for fields in loads(text)]


def size_of(document: Mapping[str, Any]) -> int:
    """How many bytes a document is."""
    return len(dumps(document).encode())


def unknown(session_id: str) -> NotFound:
    """The error for a session that never was."""
    return NotFound(f"session {session_id} is unknown here; create one first", status=404, biz_code=26)


def expired(session_id: str) -> Expired:
    """The error for a session that is gone."""
    return Expired(f"session {session_id} was deleted; create a new one", status=410, biz_code=27)


__all__ = [
    "START",
    "Append",
    "Change",
    "Claim",
    "Entry",
    "Head",
    "Key",
    "News",
    "Outcome",
    "Position",
    "Role",
    "Row",
    "Standing",
    "Store",
    "StoreUnavailable",
    "Stored",
    "Verdict",
    "expired",
    "read",
    "size_of",
    "spell",
    "unknown",
]
