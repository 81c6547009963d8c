"""HTTP → bytes of a stream: the one door to httpx and httpx-sse.

httpx-sse opens the stream; the decoding is ours (`dialects.Body`), from ``aiter_bytes()``: the shipped
decoder loses the first event after a BOM, invents events at keep-alives and has no size limit (protocols
section 5).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpx
from httpx_sse import aconnect_sse

from .errors import BadInput, ConnectionFailed, NotAnEventStream

LAST_WORDS_SECONDS = 5.0
MAX_ERROR_BYTES = 256 * 1024
MAX_JSON_BYTES = 256 * 1024 * 1024
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer: its status, its headers (lower case) and its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> object:
        """Read the body as JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class EventSource:
    """An open HTTP answer: an event stream to take by `chunks()`, or something else to `read()`."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers = response.headers

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters."""
        return self._response.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_event_stream(self) -> bool:
        """Whether the answer is 2xx and ``text/event-stream`` (WHATWG: compared without case)."""
        return 200 <= self.status < 300 and self.content_type == "text/event-stream"

    async def chunks(self, finishing: Callable[[], bool] = lambda: False) -> AsyncGenerator[bytes]:
        """Yield the body as it arrives; ends with it, ConnectionFailed if it breaks.

        Once `finishing` is true only a few figures may follow: they are waited for so long, not for ever.
        """
        loop = asyncio.get_running_loop()
        until: float | None = None
        async with aclosing(self._body()) as body:
            while True:
                if until is None and finishing():
                    until = loop.time() + LAST_WORDS_SECONDS
                try:
                    async with asyncio.timeout_at(until):
                        chunk = await anext(body)
                except (StopAsyncIteration, TimeoutError):
                    return
                yield chunk

    async def _body(self) -> AsyncGenerator[bytes]:
        with _as_connection_failed(self._response.request.url):
            async for chunk in self._response.aiter_bytes():
                yield chunk

    async def read(self, limit: int = MAX_ERROR_BYTES) -> Answer:
        """Read the body, at most `limit` bytes of it."""
        body = bytearray()
        with _as_connection_failed(self._response.request.url):
            async for chunk in self._response.aiter_bytes():
                body += chunk
                if len(body) >= limit:
                    break
        return Answer(self.status, self._response.headers, bytes(body[:limit]))

    def not_an_event_stream(self) -> NotAnEventStream:
        """The error for an answer that ought to have been a stream."""
        kind = self.content_type or "no content type"
        return NotAnEventStream(
            f"the server answered {self.status} with {kind} instead of text/event-stream;"
            " check that the address is a streaming chat endpoint"
        )


class Transport:
    """HTTP with deadlines in seconds; `read` is the longest silence that a stream may keep."""

    def __init__(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        connect: float = 10.0,
        read: float | None = 60.0,
    ) -> None:
        self._headers = dict(headers or {})
        self._timeout = httpx.Timeout(read, connect=connect, pool=None)
        # A fresh connection for each call: none can turn out to have been closed meanwhile.
        self._limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._clients: dict[bool, httpx.AsyncClient] = {}

    def _client(self, url: str) -> httpx.AsyncClient:
        """One client for this machine, which no proxy of the environment may see, and one for elsewhere."""
        local = parsed(url).hostname in LOOPBACK
        if local not in self._clients:
            self._clients[local] = httpx.AsyncClient(
                headers=self._headers, timeout=self._timeout, limits=self._limits, trust_env=not local
            )
        return self._clients[local]

    async def request(self, method: str, url: str, body: object = None) -> Answer:
        """Make one call with a JSON body and read the whole answer."""
        with _as_connection_failed(url):
            request = self._client(url).build_request(method, url, **_json(body))
            response = await self._client(url).send(request)
        return Answer(response.status_code, response.headers, response.content[:MAX_JSON_BYTES])

    @contextlib.asynccontextmanager
    async def events(
        self,
        method: str,
        url: str,
        body: object = None,
    ) -> AsyncGenerator[EventSource]:
        """Open a stream; leaving the block closes the connection, which ends it at the other side too."""
        async with contextlib.AsyncExitStack() as stack:
            with _as_connection_failed(url):
                source = await stack.enter_async_context(
                    aconnect_sse(self._client(url), method, url, **_json(body))
                )
            yield EventSource(source.response)

    async def aclose(self) -> None:
        """Close every connection."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.aclose()


def parsed(url: str) -> SplitResult:
    """Take an address apart; BadInput for what is none."""
    try:
        return urlsplit(url)
    except ValueError as error:  # such as a bracket that is never closed
        raise BadInput(f"{url!r} is not an address: {error}; expected http://HOST:PORT/…") from None


def _json(body: object) -> dict[str, Any]:
    # ASCII escapes carry lone surrogates, which UTF-8 cannot.
    if body is None:
        return {}
    return {"content": json.dumps(body).encode("ascii"), "headers": {"content-type": "application/json"}}


def sendable_in_header(secret: str) -> bool:
    """Whether a key or token can stand in an HTTP header: printable ASCII without blanks."""
    return secret.isascii() and secret.isprintable() and " " not in secret


@contextlib.contextmanager
def _as_connection_failed(url: object) -> Generator[None]:
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        said = f"{public_address(url)} is not an address: {error}"
        raise BadInput(f"{said}; expected http://HOST:PORT/…") from None
    except (UnicodeError, ValueError) as error:
        raise BadInput(
            f"the request to {public_address(url)} cannot be written: {type(error).__name__}"
        ) from None
    except httpx.LocalProtocolError:  # what it says may quote a header, and so a key
        raise BadInput(
            f"the request to {public_address(url)} cannot be written: a header is invalid"
        ) from None
    except httpx.TimeoutException as error:
        raise ConnectionFailed(
            f"{public_address(url)} went silent ({_reason(error)}); is the server alive?"
        ) from None
    except httpx.HTTPError as error:
        raise ConnectionFailed(f"no connection to {public_address(url)}: {_reason(error)}") from None


def public_address(url: object) -> str:
    """The address without its user and its query, which may hold a secret."""
    parts = urlsplit(str(url))
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if host else str(url).partition("?")[0]


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
