"""Many workers on one store: any of them serves any reader, stops, resumes; one owns, and may die."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from jupyter_ssechat.dialects.deepseek import DeepSeek
from jupyter_ssechat.errors import Expired, InvalidRequest
from jupyter_ssechat.gateway.bodies import Completion, Continue
from jupyter_ssechat.gateway.conversations import Conversations
from jupyter_ssechat.gateway.ending import end
from jupyter_ssechat.gateway.log import Reader, StreamLog
from jupyter_ssechat.gateway.settings import Settings
from jupyter_ssechat.gateway.stores.memory import MemoryStore
from jupyter_ssechat.gateway.stores.redis import RedisStore
from jupyter_ssechat.gateway.stores.sqlite import SQLiteStore
from jupyter_ssechat.gateway.stores.store import Key, Store
from jupyter_ssechat.message import Message, finished
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.profiles import open_upstream
from jupyter_ssechat.request import Request
from jupyter_ssechat.sse import SSEDecoder
from jupyter_ssechat.wire_json import dumps

from .redis_server import RedisServer, redis_executable
from .servers import chunk, finish

LEASE = 0.5
WORDS = [f"word{number} " for number in range(40)]


class Counting:
    """An upstream that says WORDS and goes on where an answer stands; it waits at the word `held`."""

    def __init__(self, name: str = "counting") -> None:
        self.name = name
        self.held = asyncio.Event()
        self.go = asyncio.Event()
        self.hold_at: int | None = None
        self.closed = asyncio.Event()
        self.requests: list[Request] = []

    async def stream(self, request: Request) -> AsyncGenerator[list[Patch]]:
        self.requests.append(request)
        begin = request.content_so_far.count(" ")
        try:
            for number in range(begin, len(WORDS)):
                if number == self.hold_at:
                    self.held.set()
                    await self.go.wait()
                yield [Patch("response/content", "APPEND", WORDS[number])]
                await asyncio.sleep(0)
            yield finished()
        finally:
            self.closed.set()

    async def models(self) -> list[str]:
        return []

    async def aclose(self) -> None:
        """Nothing to let go of."""


class Reading:
    """What a reader has of an answer."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.message = Message()
        self.events: list[str] = []
        self.lengths: list[int] = []
        self.task = asyncio.create_task(self._read())
        self._more = asyncio.Event()

    async def _read(self) -> None:
        decoder, dialect = SSEDecoder(), DeepSeek()
        async for frame in self.reader.frames(60):
            for event in decoder.feed(frame):
                self.events.append(event.event)
                for patch in dialect.feed(event):
                    self.message.apply(patch)
                    self.lengths.append(len(self.message.content))
            self._more.set()

    async def until(self, text: str) -> None:
        while text not in self.message.content:
            self._more.clear()
            await self._more.wait()

    async def end(self) -> Message:
        await self.task
        return self.message


class Workers:
    """Workers on one store, each with an upstream of its own."""

    def __init__(self, opened: Callable[[], Store]) -> None:
        self._opened = opened
        self._shared = opened() if isinstance(opened(), MemoryStore) else None
        self.all: list[Conversations] = []
        self.now: Callable[[], float] = time.time

    def start(self, upstream: Counting | None = None, **settings: Any) -> tuple[Conversations, Counting]:
        upstream = upstream or Counting()
        store = self._shared or self._opened()
        settled = Settings(lease=LEASE, **settings)
        worker = Conversations(upstream, store=store, settings=settled, now=lambda: self.now())
        worker.streams.begin()
        self.all.append(worker)
        return worker, upstream

    async def aclose(self) -> None:
        for worker in self.all:
            await worker.aclose()


async def die(worker: Conversations) -> None:
    """Be dead, as far as others can tell: what it does ends without a word."""
    streams = worker.streams
    tasks = [*streams._loops, *streams._tasks]
    tasks += [one._task for one in streams._owned.values() if one._task is not None]
    if streams._appender._task is not None:
        tasks.append(streams._appender._task)
    await end(tasks)
    for one in streams._owned.values():
        one.log.audience.dismiss()
    streams._owned.clear()
    streams._mirrors.clear()


