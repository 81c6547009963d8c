"""An ASGI app → a listening gateway: uvicorn in a thread of its own, on loopback."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import math
import socket
import threading
import time
from collections.abc import Generator
from types import TracebackType

import uvicorn

from ..errors import BadInput, ConnectionFailed
from ..upstream import Demo, Upstream
from .access import Access
from .app import create_app, route_of
from .calls import Calls
from .conversations import Conversations
from .event_stream import Direct
from .journal import tell
from .metrics import Metrics
from .settings import Settings
from .stores.memory import MemoryStore
from .stores.opening import public, store_at
from .stores.store import Store
from .users import Directory

START_SECONDS = 20.0
CLOSE_SECONDS = 5.0
WAKE_SECONDS = 1.0
MEMORY = "memory"
EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
"""What listens everywhere → where this machine reaches it."""


class _Server(uvicorn.Server):
    """Tells when it listens, ends what runs before it goes, and leaves the signals of the process alone."""

    def __init__(self, config: uvicorn.Config, conversations: Conversations) -> None:
        super().__init__(config)
        self._conversations = conversations
        self.listening = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._conversations.streams.begin()
        await super().startup(sockets)
        self.listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        tell("stopping", answers=self._conversations.running)
        for server in self.servers:  # nobody new while the answers end
            server.close()
        await self._conversations.aclose()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class Gateway:
    """A gateway in this process, at `url`, from its creation until `close()`.

    `port` 0 takes a free one; a `host` of 0.0.0.0 or :: listens on every address of the machine.
    What it keeps is in `store`, in memory unless another is given. With `listening` it takes its connections from
    there, perhaps with other processes.
    With `users` each has a token of their own, and sees what is theirs; without, `token` is everybody's.
    `allowed_hosts` are further names it goes by, `cors` the origins whose pages may read.
    Raises ConnectionFailed when it cannot listen, BadInput for a token, host or origin that cannot be one.
    """

    def __init__(
        self,
        upstream: Upstream | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        users: Directory | None = None,
        allowed_hosts: tuple[str, ...] = (),
        cors: tuple[str, ...] = (),
        settings: Settings | None = None,
        store: Store | None = None,
        listening: socket.socket | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        settings = settings or Settings()
        store = store or MemoryStore()
        self.access = Access(
            token,
            users=users,
            limits=settings.each,
            allowed_hosts=allowed_hosts,
            origins=cors,
            secret=store.secret,
        )
        self.metrics = metrics or Metrics()
        self._conversations = Conversations(
            upstream or Demo(),
            store=store,
            settings=settings,
            metrics=self.metrics,
            users=self.access.users,
        )
        self._socket = listening or listen(host, port)
        self.access.port = self._socket.getsockname()[1]
        self.url = f"http://{reachable(host)}:{self.access.port}"
        app = create_app(self._conversations, self.access, self.metrics, settings)
        self._calls = Calls(app, route_of(app))
        config = uvicorn.Config(
            Direct(self._calls),
            log_config=None,
            log_level="error",
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=2,
        )
        self._server = _Server(config, self._conversations)
        self._thread = threading.Thread(target=self._serve, name="ssechat-gateway", daemon=True)
        self._thread.start()
        if not self._server.listening.wait(START_SECONDS):
            raise ConnectionFailed(f"the gateway did not start within {START_SECONDS:g} s")

    def __repr__(self) -> str:
        return f"Gateway({self.url!r})"

    @property
    def token(self) -> str:
        """The secret that every call needs; "" if each user has another one."""
        return self.access.token

    @property
    def alive(self) -> bool:
        """Whether it still listens."""
        return self._thread.is_alive() and not self._server.should_exit

    @property
    def idle_seconds(self) -> float:
        """How long nobody has called it and nothing has run."""
        busy = self._calls.open or self._conversations.running
        return 0.0 if busy else time.monotonic() - self._calls.last

    def assign(self, session_id: str, upstream: Upstream) -> None:
        """Let `upstream` answer in this session from now on."""
        self._conversations.assign(session_id, upstream)

    def begin_to_close(self) -> None:
        """Let it close by itself, without waiting; safe in a signal handler."""
        self._server.should_exit = True

    def wait(self, idle: float = math.inf) -> None:
        """Wait until it has closed, or was idle for so many seconds; a signal handler runs meanwhile."""
        while self._thread.is_alive():
            self._thread.join(WAKE_SECONDS)
            if self.idle_seconds > idle:
                return

    def close(self) -> None:
        """Stop listening; answers in mid-stream end as failed. Safe to call twice."""
        self.begin_to_close()
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_SECONDS)

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *exc: tuple[type[BaseException], BaseException, TracebackType] | None) -> None:
        self.close()

    def _serve(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; `port` 0 takes a free one. Raises ConnectionFailed when it cannot."""
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        both = host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(address[:2], family=family, backlog=2048, dualstack_ipv6=both)
    except (OSError, UnicodeError) as error:
        said = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
        raise ConnectionFailed(f"cannot listen on {_bracketed(host)}:{port}: {said}") from None


def reachable(host: str) -> str:
    """How this machine reaches what listens on `host`."""
    return EVERY_ADDRESS.get(host) or _bracketed(host)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class _Embedded:
    """The one gateway of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gateway: Gateway | None = None
        self._store = MEMORY
        atexit.register(self.close)

    def open(self, store: str | None = None) -> Gateway:
        with self._lock:
            if self._gateway is None or not self._gateway.alive:
                kept = store or self._store  # one that ended by itself comes back with what it kept
                self._gateway = Gateway(store=store_at(kept)())
                self._store = kept
            elif store not in (None, self._store):
                raise BadInput(
                    f"this process has a gateway whose store is {public(self._store)}; "
                    "close it first, or restart the kernel"
                )
            return self._gateway

    def close(self) -> None:
        with self._lock:
            gateway, self._gateway = self._gateway, None
            self._store = MEMORY
        if gateway is not None:
            gateway.close()


_embedded = _Embedded()


def embedded(store: str | None = None) -> Gateway:
    """The gateway of this process: started by the first call, closed with the process.

    `store` says where it keeps conversations: ``memory`` (default), ``sqlite:PATH``, which outlives the process, or
    ``redis://…``. Raises BadInput for what is no store, or when the gateway has another one.
    """
    return _embedded.open(store)


def close_embedded() -> None:
    """Close the gateway of this process; the next `embedded()` starts another."""
    _embedded.close()
