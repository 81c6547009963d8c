"""What every store keeps, whichever it is: sessions, rows, logs, requests to stop, ownership."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jupyter_ssechat.errors import BadInput, Expired, NotFound
from jupyter_ssechat.gateway.stores.memory import MemoryStore
from jupyter_ssechat.gateway.stores.opening import store_at
from jupyter_ssechat.gateway.stores.redis import RedisStore
from jupyter_ssechat.gateway.stores.sqlite import LINGER_SECONDS, SQLiteStore
from jupyter_ssechat.gateway.stores.store import (
    START,
    Append,
    Change,
    Claim,
    Head,
    Key,
    Position,
    Row,
    Standing,
    Store,
    StoreUnavailable,
)
from jupyter_ssechat.patches import Patch

from .redis_nodes import RedisNodes
from .redis_server import RedisServer, as_restricted, redis_executable

LEASE = 10.0
ODD = 'a\u2028\U0001f389\x00"\\ 一'


class Clock:
    """Seconds that only the test moves."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


Opened = Callable[[], Store]
Test = Callable[["Case"], Awaitable[None]]


class Case:
    """A store that is empty, its clock, and a second opening of the same data."""

    def __init__(self, opened: Opened, clock: Clock) -> None:
        self.clock = clock
        self.store = opened()
        self._opened = opened
        self._others: list[Store] = []

    def another(self) -> Store:
        """The same data as another worker sees it."""
        if isinstance(self.store, MemoryStore):
            return self.store
        self._others.append(self._opened())
        return self._others[-1]

    async def session(self) -> Head:
        head = Head(str(uuid.uuid4()), "", 1.5)
        await self.store.create(head)
        return head

    async def generation(self) -> Claim:
        """A session with a prompt and an answer that runs."""
        head = await self.session()
        rows = [prompt(1), answer(2)]
        assert await self.store.commit(Change(replace(head, title="t"), rows, "w1", LEASE)) == 1
        return Claim(Key(head.id, 2, 1), 1, "w1")

    async def aclose(self) -> None:
        for store in (self.store, *self._others):
            await store.aclose()


def prompt(message_id: int, parent_id: int | None = None) -> Row:
    return Row(message_id, parent_id, "USER", {"response": {"content": ODD}})


def answer(message_id: int, **more: Any) -> Row:
    fields: dict[str, Any] = {
        "epoch": 1,
        "fence": 1,
        "stream_id": "s",
        "upstream": "u",
        "running": True,
        **more,
    }
    return Row(message_id, message_id - 1, "ASSISTANT", {"response": {"content": ""}}, **fields)


def says(*words: str) -> list[Patch]:
    return [Patch("response/content", "APPEND", word) for word in words]


def appended(claim: Claim, seq: int, *words: str, **more: Any) -> Append:
    return Append(claim, seq, says(*words), **more)


def verdicts(outcomes: Any) -> list[str]:
    return [outcome.verdict for outcome in outcomes]


@pytest.fixture(params=["memory", "sqlite", "redis", "cluster"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Test], None]:
    """Runs a test with a store of each kind."""
    clock = Clock()
    if request.param == "memory":
        opened: Opened = lambda: MemoryStore(shared=True, clock=clock, keep=3600)  # noqa: E731
    elif request.param == "sqlite":
        opened = lambda: SQLiteStore(tmp_path / "store.db", clock=clock, keep=3600)  # noqa: E731
    else:
        fixture = {"redis": "redis_server", "cluster": "redis_nodes"}[request.param]
        server: RedisServer | RedisNodes = request.getfixturevalue(fixture)
        opened = lambda: RedisStore(as_restricted(server.url), clock=clock)  # noqa: E731

    def run(test: Test) -> None:
        async def whole() -> None:
            opened_case = Case(opened, clock)
            try:
                await test(opened_case)
            finally:
                await opened_case.aclose()

        asyncio.run(asyncio.wait_for(whole(), 30))

    return run


Run = Callable[[Test], None]


# ---- sessions and rows ----


def test_a_session_is_as_it_was_created(case: Run) -> None:
    async def test(case: Case) -> None:
        head = await case.session()
        stored = await case.another().load(head.id)
        assert (stored.head, list(stored.rows)) == (head, [])
        assert head in await case.store.heads()

    case(test)


