"""HTTP → bytes of a stream: the one door to httpx and httpx-sse.

httpx-sse opens the stream; the decoding is ours (`dialects.Body`), from the raw bytes: the shipped decoder
loses the first event after a BOM, invents events at keep-alives and has no size limit (protocols section 5).
Unpacking is ours too (`content_coding`), for httpx unpacks a chunk whole, whatever it expands to.

What a server may do to us has an end: in time by `Deadlines`, in size by caps on what arrives unpacked. Our
headers, and so a key, go to the origin they were meant for and nowhere else; cookies are not kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.cookiejar
import ipaddress
import json
import os
import ssl
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

import httpx
from httpx_sse import aconnect_sse

from .content_coding import PIECE_BYTES, ContentDecoder
from .deadlines import Deadlines, Watch
from .discretion import Discretion
from .eager import within
from .errors import (
    BadInput,
    BodyTooLarge,
    ConnectionFailed,
    InvalidData,
    NotAnEventStream,
    Redirected,
    StreamError,
    TimedOut,
)
from .wire_json import excerpt, loads

ERROR_SECONDS = 10.0
MAX_ERROR_BYTES = 256 * 1024
MAX_JSON_BYTES = 64 * 2**20
MAX_STREAM_BYTES = 256 * 2**20
MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_PUBLIC = {"accept", "anthropic-version", "content-type", "last-event-id"}
_PORTS = {"http": 80, "https": 443}

_Hop = Callable[..., AbstractAsyncContextManager[httpx.Response]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer: its status, its headers (lower case) and its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> object:
        """Read the body as JSON; None if it is none, or is out of bounds."""
        try:
            return loads(self.body.decode("utf-8-sig", "replace"))
        except InvalidData:
            return None

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Source(Protocol):
    """An open answer: an event stream to take by `chunks()`, or something else to `read()`; see `EventSource`."""

    watch: Watch
    status: int

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, with names in lower case."""
        ...

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters."""
        ...

    @property
    def is_event_stream(self) -> bool:
        """Whether the answer is a stream of events."""
        ...

    def chunks(self, watch: Watch | None = None) -> AsyncGenerator[bytes]:
        """Yield the body as it arrives."""
        ...

    async def read(self, limit: int = MAX_ERROR_BYTES) -> Answer:
        """Read the whole body."""
        ...

    def not_an_event_stream(self) -> NotAnEventStream:
        """The error for an answer that ought to have been a stream."""
        ...


class Wire(Protocol):
    """What an exchange asks over: HTTP, or what records it, or what was recorded; see `Transport`."""

    async def request(
        self, method: str, url: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Make one call and read the whole answer."""
        ...

    def events(
        self,
        method: str,
        url: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        deadlines: Deadlines | None = None,
    ) -> AbstractAsyncContextManager[Source]:
        """Open a stream."""
        ...

    def again(self, wait: float | None) -> float | None:
        """The seconds to wait before the next try, None for no further one; `wait` is what patience says."""
        ...

    async def pause(self, seconds: float) -> None:
        """Wait before the next try."""
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


