"""Chats for a browser's EventSource over many workers: each of them serves any read, and one of them may die."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jupyter_ssechat.errors import Expired, LimitExceeded, NotFound
from jupyter_ssechat.gateway.audience import OnDisconnect
from jupyter_ssechat.gateway.bodies import PlainMessage
from jupyter_ssechat.gateway.conversations import Conversations
from jupyter_ssechat.gateway.cursor import Cursor
from jupyter_ssechat.gateway.limits import Limits
from jupyter_ssechat.gateway.log import Reader
from jupyter_ssechat.gateway.stores.store import Key
from jupyter_ssechat.gateway.users import NAMELESS, User
from jupyter_ssechat.sse import SSEDecoder
from jupyter_ssechat.wire_json import loads

from .test_workers import WORDS, Counting, Run, Workers, die, workers

__all__ = ["workers"]

WHOLE = "".join(WORDS)
ASKED = PlainMessage(message="x")


class Listening:
    """An EventSource, but for HTTP: what it has, and whether its stream has closed."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.text = ""
        self.cursor: Cursor | None = None
        self.data: dict[str, Any] = {}
        self.task: asyncio.Task[None] | None = None
        self._more = asyncio.Event()

    def to(self, reader: Reader | None) -> Listening:
        """Listen to a connection, instead of the one before."""
        self.cut()
        assert reader is not None, "there is something to hear"
        self.task = asyncio.create_task(self._listen(reader))
        return self

    def cut(self) -> None:
        if self.task is not None:
            self.task.cancel()

    async def left(self) -> None:
        """Leave, and wait until that is noted."""
        self.cut()
        await asyncio.wait([self.task] if self.task else [])

    async def _listen(self, reader: Reader) -> None:
        decoder = SSEDecoder()
        async for piece in reader.frames(60):
            for event in decoder.feed(piece):
                self.names.append(event.event)
                self.cursor = Cursor.read(event.id)
                self.data = loads(event.data)
                if event.event == "message":
                    self.text += self.data["content"]
            self._more.set()

    async def until(self, text: str) -> None:
        while text not in self.text:
            self._more.clear()
            await self._more.wait()

    async def end(self) -> Listening:
        assert self.task is not None
        await self.task
        return self

    @property
    def is_whole(self) -> bool:
        ends = self.names.count("ready") == self.names.count("close") == 1
        return ends and (self.names[0], self.names[-1]) == ("ready", "close") and self.text == WHOLE


async def asked(worker: Conversations, user: User = NAMELESS) -> str:
    return (await worker.leave(ASKED, user)).id


async def read(worker: Conversations, chat_id: str, after: Cursor | None = None) -> Reader | None:
    return await worker.read(await worker.chats.find(chat_id), after)


async def gone(worker: Conversations, chat_id: str) -> None:
    """Wait until a chat is deleted."""
    while True:
        try:
            await worker.store.load(chat_id)
        except Expired:
            return
        await asyncio.sleep(0.01)


# ---- one chat, many workers ----