def test_the_newest_session_is_the_first(case: Run) -> None:
    async def test(case: Case) -> None:
        heads = [Head(str(uuid.uuid4()), "", at) for at in (1e9, 3e9, 2e9)]
        for head in heads:
            await case.store.create(head)
        mine = [head for head in await case.store.heads() if head in heads]
        assert mine == [heads[1], heads[2], heads[0]]

    case(test)


def test_a_session_that_never_was_is_not_found_and_a_deleted_one_has_expired(case: Run) -> None:
    async def test(case: Case) -> None:
        head = await case.session()
        await case.store.delete(head.id)
        assert head.id not in [one.id for one in await case.store.heads()]
        calls: list[Callable[[str], Coroutine[Any, Any, Any]]] = [
            case.store.load,
            case.store.delete,
            lambda name: case.store.stop(name, 2, None),
            lambda name: case.store.commit(Change(Head(name, "", 1.0), [])),
        ]
        for call in calls:
            with pytest.raises(Expired):
                await call(head.id)
            with pytest.raises(NotFound):
                await call("never")

    case(test)


def test_rows_come_back_as_they_were_committed(case: Run) -> None:
    async def test(case: Case) -> None:
        head = await case.session()
        asked = {"chat_session_id": head.id, "options": {"x": [1, None, ODD]}}
        rows = [prompt(1), answer(2, running=False, asked=asked, position=Position(1, 7))]
        assert await case.store.commit(Change(replace(head, title=ODD, updated_at=2.5), rows)) == 1
        stored = await case.another().load(head.id)
        assert stored.head == Head(head.id, ODD, 2.5, 1)
        assert [replace(row, tail=()) for row in stored.rows] == rows

    case(test)


def test_the_numbers_of_messages_may_have_gaps(case: Run) -> None:
    async def test(case: Case) -> None:
        head = await case.session()
        rows = [prompt(7), answer(2**53, running=False), prompt(3)]
        await case.store.commit(Change(head, rows))
        found = (await case.store.load(head.id)).rows
        assert sorted(row.message_id for row in found) == [3, 7, 2**53]
        await case.store.delete(head.id)

    case(test)


def test_only_what_has_changed_is_loaded_again(case: Run) -> None:
    async def test(case: Case) -> None:
        head = await case.session()
        first = await case.store.commit(Change(head, [prompt(1), answer(2, running=False)]))
        stored = await case.store.load(head.id)
        second = await case.store.commit(Change(stored.head, [prompt(3, 2)]))
        assert (first, second) == (1, 2)
        assert [row.message_id for row in (await case.store.load(head.id, 1)).rows] == [3]
        assert [row.message_id for row in (await case.store.load(head.id, 2)).rows] == []

    case(test)


def test_of_two_changes_to_the_same_version_one_counts(case: Run) -> None:
    async def test(case: Case) -> None:
        head = await case.session()
        changes = [Change(replace(head, title=title), [prompt(1)]) for title in ("a", "b", "c")]
        versions = await asyncio.gather(*(case.another().commit(change) for change in changes))
        assert sorted(versions) == [0, 0, 1]
        won = changes[versions.index(1)].head.title
        assert (await case.store.load(head.id)).head.title == won

    case(test)


def test_a_session_that_nobody_changes_expires(tmp_path: Path) -> None:
    async def test(store: Store, clock: Clock) -> None:
        old, new = Head("old", "", 1.0), Head("new", "", 1.0)
        await store.create(old)
        clock.now += 50
        await store.create(new)
        await store.commit(Change(new, [answer(1)], "w", 1.0))
        clock.now += 60
        with pytest.raises(Expired):
            await store.load("old")
        clock.now += 1000
        assert [head.id for head in await store.heads()] == ["new"]  # what runs does not expire
        await store.aclose()

    async def each() -> None:
        clock = Clock()
        await test(MemoryStore(clock=clock, keep=100), clock)
        await test(SQLiteStore(tmp_path / "s.db", clock=clock, keep=100), clock)

    asyncio.run(each())


