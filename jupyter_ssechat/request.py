"""What a model is asked: turns, how to answer, and what stands already; pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Role = Literal["user", "assistant"]
Continuation = Literal["native", "prefill", "asked", "again"]
"""How an answer went on: the server has it still; from its own text as a prefix; by asking; the question anew."""

GO_ON = (
    "Your answer above was cut off. Continue it exactly where it stops, in the middle of the word if need be."
    " Do not repeat any of it, and do not comment on the interruption."
)


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of the history.

    `images` are addresses, ``data:image/…;base64,…`` or http(s). `handle` is what the server that gave this
    answer calls it. `verbatim` is the message as a client of ours sent it, for servers of the same wire.
    """

    role: Role
    content: str
    images: tuple[str, ...] = ()
    handle: Mapping[str, Any] | None = None
    verbatim: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The history with the prompt last, and how to answer.

    `options` are fields for the server; temperature, max_tokens, stop and reasoning_effort are put into the
    words of its wire, all others are sent as they are. When an answer `continues`, `thinking_so_far` and
    `content_so_far` are the text that stands, and `handle` is what its server calls it. With `prefill` the last
    turn is the beginning of the answer. Where it `only_grows`, its reader cannot take back what was shown.
    """

    turns: tuple[Turn, ...]
    model: str | None = None
    system: str | None = None
    thinking: bool = True
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    continues: bool = False
    thinking_so_far: str = ""
    content_so_far: str = ""
    handle: Mapping[str, Any] | None = None
    prefill: bool = False
    only_grows: bool = False

    @property
    def prompt(self) -> str:
        """The last thing the user said."""
        return next((turn.content for turn in reversed(self.turns) if turn.role == "user"), "")

    @property
    def images(self) -> bool:
        """Whether any turn brings an image."""
        return any(turn.images for turn in self.turns)

    @property
    def transcript(self) -> str:
        """All of it as one text, for wires that carry a single message; a lone prompt stands as it is."""
        if len(self.turns) == 1 and not self.system:
            return self.prompt
        names = {"user": "User", "assistant": "Assistant"}
        parts = [self.system] if self.system else []
        return "\n\n".join([*parts, *(f"{names[turn.role]}: {turn.content}" for turn in self.turns)])

    def prefilled(self) -> Request:
        """The same question, with the text that stands as the beginning of the answer.

        Without its last blanks: some servers refuse them, and to a model they are a half token.
        """
        return replace(
            self, turns=(*self.turns, Turn("assistant", self.content_so_far.rstrip())), prefill=True
        )

    def asked_to_go_on(self) -> Request:
        """The question whether the model would go on where it stopped."""
        return replace(self, turns=(*self.turns, Turn("assistant", self.content_so_far), Turn("user", GO_ON)))


__all__ = ["GO_ON", "Continuation", "Request", "Role", "Turn"]
