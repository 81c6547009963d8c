"""The consumer's thread, and batches: the first text at once, then thirty times a second, whole and in order."""

from __future__ import annotations

import asyncio
import contextvars
import selectors
import threading
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ssechat.consumer import FLUSH_SECONDS, Batcher, Consumer, sendable, shared_consumer
from jupyter_ssechat.patches import Document, Patch, mend

T = TypeVar("T")
CONTENT = "response/content"
THINKING = "response/thinking_content"
who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


# ---- time that passes only when everybody waits ----


class Waiting(selectors.DefaultSelector):
    """Instead of waiting, lets the time pass."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return super().select(0)


class InNoTime(asyncio.SelectorEventLoop):
    """An event loop whose clock begins at 0 and goes on as soon as there is nothing else to do."""

    def __init__(self) -> None:
        self.waiting = Waiting()
        super().__init__(self.waiting)

    def time(self) -> float:
        return self.waiting.now


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=InNoTime) as runner:
        return runner.run(coroutine)


class Sink:
    """What a view gets: batches, and when."""

    def __init__(self) -> None:
        self.batches: list[list[Patch]] = []
        self.times: list[float] = []

    def __call__(self, batch: list[Patch]) -> None:
        self.batches.append(batch)
        self.times.append(round(asyncio.get_running_loop().time(), 4))

    @property
    def document(self) -> dict[str, Any]:
        document = Document()
        for patch in (one for batch in self.batches for one in batch):
            assert document.apply(patch)
        return document.snapshot()


def says(text: str) -> Patch:
    return Patch(CONTENT, "APPEND", text)


# ---- batches in their time ----


def test_the_first_text_leaves_at_once_and_what_follows_thirty_times_a_second() -> None:
    async def stream() -> Sink:
        batcher = Batcher(sink := Sink())
        for number in range(1000):
            batcher.add([says(f"{number} ")])
            await asyncio.sleep(0.001)
        batcher.flush(last=True)
        return sink

    sink = run(stream())
    assert sink.times[0] == 0.0
    assert sink.batches[0] == [says("0 ")]
    assert 29 <= len(sink.times) <= 32
    gaps = [after - before for before, after in zip(sink.times, sink.times[1:-1], strict=False)]
    assert min(gaps) >= FLUSH_SECONDS - 0.0002
    assert max(gaps) <= FLUSH_SECONDS + 0.002
    assert all(len(batch) == 1 for batch in sink.batches)
    assert sink.document == {"response": {"content": "".join(f"{number} " for number in range(1000))}}


def test_a_slow_stream_has_each_text_at_once() -> None:
    async def stream() -> Sink:
        batcher = Batcher(sink := Sink())
        for word in ("one", "two", "three"):
            batcher.add([says(word)])
            await asyncio.sleep(0.5)
        return sink

    assert run(stream()).times == [0.0, 0.5, 1.0]


def test_what_must_leave_at_once_does_and_takes_along_what_waits() -> None:
    async def stream() -> Sink:
        batcher = Batcher(sink := Sink())
        phase = [Patch("phase", "SET", "waiting")]
        batcher.add(phase)
        batcher.add([says("a")])
        batcher.add([says("b")], at_once=True)
        assert sink.batches == [phase, [says("ab")]]
        await asyncio.sleep(1)
        return sink

    assert len(run(stream()).batches) == 2


def test_nothing_to_say_is_not_said() -> None:
    async def stream() -> Sink:
        batcher = Batcher(sink := Sink())
        batcher.add([])
        batcher.add([says("")])
        batcher.flush(last=True)
        await asyncio.sleep(1)
        return sink

    assert run(stream()).batches == []


def test_a_batch_is_merged_and_in_order() -> None:
    async def stream() -> Sink:
        batcher = Batcher(sink := Sink())
        batcher.add([says("x")])
        thinking = [Patch(THINKING, "APPEND", "h"), Patch(THINKING, "APPEND", "m")]
        usage = [Patch("response/usage", "SET", {"n": 1}), Patch("response/usage", "SET", {"n": 2})]
        for patch in (*thinking, says("a"), says("b"), *usage, says("c")):
            batcher.add([patch])
        batcher.flush()
        return sink

    assert run(stream()).batches[1] == [
        Patch(THINKING, "APPEND", "hm"),
        says("ab"),
        Patch("response/usage", "SET", {"n": 2}),
        says("c"),
    ]


# ---- halves of a character ----


@pytest.mark.parametrize(
    "between", [[], [Patch("phase", "SET", "answering")], [Patch(THINKING, "APPEND", "\ud83d")]]
)
def test_a_pair_that_is_parted_by_a_flush_arrives_whole(between: list[Patch]) -> None:
    async def stream() -> Sink:
        batcher = Batcher(sink := Sink())
        batcher.add([says("a\ud83d")], at_once=True)
        assert sink.batches == [[says("a")]]
        batcher.add([*between, says("\ude00b")], at_once=True)
        batcher.flush(last=True)
        return sink

    assert run(stream()).document["response"]["content"] == "a😀b"


def test_half_a_pair_at_the_end_is_shown_as_such() -> None:
    async def stream() -> Sink:
        batcher = Batcher(sink := Sink())
        batcher.add([says("a\ud83d")])
        batcher.flush(last=True)
        return sink

    assert run(stream()).document["response"]["content"] == "a\ufffd"


@pytest.mark.parametrize("path", [CONTENT, "response", ""])
def test_half_a_pair_does_not_outlive_the_text_it_stood_in(path: str) -> None:
    text = {CONTENT: "new", "response": {"content": "new"}, "": {"response": {"content": "new"}}}[path]

    async def stream() -> Sink:
        batcher = Batcher(sink := Sink())
        batcher.add([says("old\ud83d"), Patch(path, "SET", text), says("er")])
        batcher.flush(last=True)
        return sink

    assert run(stream()).document["response"]["content"] == "newer"


def test_half_a_pair_stays_in_its_own_fragment() -> None:
    last = "response/fragments/-1/content"
    opened = Patch("response/fragments", "APPEND", [{"content": ""}])

    async def stream() -> Sink:
        batcher = Batcher(sink := Sink())
        batcher.add([opened, Patch(last, "APPEND", "a\ud83d")], at_once=True)
        batcher.add([opened, Patch(last, "APPEND", "\ude00b")], at_once=True)
        batcher.flush(last=True)
        return sink

    fragments = run(stream()).document["response"]["fragments"]
    assert [one["content"] for one in fragments] == ["a\ufffd", "\ufffdb"]


pieces = st.text("ab\ud83d\ude00\udc00🎉好", max_size=3)
steps = st.one_of(
    st.builds(Patch, st.sampled_from([CONTENT, THINKING]), st.just("APPEND"), pieces),
    st.builds(Patch, st.sampled_from(["phase", "response/usage"]), st.just("SET"), pieces),
    st.builds(Patch, st.just("response/tips"), st.just("APPEND"), st.lists(pieces, max_size=2)),
    st.floats(0, 0.05),
    st.sampled_from(["flush", "at once"]),
)


def whole(text: str) -> str:
    clean, held = mend(text)
    return clean + ("\ufffd" if held else "")


@given(st.lists(steps, max_size=30))
def test_however_it_is_cut_into_batches_the_text_is_the_same(script: list[Patch | float | str]) -> None:
    async def stream() -> Sink:
        batcher = Batcher(sink := Sink())
        for step in script:
            if isinstance(step, Patch):
                batcher.add([step])
            elif isinstance(step, float):
                await asyncio.sleep(step)
            elif step == "flush":
                batcher.flush()
            else:
                batcher.add([], at_once=True)
        batcher.flush(last=True)
        return sink

    sink = run(stream())
    given = [step for step in script if isinstance(step, Patch)]
    response = sink.document.get("response", {})
    for path, name in ((CONTENT, "content"), (THINKING, "thinking_content")):
        text = "".join(patch.value for patch in given if patch.path == path)
        assert response.get(name, "") == whole(text)
    tips = [whole(tip) for patch in given if patch.path == "response/tips" for tip in patch.value]
    assert response.get("tips", []) == tips
    sets = [patch.value for patch in given if patch.path == "phase"]
    assert sink.document.get("phase") == (whole(sets[-1]) if sets else None)
    str(sink.batches).encode()  # nothing that a comm message could not carry


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (None, None),
        ({"a": ["好\ud83d\ude00", 1.5, True]}, {"a": ["好😀", 1.5, True]}),
        (["\ud83d", "\ude00"], ["\ufffd", "\ufffd"]),
        ({"\ud83d": "\ude00"}, {"\ufffd": "\ufffd"}),
    ],
)
def test_a_value_is_sent_without_lone_halves(value: Any, sent: Any) -> None:
    assert sendable(value) == sent


# ---- the thread ----


@contextmanager
def called(name: str) -> Generator[None]:
    token = who.set(name)
    try:
        yield
    finally:
        who.reset(token)


async def asked() -> str:
    return who.get()


def test_a_task_runs_in_the_context_of_its_caller() -> None:
    consumer = shared_consumer()
    with called("one"):
        first = consumer.submit(asked())
    with called("two"):
        second = consumer.submit(asked())
    assert (first.result(10), second.result(10)) == ("one", "two")


def test_a_call_runs_in_the_context_of_its_caller() -> None:
    found: list[str] = []
    over = threading.Event()

    def call() -> None:
        found.append(who.get())
        over.set()

    with called("a caller"):
        shared_consumer().call_soon(call)
    assert over.wait(10)
    assert found == ["a caller"]


def test_a_task_sees_the_caller_also_after_it_has_waited_for_others() -> None:
    gate = asyncio.Event()

    async def waited() -> str:
        await gate.wait()
        return who.get()

    consumer = shared_consumer()
    with called("patient"):
        result = consumer.submit(waited())
    with called("another"):
        consumer.call_soon(gate.set)
    assert result.result(10) == "patient"


def test_it_runs_on_a_thread_of_its_own_and_knows_it() -> None:
    async def here() -> tuple[bool, int]:
        return consumer.is_current, threading.get_ident()

    consumer = shared_consumer()
    inside, thread = consumer.submit(here()).result(10)
    assert inside and thread != threading.get_ident()
    assert not consumer.is_current
    assert consumer.alive


def test_an_error_in_a_task_is_its_callers_and_the_loop_goes_on() -> None:
    async def fails() -> None:
        raise ValueError("mine")

    consumer = shared_consumer()
    with pytest.raises(ValueError, match="mine"):
        consumer.submit(fails()).result(10)
    assert consumer.submit(asked()).result(10) == "nobody"


def test_the_consumer_of_the_process_is_one_whoever_asks_first() -> None:
    found: list[Consumer] = []
    threads = [threading.Thread(target=lambda: found.append(shared_consumer())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert set(found) == {shared_consumer()}
