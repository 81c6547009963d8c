"""Who may call: the Host check, the token, and CORS (protocols section 6, *Access*).

A page in the reader's browser can make requests to loopback, and by DNS rebinding even read the answers.
So the Host must be ours, and a token is always needed, which names a user; a view of the notebook gets a token that
stops or resumes its one stream and does nothing else. Two calls need no token: the health of the gateway, and a
stream whose unguessable id is its own token.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import BadInput, GatewayError, InvalidData
from ..transport import sendable_in_header
from ..wire_json import as_object, loads
from . import cors
from .envelope import envelope_response, refusal, refuse
from .grants import SECONDS, Grant, Grants
from .limits import Limits
from .users import Directory, User, Users, everybody, new_token

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
STOP = "/api/v0/chat/stop_stream"
VIEW_PATHS = (STOP, "/api/v0/chat/resume_stream")
HEALTH = "/health"
FIGURES = "/metrics"
USER = "jupyter_ssechat.user"

_STREAM_OF_ITS_OWN = re.compile(r"/ai/chat/stream/[\w-]+", re.ASCII)
_HOST = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_BARE_IPV6 = re.compile(r"[0-9a-f:.]*:[0-9a-f:.]*:[0-9a-f:.]*")


class Access:
    """The secrets of one gateway; `port` is known once it listens.

    One `token` opens it for everybody, within `limits`, unless `users` are given, of whom it then names one.
    `allowed_hosts` are ``HOST`` (as such, and with the gateway's port) or ``HOST:PORT``; `origins` are the pages
    that may read, ``SCHEME://HOST[:PORT]``. `secret` gives what all workers of the gateway know. Raises BadInput for
    what is none.
    """

    def __init__(
        self,
        token: str | None = None,
        *,
        users: Directory | None = None,
        limits: Limits | None = None,
        allowed_hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        secret: Callable[[], Awaitable[str]] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        must_be_token(token or "")
        if token and users and users.with_token(token) is None:
            raise BadInput("the token names none of the users; expected one of theirs, or none")
        self.token = token or ("" if users else new_token())
        self.users = users or Users([everybody(self.token, limits)])
        self.port = 0
        self._allowed_hosts = frozenset(map(must_be_host, allowed_hosts))
        self._origins = cors.origins(origins)
        self._grants = Grants(secret or _one_secret())
        self._now = now

    def __repr__(self) -> str:
        return f"Access(port={self.port})"

    async def grant(self, user: User, origin: str, session_id: str, message_id: int) -> str:
        """Make a token for a live view at `origin` that stops or resumes this one answer."""
        until = self._now() + SECONDS
        return await self._grants.token(Grant(user.name, origin, session_id, message_id, until), user)

    async def granted(self, token: str, origin: str) -> Grant | None:
        """The grant of a view's token that is called from the view's own origin, if it has run out too."""
        grant = await self._grants.read(token, self.users)
        return grant if grant and grant.origin == origin and cors.is_origin(origin) else None

    def holds(self, grant: Grant) -> bool:
        """Whether a grant has not run out."""
        return grant.until > self._now()

    def is_ours(self, host: str) -> bool:
        """Whether a Host header names this gateway."""
        host = host.lower()
        if host in self._allowed_hosts:
            return True
        name, colon, port = host.rpartition(":")
        return bool(colon) and port == str(self.port) and (name in LOOPBACK or name in self._allowed_hosts)

    def page(self, path: str, headers: dict[bytes, str], grant: Grant | None) -> Page:
        """Tell what the page that calls `path` may read."""
        origin = headers.get(b"origin", "")
        varies = cors.VARY if self._origins or path in VIEW_PATHS else []
        if origin in self._origins:
            return Page(True, [*cors.page_headers(origin), *varies], cors.preflight_headers(headers))
        if grant:
            return Page(True, [*cors.view_headers(origin), *varies], [])
        return Page(False, varies, [])


@dataclass(frozen=True, slots=True)
class Page:
    """Where a call comes from: the headers of its answers, and more for a question beforehand."""

    welcome: bool
    headers: cors.Headers
    preflight: cors.Headers


class Guard:
    """ASGI middleware: lets a call of a user through, or answers 403, 401, or what `admit` raises."""

    def __init__(
        self, app: ASGIApp, access: Access, admit: Callable[[User], Awaitable[None]] | None = None
    ) -> None:
        self._app = app
        self._access = access
        self._admit = admit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request."""
        if scope["type"] != "http" or _needs_nothing(scope):
            await self._app(scope, receive, send)
            return
        try:
            await self._check(scope, receive, send)
        except GatewayError as error:
            await refusal(error, scope["path"])(scope, receive, send)

    async def _check(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        token, origin = _token(scope, headers), headers.get(b"origin", "")
        grant = await self._access.granted(token, origin) if path in VIEW_PATHS and token and origin else None
        page = self._access.page(path, headers, grant)
        if page.headers:
            send = cors.with_headers(send, page.headers)
        if not self._access.is_ours(headers.get(b"host", "")):
            said = "this Host is not served here; use the printed address, or start with --allowed-host"
            await refuse(path, 403, said, code=40301)(scope, receive, send)
        elif page.welcome and method == "OPTIONS":
            await envelope_response(200)(scope, receive, cors.with_headers(send, page.preflight))
        elif _is_its_own_token(scope):
            await self._app(scope, receive, send)
        elif user := self._access.users.with_token(token):
            await self._let_in(user, scope, receive, send)
        else:
            await self._as_view(grant, token, scope, receive, send)

    async def _let_in(self, user: User, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == FIGURES and not user.operator:
            said = "these figures are of all users; ask somebody whose entry says operator = true"
            await refuse(FIGURES, 403, said, code=40302)(scope, receive, send)
            return
        if self._admit and scope["path"] != STOP:  # to stop is to need less
            await self._admit(user)
        scope[USER] = user
        await self._app(scope, receive, send)

    async def _as_view(
        self, grant: Grant | None, token: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        user = self._access.users.named(grant.user) if grant and self._access.holds(grant) else None
        if grant and user and scope["method"] == "POST":
            body = await _body(receive)
            if _is_about(body, grant):
                await self._let_in(user, scope, _again(body, receive), send)
                return
        said = "the token is wrong" if token else "a token is needed"
        how = "send Authorization: Bearer TOKEN or ?token=TOKEN as printed at start"
        await refuse(scope["path"], 401, f"{said}; {how}", code=40003)(scope, receive, send)


def _one_secret() -> Callable[[], Awaitable[str]]:
    made = secrets.token_hex(32)

    async def secret() -> str:
        return made

    return secret


def _needs_nothing(scope: Scope) -> bool:
    """Whether anybody may ask: whoever watches over the gateway knows no token and any name of it."""
    return scope["path"] == HEALTH and scope["method"] in ("GET", "HEAD")


def _is_its_own_token(scope: Scope) -> bool:
    return scope["method"] == "GET" and _STREAM_OF_ITS_OWN.fullmatch(scope["path"]) is not None


def must_be_token(text: str) -> None:
    """BadInput, without the text, for what cannot be a token; an empty one is one to be made."""
    if text.strip() and not sendable_in_header(text.strip()):
        raise BadInput(
            "the token cannot stand in a header; expected ASCII letters, digits and signs, no blanks"
        )


def must_be_host(text: str) -> str:
    """The name of a host as Host headers have it; BadInput for what is none."""
    host = text.strip().lower()
    if _BARE_IPV6.fullmatch(host):
        host = f"[{host}]"
    if not _HOST.fullmatch(host):
        raise BadInput(f"{text!r} is not a host; expected HOST or HOST:PORT as it stands in the address")
    return host


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
