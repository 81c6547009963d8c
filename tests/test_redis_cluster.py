"""A store on several servers: how it finds them, what it costs, what happens when one dies or slots move."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.gateway.conversations import Conversations
from jupyter_ssechat.gateway.stores.opening import store_at
from jupyter_ssechat.gateway.stores.redis import RedisStore
from jupyter_ssechat.gateway.stores.redis_calls import slot
from jupyter_ssechat.gateway.stores.store import (
    START,
    Change,
    Claim,
    Head,
    Key,
    Position,
    Store,
    StoreUnavailable,
)

from .redis_nodes import SLOTS, RedisNode, RedisNodes
from .redis_server import redis_executable
from .test_killed import TOGETHER, killed
from .test_stores import LEASE, Case, Clock, answer, appended, prompt, verdicts
from .test_workers import WORDS, Workers, ask, is_whole, message
from .test_workers import Reading as Following


@asynccontextmanager
async def opened(nodes: RedisNodes) -> AsyncIterator[Case]:
    clock = Clock()
    case = Case(lambda: RedisStore(nodes.url, clock=clock), clock)
    try:
        yield case
    finally:
        await case.aclose()


def owner(nodes: RedisNodes, name: str) -> int:
    """The number of the primary that had a key when the cluster began."""
    return next(
        n for n in range(len(nodes.primaries)) if slot(name) < SLOTS * (n + 1) // len(nodes.primaries)
    )


async def generation_at(case: Case, nodes: RedisNodes, number: int) -> Claim:
    """A generation that runs at a primary."""
    ids = (f"{case.clock.now}-{at}" for at in range(1000))
    head = Head(next(one for one in ids if owner(nodes, one) == number), "", 1.5)
    await case.store.create(head)
    await case.store.commit(Change(replace(head, title="t"), [prompt(1), answer(2)], "w1", LEASE))
    return Claim(Key(head.id, 2, 1), 1, "w1")


async def asked_at_each(nodes: RedisNodes, worker: Conversations) -> list[tuple[str, Following]]:
    """Answers that run, at least one of them at each primary."""
    asked: list[tuple[str, Following]] = []
    while len({owner(nodes, session_id) for session_id, _ in asked}) < len(nodes.primaries):
        asked.append(await ask(worker))
    return asked


def trips(store: Store) -> int:
    """The round trips so far."""
    assert isinstance(store, RedisStore)
    return store.calls.trips


async def texts(case: Case, claim: Claim) -> list[object]:
    """What the log of a generation says."""
    [_, row] = (await case.another().load(claim.key.session_id)).rows
    return [patch.value for entry in row.tail for patch in entry.patches]


# ---- addresses ----


@pytest.mark.parametrize(
    "address", ["redis+cluster://", "redis+cluster://a,,b", "redis+cluster://a:x", "rediss+cluster://a/1"]
)
def test_what_is_no_address_of_a_cluster_is_refused_with_what_would_be_one(address: str) -> None:
    with pytest.raises(BadInput, match=r"expected redis\+cluster://\[USER:PASSWORD@\]HOST\[:PORT\]\[,HOST"):
        store_at(address)()


def test_one_server_of_a_cluster_tells_the_others(redis_nodes: RedisNodes) -> None:
    async def test() -> None:
        store = RedisStore(f"redis+cluster://127.0.0.1:1,127.0.0.1:{redis_nodes.nodes[2].port}")
        heads = [Head(f"{number}-{redis_nodes.nodes[0].port}", "", 1.0) for number in range(9)]
        for head in heads:
            await store.create(head)
        assert set(heads) <= set(await store.heads())
        assert {owner(redis_nodes, head.id) for head in heads} == {0, 1, 2}
        await store.aclose()

    asyncio.run(test())


def test_a_server_of_a_cluster_at_a_plain_address_says_what_to_write(redis_nodes: RedisNodes) -> None:
    async def test() -> None:
        store = RedisStore(f"redis://127.0.0.1:{redis_nodes.nodes[0].port}")
        elsewhere = next(name for name in map(str, range(99)) if owner(redis_nodes, name) != 0)
        with pytest.raises(
            StoreUnavailable, match=r"is a Redis Cluster; write its address as redis\+cluster://"
        ):
            await store.load(elsewhere)
        await store.aclose()

    asyncio.run(test())


# ---- round trips ----


def test_many_appends_are_one_round_trip_for_each_server(redis_nodes: RedisNodes) -> None:
    async def test() -> None:
        async with opened(redis_nodes) as case:
            claims = [await case.generation() for _ in range(50)]
            before = trips(case.store)
            outcomes = await case.store.append([appended(claim, 1, "a", "b") for claim in claims])
            assert trips(case.store) - before == len({owner(redis_nodes, c.key.session_id) for c in claims})
            assert set(verdicts(outcomes)) == {"ok"}

    asyncio.run(test())


def test_news_of_many_streams_are_one_round_trip_for_each_server(redis_nodes: RedisNodes) -> None:
    async def test() -> None:
        async with opened(redis_nodes) as case:
            claims = [await case.generation() for _ in range(100)]
            await case.store.append([appended(claim, 1, "a") for claim in claims])
            reader = case.another()
            await reader.heads()
            before = trips(reader)
            news = await reader.news("w2", {claim.key: START for claim in claims}, [])
            assert len(news.entries) == 100
            assert trips(reader) - before <= 3

    asyncio.run(test())


def test_who_follows_nothing_asks_for_nothing(redis_nodes: RedisNodes) -> None:
    async def test() -> None:
        async with opened(redis_nodes) as case:
            await case.store.heads()
            before = trips(case.store)
            assert not (await case.store.news("w2", {}, [])).entries
            assert trips(case.store) - before == 1

    asyncio.run(test())


# ---- slots that move ----


def test_a_session_whose_slot_moves_to_another_server_stays_whole(redis_nodes: RedisNodes) -> None:
    """In all three states: keys that are on the way, keys that have come, a slot that is somebody else's."""

    async def test() -> None:
        async with opened(redis_nodes) as case:
            source, target, _ = redis_nodes.nodes
            claim = await generation_at(case, redis_nodes, 0)
            number, ids = (
                slot(claim.key.session_id),
                [node.say("CLUSTER MYID").split()[1] for node in redis_nodes.nodes],
            )
            await case.store.append([appended(claim, 1, "a")])
            target.say("CLUSTER SETSLOT", number, "IMPORTING", ids[0])
            source.say("CLUSTER SETSLOT", number, "MIGRATING", ids[1])
            assert verdicts(await case.store.append([appended(claim, 2, "b")])) == ["ok"]
            keys = source.say("CLUSTER GETKEYSINSLOT", number, 100).split()[2::2]
            assert len(keys) == 3
            source.say("MIGRATE 127.0.0.1", target.port, '"" 0 5000 KEYS', *keys)
            assert verdicts(await case.store.append([appended(claim, 3, "c")])) == ["ok"]
            news = await case.another().news("w2", {claim.key: Position(1, 1)}, [])
            assert [entry.position.seq for entry in news.entries[claim.key]] == [2, 3]
            for node in (target, source, redis_nodes.nodes[2]):
                node.say("CLUSTER SETSLOT", number, "NODE", ids[1])
            assert verdicts(await case.store.append([appended(claim, 4, "d")])) == ["ok"]
            assert await texts(case, claim) == ["a", "b", "c", "d"]
            before = trips(case.store)
            await case.store.append([appended(claim, 5, "e")])
            assert trips(case.store) - before == 1, "the new map is kept"

    asyncio.run(test())