async def ask(worker: Conversations, prompt: str = "x", **more: Any) -> tuple[str, Reading]:
    session = await worker.sessions.create()
    reader = await worker.complete(Completion(chat_session_id=session.id, prompt=prompt, **more))
    return session.id, Reading(reader)


async def message(worker: Conversations, session_id: str, message_id: int = 2) -> Message:
    return (await worker.sessions.get(session_id)).get(message_id).message


Test = Callable[[Workers], Awaitable[None]]
Run = Callable[[Test], None]


@pytest.fixture(params=["memory", "sqlite", "redis", "cluster"])
def workers(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Runs a test with workers on a store of each kind."""
    kind = request.param
    fixture = {"redis": "redis_server", "cluster": "redis_nodes"}.get(kind)
    url = request.getfixturevalue(fixture).url if fixture else ""
    opened: dict[str, Callable[[], Store]] = {
        "memory": lambda: MemoryStore(shared=True),
        "sqlite": lambda: SQLiteStore(tmp_path / "store.db"),
        "redis": lambda: RedisStore(url),
        "cluster": lambda: RedisStore(url),
    }

    def run(test: Test) -> None:
        async def whole() -> None:
            workers = Workers(opened[kind])
            try:
                await test(workers)
            finally:
                await workers.aclose()

        asyncio.run(asyncio.wait_for(whole(), 60))

    return run


def is_whole(reading: Reading) -> bool:
    """Whether a reader has every word once, never saw less than before, and knows that it ended well."""
    whole = reading.message.content == "".join(WORDS)
    return whole and reading.lengths == sorted(reading.lengths) and reading.message.status == "finished"


# ---- one answer, many workers ----


def test_a_reader_of_another_worker_gets_the_same_answer(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        (one, counting), (two, _) = workers.start(), workers.start()
        counting.hold_at = 10
        session_id, first = await ask(one)
        await counting.held.wait()
        second = Reading(await two.resume(session_id, 2))
        await second.until(WORDS[9])
        assert not second.message.terminal
        counting.go.set()
        await asyncio.gather(first.end(), second.end())
        assert is_whole(first) and is_whole(second)
        third = Reading(await two.resume(session_id, 2))
        await third.end()
        assert is_whole(third)
        assert second.events[-3:] == third.events[-3:] == ["finish", "update_session", "close"]

    workers(test)


def test_the_history_of_another_worker_tells_what_stands(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        (one, counting), (two, _) = workers.start(), workers.start()
        counting.hold_at = 10
        session_id, reading = await ask(one)
        await counting.held.wait()
        await reading.until(WORDS[9])
        assert (await message(two, session_id)).content == "".join(WORDS[:10])
        with pytest.raises(InvalidRequest, match="answer 2 still runs"):
            await two.complete(Completion(chat_session_id=session_id, prompt="y", parent_message_id=2))
        with pytest.raises(InvalidRequest, match="still running"):
            await two.go_on(Continue(chat_session_id=session_id, message_id=2))
        counting.go.set()
        await reading.end()
        assert (await message(two, session_id)).status == "finished"

    workers(test)


def test_stop_from_another_worker_ends_it_everywhere(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        (one, counting), (two, _) = workers.start(), workers.start()
        counting.hold_at = 10
        session_id, first = await ask(one)
        await counting.held.wait()
        second = Reading(await two.resume(session_id, 2))
        await two.stop(session_id, 2, "another stream")
        assert not counting.closed.is_set()
        await two.stop(session_id, 2)
        await counting.closed.wait()
        for reading in (first, second):
            message = await reading.end()
            assert (message.status, message.content) == ("stopped", "".join(WORDS[:10]))

    workers(test)


def test_an_answer_that_was_stopped_goes_on_at_another_worker(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        (one, counting), (two, other) = workers.start(), workers.start()
        counting.hold_at = 10
        session_id, first = await ask(one)
        await counting.held.wait()
        await two.stop(session_id, 2)
        await first.end()
        again = Reading(await two.go_on(Continue(chat_session_id=session_id, message_id=2)))
        await again.end()
        assert is_whole(again)
        assert other.requests[0].content_so_far == "".join(WORDS[:10])
        assert (await message(one, session_id)).content == "".join(WORDS)

    workers(test)


def test_a_session_that_another_worker_deletes_ends_its_streams(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        (one, counting), (two, _) = workers.start(), workers.start()
        counting.hold_at = 10
        session_id, first = await ask(one)
        await counting.held.wait()
        second = Reading(await two.resume(session_id, 2))
        await second.until(WORDS[9])
        await two.delete(session_id)
        assert [(await each.end()).status for each in (first, second)] == ["stopped", "stopped"]
        await counting.closed.wait()
        with pytest.raises(Expired):
            await one.resume(session_id, 2)

    workers(test)


def test_a_long_answer_is_followed_past_what_is_trimmed(
    workers: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyter_ssechat.gateway.owned_log.DOCUMENT_BYTES", 2000)
    monkeypatch.setitem(globals(), "WORDS", [f"{'long' * 100}{number} " for number in range(400)])

    async def test(workers: Workers) -> None:
        (one, counting), (two, _) = workers.start(), workers.start()
        counting.hold_at = 200
        session_id, first = await ask(one)
        await counting.held.wait()
        second = Reading(await two.resume(session_id, 2))
        counting.go.set()
        await asyncio.gather(first.end(), second.end())
        assert is_whole(first) and is_whole(second)

    workers(test)


def test_who_was_away_while_the_log_was_trimmed_gets_the_whole_document(
    workers: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyter_ssechat.gateway.owned_log.DOCUMENT_BYTES", 2000)
    monkeypatch.setattr(
        "jupyter_ssechat.gateway.owned_log.MOST_PENDING_BYTES", 500
    )  # so that entries are many
    monkeypatch.setitem(globals(), "WORDS", [f"{'long' * 100}{number} " for number in range(120)])

    async def test(workers: Workers) -> None:
        (one, counting), (two, _) = workers.start(), workers.start()
        counting.hold_at = 10
        session_id, first = await ask(one)
        await counting.held.wait()
        second = Reading(await two.resume(session_id, 2))
        await second.until(WORDS[9])
        await end(two.streams._loops)  # it sleeps, and hears nothing
        two.streams._loops = []
        counting.hold_at = 110
        counting.held.clear()
        counting.go.set()
        counting.go = asyncio.Event()
        await counting.held.wait()
        await first.until(WORDS[109])
        before = len(second.lengths)
        two.streams.begin()
        await second.until(WORDS[109])
        assert len(second.lengths) - before < 90, "the document, and not every entry"
        counting.go.set()
        await asyncio.gather(first.end(), second.end())
        assert is_whole(first) and is_whole(second)

    workers(test)


def test_a_reader_who_stands_still_is_let_go_and_comes_back_to_the_whole_answer(
    workers: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = StreamLog.__init__.__kwdefaults__ or {}
    monkeypatch.setattr(StreamLog.__init__, "__kwdefaults__", {**usual, "max_lag": 200_000})
    monkeypatch.setattr("jupyter_ssechat.gateway.owned_log.MOST_PENDING_BYTES", 50_000)
    monkeypatch.setitem(globals(), "WORDS", [f"{'long' * 1000}{number} " for number in range(100)])

    async def test(workers: Workers) -> None:
        (one, counting), (two, _) = workers.start(), workers.start()
        counting.hold_at = 0
        session_id, first = await ask(one)
        await counting.held.wait()
        still = [await worker.resume(session_id, 2) for worker in (one, two)]
        counting.go.set()
        await first.end()
        while not all(reader.detached for reader in still):
            await asyncio.sleep(0.01)
        back = [Reading(await worker.resume(session_id, 2)) for worker in (one, two)]
        for reading in (first, *back):
            await reading.end()
            assert is_whole(reading)

    workers(test)


# ---- the owner is gone ----


def test_when_the_owner_dies_another_worker_goes_on_where_it_was(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        (one, counting), (two, other) = workers.start(), workers.start()
        counting.hold_at = 10
        session_id, first = await ask(one)
        await counting.held.wait()
        second = Reading(await two.resume(session_id, 2))
        await first.until(WORDS[9])
        await second.until(WORDS[9])
        await die(one)
        await second.end()
        assert is_whole(second)
        assert second.message.content.startswith(first.message.content)
        assert other.requests[0].continues
        first.task.cancel()

    workers(test)


class Doorway:
    """Holds up a call of a store when it has been done, once, until the test lets its caller go on."""

    def __init__(self, store: Any, name: str) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()
        call = getattr(store, name)

        async def held(*said: Any, **more: Any) -> Any:
            setattr(store, name, call)
            result = await call(*said, **more)
            self.reached.set()
            await self.open.wait()
            return result

        setattr(store, name, held)


@pytest.mark.parametrize("call", ["seize", "load", "standing"])
def test_who_comes_while_an_answer_is_taken_over_sees_how_it_goes_on(call: str, workers: Run) -> None:
    async def test(workers: Workers) -> None:
        (one, counting), (two, _) = workers.start(), workers.start()
        counting.hold_at = 10
        session_id, first = await ask(one)
        await counting.held.wait()
        await first.until(WORDS[9])
        doorway = Doorway(two.store, "seize")
        await die(one)
        await doorway.reached.wait()
        if call != "seize":
            within = Doorway(two.store, call)
            doorway.open.set()
            await within.reached.wait()
            doorway = within
        second = Reading(await two.resume(session_id, 2))
        doorway.open.set()
        await second.end()
        assert is_whole(second)
        first.task.cancel()

    workers(test)


def test_who_comes_while_the_first_word_is_asked_for_sees_it(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        one, counting = workers.start()
        counting.hold_at = 0
        session = await one.sessions.create()
        doorway = Doorway(one.store, "commit")
        asking = asyncio.create_task(one.complete(Completion(chat_session_id=session.id, prompt="x")))
        await doorway.reached.wait()
        early = Reading(await one.resume(session.id, 2))
        doorway.open.set()
        first = Reading(await asking)
        counting.go.set()
        await early.end()
        await first.end()
        assert is_whole(early) and is_whole(first)

    workers(test)


def test_an_owner_that_nobody_reads_is_found_by_who_comes(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        one, counting = workers.start()
        counting.hold_at = 10
        session_id, first = await ask(one)
        await counting.held.wait()
        first.task.cancel()
        await asyncio.gather(first.task, return_exceptions=True)
        [(key, generation)] = one.streams._owned.items()
        await one.streams._attend([key])
        second = Reading(await one.resume(session_id, 2))
        assert one.streams.mirror(key) is generation.log.mirror
        counting.go.set()
        await second.end()
        assert is_whole(second)

    workers(test)


def test_when_the_owner_dies_and_nobody_can_go_on_the_answer_is_interrupted(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        (one, counting), (two, other) = workers.start(), workers.start(Counting("another model"))
        counting.hold_at = 10
        session_id, first = await ask(one)
        await counting.held.wait()
        await first.until(WORDS[9])
        second = Reading(await two.resume(session_id, 2))
        await die(one)
        message = await second.end()
        assert (message.status, message.content) == ("failed", "".join(WORDS[:10]))
        assert message.error is not None and message.error.type == "interrupted"
        assert other.requests == []
        first.task.cancel()

    workers(test)


def test_an_answer_that_nobody_reads_does_not_run_for_ever_either(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        (one, counting), (two, _) = workers.start(), workers.start(Counting("another model"))
        counting.hold_at = 0
        session_id, first = await ask(one)
        await counting.held.wait()
        await die(one)
        while not (found := await message(two, session_id)).terminal:
            await asyncio.sleep(0.01)
        assert found.error is not None and found.error.type == "interrupted"
        first.task.cancel()

    workers(test)


def test_a_stop_that_the_owner_did_not_live_to_hear_counts(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        (one, counting), (two, other) = workers.start(), workers.start()
        counting.hold_at = 10
        session_id, first = await ask(one)
        await counting.held.wait()
        await first.until(WORDS[9])
        await die(one)
        stopping = asyncio.create_task(two.stop(session_id, 2))
        message = await Reading(await two.resume(session_id, 2)).end()
        await stopping
        assert (message.status, message.content) == ("stopped", "".join(WORDS[:10]))
        assert other.requests == []
        first.task.cancel()

    workers(test)


def test_an_owner_that_was_thought_dead_is_fenced_and_its_readers_follow_the_new_one(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        (one, counting), (two, other) = workers.start(), workers.start()
        counting.hold_at, other.hold_at = 10, 20
        session_id, first = await ask(one)
        await counting.held.wait()
        await first.until(WORDS[9])
        await end(one.streams._loops)  # it sleeps, and renews nothing
        await other.held.wait()
        one.streams._loops = []
        counting.go.set()  # now it speaks again, and nobody may hear it
        await counting.closed.wait()
        one.streams.begin()
        other.go.set()
        second = Reading(await two.resume(session_id, 2))
        await asyncio.gather(first.end(), second.end())
        assert is_whole(first) and is_whole(second)
        assert (await message(one, session_id)).content == "".join(WORDS)

    workers(test)


def test_who_closes_hands_over_and_tells_readers_to_come_again(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        (one, counting), (two, other) = workers.start(), workers.start()
        counting.hold_at, other.hold_at = 10, 20
        session_id, first = await ask(one)
        await counting.held.wait()
        await first.until(WORDS[9])
        workers.all.remove(one)
        closing = asyncio.create_task(one.aclose())
        left = await first.end()
        assert (left.terminal, first.events[-1]) == (False, "close")
        await closing
        await other.held.wait()
        second = Reading(await two.resume(session_id, 2))
        other.go.set()
        await second.end()
        assert is_whole(second)
        assert second.message.content.startswith(left.content)

    workers(test)


# ---- readers elsewhere ----


def test_a_reader_at_another_worker_keeps_an_answer_alive(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        (one, counting), (two, _) = workers.start(), workers.start()
        counting.hold_at = 10
        session_id, first = await ask(one, on_disconnect="cancel", grace=0.0)
        await counting.held.wait()
        second = Reading(await two.resume(session_id, 2))
        key = Key(session_id, 2, 1)
        generation = one.streams.owned(key)
        assert generation is not None
        while not generation.log.audience._elsewhere:
            await asyncio.sleep(0.01)
        first.task.cancel()
        await asyncio.gather(first.task, return_exceptions=True)
        assert not counting.closed.is_set()
        counting.go.set()
        await second.end()
        assert is_whole(second)

    workers(test)


def test_when_the_last_reader_of_another_worker_has_left_it_is_cancelled(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        (one, counting), (two, _) = workers.start(), workers.start()
        counting.hold_at = 10
        session_id, first = await ask(one, on_disconnect="cancel", grace=LEASE)
        await counting.held.wait()
        second = Reading(await two.resume(session_id, 2))
        for reading in (first, second):
            await reading.until(WORDS[9])
            reading.task.cancel()
        await counting.closed.wait()
        found = await message(one, session_id)
        while not found.terminal:
            await asyncio.sleep(0.01)
            found = await message(one, session_id)
        assert found.error is not None and found.error.type == "abandoned"

    workers(test)


# ---- the store is gone for a while ----


def test_while_redis_is_gone_the_model_waits_and_afterwards_nothing_is_lost(tmp_path: Path) -> None:
    server = RedisServer(redis_executable(), tmp_path)

    async def test() -> None:
        workers = Workers(lambda: RedisStore(server.url))
        (one, counting), (two, _) = workers.start(), workers.start()
        counting.hold_at = 10
        session_id, first = await ask(one)
        await counting.held.wait()
        second = Reading(await two.resume(session_id, 2))
        await second.until(WORDS[9])
        server.kill()
        counting.go.set()
        while counting.held.is_set() and not counting.closed.is_set():
            await asyncio.sleep(0.01)
        assert WORDS[10] not in first.message.content  # what is not in the store is not shown
        await asyncio.to_thread(server.start)
        await asyncio.gather(first.end(), second.end())
        assert is_whole(first) and is_whole(second)
        await workers.aclose()

    try:
        asyncio.run(asyncio.wait_for(test(), 60))
    finally:
        server.close()


class Torrent:
    """A model server that sends as fast as it is read; `sent` is how many bytes went out."""

    WORDS, BYTES = 150, 100_000

    def __init__(self) -> None:
        self.sent = 0
        self.moved, self.go = asyncio.Event(), asyncio.Event()

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._answer, "127.0.0.1", 0)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if length is None:  # which models there are
            writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            writer.close()
            return
        await reader.readexactly(int(length[1]))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        for number in range(self.WORDS):
            if number == 2:
                await self.go.wait()
            await self._send(writer, chunk(content=f"{'x' * self.BYTES}{number} "))
        await self._send(writer, finish())
        writer.close()

    async def _send(self, writer: asyncio.StreamWriter, event: dict[str, Any]) -> None:
        writer.write(b"data: " + dumps(event).encode() + b"\n\n")
        await writer.drain()
        self.sent += self.BYTES
        self.moved.set()


async def still(torrent: Torrent) -> None:
    """Wait until nothing more goes out."""
    with suppress(TimeoutError):
        while True:
            torrent.moved.clear()
            await asyncio.wait_for(torrent.moved.wait(), 1)


def test_while_the_store_is_away_the_model_server_is_held_up_and_then_goes_on(tmp_path: Path) -> None:
    redis = RedisServer(redis_executable(), tmp_path)

    async def test() -> None:
        torrent = Torrent()
        server = await torrent.serve()
        port = server.sockets[0].getsockname()[1]
        upstream = open_upstream(f"http://127.0.0.1:{port}/v1")
        worker = Conversations(upstream, store=RedisStore(redis.url), settings=Settings(lease=LEASE))
        _, reading = await ask(worker)
        await reading.until("x1 ")
        redis.kill()
        torrent.go.set()
        await still(torrent)
        held_at = torrent.sent
        assert held_at < 10_000_000, "beside what fits into buffers it waits at the model server"
        await asyncio.to_thread(redis.start)
        answer = await reading.end()
        numbers = [int(word.strip("x")) for word in answer.content.split()]
        assert (answer.status, numbers) == ("finished", list(range(torrent.WORDS)))
        assert len(answer.content) > held_at
        await worker.aclose()
        server.close()
        await server.wait_closed()

    try:
        asyncio.run(asyncio.wait_for(test(), 120))
    finally:
        redis.close()


def test_a_token_is_far_less_than_a_round_trip(redis_server: RedisServer) -> None:
    async def test() -> None:
        store = RedisStore(redis_server.url)
        worker = Conversations(Counting(), store=store)
        readings = [(await ask(worker))[1] for _ in range(20)]
        before = store.calls.trips
        for reading in readings:
            await reading.end()
        assert all(map(is_whole, readings))
        trips = store.calls.trips - before
        assert trips / (20 * len(WORDS)) <= 0.2
        await worker.aclose()

    asyncio.run(asyncio.wait_for(test(), 60))


def test_the_cursor_of_a_reader_names_its_generation(workers: Run) -> None:
    async def test(workers: Workers) -> None:
        one, _ = workers.start()
        session_id, first = await ask(one)
        await first.end()
        raw = b"".join([frame async for frame in (await one.resume(session_id, 2)).frames(60)])
        assert re.findall(r"^id: (\d+)-", raw.decode(), re.M) == ["1"]

    workers(test)
