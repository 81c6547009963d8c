"""The door to Redis: no password gets out of an address, and of two owners with one number one writes."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import subprocess
import traceback
from dataclasses import replace

import pytest

from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.gateway.server import close_embedded, embedded
from jupyter_ssechat.gateway.stores.opening import public, store_at
from jupyter_ssechat.gateway.stores.redis import RedisStore
from jupyter_ssechat.gateway.stores.redis_scripts import SCRIPTS
from jupyter_ssechat.gateway.stores.store import StoreUnavailable

from .redis_nodes import RedisNodes
from .redis_server import RedisServer, restricted_user
from .test_serve import COMMAND
from .test_stores import Case, Clock, appended, verdicts

SECRET = "tellnobody"
NOBODY = "127.0.0.1:1"


# ---- passwords ----


@pytest.mark.parametrize(
    "address",
    [
        f"redi://:{SECRET}@host",
        f"postgres://user:{SECRET}@host/db",
        f"redis:user:{SECRET}@host",
        f"postgres://user:{SECRET}?{SECRET}@host",
        f"http://:{SECRET}://{SECRET}@host?password={SECRET}",
        f"redis://:12/{SECRET}@host:6379",
        f"redis://:{SECRET}/{SECRET}@host:6379",
        f"redis://:{SECRET}@host:port",
        f"redis://:{SECRET}@host/?socket_timeout={SECRET}",
        f"redis://:{SECRET}@host/?{SECRET}=1",
        f"rediss://:{SECRET}@host:6379?ssl_cert_reqs={SECRET}",
        f"unix://:{SECRET}@/no/socket?db={SECRET}",
        f"redis+cluster://:{SECRET}/{SECRET}@host:7000",
        f"redis+cluster://:{SECRET}@host:7000,:{SECRET}",
        f"redis+cluster://:{SECRET}@host:7000/1",
        f"rediss+cluster://:{SECRET}@host/?{SECRET}=1",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(BadInput, match="expected .*redis") as refused:
        store_at(address)()
    assert SECRET not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    "address",
    [
        f"redis://me:{SECRET}@{NOBODY}",
        f"redis://{NOBODY}?password={SECRET}",
        f"rediss://me:{SECRET}@{NOBODY}",
        f"unix://me:{SECRET}@/no/such/socket",
        f"redis+cluster://me:{SECRET}@{NOBODY}",
        f"rediss+cluster://me:{SECRET}@{NOBODY},{NOBODY}",
    ],
)
def test_a_server_that_is_not_there_is_told_without_the_password(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def test() -> None:
        store = RedisStore(address)
        with pytest.raises(StoreUnavailable, match="the store does not answer now") as away:
            await store.heads()
        said = (
            f"{''.join(traceback.format_exception(away.value))} {store!r} {store.calls!r} {vars(store.calls)}"
        )
        assert SECRET not in said.replace(repr(getattr(store.calls, "_link", "")), "")
        await store.aclose()

    asyncio.run(test())
    assert SECRET not in caplog.text


def test_a_password_that_is_wrong_is_told_without_it(
    redis_server: RedisServer, redis_nodes: RedisNodes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def test(url: str) -> None:
        store = RedisStore(url.replace("://", f"://ssechat:{SECRET}@"))
        with pytest.raises(StoreUnavailable, match="invalid username-password pair") as away:
            await store.heads()
        assert SECRET not in "".join(traceback.format_exception(away.value))
        await store.aclose()

    for server in (redis_server, redis_nodes):
        asyncio.run(test(server.url))
    assert SECRET not in caplog.text


def test_a_server_with_a_store_that_is_away_says_nothing_of_its_password() -> None:
    options = {**os.environ, "SSECHAT_STORE": f"redis://:{SECRET}/x@{NOBODY}"}
    ran = subprocess.run(COMMAND, capture_output=True, text=True, timeout=60, check=False, env=options)
    assert ran.returncode == 2
    assert "the store's address cannot be used; expected redis://" in ran.stderr
    assert SECRET not in ran.stdout + ran.stderr


def test_a_process_that_has_another_store_names_it_without_its_password() -> None:
    close_embedded()
    try:
        embedded(f"redis://me:{SECRET}@{NOBODY}/0?socket_timeout=1")
        with pytest.raises(BadInput, match=f"whose store is redis://…@{NOBODY}/0;") as refused:
            embedded("memory")
        assert SECRET not in str(refused.value)
    finally:
        close_embedded()


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("memory", "memory"),
        ("sqlite:/home/me@work/s.db", "sqlite:/home/me@work/s.db"),
        ("redis://host:1/2", "redis://host:1/2"),
        ("redis://me:p@host?a=b", "redis://…@host"),
        ("redis+cluster://me:p@a:1,b:2", "redis+cluster://…@a:1,b:2"),
    ],
)
def test_an_address_is_shown_without_its_secrets(address: str, shown: str) -> None:
    assert public(address) == shown


# ---- rights ----


def test_the_user_of_the_docs_may_do_all_that_a_script_does() -> None:
    """All other commands are tried by the tests of the store, which run as this user."""
    used = set(re.findall(r"redis\.call\('(\w+)'", " ".join(SCRIPTS.values())))
    rights = {word.removeprefix("+").upper() for word in restricted_user() if word.startswith("+")}
    assert used and used <= rights


# ---- what a store may lose ----


def test_of_two_owners_with_one_number_the_last_writes(redis_server: RedisServer) -> None:
    """A primary that dies may take a change of owners with it: then the number is given again."""

    async def test() -> None:
        case = Case(lambda: RedisStore(redis_server.url, clock=clock), clock)
        claim = await case.generation()
        calls = RedisStore(redis_server.url).calls
        before = await calls.one("HGETALL", f"ssechat:{{{claim.key.session_id}}}")
        clock.now += 11
        second = await case.store.seize(claim.key, "w2", 10)
        fields = [word for pair in before.items() for word in pair]
        await calls.one("HSET", f"ssechat:{{{claim.key.session_id}}}", *fields)
        third = await case.store.seize(claim.key, "w3", 10)
        assert second is not None and third is not None
        assert third == replace(second, owner="w3")
        assert verdicts(await case.store.append([appended(second, 1, "two")])) == ["fenced"]
        assert verdicts(await case.store.append([appended(third, 1, "three")])) == ["ok"]
        await calls.aclose()
        await case.aclose()

    clock = Clock()
    asyncio.run(test())
