"""A conversation as it stands at its gateway: its messages, where it goes on, how it is kept and taken up again."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from . import conversation_file
from .client import GatewayClient
from .consumer import shared_consumer
from .errors import BadInput
from .link import link_to
from .reply import Reply, View
from .standing import StandingReply
from .transcript import Transcript
from .transcript_markdown import transcript_markdown
from .upstream import Upstream
from .upstream_spec import UpstreamSpec
from .wire_json import as_text


@dataclass(frozen=True, slots=True)
class Asked:
    """An answer that is about to begin.

    `message_id` is the prompt that is edited, the answer (or its prompt) that is regenerated, or the answer that
    goes on; None for a new prompt.
    """

    call: Literal["completion", "edit_message", "regenerate", "continue"]
    prompt: str
    message_id: int | None = None


class Follower(Protocol):
    """What shows a whole conversation; called on the thread of whoever asks."""

    def asked(self, asked: Asked) -> View:
        """Give the answer that begins a view."""
        ...

    def renewed(self) -> None:
        """A new conversation begins."""
        ...


class Talk(ABC):
    """One conversation at a time, through one gateway; whoever can ask goes on with it."""

    def __init__(
        self, gateway: str | None, token: str | None, *, model: str | None, system: str | None
    ) -> None:
        self.model = model
        self.system = system
        self.session_id: str | None = None
        self.last: Reply | None = None
        self._head: int | None = None
        self._begun: list[Reply] = []
        self._followers: tuple[Follower, ...] = ()
        self._gateway = gateway
        self._consumer = shared_consumer()
        self._link = link_to(gateway, token)
        self._upstream: Upstream | None = None
        self._spec: UpstreamSpec | None = None

    @abstractmethod
    def _asking(self, options: dict[str, Any]) -> dict[str, Any]:
        """The fields of every generating call."""

    @property
    def _client(self) -> GatewayClient:
        return self._link.client

    @property
    def gateway(self) -> str:
        """The address of the gateway."""
        return self._client.url

    @property
    def head(self) -> int | None:
        """The id of the answer that the next question stands below; None at the beginning."""
        return self._head

    def go_to(self, message_id: int | None) -> None:
        """Go on from this answer, on whatever branch it stands; None is before the first question.

        The id is that of an answer in `history()`: the gateway refuses the next question below any other.
        """
        if self.last is not None and not self.last.done:
            raise BadInput("an answer is still streaming; stop it or wait for its end")
        self._head = message_id

    def follow(self, follower: Follower) -> None:
        """Let `follower` show every answer from now on, beside the view that it is asked with."""
        self._followers = (*self._followers, follower)

    def unfollow(self, follower: Follower) -> None:
        """Let it show no further ones."""
        self._followers = tuple(one for one in self._followers if one is not follower)

    def new(self) -> None:
        """Begin a new conversation; the old one stays in the gateway."""
        if not self._alive():
            self._link_anew()
        self.session_id = None
        self._head = None
        self._begun = []
        self.last = None
        for follower in self._followers:
            follower.renewed()

    # ---- what has been said ----

    def history(self) -> list[dict[str, Any]]:
        """All messages of the conversation, all branches, oldest first (protocols section 6)."""
        return self._history_of(self.session_id)

    def _history_of(self, session_id: str | None) -> list[dict[str, Any]]:
        if session_id is None:
            return []
        self.expect_gateway()
        return self._consumer.submit(self._client.history(session_id)).result()

    def branch(self) -> list[dict[str, Any]]:
        """The messages that lead to the last answer, oldest first."""
        known = {one["message_id"]: one for one in self.history()}
        found: list[dict[str, Any]] = []
        at = self._head
        while at in known:
            found.append(known[at])
            at = known[at].get("parent_id")
        return found[::-1]

    def replies(self) -> dict[int, Reply]:
        """Every answer that stands in the conversation, by its id in `history()`."""
        history = self.history()
        prompts = {one["message_id"]: as_text(one.get("content")) for one in history}
        return {
            one["message_id"]: self._standing_reply(one, prompts.get(one.get("parent_id"), ""))
            for one in history
            if one.get("role") == "ASSISTANT"
        }

    def _standing_reply(self, record: dict[str, Any], prompt: str) -> Reply:
        assert self.session_id is not None, "a conversation with answers has a session"
        return StandingReply(
            self._consumer,
            self._client,
            record,
            prompt,
            session_id=self.session_id,
            asking=lambda: self._asking({}),
            on_ready=self._ready,
        )

    # ---- kept, and taken up again ----

    def transcript(self, *, of: Reply | None = None, cells: Mapping[str, int] | None = None) -> Transcript:
        """All that has been said, as a value, in this conversation or in that `of` a reply.

        `cells` is the id of a notebook's cell → the id of its answer.
        """
        session_id = self.session_id if of is None else of.session_id
        history = self._history_of(session_id)
        head = of.message_id if of is not None and session_id != self.session_id else self._head
        return Transcript.of_history(history, head=head, system=self.system, model=self.model, cells=cells)

    def to_markdown(self, *, thinking: bool = True) -> str:
        """The conversation to read: its branch, thinking folded or left out, how answers ended."""
        return transcript_markdown(self.transcript(), thinking=thinking)

    def to_json(self, *, branches: bool = False) -> Any:
        """The branch as a list of messages of chat completions: ``{"role", "content", …}``.

        With `branches` an object that keeps all of the conversation, which `from_json` takes too: every branch,
        thinking, how answers ended, usage.
        """
        transcript = self.transcript()
        return transcript.to_json() if branches else transcript.to_messages()

    def save(self, path: str | os.PathLike[str], *, cells: Mapping[str, int] | None = None) -> Path:
        """Save the conversation to a file, all branches of it; no key, and nothing of who is asked.

        BadInput where that cannot be, or where something else stands there.
        """
        return conversation_file.save(path, self.transcript(cells=cells))

    def restore(self, transcript: Transcript) -> None:
        """Go on from a saved conversation: the gateway gets it as a session of its own, its ids as they were.

        Who is asked stays as it is, and so do model and system. Where the gateway does not take it in nothing
        has changed: GatewayError or ConnectionFailed.
        """
        if not self._alive():
            self.new()
        session_id = self._consumer.submit(self._taken_in(transcript)).result()
        self._go_on_in(session_id, transcript.head)

    async def _taken_in(self, transcript: Transcript) -> str:
        session_id = await self._client.import_session(transcript.to_wire())
        await self._assign(session_id)
        return session_id

    def sessions(self) -> list[dict[str, Any]]:
        """The conversations that the gateway has, the newest first: id, title, updated_at (seconds, epoch)."""
        self.expect_gateway()
        return self._consumer.submit(self._client.sessions()).result()

    def open(self, session_id: str) -> None:
        """Go on with a conversation that the gateway has, at its last answer; it may still be growing.

        Such a one is in `last`, interrupted as far as this process knows: `resume()` takes it up.
        """
        if not self._alive():
            self.new()
        answers = [one for one in self._history_of(session_id) if one.get("role") == "ASSISTANT"]
        self._consumer.submit(self._assign(session_id)).result()
        self._go_on_in(session_id, answers[-1]["message_id"] if answers else None)

    def _go_on_in(self, session_id: str, head: int | None) -> None:
        self.session_id, self._head = session_id, head
        self.last = self.replies().get(head or 0)
        self._begun = [] if self.last is None else [self.last]
        for follower in self._followers:
            follower.renewed()

    def expect_gateway(self) -> None:
        """Raise BadInput where nobody is there any more who knows this conversation; without one, find a gateway."""
        if self._alive():
            return
        if self.session_id is not None:
            raise BadInput(
                f"the gateway of this conversation {self._link.gone}; begin a new one with %chat new, or new()"
            )
        self._link_anew()

    def _link_anew(self) -> None:
        self._consumer = shared_consumer()
        self._link = link_to(self._gateway, None)

    def _alive(self) -> bool:
        """Whether what this chat was opened on is still there: its thread, and the gateway of this process."""
        return self._consumer.alive and self._link.alive

    def _ready(self, reply: Reply) -> None:
        if reply.session_id == self.session_id:  # and not of the conversation before
            self._head = reply.message_id

    async def _assign(self, session_id: str) -> None:
        """Let the gateway know who answers, if it is for us to say."""
        if self._upstream is not None:
            await self._link.assign(session_id, self._spec, self._upstream)


__all__ = ["Asked", "Follower", "Talk"]
