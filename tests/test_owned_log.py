"""The log of an owner: nothing is seen before the store has it, and what is pending is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from jupyter_ssechat.gateway import owned_log
from jupyter_ssechat.gateway.audience import Audience
from jupyter_ssechat.gateway.mirror import Mirror
from jupyter_ssechat.gateway.owned_log import DirectLog, OwnedLog
from jupyter_ssechat.gateway.sessions import Session
from jupyter_ssechat.gateway.stores.store import Append, Claim, Head, Key, Outcome, Verdict
from jupyter_ssechat.message import finished
from jupyter_ssechat.patches import Patch


class Owner:
    """A log and what it asks for."""

    def __init__(self, kind: type[OwnedLog] = OwnedLog) -> None:
        session = Session("s", lambda: 1.0)
        prompt = session.add_prompt("x", None)
        record = session.add_answer(prompt.message_id, model="", thinking=True, search=False)
        record.epoch = record.fence = 1
        self.mirror = Mirror(session, record, Audience())
        self.asked = self.settled = 0
        self.log = kind(Claim(Key("s", 2, 1), 1, "w"), self.mirror, self._asks, self._settles)

    def _asks(self, _: OwnedLog) -> None:
        self.asked += 1

    def _settles(self, _: OwnedLog) -> None:
        self.settled += 1

    def say(self, *words: str) -> None:
        self.log.write([Patch("response/content", "APPEND", word) for word in words])

    def end(self) -> None:
        self.log.write(finished())
        self.log.end()

    def next(self) -> Append:
        append = self.log.next()
        assert append is not None
        return append

    def settle(self, verdict: Verdict = "ok") -> Append:
        append = self.next()
        self.log.settle(Outcome(verdict))
        return append

    @property
    def shown(self) -> str:
        return self.mirror.record.message.content


def run(test: Callable[[Owner], Awaitable[Any]], owner: type[OwnedLog] = OwnedLog) -> None:
    async def whole() -> None:
        await asyncio.wait_for(test(Owner(owner)), 10)

    asyncio.run(whole())


def test_what_was_written_is_shown_when_the_store_has_it() -> None:
    async def test(owner: Owner) -> None:
        owner.say("a", "b")
        owner.say("c")
        append = owner.next()
        assert (owner.shown, append.seq, append.document) == ("", 1, None)
        assert list(append.patches) == [Patch("response/content", "APPEND", "abc")]
        owner.say("d")
        assert owner.next() is append  # one at a time, and the same until it is there
        owner.settle()
        assert (owner.shown, owner.settle().seq, owner.shown) == ("abc", 2, "abcd")
        assert owner.log.next() is None

    run(test)


def test_the_end_brings_the_whole_document() -> None:
    async def test(owner: Owner) -> None:
        owner.say("a")
        owner.end()
        append = owner.settle()
        assert append.ended_at == 1.0 and append.document is not None
        assert append.document["response"]["status"] == "FINISHED"
        assert (owner.mirror.ended, owner.settled, owner.log.settled.is_set()) == (True, 1, True)
        assert owner.log.next() is None

    run(test)


def test_who_looks_at_the_session_meanwhile_does_not_change_when_it_ended() -> None:
    async def test(owner: Owner) -> None:
        owner.end()
        owner.mirror.session.become(Head("s", "", 0.5, 1))  # as the store still has it
        assert owner.settle().ended_at == 1.0

    run(test)


def test_what_the_store_has_lost_is_written_anew_as_a_whole() -> None:
    async def test(owner: Owner) -> None:
        owner.say("a")
        owner.settle()
        owner.say("b")
        lost = owner.settle("behind")
        owner.say("c")
        again = owner.settle()
        assert (lost.seq, again.seq, lost.document) == (2, 2, None)
        assert again.document is not None and again.document["response"]["content"] == "abc"
        assert owner.shown == "abc"

    run(test)


def test_who_is_fenced_writes_and_shows_no_more() -> None:
    async def test(owner: Owner) -> None:
        owner.say("a")
        owner.settle("fenced")
        owner.say("b")
        owner.log.lose()
        assert (owner.shown, owner.log.closed, owner.log.next(), owner.settled) == ("", True, None, 1)
        assert not owner.mirror.ended  # it goes on elsewhere

    run(test)


def test_where_the_session_is_gone_the_readers_who_are_here_see_the_end() -> None:
    async def test(owner: Owner) -> None:
        owner.say("a")
        owner.settle("gone")
        assert (owner.shown, owner.mirror.record.message.status, owner.settled) == ("a", "stopped", 1)

    run(test)


def test_a_store_that_is_behind_holds_the_model_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owned_log, "MOST_PENDING_BYTES", 1000)

    async def test(owner: Owner) -> None:
        owner.say("a" * 500)
        await owner.log.room()
        owner.say("b" * 1500)
        waiting = asyncio.create_task(owner.log.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        owner.settle()
        await waiting

    run(test)


def test_the_documents_of_a_long_answer_are_no_more_than_twice_its_text() -> None:
    async def test(owner: Owner) -> None:
        sizes: list[int] = []
        for _ in range(300):
            owner.say("x" * 10_000)
            if (document := owner.settle().document) is not None:
                sizes.append(len(document["response"]["content"]))
        assert sizes and sum(sizes) <= 2 * 300 * 10_000

    run(test)


def test_in_a_store_that_nobody_else_reads_all_is_shown_at_once_and_written_at_the_end() -> None:
    async def test(owner: Owner) -> None:
        owner.say("a", "b")
        assert (owner.shown, owner.asked) == ("ab", 0)
        owner.end()
        append = owner.settle()
        assert append.document is not None and append.document["response"]["content"] == "ab"
        assert owner.mirror.ended

    run(test, DirectLog)
