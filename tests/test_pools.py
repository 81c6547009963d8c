"""What the workers of a store agree on about limits: places, calls, bytes, and whose a session is."""

from __future__ import annotations

import asyncio
import math
import uuid
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ssechat.gateway.limits import Rate
from jupyter_ssechat.gateway.stores.pools import Place, spent
from jupyter_ssechat.gateway.stores.store import Change, Claim, Head, Key, size_of

from .test_stores import LEASE, Case, Run, answer, appended, prompt
from .test_stores import case as case  # the same stores

SECONDS = 10.0


@pytest.fixture
def mine() -> str:
    """A name that no other test has: Redis is shared by all of them."""
    return uuid.uuid4().hex


# ---- places ----


def test_a_pool_has_so_many_places_whoever_asks(case: Run, mine: str) -> None:
    async def test(case: Case) -> None:
        here, there = case.store.pools, case.another().pools
        places = [Place(f"m{number}", {mine: 2}) for number in range(3)]
        assert await here.take(places[0], SECONDS) is None
        assert await there.take(places[1], SECONDS) is None
        assert await here.take(places[2], SECONDS) == mine
        await there.leave(places[:1])
        assert await here.take(places[2], SECONDS) is None

    case(test)


def test_a_place_is_in_all_of_its_pools_or_in_none(case: Run, mine: str) -> None:
    async def test(case: Case) -> None:
        pools, user, together = case.store.pools, f"{mine}/user", f"{mine}/all"
        assert await pools.take(Place("a", {together: 1}), SECONDS) is None
        assert await pools.take(Place("b", {user: 1, together: 1}), SECONDS) == together
        assert await pools.take(Place("c", {user: 1}), SECONDS) is None, "b has not taken it"

    case(test)


def test_who_has_a_place_does_not_take_another(case: Run, mine: str) -> None:
    async def test(case: Case) -> None:
        place = Place("a", {mine: 1})
        assert [await case.store.pools.take(place, SECONDS) for _ in range(2)] == [None, None]

    case(test)


def test_a_place_that_nobody_holds_is_free_again(case: Run, mine: str) -> None:
    async def test(case: Case) -> None:
        pools, first, second = case.store.pools, Place("a", {mine: 1}), Place("b", {mine: 1})
        assert await pools.take(first, SECONDS) is None
        case.clock.now += SECONDS * 0.9
        await pools.hold([first], SECONDS)
        case.clock.now += SECONDS * 0.9
        assert await pools.take(second, SECONDS) == mine
        case.clock.now += SECONDS * 0.2
        assert await case.another().pools.take(second, SECONDS) is None
        assert await pools.take(first, SECONDS) == mine

    case(test)


def test_who_goes_on_elsewhere_has_a_place_also_where_there_is_none(case: Run, mine: str) -> None:
    async def test(case: Case) -> None:
        pools, first, second = case.store.pools, Place("a", {mine: 1}), Place("b", {mine: 1})
        await pools.hold([first, second], SECONDS)
        assert await pools.take(Place("c", {mine: 2}), SECONDS) == mine
        await pools.leave([first])
        assert await pools.take(Place("c", {mine: 2}), SECONDS) is None

    case(test)


def test_to_hold_or_leave_nothing_is_fine(case: Run) -> None:
    async def test(case: Case) -> None:
        await case.store.pools.hold([], SECONDS)
        await case.store.pools.leave([])
        await case.store.pools.leave([Place("nobody", {"nowhere": 1})])

    case(test)


# ---- calls ----


def test_a_rate_lets_all_its_calls_come_at_once_and_then_one_by_one(case: Run, mine: str) -> None:
    async def test(case: Case) -> None:
        rate, here, there = Rate(4, 60.0), case.store.pools, case.another().pools
        assert [await pools.spend(mine, rate) for pools in (here, there, here, there)] == [0.0] * 4
        assert await here.spend(mine, rate) == pytest.approx(15.0, abs=0.01)
        case.clock.now += 10
        assert await there.spend(mine, rate) == pytest.approx(5.0, abs=0.01)
        case.clock.now += 5.01
        assert await here.spend(mine, rate) == 0.0
        assert await here.spend(mine, rate) > 0.0
        assert await here.spend(f"{mine}/other", rate) == 0.0

    case(test)


