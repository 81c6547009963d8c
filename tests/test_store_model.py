"""Days of use at random, from a seed: what a model says must be readable is what every worker reads."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from jupyter_ssechat.errors import Expired
from jupyter_ssechat.gateway.bodies import Completion, Continue, EditMessage
from jupyter_ssechat.gateway.conversations import Conversations
from jupyter_ssechat.gateway.stores.memory import MemoryStore
from jupyter_ssechat.gateway.stores.redis import RedisStore
from jupyter_ssechat.gateway.stores.sqlite import SQLiteStore
from jupyter_ssechat.gateway.stores.store import Store
from jupyter_ssechat.message import finished
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.request import Request

from .test_workers import Reading

WORDS = [f"w{number} " for number in range(12)]


class Stepping:
    """An upstream that says a word when it is allowed to, and begins where an answer stands."""

    name = "stepping"

    def __init__(self) -> None:
        self.steps: dict[str, asyncio.Semaphore] = {}

    async def stream(self, request: Request) -> AsyncGenerator[list[Patch]]:
        step = self.steps.setdefault(request.prompt, asyncio.Semaphore(0))
        for word in WORDS[request.content_so_far.count(" ") :]:
            await step.acquire()
            yield [Patch("response/content", "APPEND", word)]
        yield finished()

    async def models(self) -> list[str]:
        return []

    async def aclose(self) -> None:
        """Nothing to let go of."""


@dataclass
class Answer:
    """What the model knows of an answer."""

    message_id: int
    prompt: str
    prompt_id: int
    words: int = 0
    status: str = "streaming"
    readings: list[Reading] = field(default_factory=list)


@dataclass
class Model:
    """What must be readable: the sessions that are there, their answers, and the sessions that are gone."""

    sessions: dict[str, list[Answer]] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)


class Use:
    """Random calls of random workers, each of which the model takes note of."""

    def __init__(self, workers: list[Conversations], upstream: Stepping, seed: int) -> None:
        self._workers = workers
        self._upstream = upstream
        self._chance = random.Random(seed)
        self._model = Model()
        self._prompts = 0
        self.counts = Counter[str]()

    @property
    def _worker(self) -> Conversations:
        return self._chance.choice(self._workers)

    async def step(self) -> None:
        """One call, and a look at one session."""
        acts = [self.open, self.ask, self.speak, self.speak, self.speak, self.stop, self.go_on, self.edit]
        acts += [self.drop, self.resume, self.delete] if self._chance.random() < 0.3 else [self.resume]
        act = self._chance.choice(acts)
        await act()
        self.counts[act.__name__] += 1
        await self.look()

    def _answer(self, *states: str) -> tuple[str, Answer] | None:
        found = [
            (session, answer)
            for session, answers in self._model.sessions.items()
            for answer in answers
            if answer.status in states
        ]
        return self._chance.choice(found) if found else None

    async def open(self) -> None:
        if len(self._model.sessions) < 8:
            self._model.sessions[(await self._worker.sessions.create()).id] = []

    async def ask(self) -> None:
        if not self._model.sessions:
            return
        session = self._chance.choice(list(self._model.sessions))
        done = [one.message_id for one in self._model.sessions[session] if one.status != "streaming"]
        parent = self._chance.choice([None, *done])
        self._prompts += 1
        body = Completion(chat_session_id=session, prompt=f"prompt {self._prompts}", parent_message_id=parent)
        self._note(session, body.prompt, Reading(await self._worker.complete(body)))

    async def edit(self) -> None:
        if (found := self._answer("streaming", "stopped", "finished")) is not None:
            session, answer = found
            self._prompts += 1
            prompt = f"prompt {self._prompts}"
            body = EditMessage(chat_session_id=session, message_id=answer.prompt_id, prompt=prompt)
            self._note(session, prompt, Reading(await self._worker.edit(body)))

    def _note(self, session: str, prompt: str, reading: Reading) -> None:
        answers = self._model.sessions[session]
        number = 2 * len(answers) + 2
        answers.append(Answer(number, prompt, number - 1, readings=[reading]))

    async def speak(self) -> None:
        """Let the model server say a word, and wait until every reader has it."""
        if (found := self._answer("streaming")) is not None:
            _, answer = found
            self._upstream.steps.setdefault(answer.prompt, asyncio.Semaphore(0)).release()
            answer.words += 1
            for reading in answer.readings:
                await reading.until(WORDS[answer.words - 1])
            if answer.words == len(WORDS):
                await self._end(answer, "finished")

    async def stop(self) -> None:
        if (found := self._answer("streaming", "finished", "stopped")) is not None:
            session, answer = found
            await self._worker.stop(session, answer.message_id)
            if answer.status == "streaming":
                await self._end(answer, "stopped")

    async def _end(self, answer: Answer, status: str) -> None:
        answer.status = status
        text = "".join(WORDS[: answer.words])
        for reading in answer.readings:
            message = await reading.end()
            assert (message.status, message.content) == (status, text)
            assert reading.lengths == sorted(reading.lengths)
        answer.readings.clear()

    async def go_on(self) -> None:
        if (found := self._answer("stopped")) is not None:
            session, answer = found
            body = Continue(chat_session_id=session, message_id=answer.message_id)
            self._upstream.steps[answer.prompt] = asyncio.Semaphore(0)
            answer.status = "streaming"
            answer.readings.append(Reading(await self._worker.go_on(body)))

    async def drop(self) -> None:
        if (found := self._answer("streaming")) is not None and len(found[1].readings) > 1:
            reading = found[1].readings.pop()
            reading.task.cancel()
            await asyncio.gather(reading.task, return_exceptions=True)

    async def resume(self) -> None:
        if (found := self._answer("streaming", "stopped", "finished")) is None:
            return
        session, answer = found
        reading = Reading(await self._worker.resume(session, answer.message_id))
        if answer.words:
            await reading.until(WORDS[answer.words - 1])
        if answer.status == "streaming":
            answer.readings.append(reading)
        else:
            assert (await reading.end()).status == answer.status

    async def delete(self) -> None:
        if len(self._model.sessions) < 4:
            return
        session = self._chance.choice(list(self._model.sessions))
        await self._worker.delete(session)
        for answer in self._model.sessions.pop(session):
            for reading in answer.readings:
                assert (await reading.end()).terminal
        self._model.gone.append(session)

    async def look(self) -> None:
        """Compare one session, as one worker has it, with the model."""
        if self._model.gone:
            with pytest.raises(Expired):
                await self._worker.sessions.get(self._chance.choice(self._model.gone))
        if not self._model.sessions:
            return
        session_id = self._chance.choice(list(self._model.sessions))
        session = await self._worker.sessions.get(session_id)
        answers = self._model.sessions[session_id]
        assert len(session.records) == 2 * len(answers)
        for answer in answers:
            message = session.get(answer.message_id).message
            assert (message.status, message.content) == (answer.status, "".join(WORDS[: answer.words]))
            assert session.get(answer.prompt_id).message.content == answer.prompt


@pytest.mark.parametrize(
    "kind", ["memory", "sqlite", "redis", pytest.param("cluster", marks=pytest.mark.soak)]
)
@pytest.mark.parametrize("steps", [150, pytest.param(5000, marks=pytest.mark.soak)])
def test_any_use_leaves_what_the_model_says(
    kind: str, steps: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    fixture = {"redis": "redis_server", "cluster": "redis_nodes"}.get(kind)
    url = request.getfixturevalue(fixture).url if fixture else ""
    shared = MemoryStore(shared=True)
    opened: dict[str, Callable[[], Store]] = {
        "memory": lambda: shared,
        "sqlite": lambda: SQLiteStore(tmp_path / "store.db"),
        "redis": lambda: RedisStore(url),
        "cluster": lambda: RedisStore(url),
    }

    async def use() -> Counter[str]:
        upstream = Stepping()
        workers = [Conversations(upstream, store=opened[kind]()) for _ in range(3)]
        for worker in workers:
            worker.streams.begin()
        using = Use(workers, upstream, seed=6)
        for _ in range(steps):
            await using.step()
        for worker in workers:
            await worker.aclose()
        return using.counts

    counts = asyncio.run(asyncio.wait_for(use(), 60 + steps))
    print(kind, dict(sorted(counts.items())))
    assert all(counts[name] for name in ("ask", "speak", "stop", "go_on", "edit", "resume", "drop"))
