"""Calls → sessions, records and generations: what the gateway does, without HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ..errors import GatewayError, InvalidRequest
from ..message import reopened
from ..openai_messages import turn_of
from ..patches import Patch
from ..request import Request, Turn
from ..upstream import Upstream
from ..wire_json import as_list, as_object
from .audience import GRACES, Audience, OnDisconnect
from .bodies import Asking, Completion, Continue, EditMessage, Regenerate, checked_images
from .generation import Generation, LogT
from .log import Reader
from .metrics import API, Metrics
from .patch_stream import PatchStream
from .sessions import Record, Session, Sessions

Key = tuple[str, int]

IMAGES, HANDLE, VERBATIM = "response/images", "response/upstream", "response/verbatim"


class Conversations:
    """The sessions of one gateway and what is being generated in them; lives on one event loop."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        metrics: Metrics | None = None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sessions = Sessions(now)
        self.metrics = metrics or Metrics()
        self._upstream = upstream
        self._assigned: dict[str, Upstream] = {}
        self._clock = clock
        self._running: dict[Key, Generation[PatchStream]] = {}
        self._alive: set[Generation[Any]] = set()
        self.closing = asyncio.Event()

    @property
    def upstream(self) -> Upstream:
        """What answers where no other is assigned."""
        return self._upstream

    @property
    def running(self) -> int:
        """How many answers may still grow."""
        return len(self._alive)

    def assign(self, session_id: str, upstream: Upstream) -> None:
        """Let `upstream` answer in this session from now on; safe from any thread."""
        self._assigned[session_id] = upstream

    def complete(self, body: Completion) -> Reader:
        """Answer a new prompt."""
        _refuse_files(body)
        images = checked_images(body.images or [])
        session = self.sessions.get(body.chat_session_id)
        if (session.id, body.parent_message_id) in self._running:
            # What nobody has read yet must not become history.
            raise _wrong("parent_message_id", f"answer {body.parent_message_id} still runs; wait, or stop it")
        prompt = _with_images(session.add_prompt(body.prompt, body.parent_message_id), images)
        return self._answer(session, prompt, body)

    def edit(self, body: EditMessage) -> Reader:
        """Answer a changed prompt on a branch of its own; it keeps its images unless others are given."""
        _refuse_files(body)
        images = None if body.images is None else checked_images(body.images)
        session = self.sessions.get(body.chat_session_id)
        record = session.get(body.message_id)
        if record.role != "USER":
            raise _wrong("message_id", f"message {body.message_id} is an answer; expected the prompt to edit")
        _allow(record, "ban_edit")
        images = _images(record) if images is None else images
        prompt = _with_images(session.add_prompt(body.prompt, record.parent_id), images)
        return self._answer(session, prompt, body)

    def regenerate(self, body: Regenerate) -> Reader:
        """Answer the same prompt once more, beside the answer that stands."""
        _refuse_images(body)
        session = self.sessions.get(body.chat_session_id)
        record = session.get(body.child_message_id)
        _allow(record, "ban_regenerate")
        prompt = record if record.role == "USER" else session.get(record.parent_id or 0)
        return self._answer(session, prompt, body)

    def go_on(self, body: Continue) -> Reader:
        """Let an answer that was stopped, cut or failed go on: same message, next epoch."""
        _refuse_images(body)
        session = self.sessions.get(body.chat_session_id)
        record = session.get(body.message_id)
        running = self._running.get((session.id, record.message_id))
        if body.fallback_to_resume and (running is not None or _is_complete(record)):
            return self.resume(session.id, record.message_id)
        self._may_go_on(record, running)
        record.apply([*reopened(), *_no_longer_verbatim(record)])
        return self._generate(session, record, _as_asked(record, body), continues=True)

    def _may_go_on(self, record: Record, running: Generation[PatchStream] | None) -> None:
        if record.role != "ASSISTANT":
            raise _wrong("message_id", f"message {record.message_id} is a prompt; expected an answer")
        if running is not None:
            raise _wrong("message_id", f"answer {record.message_id} is still running; resume or stop it")
        if _is_complete(record):
            raise _wrong(
                "message_id", f"answer {record.message_id} is complete; regenerate it for another one"
            )

    def resume(self, session_id: str, message_id: int) -> Reader:
        """Attach to an answer: the snapshot, what is still coming, the end."""
        session = self.sessions.get(session_id)
        record = session.get(message_id)
        running = self._running.get((session.id, message_id))
        if running is not None:
            return self._resumed(running.log)
        replay = PatchStream(session, record, self.audience("patches"))
        reader = self._resumed(replay)
        replay.end()
        return reader

    def _resumed(self, stream: PatchStream) -> Reader:
        self.metrics.saw_resume()
        return stream.attach()

    async def stop(self, session_id: str, message_id: int, stream_id: str | None = None) -> None:
        """Stop an answer; nothing happens when it does not run, or when `stream_id` is not the running one."""
        session = self.sessions.get(session_id)
        session.get(message_id)
        self.metrics.saw_stop()
        running = self._running.get((session.id, message_id))
        if running is not None and stream_id in (None, running.log.stream_id):
            await running.stop()

    async def delete(self, session_id: str) -> None:
        """Stop what runs in a session and forget it."""
        self.sessions.delete(session_id)  # first, so that nothing new begins in it
        self._assigned.pop(session_id, None)
        running = [generation for key, generation in self._running.items() if key[0] == session_id]
        await asyncio.gather(*(generation.stop() for generation in running))

    async def aclose(self) -> None:
        """End every generation; its readers are told why. Let go of every upstream."""
        self.closing.set()
        ending = [
            generation.fail("gateway_closed", "the gateway was shut down while the answer streamed")
            for generation in tuple(self._alive)
        ]
        await asyncio.gather(*ending)
        await asyncio.gather(*(upstream.aclose() for upstream in {self._upstream, *self._assigned.values()}))

    def _answer(self, session: Session, prompt: Record, body: Asking) -> Reader:
        record = session.add_answer(
            prompt.message_id,
            model=body.model or "",
            thinking=body.thinking_enabled,
            search=body.search_enabled,
        )
        return self._generate(session, record, body)

    def _generate(self, session: Session, record: Record, body: Asking, *, continues: bool = False) -> Reader:
        key = (session.id, record.message_id)
        policy = _policy(body)
        request = _request(session, record, body, continues=continues)
        record.epoch += 1
        record.asked = body
        stream = PatchStream(session, record, self.audience("patches"))
        generation = self.generation("patches", session, record, stream, lambda: self._running.pop(key, None))
        self._running[key] = generation
        reader = stream.attach()
        generation.start(self._assigned.get(session.id, self._upstream), request, policy)
        return reader

    def audience(self, api: API) -> Audience:
        """The readers of a stream to come, counted."""
        return Audience(partial(self.metrics.reader, api))

    def generation(
        self,
        api: API,
        session: Session,
        record: Record,
        log: LogT,
        on_end: Callable[[], object] = lambda: None,
    ) -> Generation[LogT]:
        """A generation into `log`, counted, that ends with the gateway if not before."""
        generation = Generation(
            session,
            record,
            log,
            guard=self.metrics.open_stream(api),
            clock=self._clock,
            on_end=lambda: (self._alive.discard(generation), on_end()),
        )
        self._alive.add(generation)
        return generation