@given(
    st.integers(1, 50),
    st.sampled_from([1.0, 60.0, 3600.0]),
    st.lists(st.floats(0, 100, allow_nan=False), max_size=80),
)
def test_in_no_time_are_there_more_calls_than_the_rate_and_one_burst(
    calls: int, seconds: float, gaps: list[float]
) -> None:
    rate, now, filled = Rate(calls, seconds), 1e9, 0.0
    let_in: list[float] = []
    for gap in gaps:
        now += gap
        filled, wait = spent(filled, now, rate)
        if wait == 0.0:
            let_in.append(now)
        else:
            assert 0 < wait <= seconds / calls + 1e-6
    for first, began in enumerate(let_in):
        for last in range(first, len(let_in)):
            most = calls + math.floor((let_in[last] - began) * calls / seconds + 1e-3)
            assert last - first + 1 <= most


# ---- whose a session is, and how large ----


def of(user: str) -> Head:
    return Head(str(uuid.uuid4()), "", 1.5, user=user)


def test_a_user_has_their_own_sessions(case: Run, mine: str) -> None:
    async def test(case: Case) -> None:
        hers, his = of(f"{mine}-a"), of(f"{mine}-b")
        for head in (hers, his):
            await case.store.create(head)
        other = case.another()
        assert await other.heads(hers.user) == [hers]
        assert await other.heads(his.user) == [his]
        assert not {hers.id, his.id} & {head.id for head in await other.heads()}
        await case.store.commit(Change(replace(hers, title="t"), [prompt(1)]))
        assert (await other.load(hers.id)).head == replace(hers, title="t", version=1)
        await other.delete(his.id)
        assert await case.store.heads(his.user) == []

    case(test)


def test_what_is_stored_is_what_the_documents_are(case: Run, mine: str) -> None:
    async def test(case: Case) -> None:
        head, store = of(mine), case.store
        before = await store.stored(None)
        await store.create(head)
        assert await store.stored(mine) == 0
        rows = [prompt(1), answer(2)]
        await store.commit(Change(head, rows, "w", LEASE))
        size = sum(size_of(row.document) for row in rows)
        assert await case.another().stored(mine) == size
        claim = Claim(Key(head.id, 2, 1), 1, "w")
        await store.append([appended(claim, 1, "一二三")])
        assert await store.stored(mine) == size, "what is in the log only is bounded, and not counted"
        document = {"response": {"content": "一二三" * 100}}
        await store.append([appended(claim, 2, "x", document=document, ended_at=2.0)])
        await store.append([appended(claim, 2, "x", document=document, ended_at=2.0)])
        size += size_of(document) - size_of(rows[1].document)
        assert await case.another().stored(mine) == size
        assert await store.stored(None) == before + size
        await store.commit(Change(replace(head, version=2), [answer(2, epoch=2, fence=2)], "w", LEASE))
        assert await store.stored(mine) == sum(size_of(row.document) for row in rows)
        await store.delete(head.id)
        assert (await store.stored(mine), await store.stored(None)) == (0, before)

    case(test)


def test_what_has_expired_takes_no_room(case: Run, mine: str) -> None:
    async def test(case: Case) -> None:
        head = of(mine)
        await case.store.create(head)
        await case.store.commit(Change(head, [prompt(1)]))
        assert await case.store.stored(mine) > 0
        case.clock.now += 40 * 86400
        assert await case.store.stored(mine) == 0

    case(test)


# ---- a secret ----


def test_all_workers_know_one_secret(case: Run) -> None:
    async def test(case: Case) -> None:
        first, again, other = [await one.secret() for one in (case.store, case.store, case.another())]
        assert first == again == other and len(first) == 64

    case(test)


def test_every_worker_that_is_the_first_to_ask_gets_the_same_secret(case: Run) -> None:
    async def test(case: Case) -> None:
        stores = [case.store, *(case.another() for _ in range(4))]
        assert len(set(await asyncio.gather(*(store.secret() for store in stores)))) == 1

    case(test)
