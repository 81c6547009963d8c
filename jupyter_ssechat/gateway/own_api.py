"""What a notebook may ask of its gateway beside chats: tokens for its pages, and, of its own one, who answers."""

from __future__ import annotations

from starlette.routing import Route
from starlette.types import ASGIApp

from ..errors import BadInput, InvalidRequest
from .access import Access
from .bodies import Assigned, Grant, read
from .conversations import Conversations
from .endpoint import endpoint
from .envelope import envelope_response
from .users import User


class OwnAPI:
    """One method per address. A gateway that others use too is not `assignable`: it would call where they say."""

    def __init__(self, conversations: Conversations, access: Access, *, assignable: bool) -> None:
        self._conversations = conversations
        self._access = access
        self._assignable = assignable

    def routes(self) -> list[Route]:
        """The addresses below ``/api/v0``."""
        calls = {"chat/grant": self._grant}
        if self._assignable:
            calls["chat_session/assign"] = self._assign
        return [Route(f"/api/v0/{path}", endpoint(call), methods=["POST"]) for path, call in calls.items()]

    async def _grant(self, user: User, raw: bytes) -> ASGIApp:
        body = read(raw, Grant)
        (await self._conversations.sessions.get(body.chat_session_id, user.name)).get(body.message_id)
        token = await self._access.grant(user, body.origin, body.chat_session_id, body.message_id)
        return envelope_response(biz_data={"token": token})

    async def _assign(self, user: User, raw: bytes) -> ASGIApp:
        try:
            body = read(raw, Assigned)
            upstream = body.upstream.open()
        except BadInput as error:
            raise InvalidRequest(f"upstream: {error}", status=422, code=42200) from None
        await self._conversations.sessions.get(body.chat_session_id, user.name)
        self._conversations.assign(body.chat_session_id, upstream)
        return envelope_response()


__all__ = ["OwnAPI"]