def test_a_session_expires_in_redis_by_itself(redis_server: RedisServer) -> None:
    async def test() -> None:
        store = RedisStore(redis_server.url, keep=1)
        head = Head(str(uuid.uuid4()), "", 1.0)
        await store.create(head)
        assert await store.calls.one("TTL", f"ssechat:{{{head.id}}}") == 1
        await store.calls.one("PEXPIRE", f"ssechat:{{{head.id}}}", 1)
        while head in await store.heads():
            await asyncio.sleep(0.001)
        with pytest.raises(Expired):
            await store.load(head.id)
        await store.aclose()

    asyncio.run(test())


# ---- the log ----


def test_an_answer_that_runs_is_its_document_and_what_was_appended_since(case: Run) -> None:
    async def test(case: Case) -> None:
        claim = await case.generation()
        outcomes = await case.store.append([appended(claim, 1, "a", ODD), appended(claim, 2, "b")])
        assert verdicts(outcomes) == ["ok", "ok"]
        [_, row] = (await case.another().load(claim.key.session_id)).rows
        assert (row.running, row.position, row.document) == (True, START, {"response": {"content": ""}})
        assert [(entry.position, list(entry.patches)) for entry in row.tail] == [
            (Position(1, 1), says("a", ODD)),
            (Position(1, 2), says("b")),
        ]

    case(test)


def test_what_runs_is_loaded_again_also_without_a_new_version(case: Run) -> None:
    async def test(case: Case) -> None:
        claim = await case.generation()
        await case.store.append([appended(claim, 1, "a")])
        [row] = (await case.store.load(claim.key.session_id, 1)).rows
        assert (row.message_id, len(row.tail)) == (2, 1)

    case(test)


def test_an_append_that_is_said_twice_counts_once(case: Run) -> None:
    async def test(case: Case) -> None:
        claim = await case.generation()
        for _ in range(2):
            assert verdicts(await case.store.append([appended(claim, 1, "a")])) == ["ok"]
        [_, row] = (await case.store.load(claim.key.session_id)).rows
        assert len(row.tail) == 1

    case(test)


def test_an_append_after_a_gap_needs_the_whole_document(case: Run) -> None:
    async def test(case: Case) -> None:
        claim = await case.generation()
        assert verdicts(await case.store.append([appended(claim, 3, "c")])) == ["behind"]
        whole = {"response": {"content": "abc"}}
        assert verdicts(await case.store.append([appended(claim, 3, "c", document=whole)])) == ["ok"]
        [_, row] = (await case.store.load(claim.key.session_id)).rows
        assert (row.document, row.position, list(row.tail)) == (whole, Position(1, 3), [])

    case(test)


def test_a_document_takes_the_place_of_old_entries(case: Run) -> None:
    async def test(case: Case) -> None:
        claim = await case.generation()
        for seq in range(1, 200):
            await case.store.append([appended(claim, seq, "x")])
        whole = {"response": {"content": "x" * 200}}
        await case.store.append([appended(claim, 200, "x", document=whole)])
        await case.store.append([appended(claim, 201, "y")])
        [_, row] = (await case.store.load(claim.key.session_id)).rows
        assert (row.document, [entry.position.seq for entry in row.tail]) == (whole, [201])
        news = await case.another().news("w2", {claim.key: Position(1, 1)}, [])
        kept = [entry.position.seq for entry in news.entries[claim.key]]
        assert kept[-1] == 201 and 1 < kept[0] < 200 and len(kept) < 100

    case(test)


def test_the_entries_before_a_document_are_kept_for_a_while_whoever_wrote_them(case: Run) -> None:
    async def test(case: Case) -> None:
        claim = await case.generation()
        await case.store.append([appended(claim, seq, "x") for seq in range(1, 101)])
        case.clock.now += LEASE + 1
        newer = await case.another().seize(claim.key, "w2", LEASE)
        assert newer is not None
        whole = {"response": {"content": "x" * 101}}
        await case.store.append([appended(newer, 101, "x", document=whole)])
        news = await case.another().news("w3", {claim.key: Position(1, 90)}, [])
        assert [entry.position for entry in news.entries[claim.key]] == [
            *(Position(1, seq) for seq in range(91, 101)),
            Position(2, 101),
        ]

    case(test)


