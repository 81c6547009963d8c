"""One generation: how it is stopped, who seals it, how long its thinking took."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

import pytest

from jupyter_ssechat.errors import BadInput, ConnectionFailed, EventTooLarge, TimedOut, UpstreamError
from jupyter_ssechat.gateway.audience import OnDisconnect
from jupyter_ssechat.gateway.generation import Generation, ThinkingClock
from jupyter_ssechat.gateway.log import Reader
from jupyter_ssechat.gateway.metrics import Metrics
from jupyter_ssechat.gateway.patch_stream import PatchStream
from jupyter_ssechat.gateway.sessions import Record, Session
from jupyter_ssechat.message import filtered, finished
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.request import Request, Turn
from jupyter_ssechat.sse import SSEDecoder
from jupyter_ssechat.wire_json import loads

T = TypeVar("T")
ELAPSED = "response/thinking_elapsed_secs"
STATUS = "response/status"


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, 30))


def thinks(text: str) -> Patch:
    return Patch("response/thinking_content", "APPEND", text)


def says(text: str) -> Patch:
    return Patch("response/content", "APPEND", text)


class Clock:
    """A clock that only the test moves, in seconds."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Told(Exception):
    """Something that no upstream ought to raise."""


class Scripted:
    """An upstream that yields patches, moves the clock, waits for events, raises."""

    name = "scripted"

    def __init__(self, *steps: Any, clock: Clock | None = None, stubborn: bool = False) -> None:
        self.waits = asyncio.Event()
        self.closed = asyncio.Event()
        self._steps = steps
        self._clock = clock or Clock()
        self._stubborn = stubborn

    async def stream(self, request: Request) -> AsyncGenerator[list[Patch]]:
        try:
            for step in self._steps:
                if isinstance(step, asyncio.Event):
                    await self._wait(step)
                elif isinstance(step, float):
                    self._clock.now += step
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step if isinstance(step, list) else [step]
        finally:
            self.closed.set()

    async def _wait(self, event: asyncio.Event) -> None:
        self.waits.set()
        try:
            await event.wait()
        except asyncio.CancelledError:
            if not self._stubborn:
                raise

    async def models(self) -> list[str]:
        return []

    async def aclose(self) -> None:
        """Nothing to let go of."""


