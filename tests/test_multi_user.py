"""One gateway, several users: nobody sees, stops or resumes what is another's, at whatever address."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.gateway.access import Access
from jupyter_ssechat.gateway.app import create_app
from jupyter_ssechat.gateway.conversations import Conversations
from jupyter_ssechat.gateway.metrics import Metrics
from jupyter_ssechat.gateway.server import Gateway
from jupyter_ssechat.gateway.settings import Settings
from jupyter_ssechat.gateway.stores.opening import store_at
from jupyter_ssechat.gateway.users import User, Users, UsersFile, digest_of
from jupyter_ssechat.message import Message
from jupyter_ssechat.model_server import ModelServer
from jupyter_ssechat.upstream import Demo

from .servers import Pause, Script, answer, chunk, finish, model_server
from .test_gateway import Reading, message_of
from .test_gateway import SSEDecoder as Decoder

TOKENS = {name: f"the-token-of-{name}" for name in ("alice", "bob", "olga")}
PAGE = "http://127.0.0.1:8888"
OPEN = {"/health", "/ai/chat/stream/{session_id}"}
"""Anybody may ask for these: the second by an id that is its own token."""


def users() -> Users:
    named = [User(name, digest_of(token)) for name, token in TOKENS.items() if name != "olga"]
    return Users([*named, User("olga", digest_of(TOKENS["olga"]), operator=True)])


def routes() -> list[tuple[str, str]]:
    """Every address of a gateway with the method of its calls."""
    settings = Settings(assignable=True)
    app = create_app(Conversations(Demo()), Access("t"), Metrics(), settings)
    found = [one for one in app.routes if isinstance(one, Route)]
    return [(sorted((one.methods or set()) - {"HEAD"})[0], one.path) for one in found]


class Person:
    """Somebody with a token, or with none."""

    def __init__(self, url: str, token: str | None) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=20, trust_env=False)

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.http.post(f"/api/v0/{path}", json=body)

    def call(self, path: str, **body: Any) -> Any:
        answer = self.post(path, **body)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]["biz_data"]

    def session(self) -> str:
        return self.call("chat_session/create")["id"]

    def ask(self, session: str, prompt: str = "hello") -> Message:
        body = {"chat_session_id": session, "prompt": prompt, "parent_message_id": None}
        answer = self.post("chat/completion", **body)
        assert answer.status_code == 200, answer.text
        return message_of(Decoder().feed(answer.content))

    @contextmanager
    def reading(self, path: str, **body: Any) -> Iterator[Reading]:
        with self.http.stream("POST", f"/api/v0/chat/{path}", json=body) as response:
            yield Reading(response)


@contextmanager
def people(gateway: Gateway) -> Iterator[dict[str, Person]]:
    with ExitStack() as stack:
        found = {name: Person(gateway.url, token) for name, token in TOKENS.items()}
        for person in found.values():
            stack.callback(person.http.close)
        yield found


@pytest.fixture(scope="module")
def at_demo() -> Iterator[tuple[Gateway, dict[str, Person]]]:
    settings = Settings(assignable=True)
    with Gateway(Demo(pace=0), users=users(), settings=settings) as gateway, people(gateway) as everybody:
        yield gateway, everybody


# ---- no token, a wrong token ----


@pytest.mark.parametrize("token", [None, "wrong", TOKENS["alice"][:-1], digest_of(TOKENS["alice"])])
@pytest.mark.parametrize(("method", "path"), routes())
def test_without_a_token_of_this_gateway_no_address_answers(
    method: str, path: str, token: str | None, at_demo: tuple[Gateway, dict[str, Person]]
) -> None:
    gateway, _ = at_demo
    address = path.replace("{session_id}", "guessed").replace("{name:path}", "demo")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    answer = httpx.request(method, f"{gateway.url}{address}", headers=headers, trust_env=False)
    if path not in OPEN:
        assert (answer.status_code, answer.json()["code"]) == (401, 40003)
    else:
        assert answer.status_code == (200 if path == "/health" else 404)


def test_a_gateway_of_users_has_no_token_for_everybody(at_demo: tuple[Gateway, dict[str, Person]]) -> None:
    gateway, _ = at_demo
    assert gateway.token == ""
    address = f"{gateway.url}/api/v0/chat_session/list?token="
    assert httpx.post(address, json={}, trust_env=False).status_code == 401


def test_a_token_beside_users_is_one_of_theirs() -> None:
    assert Access(TOKENS["olga"], users=users()).token == TOKENS["olga"]
    with pytest.raises(BadInput, match="names none of the users"):
        Access("nobody's", users=users())


def test_a_token_may_also_stand_in_the_address(at_demo: tuple[Gateway, dict[str, Person]]) -> None:
    gateway, _ = at_demo
    address = f"{gateway.url}/api/v0/chat_session/list?token={TOKENS['bob']}"
    assert httpx.post(address, json={}, trust_env=False).status_code == 200


# ---- the token of somebody else ----

ABOUT_ANOTHERS: dict[str, dict[str, Any]] = {
    "chat_session/delete": {},
    "chat_session/assign": {"upstream": {"profile": "demo"}},
    "chat/history_messages": {},
    "chat/completion": {"prompt": "x", "parent_message_id": 2},
    "chat/edit_message": {"message_id": 1, "prompt": "x"},
    "chat/regenerate": {"child_message_id": 2},
    "chat/continue": {"message_id": 2, "fallback_to_resume": True},
    "chat/resume_stream": {"message_id": 2},
    "chat/stop_stream": {"message_id": 2},
    "chat/grant": {"message_id": 2, "origin": PAGE},
}
OF_NOBODY = {"chat_session/create", "chat_session/import", "chat_session/list"}


def test_the_table_of_calls_about_a_session_is_complete() -> None:
    calls = {path.removeprefix("/api/v0/") for _, path in routes() if path.startswith("/api/v0/")}
    assert calls == ABOUT_ANOTHERS.keys() | OF_NOBODY


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_what_is_anothers_is_not_there_and_stays_as_it_is(store: str, tmp_path: Path) -> None:
    pause = Pause()
    script = Script([chunk(content="half "), pause, chunk(content="whole"), finish()])
    opened = store_at("memory" if store == "memory" else f"sqlite:{tmp_path / 's.db'}")
    with (
        model_server(script) as server,
        Gateway(
            ModelServer(server.url), users=users(), store=opened(), settings=Settings(assignable=True)
        ) as at,
        people(at) as everybody,
    ):
        alice, bob, olga = (everybody[name] for name in TOKENS)
        session = alice.session()
        with alice.reading(
            "completion", chat_session_id=session, prompt="q", parent_message_id=None
        ) as reading:
            reading.until_text("half ")
            history = alice.call("chat/history_messages", chat_session_id=session)
            for other in (bob, olga):
                for path, body in ABOUT_ANOTHERS.items():
                    unknown = other.post(path, chat_session_id="never-was", **body)
                    refused = other.post(path, chat_session_id=session, **body)
                    assert refused.status_code == 404, path
                    # Nothing tells it from one that never was.
                    same = refused.text.replace(session, "never-was")
                    assert (same, refused.headers.keys()) == (unknown.text, unknown.headers.keys())
                assert other.call("chat_session/list") == {"chat_sessions": []}
            assert alice.call("chat/history_messages", chat_session_id=session) == history
            pause.end()
            message = reading.to_end()
        assert (message.status, message.content) == ("finished", "half whole")
        assert [one["id"] for one in alice.call("chat_session/list")["chat_sessions"]] == [session]
        assert len(server.requests) == 1


def test_what_one_imports_is_ones_own(at_demo: tuple[Gateway, dict[str, Person]]) -> None:
    _, everybody = at_demo
    saved = {"message_id": 1, "role": "USER", "content": "said"}
    session = everybody["alice"].call("chat_session/import", chat_messages=[saved])["id"]
    assert everybody["bob"].post("chat/history_messages", chat_session_id=session).status_code == 404
    assert everybody["alice"].call("chat/history_messages", chat_session_id=session)["chat_messages"]


def test_a_views_token_acts_for_its_user_and_for_nobody_else(
    at_demo: tuple[Gateway, dict[str, Person]],
) -> None:
    gateway, everybody = at_demo
    sessions = {name: everybody[name].session() for name in ("alice", "bob")}
    for name, session in sessions.items():
        assert everybody[name].ask(session).status == "finished"
    alices = {"chat_session_id": sessions["alice"], "message_id": 2}
    token = everybody["alice"].call("chat/grant", **alices, origin=PAGE)["token"]
    page = httpx.Client(base_url=f"{gateway.url}/api/v0/chat/", headers={"origin": PAGE}, trust_env=False)
    with page:
        assert page.post(f"resume_stream?token={token}", json=alices).status_code == 200
        assert page.post(f"stop_stream?token={token}", json=alices).status_code == 200
        bobs = {"chat_session_id": sessions["bob"], "message_id": 2}
        assert page.post(f"resume_stream?token={token}", json=bobs).status_code == 401
        assert page.post(f"history_messages?token={token}", json=alices).status_code == 401


# ---- who may read the figures, and who is no user any more ----


def test_the_figures_of_all_are_for_operators(at_demo: tuple[Gateway, dict[str, Person]]) -> None:
    _, everybody = at_demo
    assert everybody["olga"].http.get("/metrics").status_code == 200
    refused = everybody["bob"].http.get("/metrics")
    assert (refused.status_code, refused.json()["code"]) == (403, 40302)
    assert "operator = true" in refused.json()["msg"]


def test_who_is_struck_off_the_file_is_refused_and_what_they_read_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "users.toml"
    entry = '[users.{}]\ntoken_sha256 = "{}"\n'
    path.write_text("".join(entry.format(name, digest_of(token)) for name, token in TOKENS.items()))
    now, pause = [0.0], Pause()
    file = UsersFile(path, clock=lambda: now[0])
    script = Script([chunk(content="half "), pause, *answer("whole").steps])
    with (
        model_server(script) as server,
        Gateway(ModelServer(server.url), users=file) as gateway,
        people(gateway) as everybody,
    ):
        alice = everybody["alice"]
        session = alice.session()
        with alice.reading(
            "completion", chat_session_id=session, prompt="q", parent_message_id=None
        ) as reading:
            reading.until_text("half ")
            path.write_text(entry.format("bob", digest_of(TOKENS["bob"])))
            now[0] += 10
            assert alice.post("chat_session/list").status_code == 401
            assert everybody["bob"].post("chat_session/list").status_code == 200
            pause.end()
            assert reading.to_end().content == "half whole"


def test_two_users_at_once_get_each_their_own_answer(at_demo: tuple[Gateway, dict[str, Person]]) -> None:
    _, everybody = at_demo
    got: dict[str, str] = {}

    def talk(name: str) -> None:
        person = everybody[name]
        got[name] = person.ask(person.session(), f"I am {name}").content

    threads = [threading.Thread(target=talk, args=(name,)) for name in ("alice", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "alice" in got["alice"] and "bob" in got["bob"]
    assert "bob" not in got["alice"] and "alice" not in got["bob"]
