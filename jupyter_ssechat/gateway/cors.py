"""Who asks from another origin → the headers that let its page read our answers, and nobody else's.

Two kinds of pages are let in: those that the gateway was told of by name, and those of live views, for the two
calls that a view makes. An origin is compared whole; there is no ``*``, no pattern and no ``null``, which is what
every sandboxed page calls itself. Starlette's middleware knows one list for all paths, and tells pages that it
does not know what it would allow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from starlette.types import Message, Send

from ..errors import BadInput

Headers = list[tuple[bytes, bytes]]

MAX_AGE_SECONDS = 600
EXPOSED = "retry-after, retry-after-ms, x-request-id, x-should-retry"
ALLOWED = (
    "accept",
    "authorization",
    "cache-control",
    "content-type",
    "idempotency-key",
    "last-event-id",
    "openai-beta",
    "openai-organization",
    "openai-project",
    "user-agent",
)
VARY: Headers = [(b"vary", b"origin")]

# The openai client in a browser tells of itself in a dozen headers, others with each version.
_OF_A_CLIENT = re.compile(r"x-stainless-[a-z0-9-]{1,40}")
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._~-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def parse_origin(text: str) -> str:
    """An origin as a browser writes it: lower case, without a default port. Raises BadInput for anything else."""
    match = _ORIGIN.fullmatch(text.strip().lower())
    if match is None:
        raise BadInput(
            f"{text!r} is not an origin; expected SCHEME://HOST or SCHEME://HOST:PORT, and no path"
        )
    scheme, host, port = match.groups()
    return f"{scheme}://{host}{'' if port in (None, _DEFAULT_PORTS.get(scheme)) else port}"


def is_origin(text: str) -> bool:
    """Whether `text` is an origin, exactly as a browser writes one."""
    try:
        return parse_origin(text) == text
    except BadInput:
        return False


def view_headers(origin: str) -> Headers:
    """What lets a live view read: enough to stop and to resume."""
    return _headers(
        {
            "access-control-allow-origin": origin,
            "access-control-allow-headers": "authorization, content-type",
            "access-control-allow-methods": "POST",
            "access-control-allow-private-network": "true",
        }
    )


def page_headers(origin: str) -> Headers:
    """What lets a page that was named read an answer."""
    return _headers(
        {
            "access-control-allow-origin": origin,
            "access-control-allow-credentials": "true",
            "access-control-expose-headers": EXPOSED,
        }
    )


def preflight_headers(asked: Mapping[bytes, str]) -> Headers:
    """What a page that was named may send, beside `page_headers`; `asked` are the headers of its question."""
    wanted = asked.get(b"access-control-request-headers", "").lower().replace(" ", "").split(",")
    about_client = sorted(name for name in wanted if _OF_A_CLIENT.fullmatch(name))
    headers = {
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": ", ".join([*ALLOWED, *about_client]),
        "access-control-max-age": str(MAX_AGE_SECONDS),
    }
    if b"access-control-request-private-network" in asked:
        headers["access-control-allow-private-network"] = "true"
    varies = "access-control-request-headers, access-control-request-private-network"
    return _headers({**headers, "vary": varies})


def with_headers(send: Send, extra: Headers) -> Send:
    """Send answers with more headers."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return send_with_headers


def _headers(of: Mapping[str, str]) -> Headers:
    return [(name.encode(), value.encode("latin-1")) for name, value in of.items()]


def origins(named: Iterable[str]) -> frozenset[str]:
    """The origins of a list, each checked."""
    return frozenset(map(parse_origin, named))
