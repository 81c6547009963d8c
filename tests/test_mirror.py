"""A mirror: each entry once, in order, and the whole where one is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from jupyter_ssechat.dialects.deepseek import DeepSeek
from jupyter_ssechat.gateway.audience import Audience
from jupyter_ssechat.gateway.mirror import Mirror
from jupyter_ssechat.gateway.sessions import Record, Session
from jupyter_ssechat.gateway.stores.store import Entry, Position, Row
from jupyter_ssechat.message import Message, finished, stopped
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.sse import SSEDecoder


def says(seq: int, word: str, fence: int = 1) -> Entry:
    return Entry(Position(fence, seq), [Patch("response/content", "APPEND", word)])


class Shown:
    """A mirror, and what a reader from the beginning has of it."""

    def __init__(self) -> None:
        session = Session("s", lambda: 1.0)
        prompt = session.add_prompt("x", None)
        record = session.add_answer(prompt.message_id, model="", thinking=True, search=False)
        self.row: Row = replace(record.to_row(), epoch=1, fence=1, running=True)
        self.mirror = Mirror(session, Record.stored(self.row), Audience())
        self._reader = self.mirror.stream.attach()
        self._decoder, self._dialect, self._message = SSEDecoder(), DeepSeek(), Message()

    def stored(self, content: str, position: Position, *tail: Entry) -> Row:
        """The row with a document at a position, and entries after it."""
        record = Record.stored(self.row)
        record.apply([Patch("response/content", "SET", content)])
        return replace(self.row, document=record.document.snapshot(), position=position, tail=tail)

    @property
    def message(self) -> Message:
        while piece := self._reader.take():
            for event in self._decoder.feed(piece):
                for patch in self._dialect.feed(event):
                    self._message.apply(patch)
        return self._message


def on_a_loop(test: Callable[[Shown], None]) -> None:
    async def run() -> None:
        test(Shown())

    asyncio.run(run())


def test_what_comes_twice_is_shown_once() -> None:
    def test(shown: Shown) -> None:
        assert shown.mirror.take([says(1, "a"), says(2, "b")])
        assert shown.mirror.take([says(1, "a"), says(2, "b"), says(3, "c")])
        assert shown.message.content == "abc"

    on_a_loop(test)


def test_what_is_missing_is_noticed_and_nothing_is_shown_out_of_order() -> None:
    def test(shown: Shown) -> None:
        assert shown.mirror.take([says(1, "a")])
        assert not shown.mirror.take([says(3, "c")])
        assert shown.message.content == "a"
        shown.mirror.catch_up(shown.stored("ab", Position(1, 2), says(3, "c"), says(4, "d")))
        assert shown.message.content == "abcd"
        assert shown.mirror.take([says(5, "e")])
        assert shown.message.content == "abcde"

    on_a_loop(test)


def test_a_row_that_reaches_back_far_enough_adds_only_what_is_new() -> None:
    def test(shown: Shown) -> None:
        assert shown.mirror.take([says(1, "a")])
        before = shown.mirror.stream.seq
        shown.mirror.catch_up(shown.stored("", Position(0, 0), says(1, "a"), says(2, "b")))
        assert (shown.message.content, shown.mirror.stream.seq - before) == ("ab", 1)

    on_a_loop(test)


def test_an_entry_of_a_newer_owner_follows_the_last_of_the_older_one() -> None:
    def test(shown: Shown) -> None:
        assert shown.mirror.take([says(1, "a"), says(2, "b", fence=2)])
        assert shown.message.content == "ab"

    on_a_loop(test)


def test_what_a_newer_owner_wrote_anew_is_not_what_was_seen() -> None:
    def test(shown: Shown) -> None:
        assert shown.mirror.take([says(1, "a"), says(2, "lost")])
        assert not shown.mirror.take([says(2, "b", fence=2)])
        shown.mirror.catch_up(shown.stored("", Position(0, 0), says(1, "a"), says(2, "b", fence=2)))
        assert shown.message.content == "ab"

    on_a_loop(test)


def test_it_ends_with_the_last_entry_and_once() -> None:
    def test(shown: Shown) -> None:
        assert shown.mirror.take([says(1, "a"), Entry(Position(1, 2), finished())])
        shown.mirror.end(stopped())
        assert (shown.mirror.ended, shown.message.status, shown.mirror.record.running) == (
            True,
            "finished",
            False,
        )

    on_a_loop(test)


def test_a_row_that_has_ended_ends_it() -> None:
    def test(shown: Shown) -> None:
        assert shown.mirror.take([says(1, "a")])
        ended = Record.stored(shown.stored("abc", Position(1, 9)))
        ended.apply(finished())
        shown.mirror.catch_up(replace(shown.row, document=ended.document.snapshot(), running=False))
        assert (shown.mirror.ended, shown.message.status, shown.message.content) == (True, "finished", "abc")

    on_a_loop(test)
