"""A replay in the gateway: the same messages and the same bytes to readers, at any pace, wherever a script stops."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from jupyter_ssechat.exchange import Patience
from jupyter_ssechat.gateway.bodies import Completion, Continue, EditMessage, Regenerate
from jupyter_ssechat.gateway.conversations import Conversations
from jupyter_ssechat.gateway.log import Reader
from jupyter_ssechat.gateway.sessions import Session
from jupyter_ssechat.message import Message
from jupyter_ssechat.model_server import ModelServer
from jupyter_ssechat.recording import recording
from jupyter_ssechat.tape import Cassette
from jupyter_ssechat.upstream import Upstream

from .asking import asking
from .rogue import STREAM, Asked, Rogue, raw
from .servers import chunk, finish, usage
from .taping import cassette, episode

SOON = Patience(first=0.001)
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
NEVER = 10**9


def without_ids(text: str) -> str:
    """A text with its random ids in the order of their appearance."""
    names = itertools.count(1)
    known: dict[str, str] = {}
    return UUID.sub(lambda found: known.setdefault(found[0], f"id-{next(names)}"), text)


class Talk:
    """A conversation in a gateway whose clock stands, and all that its readers were sent."""

    def __init__(self, upstream: Upstream) -> None:
        self.conversations = Conversations(upstream, now=lambda: 1000.0, clock=lambda: 5.0)
        self.sent: list[bytes] = []
        self.session = Session("", lambda: 0.0)

    async def session_id(self) -> str:
        if not self.session.id:
            self.session = await self.conversations.sessions.create()
        return self.session.id

    async def look(self) -> Session:
        """The session as it is now, also for who looks at it afterwards."""
        self.session = await self.conversations.sessions.get(await self.session_id())
        return self.session

    async def ask(self, prompt: str, parent: int | None = None, *, stop_after: int = NEVER) -> int:
        """Ask, stop when the text is so long, and return the id of the answer."""
        body = Completion(chat_session_id=await self.session_id(), prompt=prompt, parent_message_id=parent)
        return await self._read(await self.conversations.complete(body), stop_after)

    async def go_on(self, message_id: int, *, stop_after: int = NEVER) -> int:
        body = Continue(chat_session_id=await self.session_id(), message_id=message_id)
        return await self._read(await self.conversations.go_on(body), stop_after)

    async def regenerate(self, message_id: int) -> int:
        body = Regenerate(chat_session_id=await self.session_id(), child_message_id=message_id)
        return await self._read(await self.conversations.regenerate(body), NEVER)

    async def edit(self, message_id: int, prompt: str) -> int:
        body = EditMessage(chat_session_id=await self.session_id(), message_id=message_id, prompt=prompt)
        return await self._read(await self.conversations.edit(body), NEVER)

    async def _read(self, reader: Reader, stop_after: int) -> int:
        [number] = [one.message_id for one in (await self.look()).records.values() if one.running]
        message = (await self.look()).get(number).message
        async with aclosing(reader.frames(60)) as frames:
            async for frame in frames:
                self.sent.append(frame)
                if len(message.content) + len(message.thinking) >= stop_after:
                    stop_after = NEVER
                    await self.conversations.stop(await self.session_id(), number)
        await self.look()
        return number

    def outcome(self) -> tuple[str, str]:
        """All that readers were sent, and the messages that stand."""
        messages = [record.to_wire() for record in self.session.records.values()]
        return without_ids(b"".join(self.sent).decode()), without_ids(
            json.dumps(messages, ensure_ascii=False)
        )

    async def aclose(self) -> None:
        await self.conversations.aclose()


# ---- a session with a stop, a drop and a resume ----


@dataclass
class Plan:
    """What a server says to each request in turn, in which pieces, and how long it waits after each."""

    words: list[list[str]]
    thoughts: list[str]
    cuts: list[int]
    pauses: list[float]
    served: int = 0
    stop_after: int = 1
    tasks: set[Any] = field(default_factory=set)

    async def __call__(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        number, self.served = self.served, self.served + 1
        body = b"".join(
            b"data: " + json.dumps(one, ensure_ascii=number % 2 == 0).encode() + b"\n\n"
            for one in self._events(number)
        )
        ends = number >= 2
        if not ends:
            body = body[: len(body) - 1 - self.cuts[0] % 2]  # the last event is cut off
        writer.write(raw(b"", STREAM, "transfer-encoding: chunked", length=False))
        for piece, pause in zip(self._pieces(body), itertools.cycle(self.pauses), strict=False):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
            await asyncio.sleep(pause)
        if number == 0:  # until it is stopped
            await asked.reader.read()
        elif ends:
            writer.write(b"0\r\n\r\n")

    def reachable(self) -> int:
        """Where the first answer is stopped: not behind its last event, which never becomes whole."""
        return min(self.stop_after, len("".join([*self.thoughts, *self.words[0][:-1]])))

    def _events(self, number: int) -> Iterator[dict[str, Any]]:
        thoughts = self.thoughts if number in (0, 3) else []
        yield from (chunk(reasoning_content=word) for word in thoughts)
        yield from (chunk(content=word) for word in self.words[number % len(self.words)])
        yield from (finish(), usage(3, 4)) if number >= 2 else ()

    def _pieces(self, body: bytes) -> Iterator[bytes]:
        at = 0
        for size in itertools.cycle(self.cuts):
            if at >= len(body):
                return
            yield body[at : at + size]
            at += size


async def session(upstream: Upstream, stop_after: int) -> Talk:
    """Stop the first answer, lose the second connection, resume, go on to the end, ask for another."""
    talk = Talk(upstream)
    first = await talk.ask("first", stop_after=stop_after)
    await talk.go_on(first)
    await talk.go_on(first)
    await talk.ask("second", first)
    await talk.aclose()
    return talk


TEXT = st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=8)
PLANS = st.builds(
    Plan,
    words=st.lists(st.lists(TEXT, min_size=2, max_size=6), min_size=4, max_size=4),
    thoughts=st.lists(TEXT, max_size=3),
    cuts=st.lists(st.integers(1, 200), min_size=1, max_size=5),
    pauses=st.lists(st.sampled_from([0.0, 0.0, 0.001, 0.003]), min_size=1, max_size=4),
    stop_after=st.integers(1, 6),
)


@settings(max_examples=settings.default.max_examples // 4, phases=[Phase.generate])
@given(
    PLANS,
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([1, 3, 8, NEVER])), min_size=2, max_size=3
    ),
)
def test_a_session_with_a_stop_a_drop_and_a_resume_replays_to_the_same_bytes(
    plan: Plan, replays: list[tuple[float, int]]
) -> None:
    async def live(path: Path) -> tuple[str, str]:
        async with Rogue(plan).serving() as url:
            server = ModelServer(f"{url}/v1", model="m", patience=SOON)
            return (await session(recording(server, path), plan.reachable())).outcome()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "session.jsonl"
        sent, messages = asyncio.run(asyncio.wait_for(live(path), 20))
        assert '"status": "FINISHED"' in messages and "upstream_interrupted" in sent and "INCOMPLETE" in sent
        for pace, stop_after in replays:
            tape = Cassette(path, "none", pace=pace)
            tape.hold = 0.01
            again = asyncio.run(asyncio.wait_for(session(recording(None, tape), stop_after), 20))
            assert again.outcome() == (sent, messages)


# ---- stops ----


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An answer that was stopped after its third word, with a second between words."""
    stopped = episode("hello", "one ", "two ", "three", how="stopped", ms=1000)
    return cassette(tmp_path / "stopped.jsonl", stopped, episode("whole", "one ", "two", ms=1000))