# ---- servers that die ----


@pytest.fixture
def own_nodes(tmp_path: Path) -> Iterator[RedisNodes]:
    """A cluster for one test that kills."""
    nodes = RedisNodes(redis_executable(), tmp_path / "nodes")
    yield nodes
    nodes.close()


@pytest.fixture
def with_replica(tmp_path: Path) -> Iterator[RedisNodes]:
    """The same, and the first server has a replica."""
    nodes = RedisNodes(redis_executable(), tmp_path / "nodes", replicas=1)
    yield nodes
    nodes.close()


def test_a_server_that_is_killed_comes_back_with_all_that_it_acknowledged(own_nodes: RedisNodes) -> None:
    async def test() -> None:
        workers = Workers(lambda: RedisStore(own_nodes.url))
        (one, counting), (two, _) = workers.start(), workers.start()
        counting.hold_at = 10
        asked = await asked_at_each(own_nodes, one)
        others = [Following(await two.resume(session_id, 2)) for session_id, _ in asked]
        await counting.held.wait()
        for reading in others:
            await reading.until(WORDS[9])
        own_nodes.nodes[0].kill()
        counting.go.set()
        await asyncio.to_thread(own_nodes.nodes[0].begin)
        for reading in [*others, *(reading for _, reading in asked)]:
            await reading.end()
            assert is_whole(reading)
        for session_id, _ in asked:
            assert (await message(two, session_id)).content == "".join(WORDS)
        await workers.aclose()

    asyncio.run(asyncio.wait_for(test(), 60))