class EventSource:
    """An open HTTP answer: an event stream to take by `chunks()`, or something else to `read()`.

    `watch` knows since when the exchange lasts, by the clock of the event loop.
    """

    def __init__(self, response: httpx.Response, watch: Watch, discretion: Discretion) -> None:
        self._response = response
        self._discretion = discretion
        self.watch = watch
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

    async def chunks(
        self, watch: Watch | None = None, *, limit: int = MAX_STREAM_BYTES
    ) -> AsyncGenerator[bytes]:
        """Yield the body as it arrives; ends with it, or when only figures were missing.

        `watch` is told of tokens by the caller; without one every chunk counts as one. Raises TimedOut when a
        deadline is missed, ConnectionFailed when the body breaks, BodyTooLarge above `limit` bytes.
        """
        told, now = watch or self.watch, asyncio.get_running_loop().time
        async with aclosing(self._body(limit)) as body:
            while True:
                try:
                    chunk = await within(anext(body), told.due)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    if told.is_finishing:
                        return
                    raise self._timed_out(told) from None
                told.heard()
                if watch is None:
                    told.token()
                passed_on = now()
                yield chunk
                told.excuse(now() - passed_on)

    async def _body(self, limit: int) -> AsyncGenerator[bytes]:
        room = limit
        decoder = ContentDecoder(self.headers.get("content-encoding", ""))
        with _as_our_own(self._response.request.url, self._discretion):
            async for data in self._response.aiter_raw():
                for piece in decoder.feed(data):
                    yield piece[:room]
                    room -= len(piece)
                    if room < 0:
                        raise self._too_large(limit)
                    if len(piece) == PIECE_BYTES:  # a bomb must not keep others from their turn
                        await asyncio.sleep(0)
        if not decoder.complete:
            raise ConnectionFailed(f"{self._address} broke off in the middle of a compressed body")

    async def read(self, limit: int = MAX_ERROR_BYTES) -> Answer:
        """Read the whole body; raises BodyTooLarge above `limit` bytes, and what `chunks` raises.

        Of an answer that refuses (400 and above) what arrives in a few seconds is enough: its status counts.
        """
        refuses = self.status >= 400
        body = bytearray()
        try:
            async with asyncio.timeout(ERROR_SECONDS if refuses else None):
                # No token is told, so the whole body has the time of the first one.
                pieces = self.chunks(self.watch, limit=min(limit, MAX_ERROR_BYTES) if refuses else limit)
                async with aclosing(pieces):
                    async for piece in pieces:
                        body += piece
        except (TimeoutError, ConnectionFailed, StreamError):
            if not refuses:
                raise
        return Answer(self.status, self._response.headers, bytes(body))

    def not_an_event_stream(self) -> NotAnEventStream:
        """The error for an answer that ought to have been a stream."""
        return not_an_event_stream(self.status, self.content_type)

    @property
    def _address(self) -> str:
        return _shown(self._response.request.url, self._discretion)

    def _timed_out(self, watch: Watch) -> TimedOut:
        return TimedOut(f"{self._address} {watch.missed()}; is the server alive?")

    def _too_large(self, limit: int) -> BodyTooLarge:
        return BodyTooLarge(
            f"{self._address} sent more than {limit:,} bytes; no answer is expected to be so long"
        )


def not_an_event_stream(status: int, content_type: str) -> NotAnEventStream:
    """The error for an answer of this status and media type that ought to have been a stream."""
    return NotAnEventStream(
        f"the server answered {status} with {content_type or 'no content type'} instead of text/event-stream;"
        " check that the address is a streaming chat endpoint"
    )