def test_a_chat_that_was_left_at_one_worker_is_answered_by_another(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        (one, counting), (two, other) = workers.start(), workers.start()
        chat = await asked(one)
        listening = await Listening().to(await read(two, chat)).end()
        assert listening.is_whole
        assert await read(one, chat, listening.cursor) is None, "that was all"
        assert (len(counting.requests), len(other.requests)) == (0, 1)

    workers(test)


def test_who_comes_back_at_another_worker_gets_the_rest(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        (one, counting), (two, other) = workers.start(), workers.start()
        counting.hold_at = 10
        chat = await asked(one)
        listening = Listening().to(await read(one, chat))
        await counting.held.wait()
        await listening.until(WORDS[9])
        listening.to(await read(two, chat, listening.cursor))
        counting.go.set()
        await listening.end()
        assert listening.is_whole
        late = await Listening().to(await read(two, chat)).end()
        assert late.is_whole
        assert (len(counting.requests), len(other.requests)) == (1, 0)

    workers(test)


def test_of_two_first_readers_at_two_workers_one_begins_the_answer(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        (one, counting), (two, other) = workers.start(), workers.start()
        for _ in range(5):
            chat = await asked(one)
            readers = await asyncio.gather(*(read(worker, chat) for worker in (one, two, one)))
            for each in [Listening().to(reader) for reader in readers]:
                assert (await each.end()).is_whole
        assert len(counting.requests) + len(other.requests) == 5

    workers(test)


def test_when_the_owner_dies_its_reader_goes_on_at_another_worker(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        (one, counting), (two, other) = workers.start(), workers.start()
        counting.hold_at = 10
        chat = await asked(one)
        listening, second = Listening().to(await read(one, chat)), Listening()
        await counting.held.wait()
        await listening.until(WORDS[9])
        second.to(await read(two, chat))
        await die(one)
        listening.to(await read(two, chat, listening.cursor))
        for each in (listening, second):
            assert (await each.end()).is_whole
        assert other.requests[0].continues

    workers(test)


def test_when_nobody_can_go_on_the_answer_fails_and_says_what_to_do(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        (one, counting), (two, _) = workers.start(), workers.start(Counting("another model"))
        counting.hold_at = 10
        chat = await asked(one)
        listening = Listening().to(await read(one, chat))
        await counting.held.wait()
        await listening.until(WORDS[9])
        await die(one)
        await listening.to(await read(two, chat, listening.cursor)).end()
        assert listening.text == "".join(WORDS[:10])
        assert listening.names[-2:] == ["error", "close"]
        answer = (await two.chats.find(chat)).get(2).message
        assert answer.error is not None and answer.error.type == "interrupted"
        assert answer.error.message.endswith("; ask again")

    workers(test)


def test_a_worker_that_closes_sends_its_readers_to_another(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        (one, counting), (two, _) = workers.start(), workers.start()
        counting.hold_at = 10
        chat = await asked(one)
        listening = Listening().to(await read(one, chat))
        await counting.held.wait()
        await listening.until(WORDS[9])
        workers.all.remove(one)
        await one.aclose()
        assert (await listening.end()).names[-1] == "message"
        assert (await listening.to(await read(two, chat, listening.cursor)).end()).is_whole

    workers(test)


def test_an_answer_without_readers_is_cancelled_and_one_with_a_reader_elsewhere_is_not(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        policy = OnDisconnect("cancel", 0.5)
        (one, counting), (two, _) = (workers.start(when_left=policy) for _ in range(2))
        counting.hold_at = 10
        chat = await asked(one)
        first = Listening().to(await read(one, chat))
        await counting.held.wait()
        second = Listening().to(await read(two, chat))
        generation = one.streams.owned(Key(chat, 2, 1))
        assert generation is not None
        audience = generation.log.audience
        while not audience._elsewhere:
            await asyncio.sleep(0.01)
        await first.left()
        await second.until(WORDS[9])
        assert audience._timer is None, "it does not wait for the end of any grace"
        await second.left()
        await counting.closed.wait()
        late = await Listening().to(await read(two, chat)).end()
        assert (late.text, late.names[-2:]) == ("".join(WORDS[:10]), ["error", "close"])

    workers(test)


# ---- whose they are ----


def test_a_chat_is_nobodys_session(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        one, _ = workers.start()
        ann = User("ann")
        mine = await one.sessions.create("ann")
        for user in (NAMELESS, ann):
            chat = await asked(one, user)
            assert chat not in {head.id for head in await one.sessions.all(user.name)}
            with pytest.raises(NotFound):
                await one.sessions.get(chat, user.name)
            with pytest.raises(NotFound):
                await one.resume(chat, 1, user)
        with pytest.raises(NotFound, match="chat .* is unknown here; ask anew"):
            await one.chats.find(mine.id)

    workers(test)


def test_what_was_left_counts_among_the_bytes_of_who_asked(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        (one, _), (two, _) = workers.start(), workers.start()
        ann, ben = (User(name, limits=Limits(stored=2000)) for name in ("ann", "ben"))
        await one.leave(PlainMessage(message="x" * 2000), ann)
        with pytest.raises(LimitExceeded):
            await two.leave(ASKED, ann)
        await two.leave(ASKED, ben)

    workers(test)


# ---- how long they stand ----

SECONDS = 0.05
"""How long chats stand, by a clock that the test moves; workers look as often as that."""


def test_a_chat_is_deleted_when_its_time_is_over_unread_or_ended(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        workers.now = lambda: 1000.0
        (one, _), (two, _) = (workers.start(session_seconds=SECONDS) for _ in range(2))
        unread, ended = await asked(one), await asked(one)
        assert (await Listening().to(await read(two, ended)).end()).is_whole
        workers.now = lambda: 1001.0
        for chat in (unread, ended):
            await gone(two, chat)
            for worker in (one, two):
                with pytest.raises(Expired, match="has expired; ask again"):
                    await read(worker, chat)

    workers(test)


def test_who_ended_a_chat_deletes_it_when_who_took_it_is_dead(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        workers.now = lambda: 1000.0
        (one, _), (two, _) = (workers.start(session_seconds=SECONDS) for _ in range(2))
        chat = await asked(one)
        await one.chats.aclose()
        assert (await Listening().to(await read(two, chat)).end()).is_whole
        workers.now = lambda: 1001.0
        await gone(two, chat)

    workers(test)


def test_a_chat_stands_for_as_long_as_it_is_answered(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        workers.now = lambda: 1000.0
        (one, _), (two, counting) = (workers.start(session_seconds=SECONDS) for _ in range(2))
        counting.hold_at = 10
        chat = await asked(one)
        listening = Listening().to(await read(two, chat))
        await counting.held.wait()
        later = await asked(one)
        workers.now = lambda: 1001.0
        await gone(one, later)
        await listening.until(WORDS[9])
        listening.to(await read(one, chat, listening.cursor))
        counting.go.set()
        assert (await listening.end()).is_whole
        workers.now = lambda: 1002.0
        await gone(one, chat)

    workers(test)


def test_what_a_dead_worker_left_has_expired_and_is_deleted_when_its_user_asks_another(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        workers.now = lambda: 1000.0
        (one, _), (two, _) = (workers.start(session_seconds=SECONDS) for _ in range(2))
        chat = await asked(one)
        await one.chats.aclose()
        other = await asked(two, User("ben"))
        workers.now = lambda: 1001.0
        await gone(two, other)
        with pytest.raises(Expired):
            await read(two, chat)
        assert (await two.store.load(chat)).rows, "nobody has deleted it"
        await asked(two)
        await gone(two, chat)

    workers(test)


def test_a_chat_whose_time_is_over_is_not_begun_any_more(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        workers.now = lambda: 1000.0
        one, counting = workers.start()
        chat = await one.chats.find(await asked(one))
        workers.now = lambda: 2000.0
        with pytest.raises(Expired):
            await one.read(chat)
        assert counting.requests == []

    workers(test)
