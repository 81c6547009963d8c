"""A record → its stream in the patch protocol: how it opens, and what it says when it has ended."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from ..message import Message
from ..patches import Patch
from .audience import Audience
from .log import StreamLog, opening
from .sessions import Record, Session


class PatchStream(StreamLog):
    """One generation of one answer, or an answer that has ended, as its readers get it."""

    advice = "resume to have it continued"

    def __init__(self, session: Session, record: Record, audience: Audience | None = None) -> None:
        self.stream_id = record.stream_id or str(uuid.uuid4())
        self._session = session
        self._record = record
        self.about = {"session_id": session.id, "message_id": record.message_id}
        ready = {
            "stream_id": self.stream_id,
            "request_message_id": record.parent_id,
            "response_message_id": record.message_id,
        }
        opened = opening(ready, session.updated_at)
        super().__init__(record.document, epoch=record.epoch, opening=opened, audience=audience)

    def write(self, patches: Sequence[Patch]) -> None:
        """Apply patches to the record, and tell of them."""
        self._record.apply(list(patches))
        super().write(patches)

    async def room(self) -> None:
        """There is always room."""

    def end(self) -> None:
        """Say how the answer ended; nothing comes after that."""
        message = self._record.message
        if message.error is not None:
            self.event("hint", _hint(message.error.type, message.error.message))
        else:
            self.event("finish", {})
            self.event("update_session", {"updated_at": self._session.updated_at})
        self.event("close", {"click_behavior": _click_behavior(message)})
        self.close()

    def hand_over(self) -> None:
        """Tell the readers to come again: the answer goes on elsewhere."""
        self.event("close", {"click_behavior": "none", "auto_resume": True})
        self.close()


def _click_behavior(message: Message) -> str:
    if message.status == "failed":
        return "retry"
    return "continue" if message.finish_reason in ("stopped", "length") else "none"


def _hint(type: str, message: str) -> dict[str, Any]:
    reason = "rate_limit_reached" if type == "rate_limit_reached" else "generation_err"
    return {"type": "error", "content": message, "clear_response": False, "finish_reason": reason}


__all__ = ["PatchStream"]