class Transport:
    """HTTP to one server with its `headers`, within `deadlines`.

    Proxies and certificates are those of the environment, as httpx reads them; this machine is never asked
    through a proxy.
    """

    def __init__(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        deadlines: Deadlines | None = None,
    ) -> None:
        self._headers = dict(headers or {})
        self._deadlines = deadlines or Deadlines()
        # A fresh connection for each call: none can turn out to have been closed meanwhile.
        self._limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._clients: dict[tuple[bool, bool], httpx.AsyncClient] = {}

    async def request(
        self,
        method: str,
        url: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        deadlines: Deadlines | None = None,
        limit: int = MAX_JSON_BYTES,
    ) -> Answer:
        """Make one call with a JSON body and read the whole answer; see `EventSource.read`."""
        async with self._exchange(httpx.AsyncClient.stream, method, url, body, headers, deadlines) as source:
            return await source.read(limit)

    @contextlib.asynccontextmanager
    async def events(
        self,
        method: str,
        url: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        deadlines: Deadlines | None = None,
    ) -> AsyncGenerator[EventSource]:
        """Open a stream; leaving the block closes the connection, which ends it at the other side too.

        Raises TimedOut, Redirected or another ConnectionFailed, and BadInput for what cannot be sent.
        """
        async with self._exchange(_event_stream, method, url, body, headers, deadlines) as source:
            yield source

    @contextlib.asynccontextmanager
    async def _exchange(
        self,
        hop: _Hop,
        method: str,
        url: str,
        body: object,
        headers: Mapping[str, str] | None,
        deadlines: Deadlines | None,
    ) -> AsyncGenerator[EventSource]:
        watch = Watch(deadlines or self._deadlines, asyncio.get_running_loop().time)
        discretion = Discretion(*_secrets({**self._headers, **(headers or {})}))
        async with AsyncExitStack() as stack:
            with _as_our_own(url, discretion):
                try:
                    asking = _Asking(hop, self._client(url), method, _content(body, headers), discretion)
                    response = await asking.answered(url, watch, stack)
                except TimeoutError:
                    said = f"{_shown(url, discretion)} {watch.missed()}; is the server alive?"
                    raise TimedOut(said) from None
            yield EventSource(response, watch, discretion)

    def again(self, wait: float | None) -> float | None:
        """Try again when patience says so."""
        return wait

    async def pause(self, seconds: float) -> None:
        """Wait before the next try."""
        await asyncio.sleep(seconds)

    def _client(self, url: str) -> httpx.AsyncClient:
        """The client for an address: this machine's has no proxy, one for http needs no certificates."""
        parts = parsed(url)
        local, secure = _is_this_machine(parts.hostname or ""), parts.scheme.lower() == "https"
        if (local, secure) not in self._clients:
            trusted = _certificates() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            with _proxies_of_the_environment():
                self._clients[local, secure] = httpx.AsyncClient(
                    # Nothing to unpack: a stream that is packed may be held back by whoever packs it.
                    headers={"accept-encoding": "identity", **self._headers},
                    event_hooks={"response": [_set_aside]},
                    cookies=http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=[])),
                    timeout=None,  # the deadlines are ours
                    limits=self._limits,
                    trust_env=not local,
                    verify=trusted,
                )
        return self._clients[local, secure]

    async def aclose(self) -> None:
        """Close every connection."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.aclose()


@dataclass(frozen=True, slots=True)
class _Asking:
    """One request on its way to the address that answers it."""

    hop: _Hop
    client: httpx.AsyncClient
    method: str
    content: Mapping[str, Any]
    discretion: Discretion

    async def answered(self, url: str, watch: Watch, stack: AsyncExitStack) -> httpx.Response:
        """Ask, following the server within its origin; raises TimeoutError when the watch is overdue."""
        async with asyncio.timeout_at(watch.due()) as until:

            async def trace(event: str, info: Mapping[str, Any]) -> None:
                if event == "connection.connect_tcp.complete":
                    # httpcore leaves a socket open when its handshake is cancelled.
                    stack.push_async_callback(info["return_value"].aclose)
                if event.endswith("send_request_headers.started") and info["request"].method != b"CONNECT":
                    watch.connected()
                    until.reschedule(watch.due())

            where: str | httpx.URL = url
            for _ in range(MAX_REDIRECTS + 1):
                # The headers anew for each hop: httpx-sse writes into what it is given.
                options = {**self.content, "headers": dict(self.content["headers"])}
                opening = self.hop(self.client, self.method, where, extensions={"trace": trace}, **options)
                response = await stack.enter_async_context(opening)
                target = _target(response)
                if target is None:
                    watch.answered()
                    return response
                where = self._followed(response, target)
                await response.aclose()
        raise Redirected(
            f"{_shown(url, self.discretion)} redirects more than {MAX_REDIRECTS} times; check the address"
        )

    def _followed(self, response: httpx.Response, target: httpx.URL) -> httpx.URL:
        """The next address, if the same request may be sent there; else raises Redirected."""
        here = response.request.url
        keeps = response.status_code in (307, 308) or self.method == "GET"
        if keeps and _origin(target) == _origin(here):
            # The user is ours to name, and not the server's.
            return target.copy_with(userinfo=here.userinfo, fragment=None)
        there = excerpt(_shown(target, self.discretion), 200)
        raise Redirected(
            f"{_shown(here, self.discretion)} answered {response.status_code} and points to {there};"
            " if you trust it, use that address"
        )


@contextlib.asynccontextmanager
async def _event_stream(
    client: httpx.AsyncClient, method: str, url: str, **options: Any
) -> AsyncGenerator[httpx.Response]:
    async with aconnect_sse(client, method, url, **options) as source:
        yield source.response


async def _set_aside(response: httpx.Response) -> None:
    """Where an answer points is ours to read: httpx looks too, and fails at what is no address."""
    response.extensions["location"] = response.headers.pop("location", None)


def _target(response: httpx.Response) -> httpx.URL | None:
    """Where an answer points instead of answering."""
    location: str | None = response.extensions["location"]
    if response.status_code not in REDIRECTS or not location:
        return None
    try:
        return response.request.url.join(location)
    except (httpx.InvalidURL, ValueError):
        raise Redirected(
            f"{public_address(response.request.url)} answered {response.status_code} and points to what is"
            " no address; check the address"
        ) from None


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or _PORTS.get(url.scheme)


def _content(body: object, headers: Mapping[str, str] | None) -> dict[str, Any]:
    # An id of an event may be any text; a header is bytes, and the WHATWG says which.
    written: dict[str, str | bytes] = {name: value.encode() for name, value in (headers or {}).items()}
    if body is None:
        return {"headers": written}
    # ASCII escapes carry lone surrogates, which UTF-8 cannot.
    content = json.dumps(body).encode("ascii")
    return {"content": content, "headers": {"content-type": "application/json", **written}}


def _secrets(headers: Mapping[str, str]) -> list[str]:
    """What stands in our headers that hold a key, with and without a word such as Bearer."""
    keys = [value for name, value in headers.items() if name.lower() not in _PUBLIC]
    return [part for value in keys for part in (value, value.rpartition(" ")[2])]


def _is_this_machine(host: str) -> bool:
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or mapped.is_unspecified


def _certificates() -> ssl.SSLContext:
    try:
        return httpx.create_ssl_context()
    except OSError as error:  # ssl.SSLError is one
        raise BadInput(
            f"the certificates that SSL_CERT_FILE or SSL_CERT_DIR name cannot be read: {_reason(error)};"
            " correct the variable, or unset it"
        ) from None


@contextlib.contextmanager
def _proxies_of_the_environment() -> Generator[None]:
    """Whatever is wrong with them is said in one line; their values may hold a password."""
    try:
        yield
    except ImportError:
        raise BadInput(
            f"the SOCKS proxy of {_proxies_set()} needs a package more: pip install 'httpx[socks]'"
        ) from None
    except (ValueError, TypeError, httpx.InvalidURL):
        raise BadInput(
            f"the proxy of {_proxies_set()} cannot be used; expected an address such as http://HOST:PORT,"
            " and host names in NO_PROXY; correct the variable, or unset it"
        ) from None


def _proxies_set() -> str:
    """The names of the variables that name a proxy."""
    return ", ".join(name for name in PROXY_VARIABLES if os.environ.get(name) or os.environ.get(name.lower()))


def parsed(url: str) -> SplitResult:
    """Take an address apart; BadInput for what is none."""
    try:
        return urlsplit(url)
    except ValueError as error:  # such as a bracket that is never closed
        raise BadInput(f"{url!r} is not an address: {error}; expected http://HOST:PORT/…") from None


def sendable_in_header(secret: str) -> bool:
    """Whether a key or token can stand in an HTTP header: printable ASCII without blanks."""
    return secret.isascii() and secret.isprintable() and " " not in secret


@contextlib.contextmanager
def _as_our_own(url: object, discretion: Discretion) -> Generator[None]:
    """Turn the errors of httpx into ours, in one line each, without what the server quotes of our headers."""
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
    except httpx.HTTPError as error:
        raise _connection_failed(error, _shown(url, discretion), discretion) from None


def _connection_failed(error: httpx.HTTPError, address: str, discretion: Discretion) -> ConnectionFailed:
    if isinstance(error, httpx.ProxyError):
        return ConnectionFailed(
            f"no connection to {address}: the proxy of {_proxies_set()} refused: {discretion.line(str(error))}"
        )
    if certificate := _certificate_error(error):
        return ConnectionFailed(
            f"no connection to {address}: its certificate is not trusted: {certificate};"
            " if it is your own, name its authority in SSL_CERT_FILE"
        )
    by = (
        f" (a proxy is set by {_proxies_set()})"
        if isinstance(error, httpx.ConnectError) and _proxies_set()
        else ""
    )
    said = discretion.line(_reason(error))
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return ConnectionFailed(f"no connection to {address}: {said}{by}")
    return ConnectionFailed(f"the connection to {address} failed: {said}")


def _certificate_error(error: BaseException | None) -> str | None:
    """What is wrong with the server's certificate, if that is at the root of it."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message or "verification failed"
        error = error.__cause__ or error.__context__
    return None


def public_address(url: object) -> str:
    """The address without its user and its query, which may hold a secret."""
    parts = urlsplit(str(url))
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if host else str(url).partition("?")[0]


def _shown(url: object, discretion: Discretion) -> str:
    return discretion.line(public_address(url))


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
