"""Who a token names: one user, or those of a file, which may change while the gateway runs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.gateway.limits import Limits
from jupyter_ssechat.gateway.users import (
    LOOK_SECONDS,
    User,
    Users,
    UsersFile,
    digest_of,
    everybody,
    new_token,
)

ALICE, BOB = "alice's-own-token", "bob's-own-token"
BOTH = f"""
[users.alice]
token_sha256 = "{digest_of(ALICE).upper()}"
limits = {{streams = 8, stored = "1GB"}}
operator = true

[users."bob@lab.example"]
token = "{BOB}"
"""


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "users.toml"
    path.write_text(text, "utf-8")
    path.chmod(mode)
    return path


def name_of(users: Users | UsersFile, token: str) -> str | None:
    user = users.with_token(token)
    return user.name if user else None


def test_one_token_names_everybody() -> None:
    user = everybody("t", Limits(streams=1))
    users = Users([user])
    assert users.with_token("t") is users.named("") is user
    assert users.with_token("T") is users.with_token("") is users.with_token(user.digest) is None
    assert user.operator and user.limits.streams == 1


def test_a_file_names_users_by_the_digest_of_their_token_or_the_token(tmp_path: Path) -> None:
    users = UsersFile(written(tmp_path, BOTH), each=Limits(streams=4, readers=9))
    assert [name_of(users, token) for token in (ALICE, BOB, "x", "")] == [
        "alice",
        "bob@lab.example",
        None,
        None,
    ]
    alice, bob = users.named("alice"), users.named("bob@lab.example")
    assert alice and alice.operator and alice.limits == Limits(streams=8, stored=10**9, readers=9)
    assert bob and not bob.operator and bob.limits == Limits(streams=4, readers=9)


def test_others_may_stand_beside_those_of_the_file(tmp_path: Path) -> None:
    users = UsersFile(written(tmp_path, BOTH), others=[everybody("t")])
    assert [name_of(users, token) for token in ("t", ALICE)] == ["", "alice"]


def test_neither_token_nor_digest_shows() -> None:
    assert digest_of(ALICE) not in repr(User("alice", digest_of(ALICE)))


def test_a_new_token_is_never_the_same() -> None:
    assert len({new_token() for _ in range(100)}) == 100


def test_a_file_that_has_changed_counts_after_a_moment(tmp_path: Path) -> None:
    now = 100.0
    path = written(tmp_path, BOTH)
    users = UsersFile(path, clock=lambda: now)
    written(tmp_path, BOTH.replace("alice", "alicia"))
    assert name_of(users, ALICE) == "alice"
    now += LOOK_SECONDS
    assert name_of(users, ALICE) == "alicia"


@pytest.mark.parametrize("broken", ["[users.", "", "[users.eve]\n", None])
def test_a_file_that_is_broken_later_changes_nothing_and_is_complained_of_once(
    broken: str | None, tmp_path: Path
) -> None:
    now, complaints = 100.0, list[str]()
    path = written(tmp_path, BOTH)
    users = UsersFile(path, clock=lambda: now, complain=complaints.append)
    path.unlink() if broken is None else written(tmp_path, broken)
    for _ in range(3):
        now += LOOK_SECONDS
        assert name_of(users, ALICE) == "alice"
    [said] = complaints
    assert str(path) in said and said.endswith("the users stay as they were") and "\n" not in said
    written(tmp_path, BOTH.replace("alice", "alicia"))
    now += LOOK_SECONDS
    assert name_of(users, ALICE) == "alicia"


DIGEST = digest_of("x")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it names no user"),
        ("users = 3", "it names no user"),
        ("[users]", "it names no user"),
        ("oops", "is no TOML"),
        ("[user.a]", "'user' is unknown; expected tables [users.NAME]"),
        ("[users.a]", "[users.a] needs either token_sha256 or token"),
        (f'[users.a]\ntoken = "t"\ntoken_sha256 = "{DIGEST}"', "needs either token_sha256 or token"),
        ('[users.a]\ntoken_sha256 = "abc"', "expected 64 hexadecimal digits"),
        ("[users.a]\ntoken_sha256 = 5", "expected 64 hexadecimal digits"),
        ('[users.a]\ntoken = ""', "cannot stand in a header"),
        ('[users.a]\ntoken = "two words"', "cannot stand in a header"),
        ('[users.a]\ntoken = "é"', "cannot stand in a header"),
        (f'[users.a]\ntoken_sha256 = "{DIGEST}"\nadmin = true', "unknown 'admin'; expected token"),
        (f'[users.a]\ntoken_sha256 = "{DIGEST}"\noperator = "yes"', "expected true or false"),
        (
            f'[users.a]\ntoken_sha256 = "{DIGEST}"\nlimits = {{streams = 0}}',
            "[users.a] streams=0 is not a limit",
        ),
        (f'[users."a b"]\ntoken_sha256 = "{DIGEST}"', "is no name of a user"),
        (f'[users.""]\ntoken_sha256 = "{DIGEST}"', "is no name of a user"),
        (f'[users."~a"]\ntoken_sha256 = "{DIGEST}"', "is no name of a user"),
        (
            f'[users.a]\ntoken = "x"\n[users.b]\ntoken_sha256 = "{DIGEST}"',
            "[users.b] has the token of another",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line_without_its_tokens(
    text: str, said: str, tmp_path: Path
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(BadInput) as refused:
        UsersFile(path)
    line = str(refused.value)
    assert said in line and line.startswith(str(path)) and "\n" not in line and "two words" not in line


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        UsersFile(tmp_path / "nowhere.toml")


def test_a_file_of_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "users.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="is no TOML"):
        UsersFile(path)


@pytest.mark.skipif(os.name == "nt", reason="modes are of POSIX")
def test_a_token_that_others_could_read_is_refused_and_a_digest_is_not(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"\[users.*bob.*\] has a token that others can read") as refused:
        UsersFile(written(tmp_path, BOTH, mode=0o644))
    assert BOB not in str(refused.value)
    only_alice = BOTH.partition('[users."bob')[0]
    assert name_of(UsersFile(written(tmp_path, only_alice, mode=0o644)), ALICE) == "alice"


def test_the_file_in_the_docs_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "users.md").read_text()
    [toml] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    users = UsersFile(written(tmp_path, toml))
    alice = users.named("alice")
    assert alice and alice.operator and alice.limits == Limits(streams=8, stored=10**9)
    assert name_of(users, "in-plain-words") == "bob@lab.example"
