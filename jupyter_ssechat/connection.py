"""The configuration of a notebook → its chats: who answers, through which gateway, from which cassette."""

# IPython's own types are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, cast, get_args

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics
from traitlets import Dict, Enum, Float, Int, TraitError, Unicode, default, validate

from .cassette import RecordMode
from .chat import Chat
from .deadlines import Deadlines
from .errors import BadInput
from .exchange import Patience
from .gateway.server import close_embedded, embedded
from .keys import TypedKey
from .link import OF_THE_USER
from .process_cassette import CASSETTE, RECORD_MODE, process_cassette
from .profiles import PROFILES
from .recording import recording
from .tape import Cassette
from .upstream import Upstream
from .upstream_spec import UpstreamSpec

# The traits that say who answers, and how.
_UPSTREAM = ["upstream", "url", "dialect", "api_key_env", "deadlines", "retries", "pace"]
_CASSETTE = ["cassette", "record_mode", "replay_pace"]


class Connection(Magics):
    """What the magics talk to; the conversations by their names."""

    upstream = Unicode("demo", help="demo, a profile, or the address of a model server").tag(config=True)
    url = Unicode("", help="the address of a server of the profile's kind, if not its own").tag(config=True)
    dialect = Unicode("auto", help="the wire of the model server; auto: told by its address").tag(config=True)
    api_key_env = Unicode("", help="the environment variable that holds the server's key").tag(config=True)
    gateway = Unicode("thread", help="thread, process, or the address of another gateway").tag(config=True)
    store = Unicode(
        "memory", help="where the gateway in this process keeps conversations: memory, sqlite:PATH, redis://…"
    ).tag(config=True)
    token_env = Unicode("", help="the environment variable that holds the gateway's token").tag(config=True)
    deadlines = Dict(
        value_trait=Float(allow_none=True),
        key_trait=Unicode(),
        help="seconds a model server may take: connect, first_byte, first_token, silence, idle, total; None: no end",
    ).tag(config=True)
    retries = Int(2, min=0, max=100, help="how often a model server is asked again").tag(config=True)
    pace = Float(
        1.0, min=0.0, max=1000.0, help="how the demo model waits: 1 like a real one, 0 not at all"
    ).tag(config=True)
    cassette = Unicode("", help="the file that answers are recorded to and replayed from").tag(config=True)
    record_mode = Enum(
        get_args(RecordMode), "once", help="once, new_episodes or all; none is to replay alone"
    ).tag(config=True)
    replay_pace = Float(
        0.0, min=0.0, max=1000.0, help="how a replay waits: 0 not at all, 1 as it was recorded"
    ).tag(config=True)

    def __init__(self, shell: InteractiveShell) -> None:
        self._chats: dict[str, Chat] = {}
        self._token: str | None = None
        self._key: TypedKey | None = None
        self._cassettes: dict[tuple[Path, str], Cassette] = {}
        self._notes: list[str] = []
        super().__init__(shell)
        self._usable = self._answerer()
        self.observe(self._other_gateway, ["gateway", "token_env"])
        self.observe(self._other_store, "store")
        self.observe(self._other_answerer, [*_UPSTREAM, *_CASSETTE])

    @default("cassette")
    def _cassette_of_the_process(self) -> str:
        return os.environ.get(CASSETTE, "").strip()

    @default("record_mode")
    def _mode_of_the_process(self) -> str:
        return os.environ.get(RECORD_MODE, "").strip() or "once"

    @validate("gateway")
    def _checked_gateway(self, proposal: dict[str, Any]) -> str:
        named: str = proposal["value"]
        if named not in ("", *OF_THE_USER) and not named.startswith(("http://", "https://")):
            raise TraitError(
                f"{named!r} is no gateway; expected thread, process, or an address http://HOST:PORT"
            )
        return named

    @validate("deadlines")
    def _checked_deadlines(self, proposal: dict[str, Any]) -> dict[str, float | None]:
        try:
            _deadlines(proposal["value"])
        except BadInput as error:
            raise TraitError(str(error)) from None
        return proposal["value"]

    def _connected(self) -> Chat:
        """A new chat."""
        if self._elsewhere:
            given = self._token or os.environ.get(self.token_env or "", "").strip() or None
            return Chat(gateway=self.gateway, token=given)
        if self.gateway != "process":
            embedded(self.store)
        return Chat(self._opened(), gateway=self.gateway or "thread")

    @property
    def _elsewhere(self) -> bool:
        """Whether another gateway is used, which chooses its own upstream."""
        return self.gateway not in ("", *OF_THE_USER)

    def _opened(self) -> UpstreamSpec | Upstream:
        """Who answers by the configuration, or a cassette that stands before it."""
        tape = self._tape()
        return self._spec() if tape is None else recording(lambda: self._spec().open(), tape)

    def _tape(self) -> Cassette | None:
        """The cassette in use, if there is one."""
        if not self.cassette:
            return None
        tape = self._tape_of(self.cassette, cast("RecordMode", self.record_mode))
        tape.pace = self.replay_pace
        return tape

    def _tape_of(self, path: str, mode: RecordMode) -> Cassette:
        """The one cassette of a file: with another one its answers would begin anew."""
        place = Path(path).expanduser().absolute(), mode
        shared = process_cassette()
        if shared is not None and (shared.path, shared.record_mode) == place:
            return shared
        if place not in self._cassettes:
            self._cassettes[place] = Cassette(place[0], mode, on_note=self._notes.append)
        return self._cassettes[place]

    def _put_in(self, path: str, record_mode: RecordMode, replay_pace: float) -> None:
        """Put a cassette in, or take it out; BadInput where it cannot be read, and the old one stays."""
        if path and self.gateway not in ("", "thread"):
            raise BadInput(
                "a cassette is for the gateway in this process: %config ChatMagics.gateway = 'thread'"
            )
        if path:
            self._tape_of(path, record_mode)
        with self.hold_trait_notifications():
            self.cassette, self.record_mode, self.replay_pace = path, record_mode, replay_pace

    @contextmanager
    def _on_cassette(self, record: str | None, replay: str | None) -> Generator[None]:
        """Let one cell record to a file, or replay from it."""
        if not record and not replay:
            yield
            return
        before = self.cassette, cast("RecordMode", self.record_mode), self.replay_pace
        self._put_in(record or replay or "", "new_episodes" if record else "none", self.replay_pace)
        try:
            yield
        finally:
            self._put_in(*before)

    def _news(self) -> list[str]:
        """What is wrong with a cassette, and has not been said yet."""
        news = self._notes[:]
        self._notes.clear()
        return news

    def _spec(self) -> UpstreamSpec:
        """What the configuration says of who answers."""
        return UpstreamSpec(
            spec=self.upstream,
            url=self.url or None,
            dialect=None if self.dialect == "auto" else self.dialect,
            api_key_env=self.api_key_env or None,
            api_key=self._typed_key(),
            deadlines=_deadlines(self.deadlines),
            patience=Patience(retries=int(self.retries)),
            pace=float(self.pace),
        )

    def _typed_key(self) -> str | None:
        """The key that was typed in, if it was for the server in use."""
        return self._key.given_to(self.upstream, self.url) if self._key else None

    def _key_from(self) -> str:
        """Where the key comes from; never the key."""
        profile = PROFILES.get(self.upstream)
        if self._typed_key():
            return "typed in, kept in memory"
        name = self.api_key_env or (profile.key_env if profile else "")
        return f"from {name}" if name else "none"

    def _other_store(self, _: Any) -> None:
        self._forget_chats()
        close_embedded()
        embedded(self.store)

    def _other_gateway(self, _: Any) -> None:
        self._forget_chats()

    def _other_answerer(self, _: Any) -> None:
        try:
            self._use_anew()
        except BadInput:
            with self.hold_trait_notifications():
                for name, value in self._usable.items():
                    setattr(self, name, value)
            raise
        self._usable = self._answerer()

    def _answerer(self) -> dict[str, Any]:
        """What the traits say of who answers."""
        return {name: getattr(self, name) for name in (*_UPSTREAM, *_CASSETTE)}

    def _forget_chats(self) -> None:
        self._chats.clear()

    def _use_anew(self) -> None:
        if self._elsewhere:
            self._forget_chats()
            self.gateway = "thread"
        upstream = self._opened()
        if isinstance(upstream, UpstreamSpec):
            upstream.open()  # also where nobody asks it yet: what cannot be opened is said now
        for chat in self._chats.values():
            chat.use(upstream)

    def close(self) -> None:
        """Stop what streams."""
        for chat in self._chats.values():
            if chat.last is not None:
                chat.last.ask_to_stop()


def _deadlines(seconds: dict[str, float | None]) -> Deadlines:
    known = [one.name for one in fields(Deadlines)]
    if unknown := sorted(set(seconds) - set(known)):
        raise BadInput(f"there is no deadline {unknown[0]!r}; expected some of {', '.join(known)}")
    return Deadlines(**cast("dict[str, Any]", seconds))


__all__ = ["Connection"]
