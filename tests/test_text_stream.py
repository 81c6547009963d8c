"""A stream of text: who says what they have had gets the rest, from whichever worker, and nothing is kept for them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ssechat.gateway.cursor import Cursor
from jupyter_ssechat.gateway.log import Reader
from jupyter_ssechat.gateway.sessions import Record, Session
from jupyter_ssechat.gateway.stores.store import Row
from jupyter_ssechat.gateway.text_stream import MOST_TEXT, TextStream
from jupyter_ssechat.message import failed, finished
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.sse import SSEDecoder
from jupyter_ssechat.wire_json import dumps, loads

CONTENT, THINKING = "response/content", "response/thinking_content"


@dataclass
class Client:
    """What somebody has who listens to all events: the texts, the names, the last id."""

    texts: dict[str, str] = field(default_factory=lambda: {"content": "", "thinking": ""})
    names: list[str] = field(default_factory=list[str])
    ids: list[str] = field(default_factory=list[str])

    def take(self, reader: Reader) -> Client:
        decoder = SSEDecoder()
        while piece := reader.take():
            for event in decoder.feed(piece):
                self.names.append(event.event)
                self.ids.append(event.id)
                kind = "thinking" if "thinking" in event.event else "content"
                text = json.loads(event.data).get("content", "")
                replaced = event.event.startswith("replace")
                self.texts[kind] = text if replaced else self.texts[kind] + text
        return self

    @property
    def cursor(self) -> Cursor | None:
        return Cursor.read(self.ids[-1]) if self.ids else None


def says(text: str, path: str = CONTENT) -> Patch:
    return Patch(path, "APPEND", text)


class Answer:
    """An answer that one worker after the other has a stream of."""

    def __init__(self) -> None:
        self.session = Session("the-chat", lambda: 0.0)
        prompt = self.session.add_prompt("x", None)
        record = self.session.add_answer(prompt.message_id, model="", thinking=True, search=False)
        self.stream = self._stream(record)

    def _stream(self, record: Record) -> TextStream:
        self.record = record
        return TextStream(self.session, record, retry=7)

    def move(self) -> None:
        """Have another worker show it, which knows what was stored and nothing else."""
        row = self.record.to_row()
        document = loads(dumps(row.document))
        self.stream = self._stream(Record.stored(Row(2, 1, "ASSISTANT", document)))


def on_a_loop(test: Callable[[Answer], None]) -> None:
    async def run() -> None:
        test(Answer())

    asyncio.run(run())


def test_ready_is_first_and_an_end_is_last() -> None:
    def test(answer: Answer) -> None:
        reader = answer.stream.attach()
        answer.stream.write([says("a"), says("Hm", THINKING), *finished()])
        answer.stream.end()
        client = Client().take(reader)
        assert client.names == ["ready", "message", "thinking", "close"]
        assert reader.ended

    on_a_loop(test)


def test_each_connection_begins_with_the_time_to_wait_and_no_event_of_its_own() -> None:
    def test(answer: Answer) -> None:
        answer.stream.write([says("a")])
        client = Client().take(answer.stream.attach())
        again = answer.stream.attach(client.cursor)
        assert again.take() == b"retry: 7\n"
        answer.stream.write([says("b")])
        assert again.take().startswith(b"id: the-chat-")

    on_a_loop(test)


def test_who_has_all_is_told_nothing_and_then_what_is_new() -> None:
    def test(answer: Answer) -> None:
        answer.stream.write([says("Hm", THINKING), says("a🎉")])
        client = Client().take(answer.stream.attach())
        answer.move()
        reader = answer.stream.attach(client.cursor)
        client.take(reader)
        assert client.names == ["ready", "thinking", "message"]
        answer.stream.write([says("b")])
        assert client.take(reader).texts == {"thinking": "Hm", "content": "a🎉b"}

    on_a_loop(test)


@pytest.mark.parametrize("heard", [2, 3])
def test_a_failure_is_told_once_and_its_end_too(heard: int) -> None:
    def test(answer: Answer) -> None:
        reader = answer.stream.attach()
        answer.stream.write([says("half"), *failed("timeout", "late")])
        answer.stream.end()
        whole = Client().take(reader)
        assert whole.names == ["ready", "message", "error", "close"]
        answer.move()
        answer.stream.end()
        rest = Client().take(answer.stream.attach(Cursor.read(whole.ids[heard - 1])))
        assert rest.names == whole.names[heard:]

    on_a_loop(test)


def test_what_was_taken_back_meanwhile_is_replaced_and_what_stands_is_not() -> None:
    def test(answer: Answer) -> None:
        answer.stream.write([says("Hm", THINKING), says("bad")])
        client = Client().take(answer.stream.attach())
        answer.stream.write([Patch(CONTENT, "SET", "Sorry."), says(" No.")])
        answer.move()
        client.take(answer.stream.attach(client.cursor))
        assert client.names[3:] == ["replace"]
        assert client.texts == {"thinking": "Hm", "content": "Sorry. No."}

    on_a_loop(test)


def test_a_text_that_comes_again_has_other_ids() -> None:
    def test(answer: Answer) -> None:
        reader = answer.stream.attach()
        answer.stream.write([says("a"), says("b"), Patch(CONTENT, "SET", "a"), says("b")])
        client = Client().take(reader)
        assert client.names == ["ready", "message", "message", "replace", "message"]
        assert len(set(client.ids)) == len(client.ids)

    on_a_loop(test)


def test_a_long_text_comes_in_several_events_each_of_which_can_be_the_last() -> None:
    text = "é🎉x" * MOST_TEXT

    def test(answer: Answer) -> None:
        answer.stream.write([says("bad")])
        before = Client().take(answer.stream.attach())
        answer.stream.write([Patch(CONTENT, "SET", text)])
        whole = Client(dict(before.texts)).take(answer.stream.attach(before.cursor))
        assert whole.names == ["replace", "message", "message"]
        assert whole.texts["content"] == text
        had = Client({"content": text[:MOST_TEXT], "thinking": ""})
        rest = had.take(answer.stream.attach(Cursor.read(whole.ids[0])))
        assert (rest.names, rest.texts["content"]) == (["message", "message"], text)

    on_a_loop(test)


def test_nothing_is_kept_for_those_who_may_come_back() -> None:
    def test(answer: Answer) -> None:
        for _ in range(10_000):
            answer.stream.write([says("word ")])
        assert len(answer.stream._frames) < 300
        client = Client().take(answer.stream.attach())
        assert client.texts["content"] == "word " * 10_000

    on_a_loop(test)


def test_to_hand_over_is_to_end_without_a_word() -> None:
    def test(answer: Answer) -> None:
        reader = answer.stream.attach()
        answer.stream.write([says("a")])
        answer.stream.hand_over()
        client = Client().take(reader)
        assert client.names == ["ready", "message"]
        assert reader.ended

    on_a_loop(test)


PIECES = st.sampled_from(["a", "é", "🎉", "\ud83c", "\udf89", "\u2028", "data: x\r\n\r\n", "long" * 9])
STEPS = st.one_of(
    st.builds(says, PIECES, st.sampled_from([CONTENT, THINKING])),
    st.builds(lambda path, text: Patch(path, "SET", text), st.sampled_from([CONTENT, THINKING]), PIECES),
    st.sampled_from(["cut", "move"]),
)


@given(st.lists(STEPS, max_size=12))
def test_a_client_that_is_cut_and_comes_to_any_worker_ends_with_the_text(steps: list[Patch | str]) -> None:
    def test(answer: Answer) -> None:
        client = Client()
        reader = answer.stream.attach()
        for step in [*steps, "cut"]:
            if isinstance(step, Patch):
                answer.stream.write([step])
                continue
            if step == "move":
                client.take(reader)
                answer.move()
            else:
                client.take(reader)
            reader = answer.stream.attach(client.cursor)
        client.take(reader)
        assert client.names[:1] == ["ready"] and client.names.count("ready") == 1
        for kind in ("content", "thinking"):
            said = answer.record.message.told(kind)
            assert client.texts[kind].encode("utf-16", "surrogatepass") == said.encode(
                "utf-16", "surrogatepass"
            )

    on_a_loop(test)
