"""The stream log: whoever reads, from whenever on, however slowly, reads what was written."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ssechat.gateway.event_stream import EventStream
from jupyter_ssechat.gateway.log import KEEP_ALIVE, PIECE_BYTES, Reader, StreamLog, opening
from jupyter_ssechat.patches import Document, Patch, PatchDecoder
from jupyter_ssechat.sse import ServerSentEvent, SSEDecoder
from jupyter_ssechat.wire_json import loads

T = TypeVar("T")
LONG = 60.0
CONTENT = "response/content"


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, 30))


class Writer:
    """A document, and the log that tells of it."""

    def __init__(self, **options: Any) -> None:
        self.document = Document({"response": {"content": "", "status": "WIP", "tips": [], "fragments": []}})
        ready = opening({"stream_id": "s"}, 1.5)
        self.log = StreamLog(self.document, epoch=3, opening=ready, **options)

    def write(self, *patches: Patch) -> None:
        self.log.write([patch for patch in patches if self.document.apply(patch)])

    def say(self, *words: str) -> None:
        self.write(*(Patch(CONTENT, "APPEND", word) for word in words))


class Reading:
    """A reader's own document, made of nothing but the bytes it got."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.raw = b""
        self.frames: AsyncGenerator[bytes] = reader.frames(LONG)

    async def to_end(self) -> None:
        async with aclosing(self.frames) as frames:
            async for frame in frames:
                self.raw += frame

    async def next(self) -> bytes:
        frame = await anext(self.frames)
        self.raw += frame
        return frame

    @property
    def events(self) -> list[ServerSentEvent]:
        return SSEDecoder().feed(self.raw)

    @property
    def document(self) -> dict[str, Any]:
        decoder, document = PatchDecoder(), Document()
        for event in self.events:
            if event.event == "message":
                for patch in decoder.decode(loads(event.data)):
                    assert document.apply(patch)
        assert decoder.ignored == 0
        return document.snapshot()

    @property
    def numbers(self) -> list[str]:
        return re.findall(r"^id: (.*)$", self.raw.decode(), re.M)


words = st.text("ab好🎉\n\r\u2028", max_size=4) | st.sampled_from(["\ud83d", "\ude00", "é"])
patches = st.one_of(
    st.builds(Patch, st.sampled_from([CONTENT, "response/thinking_content"]), st.just("APPEND"), words),
    st.builds(Patch, st.just("response/fragments/-1/content"), st.just("APPEND"), words),
    st.builds(
        Patch,
        st.just("response/fragments"),
        st.just("APPEND"),
        st.just([{"type": "RESPONSE", "content": "x"}]),
    ),
    st.builds(Patch, st.just("response/tips"), st.just("APPEND"), st.lists(words, max_size=2)),
    st.builds(Patch, st.just(CONTENT), st.just("SET"), words),
    st.builds(
        Patch, st.just("response/usage"), st.just("SET"), st.none() | st.just({"n": 1}) | st.integers()
    ),
    st.builds(Patch, st.just(""), st.just("SET"), st.fixed_dictionaries({"response": st.just({"a": "b"})})),
)
# What happens, in order: some patches are written, a reader attaches or leaves, or the readers have their turn.
happenings = st.lists(
    st.one_of(
        st.lists(patches, min_size=1, max_size=4),
        st.just("attach"),
        st.just("leave"),
        st.just("read"),
        st.just("event"),
    ),
    max_size=25,
)


@given(happenings)
def test_a_reader_who_comes_at_any_moment_reaches_the_document_of_the_writer(
    happened: list[str | list[Patch]],
) -> None:
    async def happen() -> None:
        writer = Writer()
        readings: dict[Reading, asyncio.Task[None]] = {}
        begins: list[tuple[Reading, int]] = []
        for what in [*happened, "attach"]:
            if what == "attach":
                reading = Reading(writer.log.attach())
                begins.append((reading, writer.log.seq))
                readings[reading] = asyncio.create_task(reading.to_end())
            elif what == "leave":
                for reading in list(readings)[:1]:
                    readings.pop(reading).cancel()
                    reading.reader.close()
            elif what == "event":
                writer.log.event("title", {"content": "a title"})
            elif what == "read":
                await asyncio.sleep(0)
            elif not isinstance(what, str):
                writer.write(*what)
        writer.log.close()
        await asyncio.gather(*readings.values())
        written = writer.document.snapshot()
        for reading, began in begins:
            if reading in readings:
                assert reading.document == written
                # From the snapshot's number on, each once.
                assert reading.numbers == [f"3-{number}" for number in range(began, writer.log.seq + 1)]
        await asyncio.sleep(0)
        assert writer.log.readers == 0

    run(happen())


def test_a_stream_opens_with_ready_and_the_session_and_then_the_snapshot() -> None:
    async def read() -> Reading:
        writer = Writer()
        writer.say("one")
        reading = Reading(writer.log.attach())
        await reading.next()
        return reading

    reading = run(read())
    # The last one brings a fresh decoder to where the encoder is.
    assert [event.event for event in reading.events] == ["ready", "update_session", "message", "message"]
    assert reading.numbers == ["3-1"]
    assert loads(reading.events[0].data) == {"stream_id": "s"}
    assert loads(reading.events[1].data) == {"updated_at": 1.5}


def test_all_readers_get_the_very_same_bytes() -> None:
    async def read() -> tuple[bytes, bytes]:
        writer = Writer()
        one, two = Reading(writer.log.attach()), Reading(writer.log.attach())
        assert await one.next() == await two.next()
        writer.say("the same")
        return await one.next(), await two.next()

    one, two = run(read())
    assert one is two


