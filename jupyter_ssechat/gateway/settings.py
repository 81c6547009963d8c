"""What of a gateway can be set, beside who may call it and who answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from .audience import OnDisconnect
from .limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`keep_alive`: seconds of silence in a stream before a comment; `queue`: events that an upstream is read ahead
    of a slow reader; `session_seconds`: how long a stream for an EventSource can be taken up after its end, or
    stands unread; `retry`: the milliseconds after which an EventSource shall reconnect; `when_left`: what such a
    stream does without readers; `lease`: the seconds within which other workers notice that one is dead;
    `each`: what the one user of a gateway with one token may take, `in_all`: what all users together may;
    `assignable`: whether callers choose the model server of their sessions, which is for a gateway of one user's own.
    """

    keep_alive: float = 15.0
    queue: int = 8
    session_seconds: float = 300.0
    lease: float = 10.0
    retry: int = 1000
    when_left: OnDisconnect = field(default_factory=lambda: OnDisconnect("cancel", 15.0))
    each: Limits = field(default_factory=Limits)
    in_all: Limits = field(default_factory=Limits)
    assignable: bool = False


__all__ = ["Settings"]
