"""Who may call: the Host, the token, and what a view's own token is good for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from jupyter_ssechat.gateway import access as module
from jupyter_ssechat.gateway.access import LOOPBACK, VIEW_PATHS, Access, Grant, Guard

from .servers import Served

TOKEN = "the-secret-of-this-gateway"
PAGE = "http://127.0.0.1:8888"
STOP = "/api/v0/chat/stop_stream"
HISTORY = "/api/v0/chat/history_messages"
ABOUT = {"chat_session_id": "s", "message_id": 2}


class Guarded:
    """An app behind the guard that answers with what it was asked."""

    def __init__(self) -> None:
        self.access = Access(TOKEN, allowed_hosts=("Chat.Example.org", "chat.example.org:8443"))
        self.asked: list[tuple[str, str, bytes]] = []
        routes = [Route("/{rest:path}", self._answer, methods=["GET", "POST", "OPTIONS"])]
        self._served = Served(Guard(Starlette(routes=routes), self.access))
        self.access.port = int(self._served.url.rpartition(":")[2])
        self.http = httpx.Client(base_url=self._served.url, trust_env=False)

    async def _answer(self, request: Request) -> Response:
        self.asked.append((request.method, request.url.path, await request.body()))
        return JSONResponse({"yes": True})

    def post(self, path: str = HISTORY, body: Any = None, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(path, content=content, headers=headers)

    def as_view(self, token: str, path: str = STOP, body: Any = None, origin: str = PAGE) -> httpx.Response:
        return self.post(path, body or ABOUT, authorization=f"Bearer {token}", origin=origin)

    def close(self) -> None:
        self.http.close()
        self._served.close()


@pytest.fixture(scope="module")
def running() -> Iterator[Guarded]:
    guarded = Guarded()
    yield guarded
    guarded.close()


@pytest.fixture
def guarded(running: Guarded) -> Guarded:
    """The guarded app, which has not been asked anything yet."""
    running.asked.clear()
    return running


# ---- the token ----


def test_a_token_is_made_where_none_is_given_and_never_the_same() -> None:
    one, two = Access(), Access()
    assert len(one.token) >= 32 and one.token != two.token
    assert one.is_token(one.token)
    assert not one.is_token(two.token)
    assert Access("").token


def test_the_token_does_not_show(guarded: Guarded) -> None:
    assert TOKEN not in repr(guarded.access)
    assert TOKEN not in guarded.post(authorization="Bearer wrong").text


@pytest.mark.parametrize("word", ["Bearer", "bearer", "BEARER"])
def test_the_token_opens_the_door_in_the_header(guarded: Guarded, word: str) -> None:
    assert guarded.post(body=ABOUT, authorization=f"{word} {TOKEN}").status_code == 200
    assert guarded.asked == [("POST", HISTORY, json.dumps(ABOUT).encode())]


def test_the_token_opens_the_door_in_the_address(guarded: Guarded) -> None:
    assert guarded.post(f"{HISTORY}?a=b&token={TOKEN}").status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN.upper()}",
        "Bearer tök\xe9n",
    ],
)
def test_anything_else_is_401_and_the_app_is_not_asked(guarded: Guarded, header: str | None) -> None:
    headers: list[tuple[bytes, bytes]] = (
        [] if header is None else [(b"authorization", header.encode("latin-1"))]
    )
    answer = guarded.http.post(HISTORY, content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, 40003)
    assert "Authorization: Bearer TOKEN" in answer.json()["msg"]
    assert guarded.asked == []


def test_the_refusal_tells_a_wrong_token_from_none(guarded: Guarded) -> None:
    assert guarded.post().json()["msg"].startswith("a token is needed; ")
    assert guarded.post(f"{HISTORY}?token=x").json()["msg"].startswith("the token is wrong; ")


def test_a_wrong_token_in_the_header_is_not_mended_by_the_address(guarded: Guarded) -> None:
    assert guarded.post(f"{HISTORY}?token={TOKEN}", authorization="Bearer wrong").status_code == 401


@pytest.mark.parametrize("path", ["/", "/api/v0/chat/completion", "/no/such/path", "//api", "/%2e%2e"])
def test_no_path_is_open(guarded: Guarded, path: str) -> None:
    assert guarded.http.get(path).status_code == 401
    assert guarded.http.options(path, headers={"origin": PAGE}).status_code == 401


# ---- the Host ----


@pytest.mark.parametrize("name", [*LOOPBACK, "LocalHost"])
def test_this_machine_is_served_under_its_names_with_the_port(guarded: Guarded, name: str) -> None:
    host = f"{name}:{guarded.access.port}"
    assert guarded.post(host=host, authorization=f"Bearer {TOKEN}").status_code == 200
    assert not guarded.access.is_ours(name)
    assert not guarded.access.is_ours(f"{name}:{guarded.access.port + 1}")


@pytest.mark.parametrize("host", ["chat.example.org", "CHAT.example.org", "chat.example.org:8443"])
def test_an_allowed_host_is_served_as_it_is_named_whatever_the_case(guarded: Guarded, host: str) -> None:
    assert guarded.post(host=host, authorization=f"Bearer {TOKEN}").status_code == 200


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "127.0.0.1", "127.0.0.1.evil.example:PORT", "evil@127.0.0.1:PORT", "127.1:PORT"],
)
def test_any_other_host_is_403_whatever_the_token(guarded: Guarded, host: str) -> None:
    host = host.replace("PORT", str(guarded.access.port))
    answer = guarded.post(host=host, authorization=f"Bearer {TOKEN}")
    assert (answer.status_code, answer.json()["code"]) == (403, 40301)
    assert guarded.asked == []


# ---- what a live view may do ----


@pytest.mark.parametrize("path", VIEW_PATHS)
def test_a_view_may_stop_and_resume_its_one_answer(guarded: Guarded, path: str) -> None:
    token = guarded.access.grant(PAGE, "s", 2)
    answer = guarded.as_view(token, path, {**ABOUT, "stream_id": "x"})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["vary"] == "origin"
    # The app got the body whole, though the guard has read it.
    assert json.loads(guarded.asked[0][2]) == {**ABOUT, "stream_id": "x"}


@pytest.mark.parametrize(
    "body",
    [
        {**ABOUT, "message_id": 3},
        {**ABOUT, "message_id": "2"},
        {**ABOUT, "chat_session_id": "t"},
        {},
        [ABOUT],
        b"",
        b"{oops",
        b"\xff",
        b"[" * 4000,
        json.dumps({**ABOUT, "stream_id": "x" * 2**20}).encode(),
    ],
)
def test_a_view_may_do_nothing_about_anything_else(guarded: Guarded, body: Any) -> None:
    token = guarded.access.grant(PAGE, "s", 2)
    answer = guarded.post(STOP, body, authorization=f"Bearer {token}", origin=PAGE)
    assert answer.status_code == 401
    assert guarded.asked == []


def test_a_views_token_is_good_for_its_own_page_and_for_nothing_but_a_post_to_its_paths(
    guarded: Guarded,
) -> None:
    token = guarded.access.grant(PAGE, "s", 2)
    other = "http://localhost:8888"
    guarded.access.grant(other, "s", 3)
    assert guarded.as_view(token, origin=other).status_code == 401
    assert guarded.as_view(token, origin="null").status_code == 401
    assert guarded.as_view(token, HISTORY).status_code == 401
    assert guarded.as_view(token, f"{STOP}/").status_code == 401
    headers = {"authorization": f"Bearer {token}", "origin": PAGE}
    assert guarded.http.request("GET", STOP, headers=headers).status_code == 401
    assert guarded.post(STOP, ABOUT, authorization=f"Bearer {token}").status_code == 401
    assert guarded.asked == []


def test_the_page_may_read_why_it_was_refused(guarded: Guarded) -> None:
    guarded.access.grant(PAGE, "s", 2)
    refused = guarded.as_view("an old token")
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)


def test_a_browser_may_ask_beforehand_from_a_known_page_only(guarded: Guarded) -> None:
    guarded.access.grant(PAGE, "s", 2)
    known = guarded.http.options(STOP, headers={"origin": PAGE})
    assert known.status_code == 200
    allowed = {name: known.headers[f"access-control-allow-{name}"] for name in ("headers", "methods")}
    assert allowed == {"headers": "authorization, content-type", "methods": "POST"}
    for path, origin in [(STOP, "http://evil.example"), (HISTORY, PAGE)]:
        answer = guarded.http.options(path, headers={"origin": origin})
        assert answer.status_code == 401
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert guarded.asked == []


def test_a_rebound_host_gets_nothing_by_a_known_origin(guarded: Guarded) -> None:
    token = guarded.access.grant(PAGE, "s", 2)
    answer = guarded.post(STOP, ABOUT, host="evil.example", origin=PAGE, authorization=f"Bearer {token}")
    assert answer.status_code == 403


def test_the_gateways_own_token_is_good_from_a_page_too_but_lets_no_other_page_read(
    guarded: Guarded,
) -> None:
    answer = guarded.as_view(TOKEN, HISTORY, origin="http://evil.example")
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


def test_of_the_grants_only_the_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRANTS", 2)
    access = Access()
    tokens = [access.grant(f"http://page-{number}", "s", number) for number in range(4)]
    granted = [access.granted(token, f"http://page-{number}") for number, token in enumerate(tokens)]
    assert granted == [None, None, Grant("http://page-2", "s", 2), Grant("http://page-3", "s", 3)]
    assert [access.known_origin(f"http://page-{number}") for number in range(4)] == [False, False, True, True]
    assert access.granted("", None) is None