def run_talk(
    path: Path, prompt: str, *, pace: float = 0.0, hold: float = 5.0, stop_after: int = NEVER
) -> Talk:
    async def talk() -> Talk:
        tape = Cassette(path, "none", pace=pace)
        tape.hold = hold
        made = Talk(recording(None, tape))
        await made.ask(prompt, stop_after=stop_after)
        await made.aclose()
        return made

    return asyncio.run(asyncio.wait_for(talk(), 30))


def told(talk: Talk) -> tuple[str, str, str | None]:
    message = talk.session.get(2).message
    return message.content, message.status, message.finish_reason


STOPPED = ("one two three", "stopped", "stopped")


def test_a_script_that_stops_early_gets_what_came_before_the_recorded_stop(path: Path) -> None:
    early = run_talk(path, "hello", pace=1, stop_after=4)
    assert told(early) == STOPPED


def test_a_script_that_stops_late_finds_the_answer_waiting_for_it(path: Path) -> None:
    assert told(run_talk(path, "hello", hold=3600, stop_after=13)) == STOPPED


def test_where_nobody_stops_the_answer_ends_as_stopped_by_itself(path: Path) -> None:
    never = run_talk(path, "hello", hold=0.01)
    assert told(never) == STOPPED
    assert never.outcome() == run_talk(path, "hello", pace=1, stop_after=4).outcome()


def test_a_stop_that_was_not_recorded_is_a_stop(path: Path) -> None:
    assert told(run_talk(path, "whole", pace=3600, stop_after=0)) == ("", "stopped", "stopped")


def test_a_second_stop_changes_nothing(path: Path) -> None:
    async def talk() -> Talk:
        made = Talk(recording(None, Cassette(path, "none", pace=3600)))
        body = Completion(chat_session_id=await made.session_id(), prompt="hello", parent_message_id=None)
        await made.conversations.complete(body)
        await asyncio.gather(*(made.conversations.stop(made.session.id, 2) for _ in range(3)))
        await made.conversations.stop(made.session.id, 2)
        await made.look()
        return made

    assert told(asyncio.run(asyncio.wait_for(talk(), 30))) == STOPPED