class Answer:
    """A record that is being answered, and what a reader from the beginning gets of it."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.session = Session("s", now=Clock(5.0))
        prompt = self.session.add_prompt("hello", None)
        self.record: Record = self.session.add_answer(
            prompt.message_id, model="", thinking=True, search=False
        )
        self.clock = clock or Clock()
        self.ends = 0
        self.metrics = Metrics()

    def generation(self) -> Generation[PatchStream]:
        return Generation(
            self.session,
            self.record,
            PatchStream(self.session, self.record),
            guard=self.metrics.open_stream("patches"),
            clock=self.clock,
            on_end=self._ended,
        )

    @property
    def counted(self) -> list[str]:
        """The lines that tell how the streams ended and what failed, but for those that are 0."""
        lines = self.metrics.text().decode().splitlines()
        return [line for line in lines if re.match(r"ssechat_(streams|errors)_total.* [1-9]", line)]

    def _ended(self) -> None:
        self.ends += 1

    async def of(self, *steps: Any) -> list[tuple[str, Any]]:
        """Generate to the end; returns the events as they were read."""
        generation = self.generation()
        reader = generation.log.attach()
        generation.start(Scripted(*steps, clock=self.clock), REQUEST)
        return await events(reader)


REQUEST = Request(turns=(Turn("user", "hello"),))


async def events(reader: Reader) -> list[tuple[str, Any]]:
    raw = b"".join([frame async for frame in reader.frames(60)])
    return [(event.event, loads(event.data)) for event in SSEDecoder().feed(raw)]


async def replayed(answer: Answer) -> list[tuple[str, Any]]:
    """What a reader gets of an answer that has ended."""
    again = PatchStream(answer.session, answer.record)
    reader = again.attach()
    again.end()
    return await events(reader)


def names(read: list[tuple[str, Any]]) -> list[str]:
    return [name for name, _ in read if name != "message"]


# ---- the thinking clock ----


def clocked(*steps: Any, already: float = 0.0) -> list[Patch]:
    """The patches of a clock that is told of `steps`, numbers being seconds that pass."""
    now = Clock()
    clock, told = ThinkingClock(now, already), list[Patch]()
    for step in steps:
        if isinstance(step, float):
            now.now += step
        else:
            told += clock.before(step)
    return told


def test_thinking_is_timed_from_its_first_word_to_the_first_of_the_answer() -> None:
    steps = (2.0, thinks("a"), 1.0, thinks("b"), 1.26, says("c"), 5.0, says("d"), Patch(STATUS, "SET", "x"))
    assert clocked(*steps) == [Patch(ELAPSED, "SET", 2.3)]


@pytest.mark.parametrize("end", [Patch(STATUS, "SET", "INCOMPLETE"), finished()[0]])
def test_thinking_that_ends_without_an_answer_is_timed_too(end: Patch) -> None:
    assert clocked(thinks("a"), 3.0, end) == [Patch(ELAPSED, "SET", 3.0)]


def test_without_thinking_there_is_no_time() -> None:
    assert clocked(says("a"), 3.0, *finished()) == []


def test_figures_do_not_end_the_thinking() -> None:
    usage = Patch("response/usage", "SET", {})
    assert clocked(thinks("a"), 1.0, usage, 1.0, says("b")) == [Patch(ELAPSED, "SET", 2.0)]


def test_a_time_that_the_server_tells_is_not_told_again() -> None:
    assert clocked(thinks("a"), 1.0, Patch(ELAPSED, "SET", 41), says("b"), *finished()) == []


def test_the_time_of_an_answer_that_goes_on_is_added_up() -> None:
    assert clocked(thinks("a"), 1.5, says("b"), already=2.25) == [Patch(ELAPSED, "SET", 3.8)]
    assert clocked(says("b"), 1.5, *finished(), already=2.25) == []


def test_the_time_is_told_just_before_the_answer_begins() -> None:
    answer = Answer()
    read = run(answer.of(thinks("Hm"), 2.5, says("Yes"), *finished()))
    data = [data for name, data in read if name == "message"]
    assert data.index({"v": 2.5, "p": ELAPSED, "o": "SET"}) + 1 == data.index(
        {"v": "Yes", "p": "response/content", "o": "APPEND"}
    )
    assert answer.record.message.thinking_seconds == 2.5


def test_a_second_generation_adds_its_thinking_to_the_first() -> None:
    async def twice() -> float | None:
        answer = Answer()
        stopping = Scripted(thinks("Hm"), 2.0, asyncio.Event(), clock=answer.clock)
        generation = answer.generation()
        generation.start(stopping, REQUEST)
        await stopping.waits.wait()
        await generation.stop()
        answer.record.apply([Patch(STATUS, "SET", "WIP")])
        await answer.of(thinks(" well"), 3.0, says("Yes"), *finished())
        return answer.record.message.thinking_seconds

    assert run(twice()) == 5.0


# ---- how it ends ----


def test_a_whole_answer_ends_once_with_finish_and_close() -> None:
    answer = Answer()
    read = run(answer.of(says("a"), [says("b"), *finished()]))
    assert names(read) == ["ready", "update_session", "finish", "update_session", "close"]
    assert read[-1] == ("close", {"click_behavior": "none"})
    assert (answer.record.message.content, answer.ends) == ("ab", 1)


@pytest.mark.parametrize(
    ("steps", "status", "behaviour"),
    [
        ((says("a"), *finished("length")), "finished", "continue"),
        ((says("a"), *filtered()), "filtered", "none"),
        ((says("a"),), "failed", "retry"),
        ((UpstreamError("no"),), "failed", "retry"),
    ],
)
def test_the_close_says_what_may_be_done_next(steps: tuple[Any, ...], status: str, behaviour: str) -> None:
    answer = Answer()
    read = run(answer.of(*steps))
    assert answer.record.message.status == status
    assert read[-1] == ("close", {"click_behavior": behaviour})


@pytest.mark.parametrize(
    ("error", "kind", "said", "reason"),
    [
        (UpstreamError("slow down", type="rate_limit_reached"), "rate_limit_reached", "slow down", None),
        (UpstreamError("no such model", type="not_found"), "not_found", "no such model", "generation_err"),
        (EventTooLarge("too large"), "event_too_large", "too large", "generation_err"),
        (BadInput("no address"), "upstream_error", "no address", "generation_err"),
        (Told("a bug"), "internal_error", "the gateway failed: Told: a bug", "generation_err"),
    ],
)
def test_whatever_an_upstream_raises_its_readers_learn_it(
    error: Exception, kind: str, said: str, reason: str | None
) -> None:
    answer = Answer()
    read = run(answer.of(says("half"), error))
    assert answer.record.message.error is not None
    assert answer.record.message.error.to_dict() == {"type": kind, "message": said}
    assert answer.record.message.content == "half"
    hint = {"type": "error", "content": said, "clear_response": False, "finish_reason": reason or kind}
    assert read[-2:] == [("hint", hint), ("close", {"click_behavior": "retry"})]


@pytest.mark.parametrize(
    ("steps", "kind", "said"),
    [
        (
            (ConnectionFailed("nobody there"),),
            "connection_failed",
            "no answer from the model server: nobody there",
        ),
        ((thinks("Hm"), ConnectionFailed("reset")), "upstream_interrupted", "resume to have it continued"),
        ((thinks("Hm"),), "upstream_interrupted", "resume to have it continued"),
        ((TimedOut("no answer within 60 s"),), "timeout", "no answer within 60 s"),
        ((says("half"), TimedOut("silent for 120 s")), "timeout", "silent for 120 s"),
        ((), "upstream_interrupted", "resume to have it continued"),
    ],
)
def test_a_lost_server_is_told_from_one_that_never_was_there(
    steps: tuple[Any, ...], kind: str, said: str
) -> None:
    answer = Answer()
    run(answer.of(*steps))
    error = answer.record.message.error
    assert error is not None and error.type == kind and said in error.message


def test_an_answer_that_has_ended_is_replayed_to_its_end() -> None:
    async def replay() -> list[tuple[str, Any]]:
        answer = Answer()
        await answer.of(says("whole"), *finished())
        return await replayed(answer)

    read = run(replay())
    assert [name for name, _ in read] == [
        "ready",
        "update_session",
        "message",
        "finish",
        "update_session",
        "close",
    ]
    assert read[2][1]["v"]["response"]["content"] == "whole"


def test_a_server_that_has_begun_and_says_nothing_yet_changes_nothing() -> None:
    answer = Answer()
    read = run(answer.of([], says("a"), [], *finished()))
    assert (answer.record.message.content, answer.record.message.status) == ("a", "finished")
    assert len([name for name, _ in read if name == "message"]) == 4  # snapshot, text, reason, status


def test_what_the_upstream_says_about_itself_reaches_the_readers() -> None:
    notice = Patch("response/notice", "SET", "trying again")
    handle = Patch("response/upstream", "SET", {"server": "s", "id": 7})
    way = Patch("response/continuation", "SET", "native")
    answer = Answer()
    read = run(answer.of([notice], [Patch("response/notice", "SET", None), handle, way], *finished()))
    paths = [data.get("p") for name, data in read if name == "message"]
    assert paths[1:5] == [notice.path, notice.path, handle.path, way.path]
    assert answer.record.document.get("response/upstream") == {"server": "s", "id": 7}


@pytest.mark.parametrize("end", [UpstreamError("gone"), None])
def test_an_answer_that_has_ended_no_longer_says_that_it_waits(end: Exception | None) -> None:
    async def ended() -> Answer:
        waiting = Patch("response/notice", "SET", "trying again in 2.0 s")
        answer, upstream = Answer(), Scripted(waiting, *([end] if end else [asyncio.Event()]))
        generation = answer.generation()
        reader = generation.log.attach()
        generation.start(upstream, REQUEST)
        if end is None:
            await upstream.waits.wait()
            await generation.stop()
        await events(reader)
        return answer

    assert run(ended()).record.document.get("response/notice") is None


# ---- how it is counted ----


@pytest.mark.parametrize(
    ("steps", "counted"),
    [
        (finished(), ['streams_total{api="patches",outcome="ok"} 1.0']),
        (finished("length"), ['streams_total{api="patches",outcome="ok"} 1.0']),
        (filtered(), ['streams_total{api="patches",outcome="ok"} 1.0']),
        (
            [UpstreamError("slow down", type="rate_limit_reached")],
            [
                'streams_total{api="patches",outcome="failed"} 1.0',
                'errors_total{kind="rate_limit_reached"} 1.0',
            ],
        ),
        (
            [TimedOut("too slow")],
            ['streams_total{api="patches",outcome="timed_out"} 1.0', 'errors_total{kind="timeout"} 1.0'],
        ),
    ],
)
def test_each_generation_is_counted_by_how_it_ended(steps: list[Any], counted: list[str]) -> None:
    answer = Answer()
    run(answer.of(says("a"), *steps))
    assert answer.counted == [f"ssechat_{line}" for line in counted]


def test_who_stops_has_cancelled_it() -> None:
    answer, _ = run(stopped_while_it_waits(says("half")))
    assert answer.counted == ['ssechat_streams_total{api="patches",outcome="cancelled"} 1.0']


# ---- readers who leave ----


async def left_while_it_waits(on_disconnect: OnDisconnect, *, back: bool = False) -> tuple[Answer, Scripted]:
    """Let the only reader leave while the upstream waits, and perhaps come back at once."""
    answer, upstream = Answer(), Scripted(says("half"), event := asyncio.Event(), *finished())
    generation = answer.generation()
    reader = generation.log.attach()
    generation.start(upstream, REQUEST, on_disconnect)
    await upstream.waits.wait()
    reader.close()
    if back:
        again = generation.log.attach()
        event.set()
        await events(again)
    await upstream.closed.wait()
    return answer, upstream


@pytest.mark.parametrize(
    ("on_disconnect", "said"),
    [
        (OnDisconnect("cancel", 0.0), "the answer was cancelled when its last reader had left"),
        (OnDisconnect("cancel", 0.01), "the answer was cancelled 0.01 s after its last reader had left"),
        (OnDisconnect("continue", 0.01), "nobody has read this answer for 0.01 s, so it was ended"),
    ],
)
def test_an_answer_that_nobody_reads_ends_after_the_grace(on_disconnect: OnDisconnect, said: str) -> None:
    answer, _ = run(left_while_it_waits(on_disconnect))
    message = answer.record.message
    assert (message.status, message.content) == ("failed", "half")
    assert message.error is not None
    assert message.error.to_dict() == {
        "type": "abandoned",
        "message": f"{said}; resume to have it continued",
    }
    assert answer.ends == 1
    assert answer.counted == ['ssechat_streams_total{api="patches",outcome="cancelled"} 1.0']


def test_a_reader_who_comes_back_in_time_keeps_the_answer_alive() -> None:
    answer, _ = run(left_while_it_waits(OnDisconnect("cancel", 0.0), back=True))
    assert (answer.record.message.status, answer.counted) == (
        "finished",
        ['ssechat_streams_total{api="patches",outcome="ok"} 1.0'],
    )


def test_readers_who_leave_at_the_end_change_nothing() -> None:
    async def end() -> Answer:
        answer = Answer()
        generation = answer.generation()
        reader = generation.log.attach()
        generation.start(Scripted(says("whole"), *finished()), REQUEST, OnDisconnect("cancel", 0.0))
        await events(reader)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return answer

    answer = run(end())
    assert (answer.record.message.status, answer.ends) == ("finished", 1)


# ---- stop ----


async def stopped_while_it_waits(*steps: Any, stubborn: bool = False) -> tuple[Answer, Any]:
    """Stop a generation that waits after `steps`; what a reader got of it, too."""
    answer = Answer()
    upstream = Scripted(
        *steps, asyncio.Event(), says(" too late"), *finished(), clock=answer.clock, stubborn=stubborn
    )
    generation = answer.generation()
    reader = generation.log.attach()
    generation.start(upstream, REQUEST)
    await upstream.waits.wait()
    assert generation.running
    await generation.stop()
    assert not generation.running
    assert upstream.closed.is_set()  # stop returns when the connection is closed, not before
    return answer, await events(reader)


@pytest.mark.parametrize("steps", [(), (thinks("Hm"),), (says("half"),)])
def test_stop_keeps_what_stands_and_closes_the_upstream(steps: tuple[Any, ...]) -> None:
    answer, read = run(stopped_while_it_waits(*steps))
    message = answer.record.message
    assert (message.status, message.finish_reason) == ("stopped", "stopped")
    assert message.thinking + message.content == "".join(step.value for step in steps)
    assert read[-1] == ("close", {"click_behavior": "continue"})
    assert names(read).count("close") == answer.ends == 1


def test_stop_in_mid_thinking_tells_how_long_it_thought() -> None:
    answer, read = run(stopped_while_it_waits(thinks("Hm"), 4.0))
    assert answer.record.message.thinking_seconds == 4.0
    data = [data for name, data in read if name == "message"]
    assert [frame.get("p") for frame in data[-3:]] == [ELAPSED, "response/finish_reason", STATUS]


def test_an_upstream_that_will_not_end_cannot_add_to_a_stopped_answer() -> None:
    answer, _ = run(stopped_while_it_waits(says("half"), stubborn=True))
    assert (answer.record.message.status, answer.record.message.content) == ("stopped", "half")


def test_stop_before_the_start_seals_an_empty_answer() -> None:
    async def stop() -> Answer:
        answer = Answer()
        generation = answer.generation()
        await generation.stop()
        return answer

    message = run(stop()).record.message
    assert (message.status, message.content) == ("stopped", "")


def test_stop_before_the_upstream_had_its_first_turn_works_too() -> None:
    async def stop() -> Answer:
        answer = Answer()
        generation = answer.generation()
        reader = generation.log.attach()
        generation.start(Scripted(says("never")), REQUEST)
        await generation.stop()
        assert names(await events(reader))[-1] == "close"
        return answer

    message = run(stop()).record.message
    assert (message.status, message.content) == ("stopped", "")


def test_stop_after_the_end_changes_nothing() -> None:
    async def stop() -> Answer:
        answer = Answer()
        generation = answer.generation()
        reader = generation.log.attach()
        generation.start(Scripted(says("whole"), *finished()), REQUEST)
        await events(reader)
        await generation.stop()
        await generation.fail("late", "too late")
        return answer

    answer = run(stop())
    assert (answer.record.message.status, answer.ends) == ("finished", 1)


def test_of_many_who_end_it_at_once_the_first_decides() -> None:
    async def end() -> tuple[Answer, list[tuple[str, Any]]]:
        answer = Answer()
        upstream = Scripted(says("half"), asyncio.Event())
        generation = answer.generation()
        reader = generation.log.attach()
        generation.start(upstream, REQUEST)
        await upstream.waits.wait()
        await asyncio.gather(
            generation.fail("gateway_closed", "closing"), generation.stop(), generation.stop()
        )
        return answer, await events(reader)

    answer, read = run(end())
    assert answer.record.message.error is not None
    assert answer.record.message.error.type == "gateway_closed"
    assert names(read).count("close") == answer.ends == 1


def test_a_reader_who_comes_after_a_stop_finds_the_stopped_answer() -> None:
    async def late() -> list[tuple[str, Any]]:
        answer, _ = await stopped_while_it_waits(says("half"))
        return await replayed(answer)

    response = run(late())[2][1]["v"]["response"]
    assert (response["status"], response["content"]) == ("INCOMPLETE", "half")


def test_the_end_touches_the_session() -> None:
    async def touched() -> Answer:
        answer = Answer()
        now = Clock(77.0)
        answer.session = Session("s", now=now)
        answer.session.add_prompt("x", None)
        now.now = 78.5
        await answer.of(says("a"), *finished())
        return answer

    assert run(touched()).session.updated_at == 78.5