def test_the_end_of_a_generation_is_the_whole_document(case: Run) -> None:
    async def test(case: Case) -> None:
        claim = await case.generation()
        whole = {"response": {"content": "a", "status": "FINISHED"}}
        end = appended(claim, 1, "a", document=whole, ended_at=9.5)
        assert verdicts(await case.store.append([end])) == ["ok"]
        stored = await case.another().load(claim.key.session_id, 1)
        assert (stored.head.version, stored.head.updated_at) == (2, 9.5)
        assert [(row.message_id, row.running, row.document) for row in stored.rows] == [(2, False, whole)]
        assert verdicts(await case.store.append([appended(claim, 2, "b")])) == ["fenced"]
        assert verdicts(await case.store.append([end])) == ["ok"]

    case(test)


def test_the_log_of_a_session_that_was_deleted_is_gone(case: Run) -> None:
    async def test(case: Case) -> None:
        claim = await case.generation()
        await case.store.delete(claim.key.session_id)
        assert verdicts(await case.store.append([appended(claim, 1, "a")])) == ["gone"]
        assert await case.store.standing([claim.key]) == [None]

    case(test)


def test_the_log_of_what_ended_a_while_ago_is_gone_also_where_nobody_asks_again(tmp_path: Path) -> None:
    async def test() -> None:
        clock = Clock()
        store = SQLiteStore(tmp_path / "s.db", clock=clock)
        case = Case(lambda: store, clock)
        ended, running = await case.generation(), await case.generation()
        await store.append([appended(claim, 1, "a") for claim in (ended, running)])
        whole = {"response": {"content": "ab"}}
        await store.append([appended(ended, 2, "b", document=whole, ended_at=1.0)])
        assert len(await followed(store, ended)) == 2, "who follows can still read its end"
        clock.now += LINGER_SECONDS + 1
        await case.generation()
        assert await followed(store, ended) == []
        assert len(await followed(store, running)) == 1
        await store.aclose()

    asyncio.run(test())