@pytest.mark.soak
def test_whichever_server_is_killed_again_and_again_every_reader_gets_the_whole_answer(
    own_nodes: RedisNodes,
) -> None:
    counts = asyncio.run(asyncio.wait_for(killed(own_nodes.url, own_nodes, "redis", 30, seed=6), 600))
    print(dict(sorted(counts.items())))
    assert (counts["killed"], counts["ended finished"]) == (30, 30 * 2 * TOGETHER)


@pytest.mark.soak
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
def test_when_a_replica_takes_over_answers_go_on(with_replica: RedisNodes, how: signal.Signals) -> None:
    async def test() -> None:
        workers = Workers(lambda: RedisStore(with_replica.url))
        (one, counting), (two, _) = workers.start(), workers.start()
        counting.hold_at = 10
        asked = await asked_at_each(with_replica, one)
        others = [Following(await two.resume(session_id, 2)) for session_id, _ in asked]
        await counting.held.wait()
        for reading in others:
            await reading.until(WORDS[9])
        with_replica.primaries[0].process.send_signal(how)
        counting.go.set()
        for reading in [*others, *(reading for _, reading in asked)]:
            await reading.end()
            assert is_whole(reading)
        assert "role:master" in with_replica.replicas[0].say("INFO replication")
        await workers.aclose()

    try:
        asyncio.run(asyncio.wait_for(test(), 120))
    finally:
        with_replica.primaries[0].process.send_signal(signal.SIGCONT)


@pytest.mark.soak
def test_what_a_replica_has_not_got_is_written_anew_by_the_owner(with_replica: RedisNodes) -> None:
    """Entries that were acknowledged and not yet sent on are lost with their server; the owner has them."""

    async def test() -> None:
        primary, replica = with_replica.primaries[0], with_replica.replicas[0]
        async with opened(with_replica) as case:
            claim = await generation_at(case, with_replica, 0)
            await case.store.append([appended(claim, 1, "a")])
            assert primary.say("WAIT 1 10000").split()[0] == ":1"
            cut_off(primary, replica)
            await case.store.append([appended(claim, 2, "b")])
            primary.kill()
            replica.process.send_signal(signal.SIGCONT)
            await asyncio.to_thread(
                with_replica.wait, lambda: "role:master" in replica.say("INFO replication")
            )
            await asyncio.to_thread(
                with_replica.wait, lambda: "cluster_state:ok" in replica.say("CLUSTER INFO")
            )
            assert verdicts(await case.store.append([appended(claim, 3, "c")])) == ["behind"]
            whole = {"response": {"content": "abc"}}
            assert verdicts(await case.store.append([appended(claim, 3, "c", document=whole)])) == ["ok"]
            [_, row] = (await case.another().load(claim.key.session_id)).rows
            assert (row.document, row.position) == (whole, Position(1, 3))

    asyncio.run(asyncio.wait_for(test(), 120))


def cut_off(primary: RedisNode, replica: RedisNode) -> None:
    """Let a replica get no more of what its primary takes."""
    replica.process.send_signal(signal.SIGSTOP)
    primary.say("CLIENT KILL TYPE replica")
