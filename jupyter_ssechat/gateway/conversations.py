"""Calls → sessions, records and generations: what one worker of a gateway does, without HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from ..errors import Expired, NotFound
from ..message import reopened, stopped
from ..request import Request
from ..upstream import Upstream
from .admission import Admission, Taken
from .audience import Audience, OnDisconnect
from .bodies import (
    Asking,
    Completion,
    Continue,
    EditMessage,
    PlainMessage,
    Regenerate,
    checked_images,
)
from .chats import ANSWER, Chats, asker_of, is_chat, owner_of
from .cursor import Cursor
from .generation import Generation, LogT
from .journal import WARNING, Field, tell
from .log import Reader
from .metrics import API, Metrics
from .mirror import Mirror, Show
from .owned_log import OwnedLog
from .patch_stream import PatchStream
from .question import (
    allow,
    as_asked,
    images_of,
    is_complete,
    may_go_on,
    no_longer_verbatim,
    policy_of,
    refuse_files,
    refuse_images,
    request_for,
    with_images,
    wrong,
)
from .sessions import Record, Session
from .settings import Settings
from .stored_sessions import StoredSessions
from .stores.memory import MemoryStore
from .stores.store import START, Claim, Key, Store, StoreUnavailable
from .streams import Streams
from .text_stream import TextStream
from .time_slice import TimeSlice
from .users import NAMELESS, Directory, User, Users

STOP_LOOKS, STOP_LOOK_SECONDS = 100, 0.02
RETURN_SECONDS = 60.0
DEAD = "the gateway's process that generated this answer is gone, and what arrived of it is kept"


class Begun(NamedTuple):
    """An answer that is about to be generated."""

    record: Record
    request: Request
    policy: OnDisconnect


class Conversations:
    """The sessions of a store, and what this worker generates in them; lives on one event loop."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        store: Store | None = None,
        settings: Settings | None = None,
        metrics: Metrics | None = None,
        users: Directory | None = None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.store = store or MemoryStore()
        self.metrics = metrics or Metrics()
        self._settings = settings or Settings()
        self.admission = Admission(self.store, self._settings.in_all, lease=self._settings.lease)
        self._users = users or Users([NAMELESS])
        self._owner = uuid.uuid4().hex
        self.streams = Streams(self.store, self._owner, self._settings.lease, self._take_over, sleep=sleep)
        self.sessions = StoredSessions(
            self.store, now, self.streams.live, owner=self._owner, lease=self.streams.lease
        )
        self.chats = Chats(self.sessions, self._settings, now)
        self._upstream = upstream
        self._assigned: dict[str, Upstream] = {}
        self._clock = clock
        self._alive: set[Generation[Any]] = set()
        self._turn = TimeSlice()
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

    def _upstream_of(self, session_id: str) -> Upstream:
        return self._assigned.get(session_id, self._upstream)

    async def complete(self, body: Completion, user: User = NAMELESS) -> Reader:
        """Answer a new prompt."""
        refuse_files(body)
        images = checked_images(body.images or [])

        def act(session: Session) -> Begun:
            parent = body.parent_message_id
            if parent is not None and session.get(parent).running:
                # What nobody has read yet must not become history.
                raise wrong("parent_message_id", f"answer {parent} still runs; wait, or stop it")
            prompt = with_images(session.add_prompt(body.prompt, parent), images)
            return self._answer(session, prompt, body)

        return await self._generate(user, body.chat_session_id, act)

    async def edit(self, body: EditMessage, user: User = NAMELESS) -> Reader:
        """Answer a changed prompt on a branch of its own; it keeps its images unless others are given."""
        refuse_files(body)
        images = None if body.images is None else checked_images(body.images)

        def act(session: Session) -> Begun:
            record = session.get(body.message_id)
            if record.role != "USER":
                raise wrong(
                    "message_id", f"message {body.message_id} is an answer; expected the prompt to edit"
                )
            allow(record, "ban_edit")
            kept = images_of(record) if images is None else images
            prompt = with_images(session.add_prompt(body.prompt, record.parent_id), kept)
            return self._answer(session, prompt, body)

        return await self._generate(user, body.chat_session_id, act)

    async def regenerate(self, body: Regenerate, user: User = NAMELESS) -> Reader:
        """Answer the same prompt once more, beside the answer that stands."""
        refuse_images(body)

        def act(session: Session) -> Begun:
            record = session.get(body.child_message_id)
            allow(record, "ban_regenerate")
            prompt = record if record.role == "USER" else session.get(record.parent_id or 0)
            return self._answer(session, prompt, body)

        return await self._generate(user, body.chat_session_id, act)

    async def go_on(self, body: Continue, user: User = NAMELESS) -> Reader:
        """Let an answer that was stopped, cut or failed go on: same message, next epoch."""
        refuse_images(body)
        if body.fallback_to_resume:
            record = (await self.sessions.get(body.chat_session_id, user.name)).get(body.message_id)
            if record.running or is_complete(record):
                return await self.resume(body.chat_session_id, body.message_id, user)

        def act(session: Session) -> Begun | None:
            record = session.get(body.message_id)
            if body.fallback_to_resume and (record.running or is_complete(record)):
                return None
            may_go_on(record)
            again = record.copy()
            again.apply([*reopened(), *no_longer_verbatim(record)])
            return self._begun(session, again, as_asked(record, body), continues=True)

        return await self._generate(user, body.chat_session_id, act, body.message_id)

    async def resume(self, session_id: str, message_id: int, user: User = NAMELESS) -> Reader:
        """Attach to an answer, whoever generates it: the snapshot, what is still coming, the end."""
        session = await self.sessions.get(session_id, user.name)
        record = session.get(message_id)
        self.metrics.saw_resume()
        if (mirror := self._shown(session, record)) is not None:
            return mirror.stream.attach()
        replay = PatchStream(session, record, self.audience("patches"))
        reader = replay.attach()
        replay.end()
        return reader

    async def leave(self, message: PlainMessage, user: User) -> Session:
        """Open a chat with a message, which its first reader gets answered."""
        await self.admission.room(user, owner_of(user))
        return await self.chats.open(message, user)

    async def read(self, chat: Session, after: Cursor | None = None) -> Reader | None:
        """Attach to the answer of a chat, after what the reader has had; None when that was all.

        The first reader begins the answer, whichever worker that is at.
        """
        if ANSWER not in chat.records:
            if mirror := await self._begin(self.asker(chat), chat.id, chat.user, self._answer_chat):
                return self._text(mirror).attach(after)
            chat = await self.chats.find(chat.id)  # somebody was quicker
        record = chat.get(ANSWER)
        self.metrics.saw_resume()
        if (mirror := self._shown(chat, record)) is not None:
            return self._text(mirror).attach(after)
        if after is not None and after.heard == "close":
            return None
        replay = TextStream(chat, record, self.audience("plain"), retry=self._settings.retry)
        replay.end()
        return replay.attach(after)

    def _answer_chat(self, chat: Session) -> Begun | None:
        found = self.chats.asked(chat)
        return found and self._answer(chat, *found)

    def _text(self, mirror: Mirror) -> TextStream:
        assert isinstance(mirror.stream, TextStream), "a chat is shown in no other way"
        return mirror.stream

    def asker(self, session: Session) -> User:
        """The user who has opened a session, and is counted for it."""
        return self._users.named(asker_of(session)) or NAMELESS

    async def stop(
        self, session_id: str, message_id: int, stream_id: str | None = None, user: User = NAMELESS
    ) -> None:
        """Stop an answer, whoever generates it; nothing happens when it does not run, or is not `stream_id`."""
        session = await self.sessions.get(session_id, user.name)
        record = session.get(message_id)
        self.metrics.saw_stop()
        key = Key(session_id, message_id, record.epoch)
        if stream_id not in (None, record.stream_id):
            return
        if (generation := self.streams.owned(key)) is not None:
            await generation.stop()
            await generation.log.settled.wait()
        elif record.running:
            await self.store.stop(session_id, message_id, record.stream_id)
            await self._stopped(key)

    async def _stopped(self, key: Key) -> None:
        """Wait until the owner has stopped it, for a while."""
        for _ in range(STOP_LOOKS):
            [standing] = await self.store.standing([key])
            if standing is None or not standing.running:
                return
            await asyncio.sleep(STOP_LOOK_SECONDS)

    async def delete(self, session_id: str, user: User = NAMELESS) -> None:
        """Stop what runs in a session and forget it."""
        await self.sessions.delete(session_id, user.name)  # first, so that nothing new begins in it
        self._assigned.pop(session_id, None)
        owned, shown = self.streams.of_session(session_id)
        for mirror in shown:
            mirror.end(stopped())
        await asyncio.gather(*(generation.stop() for generation in owned))
        await asyncio.gather(*(generation.log.settled.wait() for generation in owned))

    async def aclose(self) -> None:
        """End every generation, or hand it over where the store outlives this worker. Let go of every upstream."""
        self.closing.set()
        ending = [
            generation.fail("gateway_closed", "the gateway was shut down while the answer streamed")
            for generation in tuple(self._alive)
            if not (self.store.shared and isinstance(generation.log, OwnedLog))
        ]
        await asyncio.gather(*ending)
        await self.streams.aclose()
        await self.chats.aclose()
        await self.admission.aclose()
        await asyncio.gather(*(upstream.aclose() for upstream in {self._upstream, *self._assigned.values()}))
        await self.store.aclose()

    def _answer(self, session: Session, prompt: Record, body: Asking) -> Begun:
        record = session.add_answer(
            prompt.message_id,
            model=body.model or "",
            thinking=body.thinking_enabled,
            search=body.search_enabled,
        )
        return self._begun(session, record, body)

    def _begun(self, session: Session, record: Record, body: Asking, *, continues: bool = False) -> Begun:
        request = request_for(session, record, body, continues=continues)
        record.epoch, record.fence, record.position = record.epoch + 1, record.fence + 1, START
        record.upstream, record.asked, record.running = self._upstream_of(session.id).name, body, True
        session.put(record)
        return Begun(record, request, policy_of(body))

    async def _generate(
        self, user: User, session_id: str, act: Callable[[Session], Begun | None], or_resume: int = 0
    ) -> Reader:
        await self.admission.room(user)
        mirror = await self._begin(user, session_id, user.name, act)
        return mirror.stream.attach() if mirror else await self.resume(session_id, or_resume, user)

    async def _begin(
        self, user: User, session_id: str, owner: str, act: Callable[[Session], Begun | None]
    ) -> Mirror | None:
        """Generate what `act` begins in a session of `owner`, counted for `user`; None if it begins nothing.

        Who wants to read it attaches at once.
        """
        stream_id = str(uuid.uuid4())
        place = await self.admission.stream(user, stream_id)

        def identified(session: Session) -> Begun | None:
            if begun := act(session):
                begun.record.stream_id = stream_id
            return begun

        try:
            session, begun = await self.sessions.change(session_id, identified, owner)
        except BaseException:
            place.leave()
            raise
        if begun is None:
            place.leave()
            return None
        key = Key(session_id, begun.record.message_id, begun.record.epoch)
        # Somebody may read it already.
        mirror = self.streams.mirror(key) or self._mirror(session, begun.record)
        generation = self._own(Claim(key, begun.record.fence, self._owner), mirror, place)
        generation.start(self._upstream_of(session_id), begun.request, begun.policy)
        return mirror

    def _mirror(self, session: Session, record: Record) -> Mirror:
        show: Show = partial(TextStream, retry=self._settings.retry) if is_chat(session) else PatchStream
        return Mirror(session, record, self.audience(_api(session)), show)

    def _shown(self, session: Session, record: Record) -> Mirror | None:
        """A generation, whoever owns it; None when it has ended. Who wants to read it attaches at once."""
        if (mirror := self.streams.mirror(Key(session.id, record.message_id, record.epoch))) is not None:
            return mirror
        if not record.running:
            return None
        mirror = self._mirror(session, record)
        self.streams.follow(mirror)
        return mirror

    def _own(self, claim: Claim, mirror: Mirror, place: Taken) -> Generation[OwnedLog]:
        log, session = self.streams.log(claim, mirror), mirror.session
        generation = self.generation(
            _api(session), session, log.draft, log, lambda: (place.leave(), self.chats.ended(session))
        )
        self.streams.own(generation)
        return generation

    async def _take_over(self, claim: Claim) -> None:
        """Let an answer go on whose owner is dead, where its upstream is known here; else end it."""
        with contextlib.suppress(StoreUnavailable, NotFound, Expired):  # then the claim runs out as well
            session = await self.sessions.find(claim.key.session_id)
            [standing] = await self.store.standing([claim.key])
            mirror = await self.streams.caught_up(claim.key)
            mirror = mirror or self._mirror(session, session.get(claim.key.message_id))
            place = self.admission.keep(self.asker(session), mirror.record.stream_id)
            generation = self._own(claim, mirror, place)
            tell("answer taken over", WARNING, **_about(session, mirror.record), fence=claim.fence)
            if standing is not None and standing.stop:
                await generation.stop()
            elif (begun := self._continued(session, generation.log.draft)) is not None:
                generation.start(self._upstream_of(session.id), begun.request, begun.policy)
            else:
                await generation.fail("interrupted", f"{DEAD}; {mirror.stream.advice}")

    def _continued(self, session: Session, record: Record) -> Begun | None:
        """How an answer goes on here; None where another upstream would have to."""
        asked = record.asked
        if asked is None or self._upstream_of(session.id).name != record.upstream:
            return None
        policy = policy_of(asked)
        policy = replace(policy, grace=max(policy.grace, RETURN_SECONDS))  # its readers have to find it first
        return Begun(record, request_for(session, record, asked, continues=True), policy)

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
            guard=self.metrics.open_stream(api, **_about(session, record)),
            clock=self._clock,
            turn=self._turn,
            on_end=lambda: (self._alive.discard(generation), on_end()),
        )
        self._alive.add(generation)
        return generation


def _api(session: Session) -> API:
    return "plain" if is_chat(session) else "patches"


def _about(session: Session, record: Record) -> dict[str, Field]:
    """What the journal says of a generation; the id of a chat is its token, and not told."""
    if is_chat(session):
        return {}
    return {"session_id": session.id, "message_id": record.message_id, "epoch": record.epoch}
