"""Who may call: the Host check, the token, and CORS for a live view (protocols section 6, *Access*).

A page in the reader's browser can make requests to loopback, and by DNS rebinding even read the answers.
So the Host must be ours, and a token is always needed; a view of the notebook gets a token that stops or
resumes its one stream and does nothing else.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import InvalidData
from ..wire_json import as_object, loads
from .envelope import envelope_response

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
VIEW_PATHS = ("/api/v0/chat/stop_stream", "/api/v0/chat/resume_stream")
GRANTS = 1_000


@dataclass(frozen=True, slots=True)
class Grant:
    """What a view may do: call `VIEW_PATHS` from `origin`, for one message of one session."""

    origin: str
    session_id: str
    message_id: int


class Access:
    """The secrets of one gateway; `port` is known once it listens."""

    def __init__(self, token: str | None = None, *, allowed_hosts: tuple[str, ...] = ()) -> None:
        self.token = token or secrets.token_urlsafe(24)
        self.port = 0
        self._allowed_hosts = {host.lower() for host in allowed_hosts}
        self._grants: dict[str, Grant] = {}

    def __repr__(self) -> str:
        return f"Access(port={self.port})"

    def grant(self, origin: str, session_id: str, message_id: int) -> str:
        """Make a token for a live view at `origin` that stops or resumes this one answer."""
        token = secrets.token_urlsafe(24)
        self._grants[token] = Grant(origin, session_id, message_id)
        if len(self._grants) > GRANTS:
            del self._grants[next(iter(self._grants))]
        return token

    def known_origin(self, origin: str) -> bool:
        """Whether a live view reported this origin."""
        return any(grant.origin == origin for grant in tuple(self._grants.values()))

    def granted(self, token: str, origin: str | None) -> Grant | None:
        """The grant of a view's token, if it is called from the view's own origin."""
        grant = self._grants.get(token)
        return grant if grant and grant.origin == origin else None

    def is_ours(self, host: str) -> bool:
        """Whether a Host header names this gateway."""
        host = host.lower()
        return host in self._allowed_hosts or host in {f"{name}:{self.port}" for name in LOOPBACK}

    def is_token(self, token: str) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(token.encode(), self.token.encode())


class Guard:
    """ASGI middleware: lets a call through, or answers 403 or 401."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        origin = headers.get(b"origin")
        from_view = scope["path"] in VIEW_PATHS and origin is not None and self._access.known_origin(origin)
        if from_view and origin is not None:
            send = _with_cors(send, origin)
        if not self._access.is_ours(headers.get(b"host", "")):
            refusal = envelope_response(
                403, code=40301, message="this Host is not served here; use the printed address"
            )
            await refusal(scope, receive, send)
        elif from_view and scope["method"] == "OPTIONS":
            await envelope_response(200)(scope, receive, send)
        else:
            await self._with_token(scope, receive, send, _token(scope, headers), origin)

    async def _with_token(
        self, scope: Scope, receive: Receive, send: Send, token: str, origin: str | None
    ) -> None:
        if self._access.is_token(token):
            await self._app(scope, receive, send)
            return
        grant = self._access.granted(token, origin)
        if grant and scope["path"] in VIEW_PATHS and scope["method"] == "POST":
            body = await _body(receive)
            if _is_about(body, grant):
                await self._app(scope, _again(body, receive), send)
                return
        said = "the token is wrong" if token else "a token is needed"
        refusal = envelope_response(
            401,
            code=40003,
            message=f"{said}; send Authorization: Bearer TOKEN or ?token=TOKEN as printed at start",
        )
        await refusal(scope, receive, send)


def _token(scope: Scope, headers: dict[bytes, str]) -> str:
    scheme, _, token = headers.get(b"authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    query = parse_qs(scope["query_string"].decode("latin-1"))
    return query.get("token", [""])[0]


async def _body(receive: Receive, limit: int = 4096) -> bytes:
    body = b""
    while len(body) <= limit:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """A receive that gives the body once more, then what the connection says."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _is_about(body: bytes, grant: Grant) -> bool:
    try:
        data = as_object(loads(body.decode("utf-8", "replace")))
    except InvalidData:
        return False
    return data.get("chat_session_id") == grant.session_id and data.get("message_id") == grant.message_id


def _with_cors(send: Send, origin: str) -> Send:
    """Let the page at exactly `origin` read the answer."""
    extra = [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-headers", b"authorization, content-type"),
        (b"access-control-allow-methods", b"POST"),
        (b"access-control-allow-private-network", b"true"),
        (b"vary", b"origin"),
    ]

    async def with_cors(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return with_cors