def test_what_has_piled_up_is_sent_in_one_piece() -> None:
    async def read() -> Reading:
        writer = Writer()
        reading = Reading(writer.log.attach())
        await reading.next()
        writer.say("one", "two")
        writer.say("three")
        piece = await reading.next()
        assert [loads(event.data)["v"] for event in SSEDecoder().feed(piece)] == ["one", "two", "three"]
        return reading

    run(read())


def test_a_piece_ends_with_the_frame_that_fills_it() -> None:
    async def read() -> None:
        writer = Writer()
        reading = Reading(writer.log.attach())
        await reading.next()
        writer.say(*["x" * 10_000] * 20)
        sizes = [len(await reading.next()) for _ in range(3)]
        assert (
            all(PIECE_BYTES <= size < PIECE_BYTES + 11_000 for size in sizes[:2]) and sizes[2] < PIECE_BYTES
        )
        writer.log.close()
        await reading.to_end()
        assert reading.document == writer.document.snapshot()

    run(read())


def test_a_reader_let_go_in_a_burst_while_it_waits_is_told_so() -> None:
    async def burst() -> None:
        writer = Writer(max_lag=1000)
        reading = Reading(writer.log.attach())
        task = asyncio.create_task(reading.to_end())
        await asyncio.sleep(0)
        writer.say(*["word "] * 1000)  # in one turn of the loop: it had none to read in
        await task
        assert reading.reader.detached and not writer.log.closed

    run(burst())


def test_a_reader_who_lags_too_far_is_let_go_and_comes_back_to_the_whole_text() -> None:
    async def lag() -> None:
        writer = Writer(max_lag=1000)
        slow, quick = Reading(writer.log.attach()), Reading(writer.log.attach())
        for reading in (slow, quick):
            await reading.next()
        for number in range(100):
            writer.say(f"word {number} ")
            await quick.next()
        assert (slow.reader.detached, quick.reader.detached) == (True, False)
        assert writer.log.readers == 1
        await slow.to_end()  # at once, with what it had
        assert slow.document["response"]["content"] == ""

        again = Reading(writer.log.attach())
        writer.say("the end")
        writer.log.close()
        await again.to_end()
        await quick.to_end()
        assert again.document == quick.document == writer.document.snapshot()

    run(lag())


def test_a_reader_within_the_lag_stays() -> None:
    async def stay() -> None:
        writer = Writer(max_lag=100_000)
        slow = Reading(writer.log.attach())
        writer.say(*["word "] * 1000)
        writer.log.close()
        await slow.to_end()
        assert slow.document == writer.document.snapshot()

    run(stay())


@pytest.mark.parametrize("someone_reads", [True, False])
def test_what_every_reader_has_had_is_kept_no_longer(someone_reads: bool) -> None:
    async def blocks() -> int:
        writer = Writer()
        reading = Reading(writer.log.attach())
        await reading.next()
        if not someone_reads:
            await reading.frames.aclose()
        before = sys.getallocatedblocks()
        for number in range(20_000):
            writer.write(Patch("response/usage", "SET", number))
            if someone_reads:
                await anext(reading.frames)
        return sys.getallocatedblocks() - before

    assert run(blocks()) < 2_000


def test_one_reader_who_stands_still_costs_the_lag_and_no_more() -> None:
    async def blocks() -> int:
        writer = Writer(max_lag=50_000)
        slow = Reading(writer.log.attach())
        await slow.next()
        before = sys.getallocatedblocks()
        for number in range(20_000):
            writer.write(Patch("response/usage", "SET", number))
        assert slow.reader.detached
        return sys.getallocatedblocks() - before

    assert run(blocks()) < 2_000


def test_silence_is_filled_with_comments_that_are_no_events() -> None:
    async def silence() -> Reading:
        writer = Writer()
        reading = Reading(reader := writer.log.attach())
        reading.frames = reader.frames(0.001)
        await reading.next()
        assert [await reading.next() for _ in range(3)] == [KEEP_ALIVE] * 3
        writer.say("one")
        while b"one" not in reading.raw:
            await reading.next()
        writer.log.close()
        await reading.to_end()
        assert reading.document == writer.document.snapshot()
        return reading

    reading = run(silence())
    assert KEEP_ALIVE == b": keep-alive\n"
    assert [event.event for event in reading.events] == ["ready", "update_session", "message", "message"]


def test_a_closed_log_replays_its_document_and_ends() -> None:
    async def replay() -> None:
        writer = Writer()
        early = Reading(writer.log.attach())
        writer.say("one ", "two")
        writer.log.event("close", {"click_behavior": "none"})
        writer.log.close()
        writer.log.close()
        late = Reading(writer.log.attach())
        await early.to_end()
        await late.to_end()
        assert early.document == late.document == writer.document.snapshot()
        last = early.events[-1]
        assert (last.event, last.data) == ("close", '{"click_behavior":"none"}')

    run(replay())


def test_closing_wakes_those_who_wait() -> None:
    async def wait() -> None:
        writer = Writer()
        readings = [Reading(writer.log.attach()) for _ in range(3)]
        tasks = [asyncio.create_task(reading.to_end()) for reading in readings]
        await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        writer.log.close()
        await asyncio.gather(*tasks)
        assert writer.log.readers == 0

    run(wait())


def test_a_connection_lost_before_its_first_byte_lets_its_reader_go() -> None:
    async def lose() -> int:
        writer = Writer()

        async def send(_: Any) -> None:
            await asyncio.Event().wait()

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        await EventStream(writer.log.attach(), LONG)({"type": "http"}, receive, send)
        return writer.log.readers

    assert run(lose()) == 0
