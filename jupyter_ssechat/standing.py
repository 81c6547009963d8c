"""A message of `history_messages` → a reply that has ended, and can be shown, regenerated and resumed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .client import GENERATING, GatewayClient
from .consumer import Consumer
from .patches import Patch
from .reply import Reply


class StandingReply(Reply):
    """An answer that was given before this process knew of it.

    When it goes on it is asked as `asking` says then: how it was asked first is known nowhere any more. How long
    it took is not known either, `ttft` and `elapsed` say nothing.
    """

    def __init__(
        self,
        consumer: Consumer,
        client: GatewayClient,
        record: dict[str, Any],
        prompt: str,
        *,
        session_id: str,
        asking: Callable[[], dict[str, Any]],
        on_ready: Callable[[Reply], object],
    ) -> None:
        super().__init__(consumer, client, prompt, on_ready=on_ready)
        self._asking = asking
        self.session_id = session_id
        self._message.apply(Patch("", "SET", {"response": record}))
        self._message.interrupt()  # of no effect on one that has ended
        self._message_id = self._message.message_id
        self.request_message_id = self._message.parent_id
        self._elapsed = 0.0
        self.over.set()

    def start(self, call: GENERATING, body: dict[str, Any]) -> None:
        """Make a generating call."""
        super().start(call, {**self._asking(), **body} if call == "continue" else body)


__all__ = ["StandingReply"]