def test_a_stop_before_the_answer_began_is_replayed_too(tmp_path: Path) -> None:
    path = tmp_path / "unborn.jsonl"

    async def talk(upstream: Upstream) -> Talk:
        made = Talk(upstream)
        body = Completion(chat_session_id=await made.session_id(), prompt="hello", parent_message_id=None)
        reader = await made.conversations.complete(body)
        await made.conversations.stop(made.session.id, 2)
        made.sent = [frame async for frame in reader.frames(60)]
        await made.look()
        await made.aclose()
        return made

    async def live() -> Talk:
        async with Rogue(Plan([["x"]], [], [9], [0.0])).serving() as url:
            return await talk(recording(ModelServer(f"{url}/v1", model="m"), path))

    first = asyncio.run(asyncio.wait_for(live(), 30))
    assert told(first) == ("", "stopped", "stopped")
    assert asyncio.run(asyncio.wait_for(talk(recording(None, path)), 30)).outcome() == first.outcome()


# ---- time ----


def test_the_time_of_thinking_is_that_of_the_recording(tmp_path: Path) -> None:
    thought = episode("hello")
    lines = thought.splitlines(keepends=True)
    thinks = [
        b'[1000,"data: {\\"v\\":\\"hm\\",\\"p\\":\\"response/thinking_content\\",\\"o\\":\\"APPEND\\"}\\n\\n"]\n',
        b'[2500,"data: {\\"v\\":\\"Yes.\\",\\"p\\":\\"response/content\\",\\"o\\":\\"APPEND\\"}\\n\\n"]\n',
    ]
    path = cassette(tmp_path / "thinks.jsonl", b"".join([*lines[:2], *thinks, *lines[2:]]))
    message = run_talk(path, "hello").session.get(2).message
    assert (message.content, message.thinking_seconds) == ("Yes.", 2.5)


def test_a_replay_at_its_pace_takes_its_time_and_one_at_once_does_not(tmp_path: Path) -> None:
    path = cassette(tmp_path / "slow.jsonl", episode("hello", *"abcdefghij", ms=100))

    def seconds(pace: float) -> float:
        async def play() -> float:
            loop = asyncio.get_running_loop()
            begun = loop.time()
            talk = Talk(recording(None, Cassette(path, "none", pace=pace)))
            await talk.ask("hello")
            return loop.time() - begun

        return asyncio.run(asyncio.wait_for(play(), 60))

    # 11 chunks of 100 ms; only what cannot be sooner is sure on a machine that is busy.
    assert seconds(1) >= 1.1
    assert seconds(0.5) >= 0.55


# ---- an upstream like any other ----


def test_edit_regenerate_and_branches_work_over_a_cassette(tmp_path: Path) -> None:
    path = tmp_path / "tree.jsonl"

    async def talk(upstream: Upstream) -> Talk:
        made = Talk(upstream)
        first = await made.ask("first")
        await made.regenerate(first)
        await made.ask("second", first)
        await made.edit(1, "other")
        await made.aclose()
        return made

    async def live() -> Talk:
        plan = Plan([["a ", "b"]], [], [40], [0.0], served=2)
        async with Rogue(plan).serving() as url:
            return await talk(recording(ModelServer(f"{url}/v1", model="m"), path))

    first = asyncio.run(asyncio.wait_for(live(), 30))
    again = asyncio.run(asyncio.wait_for(talk(recording(None, path)), 30))
    assert again.outcome() == first.outcome()
    assert len(again.session.records) == 7


def test_late_readers_see_what_the_first_one_saw(path: Path) -> None:
    async def talk() -> list[str]:
        made = Talk(recording(None, Cassette(path, "none", pace=0.01)))
        body = Completion(chat_session_id=await made.session_id(), prompt="whole", parent_message_id=None)
        readers = [await made.conversations.complete(body)]
        readers += [await made.conversations.resume(made.session.id, 2) for _ in range(5)]
        texts = await asyncio.gather(*map(whole, readers))
        await made.aclose()
        return [without_ids(text) for text in texts]

    async def whole(reader: Reader) -> str:
        return b"".join([frame async for frame in reader.frames(60)]).decode()

    first, *others = asyncio.run(asyncio.wait_for(talk(), 30))
    assert "two" in first and set(others) == {first}


def test_a_long_replay_takes_the_room_of_its_text(tmp_path: Path) -> None:
    words = [f"{number:08} " for number in range(50_000)]
    upstream = recording(None, cassette(tmp_path / "long.jsonl", episode("hello", *words)))
    message = Message()

    async def read() -> tuple[int, int]:
        begun, _ = tracemalloc.get_traced_memory()
        async for patches in upstream.stream(asking()):
            for patch in patches:
                message.apply(patch)
        held, most = tracemalloc.get_traced_memory()
        return held - begun, most - begun

    tracemalloc.start()
    try:
        held, most = asyncio.run(read())
    finally:
        tracemalloc.stop()
    size = len("".join(words))
    assert message.status == "finished" and held < 1.3 * size and most < 3 * size
    assert message.content == "".join(words)
