"""Limits: over one the answer is 429 with Retry-After, and what runs goes on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from jupyter_ssechat.errors import LimitExceeded
from jupyter_ssechat.gateway.admission import Admission, Taken
from jupyter_ssechat.gateway.limits import Limits, parse_limits
from jupyter_ssechat.gateway.server import Gateway
from jupyter_ssechat.gateway.settings import Settings
from jupyter_ssechat.gateway.stores.memory import MemoryStore
from jupyter_ssechat.gateway.stores.memory_pools import MemoryPools
from jupyter_ssechat.gateway.stores.opening import store_at
from jupyter_ssechat.gateway.users import User, Users, digest_of
from jupyter_ssechat.model_server import ModelServer
from jupyter_ssechat.upstream import Demo

from .servers import Pause, Script, chunk, finish, model_server
from .test_multi_user import Person

TOKENS = ("alice", "bob")
Case = Callable[[Gateway, dict[str, Person], Pause], None]


def limits(*said: str) -> Limits:
    return parse_limits(said)


def users(each: Limits) -> Users:
    return Users(User(name, digest_of(name), each, operator=True) for name in TOKENS)


@contextlib.contextmanager
def gateway(
    each: Limits, in_all: Limits | None = None, **more: Any
) -> Iterator[tuple[dict[str, Person], Pause]]:
    """A gateway whose model server says a word and waits until it may end."""
    pause = Pause()
    script = Script([chunk(content="half "), pause, chunk(content="whole"), finish()])
    settings = Settings(in_all=in_all or Limits())
    with (
        model_server(script) as server,
        Gateway(ModelServer(server.url), users=users(each), settings=settings, **more) as at,
        contextlib.ExitStack() as stack,
    ):
        people = {name: Person(at.url, name) for name in TOKENS}
        for person in people.values():
            stack.callback(person.http.close)
        yield people, pause


def prompt(session: str) -> dict[str, Any]:
    return {"chat_session_id": session, "prompt": "q", "parent_message_id": None}


def refusal(answer: httpx.Response) -> str:
    """The words of a 429 with its Retry-After."""
    assert answer.status_code == 429, answer.text
    assert int(answer.headers["retry-after"]) >= 1
    said = answer.json()
    assert said["code"] == 42900
    return said["msg"]


def until_let_in(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """Ask again until there is room: a place is left in the background."""
    for _ in range(1000):
        if (answer := ask()).status_code != 429:
            return answer
    raise AssertionError("never let in")


# ---- over HTTP ----


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_user_with_enough_streams_waits_and_others_do_not(store: str, tmp_path: Path) -> None:
    opened = store_at("memory" if store == "memory" else f"sqlite:{tmp_path / 's.db'}")
    with gateway(limits("streams=1"), store=opened()) as (people, pause):
        alice, bob = people["alice"], people["bob"]
        first, second = alice.session(), alice.session()
        with alice.reading("completion", **prompt(first)) as reading:
            reading.until_text("half ")
            said = refusal(alice.post("chat/completion", **prompt(second)))
            assert said == "1 of your answers are being generated, the most at a time; stop one, or wait"
            with bob.reading("completion", **prompt(bob.session())) as his:
                his.until_text("half ")
                # What runs can be read and stopped by whom it belongs to.
                with alice.reading("resume_stream", chat_session_id=first, message_id=2) as again:
                    again.until_text("half ")
                pause.end()
                assert his.to_end().content == "half whole"
            assert reading.to_end().content == "half whole"
        assert until_let_in(lambda: alice.post("chat/completion", **prompt(second))).status_code == 200


def test_what_is_refused_leaves_no_trace_and_to_stop_an_answer_makes_room_for_another() -> None:
    with gateway(limits("streams=1")) as (people, pause):
        alice = people["alice"]
        session, second = alice.session(), alice.session()
        with alice.reading("completion", **prompt(session)) as reading:
            reading.until_text("half ")
            refusal(alice.post("chat/completion", **prompt(second)))
            assert alice.call("chat/history_messages", chat_session_id=second)["chat_messages"] == []
            alice.call("chat/stop_stream", chat_session_id=session, message_id=2)
            assert reading.to_end().status == "stopped"
        pause.end()
        assert until_let_in(lambda: alice.post("chat/completion", **prompt(second))).status_code == 200


def test_all_together_may_have_so_many_streams() -> None:
    with gateway(Limits(), limits("streams=1")) as (people, pause):
        alice, bob = people["alice"], people["bob"]
        with alice.reading("completion", **prompt(alice.session())) as reading:
            reading.until_text("half ")
            said = refusal(bob.post("chat/completion", **prompt(bob.session())))
            assert said == "1 answers are being generated, the most of this gateway; wait"
            pause.end()
            assert reading.to_end().content == "half whole"


def test_readers_are_counted_as_long_as_they_are_connected() -> None:
    with gateway(limits("readers=2")) as (people, pause):
        alice = people["alice"]
        session = alice.session()
        resume = {"chat_session_id": session, "message_id": 2}
        with alice.reading("completion", **prompt(session)) as reading:
            reading.until_text("half ")
            with alice.reading("resume_stream", **resume) as second:
                second.until_text("half ")
                assert "2 of your connections are open" in refusal(alice.post("chat/resume_stream", **resume))
                # A question that nobody could read is not asked either.
                other = alice.session()
                refusal(alice.post("chat/completion", **prompt(other)))
                assert alice.call("chat/history_messages", chat_session_id=other)["chat_messages"] == []
            pause.end()
            assert reading.to_end().content == "half whole"
        assert until_let_in(lambda: alice.post("chat/resume_stream", **resume)).status_code == 200


def test_calls_below_v1_count_and_are_refused_in_openais_words() -> None:
    body = {"messages": [{"role": "user", "content": "q"}], "stream": True}
    with gateway(limits("streams=1")) as (people, pause):
        alice = people["alice"].http
        with alice.stream("POST", "/v1/chat/completions", json=body) as reading:
            lines = reading.iter_lines()
            next(lines)
            refused = alice.post("/v1/chat/completions", json=body)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
            assert "answers are being generated" in refused.json()["error"]["message"]
            pause.end()
            assert "[DONE]" in "".join(lines)
        assert until_let_in(lambda: alice.post("/v1/chat/completions", json=body)).status_code == 200


def test_streams_for_an_event_source_count() -> None:
    with gateway(limits("streams=1")) as (people, pause):
        alice = people["alice"].http
        with alice.stream("GET", "/ai/chat/stream", params={"message": "q"}) as reading:
            lines = reading.iter_lines()
            assert any("half" in line for line in lines)
            refusal(alice.get("/ai/chat/stream", params={"message": "q"}))
            pause.end()
            assert "whole" in "".join(lines)


def test_who_has_stored_enough_deletes_before_there_is_more() -> None:
    with gateway(limits("stored=2kB")) as (people, pause):
        alice, bob = people["alice"], people["bob"]
        pause.end()
        session = alice.session()
        body = prompt(session) | {"prompt": "x" * 4000}
        assert alice.post("chat/completion", **body).status_code == 200, "one that begins below may end above"
        said = refusal(alice.post("chat/completion", **prompt(alice.session())))
        assert said == "your conversations take the 0.002 MB that they may; delete some"
        saved = [{"message_id": 1, "role": "USER", "content": "said"}]
        refusal(alice.post("chat_session/import", chat_messages=saved))
        assert bob.post("chat/completion", **prompt(bob.session())).status_code == 200
        assert alice.post("chat/resume_stream", chat_session_id=session, message_id=2).status_code == 200
        alice.call("chat_session/delete", chat_session_id=session)
        assert alice.post("chat/completion", **prompt(alice.session())).status_code == 200


def test_a_call_that_is_too_large_is_refused_and_a_smaller_one_is_not() -> None:
    with gateway(limits("request=1kB")) as (people, pause):
        alice, session = people["alice"], people["alice"].session()
        pause.end()
        refused = alice.post("chat/completion", **prompt(session) | {"prompt": "x" * 1000})
        assert (refused.status_code, refused.json()["msg"]) == (
            413,
            "body: larger than 1000 bytes; send less",
        )
        assert alice.post("chat/completion", **prompt(session)).status_code == 200


def test_who_calls_too_often_waits_but_may_always_stop() -> None:
    with gateway(limits("rate=3/h")) as (people, _):
        alice, session = people["alice"], people["alice"].session()
        with alice.reading("completion", **prompt(session)) as reading:
            reading.until_text("half ")
            assert alice.post("chat_session/list").status_code == 200
            assert "more calls than the 3/h that you may make" in refusal(alice.post("chat_session/list"))
            assert int(alice.http.get("/v1/models").headers["retry-after"]) > 1000
            assert people["bob"].post("chat_session/list").status_code == 200
            alice.call("chat/stop_stream", chat_session_id=session, message_id=2)
            assert reading.to_end().status == "stopped"


def test_all_together_may_call_so_often() -> None:
    with gateway(Limits(), limits("rate=2/h")) as (people, _):
        alice, bob = people["alice"], people["bob"]
        assert [one.post("chat_session/list").status_code for one in (alice, bob)] == [200, 200]
        assert "that all together may make" in refusal(bob.post("chat_session/list"))


def test_a_gateway_with_one_token_has_limits_too() -> None:
    with Gateway(Demo(pace=0), settings=Settings(each=limits("rate=1/h"))) as at:
        person = Person(at.url, at.token)
        with person.http:
            assert person.post("chat_session/list").status_code == 200
            refusal(person.post("chat_session/list"))


def test_of_many_who_ask_at_once_no_more_than_the_limit_are_let_in() -> None:
    with gateway(limits("streams=3")) as (people, pause):
        alice = people["alice"]
        sessions = [alice.session() for _ in range(12)]
        statuses: list[int] = []
        refused = threading.Semaphore(0)

        def ask(session: str) -> None:
            answer = alice.post("chat/completion", **prompt(session))
            statuses.append(answer.status_code)
            if answer.status_code == 429:
                refused.release()

        threads = [threading.Thread(target=ask, args=(session,)) for session in sessions]
        for thread in threads:
            thread.start()
        for _ in range(9):
            assert refused.acquire(timeout=30)
        pause.end()
        for thread in threads:
            thread.join()
    assert sorted(statuses) == [200] * 3 + [429] * 9


# ---- over several workers ----

LEASE = 10.0
ALICE = User("alice", "", limits("streams=2", "readers=1"))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        await asyncio.wait_for(test(), 30)

    asyncio.run(within())


def test_the_places_of_a_worker_that_died_are_free_within_the_lease() -> None:
    async def test() -> None:
        clock = Clock()
        store = MemoryStore(shared=True, clock=clock)
        dead, alive = (Admission(store, lease=LEASE) for _ in range(2))
        await dead.stream(ALICE, "one")
        await dead.stream(ALICE, "two")
        with pytest.raises(LimitExceeded):
            await alive.stream(ALICE, "three")
        clock.now += LEASE
        await alive.stream(ALICE, "three")
        await alive.aclose()
        await dead.aclose()

    run(test)


def test_an_answer_that_goes_on_elsewhere_counts_once() -> None:
    async def test() -> None:
        store = MemoryStore(shared=True)
        first, second = (Admission(store, lease=LEASE) for _ in range(2))
        await first.stream(ALICE, "one")
        kept = second.keep(ALICE, "one")
        await second.stream(ALICE, "two")
        with pytest.raises(LimitExceeded):
            await second.stream(ALICE, "three")
        kept.leave()
        await second.aclose()
        await first.stream(ALICE, "three")
        await first.aclose()

    run(test)


def test_places_are_held_while_they_are_taken_and_left_at_the_end() -> None:
    async def test() -> None:
        clock, held = Clock(), asyncio.Event()
        store = MemoryStore(shared=True, clock=clock)

        async def hold(*said: Any) -> None:
            await MemoryPools.hold(store.pools, *said)
            held.set()

        store.pools.hold = hold
        first, second = Admission(store, lease=0.1), Admission(store, lease=0.1)
        await first.reader(ALICE)
        for _ in range(4):
            held.clear()
            await held.wait()
            clock.now += 0.09
            with pytest.raises(LimitExceeded):
                await second.reader(ALICE)
        await first.aclose()
        await second.reader(ALICE)
        await second.aclose()

    run(test)


def test_a_place_that_is_left_twice_is_left_once() -> None:
    left: list[bool] = []
    taken = Taken(lambda: left.append(True))
    taken.leave()
    taken.leave()
    Taken().leave()
    assert left == [True]