def _request(session: Session, record: Record, body: Asking, *, continues: bool) -> Request:
    """What the upstream is asked: the branch that leads to the answer."""
    branch = session.path_to(record)[:-1]
    turns = [turn for one in branch for turn in _turns(one)]
    options: dict[str, Any] = dict(body.options)
    return Request(
        turns=tuple(turns),
        model=body.model,
        system=body.system,
        thinking=body.thinking_enabled,
        options=options,
        continues=continues,
        thinking_so_far=record.message.thinking if continues else "",
        content_so_far=record.message.content if continues else "",
        handle=_handle(record) if continues else None,
    )


def _is_complete(record: Record) -> bool:
    message = record.message
    return message.status in ("finished", "filtered") and message.finish_reason != "length"


def _as_asked(record: Record, body: Continue) -> Asking:
    """How an answer goes on: as it was asked for, but for what is said anew."""
    asked = record.asked
    if asked is None:
        return body
    return Asking(
        chat_session_id=body.chat_session_id,
        thinking_enabled=asked.thinking_enabled and body.thinking_enabled,
        search_enabled=asked.search_enabled or body.search_enabled,
        model=body.model or asked.model,
        system=body.system or asked.system,
        options={**asked.options, **body.options},
        on_disconnect=body.on_disconnect,
        grace=body.grace,
    )


def _turns(record: Record) -> list[Turn]:
    """What a message is to a model: one that was imported may stand for several, or for none."""
    verbatim = record.document.get(VERBATIM)
    if verbatim is not None:
        return [turn_of(message) for message in as_list(verbatim)]
    if record.role == "USER":
        return [Turn("user", record.message.content, images=tuple(_images(record)))]
    content = record.message.content
    return [Turn("assistant", content, handle=_handle(record))] if content else []


def _no_longer_verbatim(record: Record) -> list[Patch]:
    """An imported answer that goes on is not what was imported any more."""
    return [Patch(VERBATIM, "SET", None)] if record.document.get(VERBATIM) is not None else []


def _handle(record: Record) -> dict[str, Any] | None:
    """What the server that gave this answer calls it."""
    return as_object(record.document.get(HANDLE)) or None


def _images(prompt: Record) -> list[str]:
    return as_list(prompt.document.get(IMAGES))


def _with_images(prompt: Record, images: list[str]) -> Record:
    if images:
        prompt.apply([Patch(IMAGES, "SET", images)])
    return prompt


def _policy(body: Asking) -> OnDisconnect:
    return OnDisconnect(body.on_disconnect, GRACES[body.on_disconnect] if body.grace is None else body.grace)


def _refuse_images(body: Regenerate | Continue) -> None:
    if body.images:
        raise _wrong("images", "they belong to a prompt; edit the message to ask with others")


def _refuse_files(body: Completion | EditMessage) -> None:
    """Say no to what would silently be left out of the question."""
    if body.ref_file_ids:
        raise _wrong("ref_file_ids", "this gateway keeps no files; put what they say into the prompt")


def _allow(record: Record, ban: str) -> None:
    if record.document.get(f"response/{ban}"):
        raise GatewayError(
            f"message {record.message_id} does not allow this ({ban})", status=403, biz_code=28
        )


def _wrong(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {message}", status=422, code=42200)
