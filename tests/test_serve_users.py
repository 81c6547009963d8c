"""``serve --users`` and its limits, and ``token``, which makes the token of a user."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

from jupyter_ssechat.gateway.users import digest_of

from .redis_server import RedisServer
from .test_admission import prompt as asked
from .test_admission import refusal
from .test_multi_user import Person
from .test_serve import COMMAND, Server

TOKEN = [*COMMAND[:-1], "token"]


def prompt(session: str) -> dict[str, object]:
    return {**asked(session), "thinking_enabled": False}


def ran(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def entry(name: str, **more: str) -> str:
    lines = [f"[users.{name}]", f'token_sha256 = "{digest_of(name)}"', *map(" = ".join, more.items())]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", ["alice", "bob@lab.example"])
def test_a_token_is_shown_once_and_its_digest_is_for_the_file(name: str) -> None:
    made = ran(*TOKEN, name)
    assert made.returncode == 0
    shown = made.stderr.strip().rpartition(" ")[2]
    assert tomllib.loads(made.stdout) == {"users": {name: {"token_sha256": digest_of(shown)}}}
    assert shown not in made.stdout and len(shown) == 32
    assert ran(*TOKEN, name).stderr != made.stderr


def test_a_name_that_nobody_can_have_is_refused() -> None:
    refused = ran(*TOKEN, "two words")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == (
        "jupyter-ssechat: 'two words' is no name of a user; expected letters, digits and . _ @ + -\n"
    )


def test_each_user_of_the_file_has_their_own_conversations_and_limits(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    file = tmp_path / "users.toml"
    file.write_text(entry("alice") + entry("bob", limits="{streams = 2}", operator="true"))
    options = ["--users", str(file), "--limit-user", "streams=1", "--limit-all", "streams=3", "--pace", "5"]
    store = ["--workers", "2", "--store", redis_server.url]
    server = Server(*options, *store, "--token-env", "THE_TOKEN", env={"THE_TOKEN": "nobody's"})
    people = [Person(server.url, name) for name in ("alice", "bob", "nobody's", "carol")]
    alice, bob, nobody, carol = people
    try:
        session = alice.session()
        for other in (bob, nobody):
            assert other.post("chat/history_messages", chat_session_id=session).status_code == 404
            assert other.call("chat_session/list") == {"chat_sessions": []} or other is nobody
        assert carol.post("chat_session/list").status_code == 401
        assert [one.http.get("/metrics").status_code for one in people] == [403, 200, 200, 401]
        with alice.reading("completion", **prompt(session)) as reading:
            reading.until_text("I")
            # The workers count together: whichever is asked, the places are the same.
            for _ in range(4):
                refusal(alice.post("chat/completion", **prompt(alice.session())))
            with (
                bob.reading("completion", **prompt(bob.session())) as one,
                bob.reading("completion", **prompt(bob.session())) as two,
            ):
                one.until_text("I")
                two.until_text("I")
                assert "of this gateway" in refusal(
                    nobody.post("chat/completion", **prompt(nobody.session()))
                )
            alice.call("chat/stop_stream", chat_session_id=session, message_id=2)
            assert reading.to_end().status == "stopped"
    finally:
        for person in people:
            person.http.close()
        code, _, said = server.end()
    assert code == 0
    assert all(name not in said for name in ("nobody's", digest_of("alice")))


def test_without_a_token_for_everybody_none_is_printed(tmp_path: Path) -> None:
    file = tmp_path / "users.toml"
    file.write_text(entry("alice"))
    with subprocess.Popen(
        [*COMMAND, "--users", str(file)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as serving:
        assert serving.stdout is not None
        line = serving.stdout.readline()
        serving.terminate()
    assert line.startswith("listening on http://127.0.0.1:") and line.endswith("/\n")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--users", "nowhere.toml"], "nowhere.toml cannot be read: No such file or directory"),
        (["--limit-user", "streams=none", "rate=5"], "rate=5 is not a rate; expected one such as 120/min"),
        (["--limit-all", "request=1MB"], "expected --limit-user request=SIZE"),
        (["--limit-all", "tokens=3"], "'tokens' is no limit; expected streams=N"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_listens(options: list[str], said: str) -> None:
    refused = ran(*COMMAND, *options)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert said in refused.stderr and len(refused.stderr.splitlines()) == 1
