"""Sessions as a worker knows them: found, listed, deleted, and changed by one at a time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from jupyter_ssechat.errors import Expired, InvalidRequest, NotFound
from jupyter_ssechat.gateway.bodies import SavedMessage
from jupyter_ssechat.gateway.sessions import Record, Session
from jupyter_ssechat.gateway.stored_sessions import StoredSessions
from jupyter_ssechat.gateway.stores import memory
from jupyter_ssechat.gateway.stores.memory import MemoryStore
from jupyter_ssechat.gateway.stores.store import Key, Row


class Calendar:
    """Seconds since the epoch, one more each time somebody looks."""

    def __init__(self) -> None:
        self._seconds = itertools.count(1000)

    def __call__(self) -> float:
        return float(next(self._seconds))


def nobody(_: Key, __: Row) -> Record | None:
    return None


def on(store: MemoryStore) -> StoredSessions:
    """The sessions of one more worker."""
    return StoredSessions(store, Calendar(), nobody, owner="w", lease=10.0)


def run(test: Callable[[StoredSessions], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(test(on(MemoryStore())), 30))  # type: ignore[arg-type]


def says(prompt: str, parent: int | None = None) -> Callable[[Session], Record]:
    return lambda session: session.add_prompt(prompt, parent)


def test_a_session_is_found_by_its_id_until_it_is_deleted() -> None:
    async def test(found: StoredSessions) -> None:
        one, two = await found.create(), await found.create()
        assert one.id != two.id
        assert (await found.get(one.id)).id == one.id
        await found.delete(one.id)
        with pytest.raises(Expired) as error:
            await found.get(one.id)
        assert (error.value.status, error.value.biz_code) == (410, 27)
        assert (await found.get(two.id)).id == two.id
        with pytest.raises(Expired):
            await found.delete(one.id)

    run(test)


@pytest.mark.parametrize("session_id", ["", "none", "../s"])
def test_a_session_that_never_was_is_not_found(session_id: str) -> None:
    async def test(found: StoredSessions) -> None:
        with pytest.raises(NotFound) as error:
            await found.get(session_id)
        assert (error.value.status, error.value.biz_code) == (404, 26)
        with pytest.raises(NotFound):
            await found.delete(session_id)

    run(test)


def test_sessions_are_listed_with_the_one_changed_last_first() -> None:
    async def test(found: StoredSessions) -> None:
        one, two, three = [(await found.create()).id for _ in range(3)]
        assert [head.id for head in await found.all()] == [three, two, one]
        await found.change(one, says("x"))
        assert [head.id for head in await found.all()] == [one, three, two]

    run(test)


def test_of_the_deleted_only_the_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "REMEMBERED", 3)

    async def test(found: StoredSessions) -> list[type[Exception]]:
        gone = [(await found.create()).id for _ in range(5)]
        for session_id in gone:
            await found.delete(session_id)
        kinds: list[type[Exception]] = []
        for session_id in gone:
            with pytest.raises((NotFound, Expired)) as error:
                await found.get(session_id)
            kinds.append(type(error.value))
        return kinds

    assert run(test) == [NotFound, NotFound, Expired, Expired, Expired]


def test_a_saved_conversation_is_a_session_with_the_old_ids_and_a_wrong_one_is_none() -> None:
    async def test(found: StoredSessions) -> None:
        messages = [SavedMessage(message_id=7, role="USER", content="one")]
        session_id = (await found.restore(messages)).id
        await found.change(session_id, says("two"))
        assert list((await found.get(session_id)).records) == [7, 8]
        with pytest.raises(InvalidRequest, match=r"chat_messages\[1\]"):
            await found.restore(messages * 2)
        assert [head.id for head in await found.all()] == [session_id]

    run(test)


def test_what_one_worker_changes_the_others_see() -> None:
    async def test() -> None:
        store = MemoryStore(shared=True)
        here, there = on(store), on(store)
        session_id = (await here.create()).id
        await here.change(session_id, says("one"))
        await there.change(session_id, says("two"))
        for each in (here, there):
            session = await each.get(session_id)
            assert [record.message.content for record in session.records.values()] == ["one", "two"]
            assert session.title == "one"

    asyncio.run(test())


def test_whoever_changes_at_the_same_time_gets_a_number_of_their_own() -> None:
    async def test() -> None:
        store = MemoryStore(shared=True)
        workers = [on(store) for _ in range(3)]
        session_id = (await workers[0].create()).id
        changes = [workers[n % 3].change(session_id, says(str(n))) for n in range(30)]
        made = [record.message_id for _, record in await asyncio.gather(*changes)]
        session = await workers[0].get(session_id)
        assert sorted(made) == list(range(1, 31)) == sorted(session.records)
        assert sorted(int(one.message.content) for one in session.records.values()) == list(range(30))

    asyncio.run(test())


def test_what_cannot_be_leaves_the_session_as_it_was() -> None:
    async def test(found: StoredSessions) -> None:
        session_id = (await found.create()).id
        await found.change(session_id, says("one"))

        def act(session: Session) -> None:
            session.add_prompt("two", None)
            session.add_prompt("three", 1)

        with pytest.raises(InvalidRequest):
            await found.change(session_id, act)
        session = await found.get(session_id)
        assert (list(session.records), session.version) == ([1], 1)

    run(test)
