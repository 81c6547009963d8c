"""Hours of use at random, from a seed: what a model says must be readable is what workers read, and no more stays.

Workers open, ask, stop, let go on, edit, regenerate, drop, resume, load, delete; they die and are born again; time
passes, and sessions expire with it.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
import tracemalloc
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jupyter_ssechat.errors import Expired
from jupyter_ssechat.gateway.bodies import Completion, Continue, EditMessage, Regenerate, SavedMessage
from jupyter_ssechat.gateway.conversations import Conversations
from jupyter_ssechat.gateway.log import Reader
from jupyter_ssechat.gateway.settings import Settings
from jupyter_ssechat.gateway.stores.memory import MemoryStore
from jupyter_ssechat.gateway.stores.redis import RedisStore
from jupyter_ssechat.gateway.stores.redis_rows import (
    LEASES,
    PREFIX,
    SECRET,
    SIZES,
    UNTILS,
    USED,
    sessions_name,
)
from jupyter_ssechat.gateway.stores.sqlite import SQLiteStore
from jupyter_ssechat.gateway.stores.store import Store
from jupyter_ssechat.message import Message, finished
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.request import Request

from .redis_nodes import RedisNodes
from .simulated_time import SimulatedTime
from .test_workers import Reading, die

WORDS = [f"w{number} " for number in range(12)]
LEASE, KEEP = 10.0, 150.0
MOST_SESSIONS, MOST_MESSAGES = 8, 24
PATIENCE = 30.0
LOOSE_TASKS = 40
LOG_ENTRIES = 100
STEADY_BYTES = 2**20
EVERYTHING = [
    "open",
    "ask",
    "speak",
    "stop",
    "go_on",
    "edit",
    "regenerate",
    "resume",
    "drop",
    "load",
    "delete",
    "wait",
]
EVERYTHING += ["die", "retire", "expired", "answers orphaned", "answers handed over"]


class Stepping:
    """An upstream that says a word when it is allowed to, and begins where an answer stands."""

    name = "stepping"

    def __init__(self) -> None:
        self._steps: dict[str, asyncio.Semaphore] = {}

    def step(self, prompt: str) -> asyncio.Semaphore:
        """What lets the answer to a prompt have its next word."""
        return self._steps.setdefault(prompt, asyncio.Semaphore(0))

    def forget(self, prompt: str) -> None:
        """No more words for this prompt."""
        self._steps.pop(prompt, None)

    async def stream(self, request: Request) -> AsyncGenerator[list[Patch]]:
        step = self.step(request.prompt)
        for word in WORDS[request.content_so_far.count(" ") :]:
            await step.acquire()
            yield [Patch("response/content", "APPEND", word)]
        yield finished()

    async def models(self) -> list[str]:
        return []

    async def aclose(self) -> None:
        """Nothing to let go of."""


@dataclass
class Seat:
    """A reader, and the worker it reads at."""

    worker: Conversations
    reading: Reading

    async def leave(self) -> None:
        self.reading.task.cancel()
        await asyncio.gather(self.reading.task, return_exceptions=True)

    async def end(self) -> Message:
        message = await asyncio.wait_for(self.reading.end(), PATIENCE)
        assert self.reading.lengths == sorted(self.reading.lengths), "text went away"
        return message


@dataclass
class Answer:
    """What the model knows of an answer."""

    message_id: int
    prompt_id: int
    prompt: str
    words: int = 0
    status: str = "streaming"
    seats: list[Seat] = field(default_factory=list["Seat"])

    @property
    def text(self) -> str:
        return "".join(WORDS[: self.words])


@dataclass
class Talk:
    """What the model knows of a session: its answers, how many messages it has, and when it was last changed."""

    touched: float
    answers: list[Answer] = field(default_factory=list[Answer])
    size: int = 0

    @property
    def running(self) -> list[Answer]:
        return [one for one in self.answers if one.status == "streaming"]


class Use:
    """Random calls of random workers, each of which the model takes note of."""

    def __init__(self, start: Callable[[SimulatedTime, Stepping], Conversations], seed: int) -> None:
        self.time = SimulatedTime()
        self.upstream = Stepping()
        self._start = lambda: start(self.time, self.upstream)
        self.workers = [self._start() for _ in range(3)]
        self.talks: dict[str, Talk] = {}
        self.expired: list[str] = []
        self._gone: deque[str] = deque(maxlen=50)
        self._chance = random.Random(seed)
        self._prompts = 0
        self.counts = Counter[str]()

    @property
    def _worker(self) -> Conversations:
        return self._chance.choice(self.workers)

    async def step(self) -> None:
        """One call, a moment, and a look at one session."""
        acts = [self.open, self.ask, self.stop, self.go_on, self.edit, self.regenerate, self.resume]
        acts += [self.speak] * 7
        if self._chance.random() < 0.25:
            acts = [self.drop, self.drop, self.delete, self.load, self.wait, self.die, self.retire]
        while not await (act := self._chance.choice(acts))():
            acts = [one for one in acts if one != act] or [self.wait]
        self.counts[act.__name__] += 1
        await self.passes(self._chance.expovariate(1.0))
        await self.look()

    # ---- time ----

    async def passes(self, seconds: float) -> None:
        """Let time pass; what nobody has changed for KEEP seconds, and does not run, is gone."""
        await self.time.passes(seconds)
        limit = self.time.now - KEEP
        for session in [one for one, talk in self.talks.items() if talk.touched <= limit]:
            if not self.talks[session].running:
                del self.talks[session]
                self._gone.append(session)
                self.expired.append(session)
                self.counts["expired"] += 1

    async def wait(self) -> bool:
        await self.passes(self._chance.uniform(20, 160))
        return True

    # ---- calls ----

    def _find(self, *states: str) -> tuple[str, Answer] | None:
        found = [
            (session, answer)
            for session, talk in self.talks.items()
            for answer in talk.answers
            if answer.status in states
        ]
        return self._chance.choice(found) if found else None

    def _roomy(self) -> str | None:
        found = [one for one, talk in self.talks.items() if talk.size < MOST_MESSAGES]
        return self._chance.choice(found) if found else None

    async def open(self) -> bool:
        if len(self.talks) >= MOST_SESSIONS:
            return False
        self.talks[(await self._worker.sessions.create()).id] = Talk(self.time.now)
        return True

    async def load(self) -> bool:
        """Open a session with a conversation that was saved."""
        if len(self.talks) >= MOST_SESSIONS:
            return False
        words = self._chance.randrange(len(WORDS))
        answer = Answer(2, 1, self._prompt(), words, "finished")
        saved = [
            SavedMessage(message_id=1, role="USER", content=answer.prompt),
            SavedMessage(message_id=2, parent_id=1, role="ASSISTANT", content=answer.text),
        ]
        session = await self._worker.sessions.restore(saved)
        self.talks[session.id] = Talk(self.time.now, [answer], 2)
        return True

    def _prompt(self) -> str:
        self._prompts += 1
        return f"prompt {self._prompts}"

    async def ask(self) -> bool:
        if (session := self._roomy()) is None:
            return False
        await self._ask(session)
        return True

    async def _ask(self, session: str) -> None:
        done = [one.message_id for one in self.talks[session].answers if one.status != "streaming"]
        parent, prompt, worker = self._chance.choice([None, *done]), self._prompt(), self._worker
        body = Completion(chat_session_id=session, prompt=prompt, parent_message_id=parent)
        self._note(session, prompt, worker, await worker.complete(body))

    async def edit(self) -> bool:
        found = self._find("streaming", "stopped", "finished")
        if found is None or self.talks[found[0]].size >= MOST_MESSAGES:
            return False
        session, answer = found
        prompt, worker = self._prompt(), self._worker
        body = EditMessage(chat_session_id=session, message_id=answer.prompt_id, prompt=prompt)
        self._note(session, prompt, worker, await worker.edit(body))
        return True

    async def regenerate(self) -> bool:
        """Answer the same prompt once more; one at a time, since both would share their words."""
        found = self._find("stopped", "finished")
        if found is None or self.talks[found[0]].size >= MOST_MESSAGES:
            return False
        session, answer = found
        if any(one.prompt == answer.prompt for one in self.talks[session].running):
            return False
        worker = self._worker
        body = Regenerate(chat_session_id=session, child_message_id=answer.message_id)
        self._note(session, answer.prompt, worker, await worker.regenerate(body), answer.prompt_id)
        return True

    def _note(
        self, session: str, prompt: str, worker: Conversations, reader: Reader, below: int | None = None
    ) -> None:
        talk = self.talks[session]
        talk.touched = self.time.now
        talk.size += 2 if below is None else 1
        seat = Seat(worker, Reading(reader))
        talk.answers.append(Answer(talk.size, below or talk.size - 1, prompt, seats=[seat]))

    async def speak(self) -> bool:
        """Let the model server say a word, and wait until every reader has it."""
        if (found := self._find("streaming")) is None:
            return False
        session, answer = found
        self.upstream.step(answer.prompt).release()
        answer.words += 1
        await self._read(answer)
        if answer.words == len(WORDS):
            await self._end(session, answer, "finished")
        return True

    async def _read(self, answer: Answer) -> None:
        for seat in answer.seats:
            if answer.words:
                await asyncio.wait_for(seat.reading.until(WORDS[answer.words - 1]), PATIENCE)

    async def stop(self) -> bool:
        if (found := self._find("streaming", "finished", "stopped")) is None:
            return False
        session, answer = found
        if self._chance.random() < 0.2:
            await self._worker.stop(session, answer.message_id, "the stream of another generation")
            return True
        await self._worker.stop(session, answer.message_id)
        if answer.status == "streaming":
            await self._end(session, answer, "stopped")
        return True

    async def _end(self, session: str, answer: Answer, status: str) -> None:
        answer.status = status
        for seat in answer.seats:
            message = await seat.end()
            assert (message.status, message.content) == (status, answer.text)
        answer.seats.clear()
        self.upstream.forget(answer.prompt)
        self.talks[session].touched = self.time.now

    async def go_on(self) -> bool:
        found = self._find("stopped")
        if found is None or any(one.prompt == found[1].prompt for one in self.talks[found[0]].running):
            return False
        session, answer = found
        body, worker = Continue(chat_session_id=session, message_id=answer.message_id), self._worker
        answer.status = "streaming"
        answer.seats.append(Seat(worker, Reading(await worker.go_on(body))))
        self.talks[session].touched = self.time.now
        return True

    async def drop(self) -> bool:
        if (found := self._find("streaming")) is None or len(found[1].seats) < 2:
            return False
        await found[1].seats.pop().leave()
        return True

    async def resume(self) -> bool:
        if (found := self._find("streaming", "stopped", "finished")) is None:
            return False
        await self._resume(*found)
        return True

    async def _resume(self, session: str, answer: Answer) -> None:
        worker = self._worker
        seat = Seat(worker, Reading(await worker.resume(session, answer.message_id)))
        if answer.status == "streaming":
            answer.seats.append(seat)
            await self._read(answer)
        else:
            message = await seat.end()
            assert (message.status, message.content) == (answer.status, answer.text)

    async def delete(self) -> bool:
        if len(self.talks) < 3:
            return False
        await self.forget(self._chance.choice(list(self.talks)))
        return True

    async def forget(self, session: str) -> None:
        """Delete a session; its readers learn it."""
        await self._worker.delete(session)
        talk = self.talks.pop(session)
        self._gone.append(session)
        await self.passes(LEASE)  # by then those who only follow know it too
        for answer in talk.running:
            assert all([(await seat.end()).terminal for seat in answer.seats])
            self.upstream.forget(answer.prompt)

    # ---- the life of workers ----

    async def die(self) -> bool:
        """A worker ends without a word: within the lease others have all that it had."""
        worker = self.workers.pop(self._chance.randrange(len(self.workers)))
        self.counts["answers orphaned"] += len(worker.streams._owned)
        await die(worker)
        await worker.store.aclose()
        for _, answer, seat in self._seats(worker):
            await seat.leave()
            answer.seats.remove(seat)
        stopping, before = self._stop_orphan(), self.time.now
        await self.passes(LEASE)
        await self._return()
        if stopping is not None:
            session, answer, call = stopping
            await asyncio.wait_for(call, PATIENCE)
            await self._end(session, answer, "stopped")
            assert before <= (await self._worker.sessions.get(session)).updated_at <= self.time.now
            await self._ask(session)  # when exactly it was stopped nobody knows, but this everybody does
            self.counts["stopped without an owner"] += 1
        self.workers.append(self._start())
        return True

    def _stop_orphan(self) -> tuple[str, Answer, asyncio.Task[None]] | None:
        """Sometimes somebody asks to stop an answer before another worker has it."""
        found = self._find("streaming")
        if found is None or self._chance.random() < 0.7:
            return None
        session, answer = found
        return session, answer, asyncio.create_task(self._worker.stop(session, answer.message_id))

    async def retire(self) -> bool:
        """A worker ends in good order: it hands over what it has, and its readers come again."""
        worker = self.workers.pop(self._chance.randrange(len(self.workers)))
        self.counts["answers handed over"] += len(worker.streams._owned)
        await asyncio.wait_for(worker.aclose(), PATIENCE)
        for _, answer, seat in self._seats(worker):
            assert not (await seat.end()).terminal
            answer.seats.remove(seat)
        await self.passes(LEASE)
        await self._return()
        self.workers.append(self._start())
        return True

    async def _return(self) -> None:
        """No answer stays without a reader, who would see that it goes on."""
        for session, talk in self.talks.items():
            for answer in talk.running:
                if not answer.seats:
                    await self._resume(session, answer)

    def _seats(self, worker: Conversations) -> Iterator[tuple[str, Answer, Seat]]:
        for session, talk in self.talks.items():
            for answer in talk.running:
                for seat in tuple(answer.seats):
                    if seat.worker is worker:
                        yield session, answer, seat

    # ---- what must be readable ----

    async def look(self) -> None:
        """Compare the list, one session and one that is gone, as one worker has them, with the model."""
        worker = self._worker
        if self._gone:
            with pytest.raises(Expired):
                await worker.sessions.get(self._chance.choice(self._gone))
        assert {head.id for head in await worker.sessions.all()} == set(self.talks)
        if not self.talks:
            return
        session_id = self._chance.choice(list(self.talks))
        talk, session = self.talks[session_id], await worker.sessions.get(session_id)
        assert len(session.records) == talk.size
        for answer in talk.answers:
            message = session.get(answer.message_id).message
            assert (message.status, message.content) == (answer.status, answer.text)
            assert session.get(answer.prompt_id).message.content == answer.prompt

    # ---- what may stay ----

    async def look_for_leftovers(self) -> None:
        """No worker holds anything of what has ended or is gone."""
        await self.passes(LEASE)
        running = sum(len(talk.running) for talk in self.talks.values())
        async with asyncio.timeout(PATIENCE):
            while sum(len(one.streams._owned) for one in self.workers) != running:
                await asyncio.sleep(0.01)
        assert sum(one.running for one in self.workers) == running
        for streams in (one.streams for one in self.workers):
            assert len(streams._mirrors) <= running
            assert len(streams._stopping) <= running
            assert len(streams._tasks) < LOOSE_TASKS
        assert len(self.upstream._steps) <= running


# ---- what a store of each kind may keep ----


def memory_keeps(store: Any, use: Use) -> None:
    messages = [one for session in store._sessions.values() for one in session.messages.values()]
    assert len(store._sessions) == len(use.talks)
    assert len(messages) == sum(talk.size for talk in use.talks.values())
    assert all(len(one.log) <= LOG_ENTRIES for one in messages)


async def sqlite_keeps(store: Any, use: Use) -> None:
    counted = {
        "sessions": "SELECT count(*) FROM sessions WHERE NOT gone",
        "messages": "SELECT count(*) FROM messages",
        "log": "SELECT count(*) FROM log",
    }
    found = {
        name: await store._reader.call(lambda db, query=query: db.execute(query).fetchone()[0])
        for name, query in counted.items()
    }
    assert found["sessions"] == len(use.talks)
    assert found["messages"] == sum(talk.size for talk in use.talks.values())
    assert found["log"] <= LOG_ENTRIES * (1 + found["sessions"])


async def redis_keeps(store: Any, use: Watched) -> None:
    running = sum(len(talk.running) for talk in use.talks.values())
    assert await store.calls.one("ZCARD", sessions_name("")) == len(use.talks)
    assert await store.calls.one("ZCARD", LEASES) <= running
    assert await store.calls.one("HLEN", SIZES) == await store.calls.one("ZCARD", UNTILS) == len(use.talks)
    if use.kind == "cluster":
        return  # where each server knows its own names alone
    names: list[str] = await store.calls.one("KEYS", f"{PREFIX}*")
    times = await store.calls.all(*(("TTL", name) for name in names))
    lasting = {name for name, left in zip(names, times, strict=True) if left == -1}
    assert lasting <= {sessions_name(""), LEASES, SIZES, UNTILS, USED, SECRET}


async def expire_in_redis(store: Any, use: Use) -> None:
    """Let Redis and its indexes do now what they would do when the time of a session is over."""
    expired, use.expired = use.expired, []
    if expired:
        await store.calls.all(*(("EXPIRE", f"{PREFIX}{{{one}}}", 0) for one in expired))
        await store.calls.one("ZADD", UNTILS, *(word for one in expired for word in (0, one)))
        await store.stored(None)


# ---- the test ----


class Watched(Use):
    """Use of a store of one kind, whose leftovers are looked for."""

    def __init__(self, kind: str, opened: Callable[[SimulatedTime], Store], seed: int) -> None:
        settings = Settings(lease=LEASE)

        def start(now: SimulatedTime, upstream: Stepping) -> Conversations:
            worker = Conversations(
                upstream, store=opened(now), settings=settings, now=now, clock=now, sleep=now.sleep
            )
            worker.streams.begin()
            return worker

        super().__init__(start, seed)
        self.kind = kind

    async def passes(self, seconds: float) -> None:
        await super().passes(seconds)
        if self.kind in ("redis", "cluster"):
            await expire_in_redis(self.workers[0].store, self)

    async def look_for_leftovers(self) -> None:
        await super().look_for_leftovers()
        store = self.workers[0].store
        match self.kind:
            case "memory":
                memory_keeps(store, self)
            case "sqlite":
                await sqlite_keeps(store, self)
            case _:
                await redis_keeps(store, self)

    async def run(self, steps: int) -> list[int]:
        """Take so many steps; the bytes in use after each third of them, where there are many."""
        memory: list[int] = []
        for number in range(1, steps + 1):
            await self.step()
            if number % (steps // 3) == 0:
                await self.look_for_leftovers()
                gc.collect()
                memory.append(tracemalloc.get_traced_memory()[0])
        await self._delete_all()
        for worker in self.workers:
            await worker.aclose()
        return memory

    async def _delete_all(self) -> None:
        """In the end nothing is left, and what is counted as stored is nothing too."""
        while self.talks:
            await self.forget(next(iter(self.talks)))
        await self.look_for_leftovers()
        assert await self.workers[0].store.stored(None) == 0


def url_of(kind: str, steps: int, request: pytest.FixtureRequest) -> str:
    """An empty Redis, or an empty Redis Cluster."""
    if kind == "redis":
        return f"{request.getfixturevalue('redis_server').url}?db={steps % 7 + 1}"
    if kind != "cluster":
        return ""
    nodes: RedisNodes = request.getfixturevalue("redis_nodes")
    for node in nodes.nodes:
        node.say("FLUSHALL")
    return nodes.url


KINDS = ["memory", "sqlite", "redis", pytest.param("cluster", marks=pytest.mark.soak)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [150, pytest.param(5000, marks=pytest.mark.soak)])
def test_any_use_leaves_what_the_model_says(
    kind: str, steps: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    shared: list[MemoryStore] = []
    url = url_of(kind, steps, request)

    def opened(now: SimulatedTime) -> Store:
        match kind:
            case "memory":
                shared[:] = shared or [MemoryStore(shared=True, clock=now, keep=KEEP)]
                return shared[0]
            case "sqlite":
                return SQLiteStore(tmp_path / "store.db", clock=now, keep=KEEP)
            case _:
                return RedisStore(url, clock=now)

    async def use() -> tuple[Watched, list[int]]:
        using = Watched(kind, opened, seed=6)
        return using, await using.run(steps)

    began = time.monotonic()
    if steps > 1000:
        tracemalloc.start()
    try:
        using, memory = asyncio.run(asyncio.wait_for(use(), 60 + steps))
    finally:
        tracemalloc.stop()
    hours = (using.time.now - SimulatedTime().now) / 3600
    print(f"{kind}: {steps} steps, {hours:.1f} h in {time.monotonic() - began:.0f} s, {dict(using.counts)}")
    print(f"{kind}: bytes in use at each third: {memory}")
    assert all(using.counts[name] for name in EVERYTHING), using.counts
    assert memory[-1] <= memory[0] + STEADY_BYTES