async def followed(store: Store, claim: Claim) -> list[int]:
    """The numbers of the entries that the log of a generation still has."""
    store.wake("w9")
    news = await store.news("w9", {claim.key: START}, [])
    return [entry.position.seq for entry in news.entries.get(claim.key, [])]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_of_the_sessions_that_are_gone_only_the_last_are_remembered(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyter_ssechat.gateway.stores.memory.REMEMBERED", 3)
    monkeypatch.setattr("jupyter_ssechat.gateway.stores.sqlite_rows.REMEMBERED", 3)

    async def test() -> None:
        clock = Clock()
        store: Store = MemoryStore(clock=clock)
        if kind == "sqlite":
            store = SQLiteStore(tmp_path / "s.db", clock=clock)
        for number in range(6):
            clock.now += 1
            await store.create(Head(str(number), "", 1.0))
        for number in range(5):
            await store.delete(str(number))
        for number in range(6):
            with (
                pytest.raises(NotFound)
                if number < 2
                else pytest.raises(Expired)
                if number < 5
                else nullcontext()
            ):
                await store.load(str(number))
        await store.aclose()

    asyncio.run(test())


# ---- news ----


def test_followers_get_every_entry_once_and_in_order(case: Run) -> None:
    async def test(case: Case) -> None:
        claim = await case.generation()
        other = case.another()

        async def write() -> None:
            for seq in range(1, 51):
                await case.store.append([appended(claim, seq, str(seq))])

        writing = asyncio.create_task(write())
        got: list[int] = []
        while len(got) < 50:
            after = Position(1, got[-1]) if got else START
            news = await other.news("w2", {claim.key: after}, [])
            got += [entry.position.seq for entry in news.entries.get(claim.key, [])]
        await writing
        assert got == list(range(1, 51))

    case(test)


def test_one_wait_is_for_many_logs(case: Run) -> None:
    async def test(case: Case) -> None:
        claims = [await case.generation() for _ in range(20)]
        other = case.another()
        await case.store.append([appended(claim, 1, "a") for claim in claims])
        followed = {claim.key: START for claim in claims}
        seen: set[Key] = set()
        while seen != set(followed):
            news = await other.news("w2", {key: followed[key] for key in followed.keys() - seen}, [])
            seen |= set(news.entries)

    case(test)


def test_who_waits_can_be_woken(case: Run) -> None:
    async def test(case: Case) -> None:
        claim = await case.generation()
        waiting = asyncio.create_task(case.store.news("w2", {claim.key: START}, []))
        while not waiting.done():
            case.store.wake("w2")
            await asyncio.sleep(0.005)
        assert not (await waiting).entries

    case(test)


def test_a_stop_reaches_the_owner(case: Run) -> None:
    async def test(case: Case) -> None:
        claim = await case.generation()
        waiting = asyncio.create_task(case.store.news("w1", {}, [claim.key]))
        await asyncio.sleep(0)
        await case.another().stop(claim.key.session_id, 2, "s")
        while claim.key not in (news := await waiting).stops:
            waiting = asyncio.create_task(case.store.news("w1", {}, [claim.key]))
        assert list(news.stops) == [claim.key]
        [outcome] = await case.store.append([appended(claim, 1, "a")])
        [standing] = await case.store.renew([claim], LEASE)
        assert outcome.stop and standing is not None and standing.stop

    case(test)


@pytest.mark.parametrize(("message_id", "stream_id"), [(2, "another"), (1, None), (7, None)])
def test_a_stop_of_something_else_is_none(case: Run, message_id: int, stream_id: str | None) -> None:
    async def test(case: Case) -> None:
        claim = await case.generation()
        await case.store.stop(claim.key.session_id, message_id, stream_id)
        [standing] = await case.store.standing([claim.key])
        assert standing == Standing(1, START, running=True, stop=False, attended=False)

    case(test)


def test_a_stop_does_not_outlive_its_generation(case: Run) -> None:
    async def test(case: Case) -> None:
        claim = await case.generation()
        await case.store.stop(claim.key.session_id, 2, None)
        whole: dict[str, Any] = {"response": {}}
        await case.store.append([appended(claim, 1, "a", document=whole, ended_at=1.0)])
        head = (await case.store.load(claim.key.session_id)).head
        await case.store.commit(Change(head, [answer(2, epoch=2, fence=2, stream_id="new")], "w2", LEASE))
        await case.store.stop(claim.key.session_id, 2, "s")
        again = Key(claim.key.session_id, 2, 2)
        assert await case.store.standing([claim.key, again]) == [
            None,
            Standing(2, START, running=True, stop=False, attended=False),
        ]

    case(test)


# ---- ownership ----


def test_a_lease_that_is_renewed_holds_and_one_that_is_not_expires(case: Run) -> None:
    async def test(case: Case) -> None:
        claim, late = await case.generation(), await case.generation()
        case.clock.now += LEASE - 1
        await case.store.renew([claim], LEASE)
        case.clock.now += 2
        expired = await case.another().expired()
        assert late.key in expired and claim.key not in expired
        assert await case.store.seize(claim.key, "w2", LEASE) is None

    case(test)


def test_one_of_those_who_seize_has_it(case: Run) -> None:
    async def test(case: Case) -> None:
        claim = await case.generation()
        case.clock.now += LEASE + 1
        names = ["a", "b", "c"]
        claims = await asyncio.gather(*(case.another().seize(claim.key, name, LEASE) for name in names))
        [won] = [one for one in claims if one is not None]
        assert (won.key, won.fence) == (claim.key, 2)
        assert claim.key not in await case.store.expired()

    case(test)


def test_a_stale_owner_can_do_nothing(case: Run) -> None:
    async def test(case: Case) -> None:
        claim = await case.generation()
        await case.store.append([appended(claim, 1, "a")])
        case.clock.now += LEASE + 1
        newer = await case.another().seize(claim.key, "w2", LEASE)
        assert newer is not None
        end = appended(claim, 2, "stale", document={}, ended_at=1.0)
        assert verdicts(await case.store.append([appended(claim, 2, "stale"), end])) == ["fenced", "fenced"]
        case.clock.now += LEASE / 2
        await case.store.renew([claim], 100 * LEASE)
        assert verdicts(await case.store.append([appended(newer, 2, "b")])) == ["ok"]
        case.clock.now += LEASE
        assert claim.key in await case.store.expired()
        [_, row] = (await case.store.load(claim.key.session_id)).rows
        assert [(entry.position, list(entry.patches)) for entry in row.tail] == [
            (Position(1, 1), says("a")),
            (Position(2, 2), says("b")),
        ]

    case(test)


def test_who_seizes_changes_the_session_so_that_nobody_acts_on_what_was(case: Run) -> None:
    async def test(case: Case) -> None:
        claim = await case.generation()
        head = (await case.store.load(claim.key.session_id)).head
        case.clock.now += LEASE + 1
        await case.store.seize(claim.key, "w2", LEASE)
        assert await case.store.commit(Change(head, [prompt(3, 2)])) == 0

    case(test)


def test_a_lease_of_nothing_lets_go(case: Run) -> None:
    async def test(case: Case) -> None:
        claim = await case.generation()
        await case.store.renew([claim], 0)
        assert await case.another().seize(claim.key, "w2", LEASE) is not None

    case(test)


def test_an_owner_learns_that_others_have_readers(case: Run) -> None:
    async def test(case: Case) -> None:
        claim = await case.generation()
        await case.another().standing([claim.key], attend=5.0)
        [attended] = await case.store.renew([claim], LEASE)
        case.clock.now += 6
        [left] = await case.store.renew([claim], LEASE)
        assert attended is not None and left is not None
        assert (attended.attended, left.attended) == (True, False)

    case(test)


def test_what_has_ended_expires_no_more(case: Run) -> None:
    async def test(case: Case) -> None:
        claim = await case.generation()
        await case.store.append([appended(claim, 1, "a", document={}, ended_at=1.0)])
        case.clock.now += LEASE + 1
        assert claim.key not in await case.store.expired()
        assert await case.store.seize(claim.key, "w2", LEASE) is None

    case(test)


# ---- where a store is, and when it is not there ----


@pytest.mark.parametrize("address", ["", "memor", "sqlite:", "sqlite", "http://x", "redis:x", "postgres://x"])
def test_what_is_no_store_is_refused_with_what_would_be_one(address: str) -> None:
    with pytest.raises(BadInput, match="is not a store; expected memory, sqlite:PATH or redis://"):
        store_at(address)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    file.write_text("no database at all, but long enough to look like one " * 20)
    for path in (file, tmp_path / "no" / "such" / "folder.db", tmp_path):
        with pytest.raises(BadInput, match="cannot be used as a store"):
            store_at(f"sqlite:{path}")()


def test_what_is_in_a_file_is_there_for_who_opens_it_later(tmp_path: Path) -> None:
    async def write() -> str:
        case = Case(store_at(f"sqlite:{tmp_path / 's.db'}"), Clock())
        claim = await case.generation()
        await case.store.append([appended(claim, 1, "half")])
        await case.aclose()
        return claim.key.session_id

    async def load(session_id: str) -> list[Patch]:
        store = store_at(f"sqlite:{tmp_path / 's.db'}")()
        [_, row] = (await store.load(session_id)).rows
        await store.aclose()
        return [patch for entry in row.tail for patch in entry.patches]

    assert asyncio.run(load(asyncio.run(write()))) == says("half")


def test_a_redis_that_is_not_there_is_unavailable_and_one_that_is_back_has_it_all(tmp_path: Path) -> None:
    async def test(server: RedisServer) -> None:
        case = Case(lambda: RedisStore(server.url), Clock())
        claim = await case.generation()
        assert verdicts(await case.store.append([appended(claim, 1, "a")])) == ["ok"]
        server.kill()
        for call in (case.store.heads(), case.store.append([appended(claim, 2, "b")])):
            with pytest.raises(StoreUnavailable, match="the store does not answer now"):
                await call
        server.start()
        assert verdicts(await case.store.append([appended(claim, 2, "b")])) == ["ok"]
        [_, row] = (await case.store.load(claim.key.session_id)).rows
        assert [list(entry.patches) for entry in row.tail] == [says("a"), says("b")]
        await case.aclose()

    server = RedisServer(redis_executable(), tmp_path)
    try:
        asyncio.run(test(server))
    finally:
        server.close()


def test_many_appends_are_one_round_trip(redis_server: RedisServer) -> None:
    async def test() -> None:
        store = RedisStore(redis_server.url)
        case = Case(lambda: store, Clock())
        claims = [await case.generation() for _ in range(50)]
        await store.append([appended(claims[0], 1, "a")])
        before = store.calls.trips
        await store.append([appended(claim, 1, "a", "b") for claim in claims])
        assert store.calls.trips - before == 1
        await store.aclose()

    asyncio.run(test())


def test_more_callers_than_connections_wait_for_each_other(case: Run) -> None:
    async def test(case: Case) -> None:
        await asyncio.gather(*(case.session() for _ in range(300)))
        assert len(await case.store.heads()) >= 300

    case(test)
