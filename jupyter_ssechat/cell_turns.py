"""Cells → their turns: which answer of a conversation a cell has, and so what running it again means."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from .cell import Send
from .chat import Chat
from .errors import BadInput
from .reply import Reply


@dataclass(slots=True)
class CellTurn:
    """What a cell asked, and the reply that it got."""

    prompt: str
    images: list[str]
    reply: Reply


class CellTurns:
    """The turns of all cells, by the name of the conversation and the id of the cell."""

    def __init__(self) -> None:
        self._turns: dict[tuple[str, str], CellTurn] = {}

    def get(self, session: str, cell_id: str | None, chat: Chat) -> CellTurn | None:
        """The turn that a cell has in a conversation, if it has one that still stands."""
        turn = self._turns.get((session, cell_id or ""))
        if turn is None or turn.reply.message_id is None or turn.reply.session_id != chat.session_id:
            return None
        return turn

    def put(self, session: str, cell_id: str | None, turn: CellTurn) -> None:
        """Remember the turn of a cell; a host without ids of cells has none."""
        if cell_id:
            self._turns[session, cell_id] = turn

    def answers(self, session: str, chat: Chat) -> dict[str, int]:
        """The id of each cell → the id of the answer that it has in a conversation."""
        standing = {cell: self.get(name, cell, chat) for name, cell in self._turns if name == session}
        return {
            cell: turn.reply.message_id for cell, turn in standing.items() if turn and turn.reply.message_id
        }

    def forget(self, session: str) -> None:
        """Forget the turns of one conversation."""
        self._turns = {place: turn for place, turn in self._turns.items() if place[0] != session}

    def clear(self) -> None:
        """Forget them all."""
        self._turns.clear()


def sending(
    chat: Chat, prompt: str, images: list[str], turn: CellTurn | None, asking: dict[str, Any]
) -> Send:
    """How to send a cell: anew, as another answer to the same prompt, or as an edit of the turn."""
    if turn is None:
        return partial(chat.send, prompt, images=images, **asking)
    if (turn.prompt, turn.images) == (prompt, images):
        return partial(chat.regenerate, turn.reply, **asking)
    return partial(chat.send, prompt, images=images, edit=turn.reply.request_message_id, **asking)


def standing(chat: Chat, reply: Reply, images: list[str]) -> CellTurn:
    """The turn of a reply whose view asks anew."""
    if reply.session_id != chat.session_id or reply.message_id is None or reply.request_message_id is None:
        raise BadInput("this answer is no part of the conversation; run its cell again")
    return CellTurn(reply.prompt, images, reply)


__all__ = ["CellTurn", "CellTurns", "sending", "standing"]
