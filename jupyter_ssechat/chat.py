"""The facade: one conversation, to ask from Python."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from . import conversation_file
from .cassette import RecordMode
from .deadlines import Deadlines
from .deltas import AsyncDeltaStream, DeltaStream
from .errors import BadInput, ConnectionFailed, GatewayError, Unauthorized
from .exchange import Patience
from .images import image_urls
from .link import OF_THE_USER
from .message import Delta
from .process_cassette import process_cassette
from .recording import recording
from .reply import Call, Reply, View
from .response_format import FIELD
from .schema import Schema, schema_of
from .talk import Asked, Talk
from .tape import Cassette
from .transcript import Transcript, read_transcript
from .upstream import Upstream
from .upstream_spec import UpstreamSpec
from .views import together

# The names of these options → what the gateway, and most servers, call them.
_NAMED = {
    "effort": "reasoning_effort",
    "temperature": "temperature",
    "max_tokens": "max_tokens",
    "stop": "stop",
}


class Chat(Talk):
    """A conversation with a model, through a gateway.

    `upstream` is ``"demo"``, a profile such as ``"ollama"`` (with `url`, one at another address), or the address
    of a model server; `dialect` is its wire, if its address and its first event do not tell. The gateway embedded
    in this process turns it into streams that stop and resume; with `gateway` ``"process"`` it is a process of the
    user's own, which outlives this one (see `own_gateway`). With the address of another `gateway` (and its `token`)
    that one is used, and with it the upstream that it has. The key of a model server is read from the environment
    variable `api_key_env`. `deadlines` says how long a model server may take for what, `patience` how often it is
    asked again. `pace` slows down (above 1) or speeds up (below 1, 0 is at once) the demo model and a replay; their
    own are 1 and 0.

    With `cassette`, a file or a `Cassette`, answers are recorded and replayed, as `record_mode` says: ``"once"``
    records where the file does not exist yet, and else replays only; ``"new_episodes"`` records what it does not
    know, ``"all"`` everything anew, ``"none"`` nothing. Where an answer is replayed no upstream is opened, so neither
    it nor its key need be there. A file that ends in ``.sse`` is one plain stream, which answers every request.
    Without one the cassette of the process counts, if ``JUPYTER_SSECHAT_CASSETTE`` names one.
    """

    def __init__(
        self,
        upstream: str | UpstreamSpec | Upstream | None = None,
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
        deadlines: Deadlines | None = None,
        patience: Patience | None = None,
        pace: float | None = None,
        cassette: str | os.PathLike[str] | Cassette | None = None,
        record_mode: RecordMode = "once",
    ) -> None:
        elsewhere = gateway not in OF_THE_USER
        if elsewhere and upstream is not None:
            raise BadInput(
                "gateway and upstream were both given; a gateway brings its own upstream, so give one"
            )
        if gateway not in (None, "thread") and cassette is not None:
            raise BadInput(
                "gateway and cassette were both given; what records is the gateway of this process"
            )
        super().__init__(gateway, token, model=model, system=system)
        self.thinking = thinking
        self.options = dict(options or {})
        if not elsewhere:
            self.use(
                upstream or "demo",
                url=url,
                model=model,
                dialect=dialect,
                api_key_env=api_key_env,
                deadlines=deadlines,
                patience=patience,
                pace=pace,
                cassette=cassette,
                record_mode=record_mode,
            )

    def __repr__(self) -> str:
        return f"Chat({self._upstream.name if self._upstream is not None else self._client.url!r})"

    @property
    def upstream(self) -> str | None:
        """The name of the model server; None where another gateway knows it."""
        return self._upstream.name if self._upstream is not None else None

    @property
    def dialect(self) -> str | None:
        """The wire of the model server; None where another gateway knows it."""
        return getattr(self._upstream, "dialect", self.upstream)

    def use(
        self,
        upstream: str | UpstreamSpec | Upstream,
        *,
        url: str | None = None,
        model: str | None = None,
        dialect: str | None = None,
        api_key_env: str | None = None,
        deadlines: Deadlines | None = None,
        patience: Patience | None = None,
        pace: float | None = None,
        cassette: str | os.PathLike[str] | Cassette | None = None,
        record_mode: RecordMode = "once",
    ) -> None:
        """Let another upstream answer from now on; the conversation goes on."""
        if self._gateway not in OF_THE_USER:
            raise BadInput(f"this chat is connected to {self._client.url}, which chooses its own upstream")
        if isinstance(upstream, str):
            upstream = UpstreamSpec(
                spec=upstream,
                url=url,
                model=model,
                dialect=dialect,
                api_key_env=api_key_env,
                deadlines=deadlines or Deadlines(),
                patience=patience or Patience(),
                pace=1.0 if pace is None else pace,
            )
            cassette = cassette if cassette is not None else process_cassette()
        opens = partial(_opened, upstream)
        if cassette is None:
            self._upstream, self._spec = opens(), upstream if isinstance(upstream, UpstreamSpec) else None
        else:
            taped = recording(opens, cassette, mode=record_mode, pace=pace or 0.0, dialect=dialect)
            self._upstream, self._spec = taped, None
        if self.session_id is not None:
            self._consumer.submit(self._assign(self.session_id)).result()

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
        schema: object = None,
        view: View | None = None,
        on_delta: Callable[[Delta | None], None] | None = None,
        on_end: Callable[[Reply], object] = lambda reply: None,
        **options: Any,
    ) -> Reply:
        """Ask and return at once; `edit` is the id of the prompt that this one takes the place of.

        `images` is one picture or a list of them: files, addresses, bytes, PIL images, matplotlib figures.
        `schema` asks for JSON that becomes `Reply.data`: a pydantic model or what else pydantic can read, a dict
        with a JSON Schema, or a file with one.
        `options` may be model, system, thinking (bool), effort, temperature, max_tokens, stop, and options
        (further fields for the model server).
        """
        if not prompt.strip():
            raise BadInput("the prompt is empty; write what you want to ask")
        wanted = None if schema is None else schema_of(schema)
        asking = self._asking(options, wanted)
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

        asked = Asked("completion" if edit is None else "edit_message", prompt, edit)
        return self._begin(asked, prepare, view, on_delta, on_end, wanted)

    def regenerate(
        self,
        reply: Reply | int | None = None,
        *,
        prompt: str = "",
        schema: object = None,
        view: View | None = None,
        on_delta: Callable[[Delta | None], None] | None = None,
        on_end: Callable[[Reply], object] = lambda reply: None,
        **options: Any,
    ) -> Reply:
        """Answer the prompt of `reply`, the last one by default, once more; returns at once.

        `reply` may also be the id of an answer in `history()`; `prompt` is then what it was asked.
        """
        answer_id, prompt = self._standing(reply, prompt)
        wanted = None if schema is None else schema_of(schema)
        asking = self._asking(options, wanted)

        async def prepare() -> Call:
            return "regenerate", {
                **asking,
                "chat_session_id": await self._session(),
                "child_message_id": answer_id,
            }

        asked = Asked("regenerate", prompt, answer_id)
        return self._begin(asked, prepare, view, on_delta, on_end, wanted)

    def resume(
        self,
        message_id: int,
        *,
        prompt: str = "",
        view: View | None = None,
        on_delta: Callable[[Delta | None], None] | None = None,
        on_end: Callable[[Reply], object] = lambda reply: None,
        **options: Any,
    ) -> Reply:
        """Let an answer in `history()` go on that was stopped, cut or failed; returns at once.

        For an answer whose `Reply` is at hand there is `Reply.resume`. `prompt` is what it was asked.
        """
        asking = self._asking(options)

        async def prepare() -> Call:
            return "continue", {
                **asking,
                "chat_session_id": await self._session(),
                "message_id": message_id,
                "fallback_to_resume": True,
            }

        return self._begin(Asked("continue", prompt, message_id), prepare, view, on_delta, on_end)

    def _standing(self, reply: Reply | int | None, prompt: str) -> tuple[int, str]:
        """The id of an answer of this conversation, and what it was asked."""
        if isinstance(reply, int):
            return reply, prompt
        old = reply or self.last
        if old is None or old.message_id is None:
            raise BadInput("there is no answer to regenerate yet; ask something first")
        if old.session_id != self.session_id:
            raise BadInput("that answer stands in another conversation; regenerate it there")
        return old.message_id, prompt or old.prompt

    def models(self) -> list[str]:
        """The names of the models that can be asked for; [] where the server has no list."""
        if self._upstream is not None:
            return self._consumer.submit(self._upstream.models()).result()
        return self._consumer.submit(self._client.models()).result()

    def check(self) -> None:
        """Call the gateway once; raises ConnectionFailed or Unauthorized where it cannot be used."""
        try:
            self._consumer.submit(self._client.sessions()).result()
        except (ConnectionFailed, Unauthorized):
            raise
        except GatewayError:
            return  # it is there; a gateway of another make may not list its sessions

    @classmethod
    def from_json(cls, data: object, upstream: str | Upstream | None = None, **options: Any) -> Chat:
        """A chat that goes on from what `to_json` gave, as values or as text; else as `Chat(upstream, …)`.

        Raises BadInput, one line, that says which message cannot be.
        """
        return cls._taking_up(read_transcript(data), upstream, options)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], upstream: str | Upstream | None = None, **options: Any
    ) -> Chat:
        """A chat that goes on from a saved file, or from a list of messages in one; else as `Chat(upstream, …)`."""
        return cls._taking_up(conversation_file.load(path), upstream, options)

    @classmethod
    def _taking_up(
        cls, transcript: Transcript, upstream: str | Upstream | None, options: dict[str, Any]
    ) -> Chat:
        kept = {name: getattr(transcript, name) for name in ("model", "system")}
        chat = cls(upstream, **{**kept, **options})
        chat.restore(transcript)
        return chat

    def _asking(self, options: dict[str, Any], schema: Schema | None = None) -> dict[str, Any]:
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
        if schema is not None:
            extra[FIELD] = schema.response_format
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
        asked: Asked,
        prepare: Callable[[], Any],
        view: View | None,
        on_delta: Callable[[Delta | None], None] | None,
        on_end: Callable[[Reply], object],
        schema: Schema | None = None,
    ) -> Reply:
        self.expect_gateway()
        # All of them: one that is stopped while it waits lets nobody go before its turn.
        before, head = [one for one in self._begun if not one.done], self._head

        async def in_turn() -> Call:
            for one in before:
                await one.ended()
            return await prepare()

        def ended(reply: Reply) -> None:
            unsaid = reply.status in ("failed", "interrupted") and not reply.content
            if unsaid and reply.session_id == self.session_id:
                self._head = head  # what never was said is no part of the conversation
            on_end(reply)

        shown = [] if view is None else [view]
        reply = Reply(
            self._consumer,
            self._client,
            asked.prompt,
            view=together(shown + [follower.asked(asked) for follower in self._followers]),
            on_delta=on_delta,
            on_ready=self._ready,
            on_end=ended,
            schema=schema,
        )
        self.last = reply
        self._begun = [*before, reply]
        reply.start_with(in_turn)
        return reply

    async def _session(self) -> str:
        if self.session_id is None:
            session_id = await self._client.create_session()
            await self._assign(session_id)
            self.session_id = session_id
        return self.session_id


def _opened(upstream: UpstreamSpec | Upstream) -> Upstream:
    return upstream.open() if isinstance(upstream, UpstreamSpec) else upstream


def _unless_refused(reply: Reply) -> Reply:
    if reply.refusal is not None:
        raise reply.refusal
    return reply
