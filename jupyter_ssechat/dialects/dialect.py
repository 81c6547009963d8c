"""What every wire's file offers: how to ask, how to read, what its servers can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from ..errors import BadInput
from ..message import SILENT, failed
from ..patches import Patch
from ..request import Request
from ..sse import ServerSentEvent

Prefill = Literal["", "trailing", "prefix", "partial", "continue_final_message"]
"""How a server is told that the last turn is the beginning of its answer; "" where it cannot be told."""
Json = Literal["schema", "object", ""]
"""What a server can hold its answer to: a JSON Schema, JSON of any kind, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One HTTP call; `then` makes the next one from its JSON answer, the last one opens the stream."""

    method: Literal["GET", "POST"] = "POST"
    url: str
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    then: Callable[[object], Call] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """In what one server differs from others of its wire; a profile knows them.

    `thinking_off` are the fields that turn thinking off, `effort` is the path of fields where the effort goes,
    `max_tokens` is what the limit is called, `key_header` where the key goes if not where the wire has it;
    `asks_usage` whether usage comes only when it is asked for, `json` what it can hold its answer to.
    """

    thinking_off: Mapping[str, Any] = field(default_factory=lambda: {"reasoning_effort": "none"})
    effort: tuple[str, ...] = ("reasoning_effort",)
    prefill: Prefill = ""
    max_tokens: str = "max_tokens"
    key_header: str = ""
    asks_usage: bool = True
    json: Json = "schema"


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What comes over a wire, a few words for each column of the table in the documentation; "" is no."""

    thinking: str
    usage: str
    stop: str
    resume: str
    errors: str
    images: str = ""
    goes_on: str = "asked to go on"


class Dialect:
    """One wire; an object of it reads the stream of one answer, over all its HTTP bodies.

    All patches are absolute, below ``response``. After a terminal status only figures follow. Data that is not
    JSON, where the wire is JSON, raises InvalidData. The class says how to ask: its class methods are pure.
    `path` is what its endpoint ends with below ``/v1``, "" where the address is taken as it is.
    """

    name: ClassVar[str]
    path: ClassVar[str] = ""
    abilities: ClassVar[Abilities]
    manners: ClassVar[Manners] = Manners()

    def __init__(self, *, continues: bool = False) -> None:
        """With `continues` the text goes on where an older one stands."""

    @classmethod
    def lives_at(cls, host: str, path: str) -> bool:
        """Whether an address tells that this wire is spoken there; `path` has no slash at its end."""
        return bool(cls.path) and path.endswith(cls.path)

    # -- asking ---------------------------------------------------------------------------------------------

    @classmethod
    def endpoint(cls, url: str) -> str:
        """Complete the address of a server, or of its ``/v1``, to that of its endpoint."""
        if not cls.path:
            return url
        parts = urlsplit(url)
        path = parts.path.rstrip("/") or "/v1"
        if not path.endswith(cls.path):
            path += cls.path
        return parts._replace(path=path, fragment="").geturl()

    @classmethod
    def models_url(cls, endpoint: str) -> str | None:
        """The address of the list of models, beside the endpoint; None where the wire has none."""
        if not cls.path:
            return None
        parts = urlsplit(endpoint)
        return parts._replace(path=parts.path.removesuffix(cls.path) + "/models").geturl()

    @classmethod
    def headers(cls, key: str | None) -> dict[str, str]:
        """The headers of every call; the key stands nowhere else."""
        return {"authorization": f"Bearer {key}"} if key else {}

    @classmethod
    def ask(cls, endpoint: str, request: Request, manners: Manners) -> Call:
        """Put a question into the words of the wire, nothing in it that was not asked for.

        Raises BadInput for what the wire cannot say, such as images.
        """
        raise NotImplementedError

    @classmethod
    def go_on(cls, endpoint: str, request: Request) -> Call | None:
        """Ask for more of the answer that the server calls `request.handle`; None where it cannot be asked."""
        return None

    @classmethod
    def reader(cls, request: Request) -> Dialect:
        """An object to read the answer to `request` with."""
        return cls(continues=request.continues and bool(request.content_so_far))

    # -- reading --------------------------------------------------------------------------------------------

    @classmethod
    def speaks(cls, event: ServerSentEvent, data: object) -> bool:
        """Whether a stream that begins with this event is of this wire; `data` is its JSON, None if it is none."""
        return False

    def feed(self, event: ServerSentEvent) -> list[Patch]:
        """Translate one event."""
        raise NotImplementedError

    def ignored(self, event_name: str, comments: list[str]) -> list[Patch]:
        """Translate a block that dispatches nothing: an ``event: error`` with only a comment is a failure."""
        return self._fail("error", " ".join(comments) or SILENT) if event_name == "error" else []

    def _fail(self, type: str, message: str) -> list[Patch]:
        """Seal the answer as failed, once."""
        return failed(type, message)

    def finish(self) -> list[Patch]:
        """Translate the end of a body: what the wire leaves unsaid; nothing terminal when it was cut."""
        return []

    def whole(self, answer: object) -> list[Patch]:
        """Translate a whole answer that came as JSON in place of a stream; [] if it is none."""
        return []

    @property
    def finishing(self) -> bool:
        """Whether no more text can follow, only figures."""
        return False

    # -- stopping and taking up -----------------------------------------------------------------------------

    def called(self, call: Call) -> None:
        """Take note of the call that opened the stream."""

    @property
    def handle(self) -> dict[str, Any] | None:
        """What the server calls this answer, to ask it for more; None where it does not keep it."""
        return None

    def take_up(self, endpoint: str) -> Call | None:
        """The call that goes on with this stream after its connection broke; None where there is none."""
        return None

    def nothing_more(self) -> list[Patch]:
        """Translate a 204 in answer to `take_up`."""
        return []

    def cancel(self, endpoint: str) -> Call | None:
        """The call that ends the generation at the server; None where closing the connection does."""
        return None


def refuse_images(name: str, request: Request) -> None:
    """Raise BadInput for images, on a wire that has none."""
    if request.images:
        raise BadInput(
            f"images cannot be sent in the dialect {name}; ask without them, or use another server"
        )


__all__ = ["Abilities", "Call", "Dialect", "Json", "Manners", "Prefill", "refuse_images"]
