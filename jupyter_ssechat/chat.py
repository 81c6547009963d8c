"""The facade: one conversation, to ask from Python."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

from .client import GatewayClient
from .consumer import shared_consumer
from .deltas import AsyncDeltaStream, DeltaStream
from .errors import BadInput, ConnectionFailed, GatewayError, Unauthorized
from .gateway.server import embedded
from .images import image_urls
from .message import Delta
from .profiles import open_upstream
from .reply import Call, Reply, View
from .transport import parsed
from .upstream import Upstream

# The names of these options → what the gateway, and most servers, call them.
_NAMED = {
    "effort": "reasoning_effort",
    "temperature": "temperature",
    "max_tokens": "max_tokens",
    "stop": "stop",
}


class Chat:
    """A conversation with a model, through a gateway.

    `upstream` is ``"demo"``, a profile such as ``"ollama"`` (with `url`, one at another address), or the address
    of a model server; `dialect` is its wire, if its address and its first event do not tell. The gateway embedded
    in this process turns it into streams that stop and resume. With `gateway` (and its `token`) another gateway
    is used, and with it the upstream that it has. The key of a model server is read from the environment
    variable `api_key_env`. `pace` slows down (above 1) or speeds up (below 1, 0 is at once) the demo model.
    """

    def __init__(
        self,
        upstream: str | Upstream | None = None,
        *,
        model: str | None = None,
        system: str | None = None,
        thinking: bool = True,
        options: Mapping[str, Any] | None = None,
        gateway: str | None = None,
        token: str | None = None,
        url: str | None = None,
        dialect: str | None = None,
        api_key_env: str | None = None,
        pace: float = 1.0,
    ) -> None:
        if gateway is not None and upstream is not None:
            raise BadInput(
                "gateway and upstream were both given; a gateway brings its own upstream, so give one"
            )
        self.model = model
        self.system = system
        self.thinking = thinking
        self.options = dict(options or {})
        self.session_id: str | None = None
        self.last: Reply | None = None
        self._head: int | None = None
        self._gateway = gateway
        self._client = _connect(gateway, token)
        self._consumer = shared_consumer()
        self._upstream: Upstream | None = None
        if gateway is None:
            self.use(
                upstream or "demo", url=url, model=model, dialect=dialect, api_key_env=api_key_env, pace=pace
            )

    def __repr__(self) -> str:
        where = self._gateway or (self._upstream.name if self._upstream else "demo")
        return f"Chat({where.partition('?')[0]!r})"

    @property
    def upstream(self) -> str | None:
        """The name of the model server; None where another gateway knows it."""
        return self._upstream.name if self._upstream is not None else None

    @property
    def dialect(self) -> str | None:
        """The wire of the model server; None where another gateway knows it."""
        return getattr(self._upstream, "dialect", self.upstream)

    @property
    def gateway(self) -> str:
        """The address of the gateway."""
        return self._client.url

    def use(
        self,
        upstream: str | Upstream,
        *,
        url: str | None = None,
        model: str | None = None,
        dialect: str | None = None,
        api_key_env: str | None = None,
        pace: float = 1.0,
    ) -> None:
        """Let another upstream answer from now on; the conversation goes on."""
        if self._gateway is not None:
            raise BadInput(f"this chat is connected to {self._client.url}, which chooses its own upstream")
        opened = (
            open_upstream(upstream, url=url, model=model, dialect=dialect, api_key_env=api_key_env, pace=pace)
            if isinstance(upstream, str)
            else upstream
        )
        self._upstream = opened
        if self.session_id is not None:
            embedded().assign(self.session_id, opened)

    def ask(self, prompt: str, **options: Any) -> Reply:
        """Ask, wait for the whole answer, and return it.

        An answer that failed or was stopped is returned as such (see `Reply.status`, `Reply.raise_for_status`);
        GatewayError or ConnectionFailed is raised when the gateway never began it.
        """
        return _unless_refused(self.send(prompt, **options).wait())

    def stream(self, prompt: str, **options: Any) -> DeltaStream:
        """Ask, and iterate over the text as it arrives: ``Delta(kind, text)``."""
        deltas = DeltaStream()
        deltas.reply = self.send(prompt, on_delta=deltas.put, **options)
        return deltas

    async def aask(self, prompt: str, **options: Any) -> Reply:
        """`ask()` for async code; cancelling it stops the answer."""
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        reply = self.send(prompt, on_end=lambda _: loop.call_soon_threadsafe(over.set), **options)
        try:
            await over.wait()
        except asyncio.CancelledError:
            reply.ask_to_stop()
            raise
        return _unless_refused(reply)

    def astream(self, prompt: str, **options: Any) -> AsyncDeltaStream:
        """`stream()` for async code."""
        deltas = AsyncDeltaStream()
        deltas.reply = self.send(prompt, on_delta=deltas.put, **options)
        return deltas

    def send(
        self,
        prompt: str,
        *,
        edit: int | None = None,
        images: object = None,
        view: View | None = None,
        on_delta: Callable[[Delta | None], None] | None = None,
        on_end: Callable[[Reply], object] = lambda reply: None,
        **options: Any,
    ) -> Reply:
        """Ask and return at once; `edit` is the id of the prompt that this one takes the place of.

        `images` is one picture or a list of them: files, addresses, bytes, PIL images, matplotlib figures.
        `options` may be model, system, thinking (bool), effort, temperature, max_tokens, stop, and options
        (further fields for the model server).
        """
        if not prompt.strip():
            raise BadInput("the prompt is empty; write what you want to ask below the %%chat line")
        asking = self._asking(options)
        if pictures := image_urls(images):
            asking["images"] = pictures

        async def prepare() -> Call:
            session = await self._session()
            if edit is not None:
                return "edit_message", {
                    **asking,
                    "chat_session_id": session,
                    "message_id": edit,
                    "prompt": prompt,
                }
            return "completion", {
                **asking,
                "chat_session_id": session,
                "parent_message_id": self._head,
                "prompt": prompt,
                "ref_file_ids": [],
            }

        return self._begin(prompt, prepare, view, on_delta, on_end)

    def regenerate(
        self,
        reply: Reply | None = None,
        *,
        view: View | None = None,
        on_delta: Callable[[Delta | None], None] | None = None,
        on_end: Callable[[Reply], object] = lambda reply: None,
        **options: Any,
    ) -> Reply:
        """Answer the prompt of `reply`, the last one by default, once more; returns at once."""
        old = reply or self.last
        if old is None or old.message_id is None:
            raise BadInput("there is no answer to regenerate yet; ask something first")
        if old.session_id != self.session_id:
            raise BadInput("that answer stands in another conversation; regenerate it there")
        answer_id = old.message_id
        asking = self._asking(options)

        async def prepare() -> Call:
            return "regenerate", {
                **asking,
                "chat_session_id": await self._session(),
                "child_message_id": answer_id,
            }

        return self._begin(old.prompt, prepare, view, on_delta, on_end)

    def models(self) -> list[str]:
        """The names of the models that can be asked for; [] where the server has no list."""
        if self._upstream is not None:
            return self._consumer.submit(self._upstream.models()).result()
        return self._consumer.submit(self._client.models()).result()

    def history(self) -> list[dict[str, Any]]:
        """All messages of the conversation, all branches, oldest first (protocols section 6)."""
        session_id = self.session_id
        if session_id is None:
            return []
        return self._consumer.submit(self._client.history(session_id)).result()

    def check(self) -> None:
        """Call the gateway once; raises ConnectionFailed or Unauthorized where it cannot be used."""
        try:
            self._consumer.submit(self._client.sessions()).result()
        except (ConnectionFailed, Unauthorized):
            raise
        except GatewayError:
            return  # it is there; a gateway of another make may not list its sessions

    def branch(self) -> list[dict[str, Any]]:
        """The messages that lead to the last answer, oldest first."""
        known = {one["message_id"]: one for one in self.history()}
        found: list[dict[str, Any]] = []
        at = self._head
        while at in known:
            found.append(known[at])
            at = known[at].get("parent_id")
        return found[::-1]

    def new(self) -> None:
        """Begin a new conversation; the old one stays in the gateway."""
        if self._gateway is None and not self._alive():
            self._consumer = shared_consumer()
            self._client = _connect(None, None)
        self.session_id = None
        self._head = None
        self.last = None

    def _asking(self, options: dict[str, Any]) -> dict[str, Any]:
        """The fields of every generating call."""
        unknown = set(options) - {"model", "system", "thinking", "options", *_NAMED}
        if unknown:
            raise TypeError(
                f"unknown option {sorted(unknown)[0]!r}; expected model, system, thinking, options,"
                f" {', '.join(_NAMED)}"
            )
        asking: dict[str, Any] = {
            "thinking_enabled": bool(options.get("thinking", self.thinking)),
            "search_enabled": False,
        }
        named = {_NAMED[name]: options[name] for name in _NAMED if options.get(name) is not None}
        extra: dict[str, Any] = {**self.options, **(options.get("options") or {}), **named}
        try:
            json.dumps(extra, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise BadInput(f"options cannot be sent as JSON: {error}") from None
        ours: dict[str, Any] = {
            "model": options.get("model") or self.model,
            "system": options.get("system") or self.system,
            "options": extra,
        }
        # Only what was asked for: a gateway of another make may refuse what it does not know.
        return {**asking, **{name: value for name, value in ours.items() if value}}

    def _begin(
        self,
        prompt: str,
        prepare: Callable[[], Any],
        view: View | None,
        on_delta: Callable[[Delta | None], None] | None,
        on_end: Callable[[Reply], object],
    ) -> Reply:
        if not self._alive():
            raise BadInput(
                "the gateway of this conversation was closed, or belongs to the process that this one was forked"
                " from; call new() on the chat, or create a new one"
            )
        before, head = self.last, self._head

        async def in_turn() -> Call:
            if before is not None:
                await before.ended()
            return await prepare()

        def ended(reply: Reply) -> None:
            if reply.status in ("failed", "interrupted") and not reply.content:
                self._head = head  # what never was said is no part of the conversation
            on_end(reply)

        reply = Reply(
            self._consumer,
            self._client,
            prompt,
            view=view,
            on_delta=on_delta,
            on_ready=self._ready,
            on_end=ended,
            granting=embedded().access.grant if self._gateway is None else None,
        )
        self.last = reply
        reply.start_with(in_turn)
        return reply

    def _alive(self) -> bool:
        """Whether what this chat was opened on is still there: its thread, and the gateway of this process."""
        return self._consumer.alive and (self._gateway is not None or self._client.url == embedded().url)

    def _ready(self, reply: Reply) -> None:
        self._head = reply.message_id

    async def _session(self) -> str:
        if self.session_id is None:
            self.session_id = await self._client.create_session()
            if self._upstream is not None:
                embedded().assign(self.session_id, self._upstream)
        return self.session_id


def _connect(gateway: str | None, token: str | None) -> GatewayClient:
    if gateway is not None:
        address = parsed(gateway)
        given = parse_qs(address.query).get("token", [None])[0]  # the address as a gateway prints it
        return GatewayClient(gateway, token or given)
    here = embedded()
    return GatewayClient(here.url, here.token)


def _unless_refused(reply: Reply) -> Reply:
    if reply.refusal is not None:
        raise reply.refusal
    return reply
