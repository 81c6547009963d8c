"""Tokens for one stream: every worker knows them, and nobody can make or change one."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jupyter_ssechat.gateway.grants import MARK, Grant, Grants
from jupyter_ssechat.gateway.users import User, Users, digest_of
from jupyter_ssechat.transport import sendable_in_header

ALICE, BOB = User("alice", digest_of("a")), User("bob", digest_of("b"))
USERS = Users([ALICE, BOB])
GRANT = Grant("alice", "http://127.0.0.1:8888", "一", 2, 1e9)


def grants(secret: str = "secret") -> Grants:
    async def ask() -> str:
        return secret

    return Grants(ask)


def made(by: Grants, grant: Grant = GRANT, user: User = ALICE) -> str:
    return asyncio.run(by.token(grant, user))


def read(by: Grants, token: str, users: Users = USERS) -> Grant | None:
    return asyncio.run(by.read(token, users))


def test_what_one_worker_has_made_every_worker_knows() -> None:
    token = made(grants())
    assert read(grants(), token) == GRANT
    assert sendable_in_header(token) and "%" not in token and "&" not in token


def test_a_gateway_with_another_secret_does_not() -> None:
    assert read(grants("another"), made(grants())) is None


def test_a_token_is_void_when_that_of_its_user_is() -> None:
    token = made(grants())
    assert read(grants(), token, Users([BOB])) is None
    assert read(grants(), token, Users([User("alice", digest_of("a new one"))])) is None


@given(st.data())
def test_no_character_can_be_changed(data: Any) -> None:
    token = made(grants())
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters().filter(lambda one: one != token[at]))
    found = read(grants(), token[:at] + other + token[at + 1 :])
    assert found in (None, GRANT)  # the last character of base64 has bits that say nothing
    if at < token.rindex(".") - 1:
        assert found is None


@given(st.text(max_size=200))
def test_whatever_else_is_said_is_no_grant(text: str) -> None:
    assert read(grants(), text) is None
    assert read(grants(), MARK + text) is None


def test_what_is_said_in_another_shape_is_none() -> None:
    for said in (
        [],
        {},
        "x",
        3,
        ["alice", "o", "s", "two", 1.0],
        ["alice", "o", "s", 2, None],
        ["alice"] * 6,
    ):
        text = base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")
        assert read(grants(), f"{MARK}{text}.{'A' * 43}") is None
