"""Who may call: the Host, the token, and what a view's own token is good for."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.gateway.access import LOOPBACK, STOP, VIEW_PATHS, Access, Guard
from jupyter_ssechat.gateway.grants import SECONDS
from jupyter_ssechat.gateway.server import Gateway
from jupyter_ssechat.upstream import Demo

from .jupyter_lab import Browser
from .servers import Served

TOKEN = "the-secret-of-this-gateway"
PAGE = "http://127.0.0.1:8888"
HISTORY = "/api/v0/chat/history_messages"
NAMED = "https://page.example"
CHAT = "/v1/chat/completions"
ABOUT = {"chat_session_id": "s", "message_id": 2}


class Guarded:
    """An app behind the guard that answers with what it was asked."""

    def __init__(self) -> None:
        hosts = ("Chat.Example.org", "chat.example.org:8443", "fd00::1")
        origins = (NAMED, "HTTP://Other.Example:80")
        self.time = 1e9
        self.access = Access(TOKEN, allowed_hosts=hosts, origins=origins, now=lambda: self.time)
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

    def grant(self, origin: str = PAGE, session_id: str = "s", message_id: int = 2) -> str:
        user = self.access.users.with_token(TOKEN)
        assert user is not None
        return asyncio.run(self.access.grant(user, origin, session_id, message_id))

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
    assert one.users.with_token(one.token) is not None
    assert one.users.with_token(two.token) is None
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


@pytest.mark.parametrize("token", ["a b", "tökén", "line\nbreak", "\x7f"])
def test_a_token_that_cannot_stand_in_a_header_is_refused(token: str) -> None:
    with pytest.raises(BadInput, match="cannot stand in a header") as error:
        Access(token)
    assert token not in str(error.value)


# ---- what needs no token ----


@pytest.mark.parametrize("host", ["any.name", "127.0.0.1", ""])
def test_the_health_is_told_to_everybody_under_any_name(guarded: Guarded, host: str) -> None:
    assert guarded.http.get("/health", headers={"host": host}).status_code == 200
    assert guarded.asked == [("GET", "/health", b"")]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/health"),
        ("OPTIONS", "/health"),
        ("GET", "/health/"),
        ("GET", "/healthy"),
        ("GET", "/metrics"),
    ],
)
def test_nothing_else_is(guarded: Guarded, method: str, path: str) -> None:
    assert guarded.http.request(method, path).status_code == 401
    assert guarded.asked == []


def test_a_stream_of_its_own_is_its_own_token(guarded: Guarded) -> None:
    path = "/ai/chat/stream/3f2b8c1e-0f3a-4f0e-9f5b-a1b2c3d4e5f6"
    assert guarded.http.get(path).status_code == 200
    assert guarded.asked == [("GET", path, b"")]
    assert guarded.http.get(path, headers={"host": "evil.example"}).status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/ai/chat/stream/abc"),
        ("POST", "/ai/chat/stream/init"),
        ("OPTIONS", "/ai/chat/stream/abc"),
        ("GET", "/ai/chat/stream"),
        ("GET", "/ai/chat/stream/"),
        ("GET", "/ai/chat/stream?message=x"),
        ("GET", "/ai/chat/stream/a/b"),
        ("GET", "/ai/chat/stream/%2e%2e%2fapi"),
        ("GET", "/ai/chat/stream/abc%0a"),
        ("GET", "/x/ai/chat/stream/abc"),
    ],
)
def test_what_only_looks_like_one_needs_the_token(guarded: Guarded, method: str, path: str) -> None:
    assert guarded.http.request(method, path).status_code == 401
    assert guarded.asked == []


# ---- refusals below /v1 ----


def test_below_v1_a_refusal_brings_the_error_object_of_openai_beside_the_envelope(guarded: Guarded) -> None:
    for headers, status in (({}, 401), ({"host": "evil.example"}, 403)):
        answer = guarded.post(CHAT, {}, **headers)
        body = answer.json()
        assert (answer.status_code, set(body)) == (status, {"code", "msg", "data", "error"})
        assert body["error"] == {
            "message": body["msg"],
            "type": "invalid_request_error",
            "param": None,
            "code": str(status),
        }
        assert set(guarded.post(HISTORY, {}, **headers).json()) == {"code", "msg", "data"}


def test_so_does_what_is_not_there() -> None:
    with Gateway(Demo(pace=0)) as gateway:
        headers = {"authorization": f"Bearer {gateway.token}"}
        with httpx.Client(base_url=gateway.url, headers=headers, trust_env=False) as http:
            missing, wrong, other = http.get("/v1/nowhere"), http.get(CHAT), http.get("/nowhere")
    assert [missing.status_code, wrong.status_code, wrong.headers["allow"]] == [404, 405, "POST"]
    assert missing.json()["error"]["code"] == "404" and wrong.json()["error"]["code"] == "405"
    assert (other.status_code, "error" in other.json()) == (404, False)


# ---- the Host ----


@pytest.mark.parametrize("name", [*LOOPBACK, "LocalHost"])
def test_this_machine_is_served_under_its_names_with_the_port(guarded: Guarded, name: str) -> None:
    host = f"{name}:{guarded.access.port}"
    assert guarded.post(host=host, authorization=f"Bearer {TOKEN}").status_code == 200
    assert not guarded.access.is_ours(name)
    assert not guarded.access.is_ours(f"{name}:{guarded.access.port + 1}")


@pytest.mark.parametrize(
    "host",
    [
        "chat.example.org",
        "CHAT.example.org",
        "chat.example.org:8443",
        "chat.example.org:PORT",
        "[fd00::1]:PORT",
    ],
)
def test_an_allowed_host_is_served_as_it_is_named_whatever_the_case(guarded: Guarded, host: str) -> None:
    host = host.replace("PORT", str(guarded.access.port))
    assert guarded.post(host=host, authorization=f"Bearer {TOKEN}").status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "127.0.0.1",
        "127.0.0.1.evil.example:PORT",
        "evil@127.0.0.1:PORT",
        "127.1:PORT",
        "chat.example.org:1",
        "chat.example.org.evil.example",
        "evil.chat.example.org",
        ":PORT",
    ],
)
def test_any_other_host_is_403_whatever_the_token(guarded: Guarded, host: str) -> None:
    host = host.replace("PORT", str(guarded.access.port))
    answer = guarded.post(host=host, authorization=f"Bearer {TOKEN}")
    assert (answer.status_code, answer.json()["code"]) == (403, 40301)
    assert guarded.asked == []


@pytest.mark.parametrize(
    "host", ["", "*", "http://name", "name/path", "name:port", "*.example", "a b", "user@name", "name:123456"]
)
def test_what_is_no_host_cannot_be_allowed(host: str) -> None:
    with pytest.raises(BadInput, match="expected HOST or HOST:PORT"):
        Access(allowed_hosts=(host,))


# ---- pages that were named ----


def preflight(guarded: Guarded, origin: str, path: str = CHAT, **more: str) -> httpx.Response:
    headers = {"origin": origin, "access-control-request-method": "POST"}
    headers |= {f"access-control-request-{name.replace('_', '-')}": value for name, value in more.items()}
    return guarded.http.options(path, headers=headers)


def words(text: str) -> set[str]:
    return set(re.split(r", ?", text.lower()))


@pytest.mark.parametrize("path", [CHAT, STOP, "/ai/chat/stream/init", "/metrics"])
def test_a_named_page_may_ask_beforehand_without_a_token(guarded: Guarded, path: str) -> None:
    answer = preflight(guarded, NAMED, path)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == NAMED
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert words(answer.headers["access-control-allow-methods"]) == {"get", "post"}
    assert {"origin", "access-control-request-headers"} <= words(answer.headers["vary"])
    assert guarded.asked == []


def test_a_named_page_may_send_what_clients_send(guarded: Guarded) -> None:
    sent = "authorization,content-type,last-event-id,x-stainless-os,x-stainless-retry-count"
    allowed = words(preflight(guarded, NAMED, headers=sent).headers["access-control-allow-headers"])
    assert words(sent) <= allowed
    for strange in ("x-secret", "x-stainless-;", "*", "x-stainless-" + "x" * 99):
        answer = preflight(guarded, NAMED, headers=f"authorization, {strange}")
        assert strange not in words(answer.headers["access-control-allow-headers"])


def test_a_public_page_may_reach_this_machine_if_it_was_named(guarded: Guarded) -> None:
    header = "access-control-allow-private-network"
    assert preflight(guarded, NAMED, private_network="true").headers[header] == "true"
    assert header not in preflight(guarded, NAMED).headers
    assert header not in preflight(guarded, "https://evil.example", private_network="true").headers


def test_a_named_page_may_read_answers_and_refusals_and_when_to_come_again(guarded: Guarded) -> None:
    for token, status in ((TOKEN, 200), ("wrong", 401)):
        answer = guarded.as_view(token, CHAT, origin=NAMED)
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == NAMED
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert "retry-after" in words(answer.headers["access-control-expose-headers"])
        assert answer.headers["vary"] == "origin"


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "*",
        "http://page.example",
        "https://page.example:8443",
        "https://page.example.evil.example",
        "https://evil-page.example",
        "https://sub.page.example",
        "https://page.example/",
        "HTTPS://PAGE.EXAMPLE",
        "https://page.exampl",
        f"{NAMED}, {NAMED}",
        "",
    ],
)
def test_any_other_page_reads_nothing_and_learns_nothing(guarded: Guarded, origin: str) -> None:
    asked_before = preflight(guarded, origin, private_network="true", headers="authorization")
    assert asked_before.status_code == 401
    answer = guarded.as_view(TOKEN, CHAT, origin=origin)
    for each in (asked_before, answer):
        assert not [name for name in each.headers if name.startswith("access-control")]
        assert each.headers["vary"] == "origin"


def test_an_origin_is_taken_as_a_browser_writes_it(guarded: Guarded) -> None:
    assert preflight(guarded, "http://other.example").status_code == 200


def test_answers_depend_on_the_origin_also_where_none_is_told(guarded: Guarded) -> None:
    assert guarded.post(CHAT, {}, authorization=f"Bearer {TOKEN}").headers["vary"] == "origin"


def test_a_named_page_under_a_foreign_host_gets_nothing(guarded: Guarded) -> None:
    headers = {"origin": NAMED, "host": "evil.example", "access-control-request-method": "POST"}
    assert guarded.http.options(CHAT, headers=headers).status_code == 403
    assert guarded.post(CHAT, {}, **headers, authorization=f"Bearer {TOKEN}").status_code == 403


def test_a_question_of_a_named_page_that_has_no_token_is_not_answered(guarded: Guarded) -> None:
    assert guarded.post(CHAT, {}, origin=NAMED).status_code == 401
    assert guarded.asked == []


@pytest.mark.parametrize(
    "origin",
    ["", "*", "null", "page.example", "https://", "https://page.example/", "https://*.example", "https://a b",
     "https://user@page.example", "https://page.example?x", "https://page.example:port", "//page.example"],
)  # fmt: skip
def test_what_is_no_origin_cannot_be_named(origin: str) -> None:
    with pytest.raises(BadInput, match="is not an origin; expected SCHEME://HOST"):
        Access(origins=(origin,))


def test_without_named_pages_no_answer_speaks_of_origins() -> None:
    with Gateway(Demo(pace=0)) as gateway:
        headers = {"origin": NAMED, "authorization": f"Bearer {gateway.token}"}
        answer = httpx.get(gateway.url, headers=headers, trust_env=False)
    assert answer.status_code == 200
    assert not {name for name in answer.headers if name.startswith("access-control")} | (
        {"vary"} & set(answer.headers)
    )


# ---- in a browser ----

ASK = """async ([gateway, token]) => {
  const headers = {"content-type": "application/json", "x-stainless-os": "Linux", authorization: `Bearer ${token}`};
  const body = JSON.stringify({model: "demo", stream: true, messages: [{role: "user", content: "hello"}]});
  try {
    const answer = await fetch(`${gateway}/v1/chat/completions`, {method: "POST", headers, body});
    return [answer.status, await answer.text()];
  } catch (error) {
    return [0, error.name];
  }
}"""


@pytest.fixture(scope="module")
def browser(installed_chromium: str) -> Iterator[Browser]:
    browser = Browser(installed_chromium)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of an empty page."""
    served = Served(Starlette(routes=[Route("/", lambda _: HTMLResponse("<title>page</title>"))]))
    yield served.url
    served.close()


def test_in_a_browser_the_page_that_was_named_reads_a_stream_and_the_same_page_elsewhere_does_not(
    browser: Browser, site: str
) -> None:
    page = browser.new_page({})
    with Gateway(Demo(pace=0), cors=(site,)) as gateway:

        def ask_from(where: str, token: str) -> tuple[int, str]:
            browser.do(page.goto(where))
            status, text = browser.do(page.evaluate(ASK, [gateway.url, token]))
            return status, text

        status, text = ask_from(site, gateway.token)
        assert (status, text.splitlines()[-2]) == (200, "data: [DONE]")
        status, text = ask_from(site, "wrong")
        assert (status, json.loads(text)["error"]["code"]) == (401, "401")
        elsewhere = site.replace("127.0.0.1", "localhost")
        assert ask_from(elsewhere, gateway.token) == (0, "TypeError")
    browser.do(page.close())


# ---- what a live view may do ----


@pytest.mark.parametrize("path", VIEW_PATHS)
def test_a_view_may_stop_and_resume_its_one_answer(guarded: Guarded, path: str) -> None:
    token = guarded.grant()
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
    token = guarded.grant()
    answer = guarded.post(STOP, body, authorization=f"Bearer {token}", origin=PAGE)
    assert answer.status_code == 401
    assert guarded.asked == []


def test_a_views_token_is_good_for_its_own_page_and_for_nothing_but_a_post_to_its_paths(
    guarded: Guarded,
) -> None:
    token = guarded.grant()
    other = "http://localhost:8888"
    guarded.grant(other, "s", 3)
    assert guarded.as_view(token, origin=other).status_code == 401
    assert guarded.as_view(token, origin="null").status_code == 401
    assert guarded.as_view(token, HISTORY).status_code == 401
    assert guarded.as_view(token, f"{STOP}/").status_code == 401
    headers = {"authorization": f"Bearer {token}", "origin": PAGE}
    assert guarded.http.request("GET", STOP, headers=headers).status_code == 401
    assert guarded.post(STOP, ABOUT, authorization=f"Bearer {token}").status_code == 401
    assert guarded.asked == []


def test_a_grant_runs_out_and_the_page_may_read_that_it_has(guarded: Guarded) -> None:
    token = guarded.grant()
    assert guarded.as_view(token).status_code == 200
    try:
        guarded.time += SECONDS + 1
        refused = guarded.as_view(token)
    finally:
        guarded.time -= SECONDS + 1
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)


def test_a_browser_may_ask_beforehand_from_the_page_of_the_grant_in_the_address_only(
    guarded: Guarded,
) -> None:
    token = guarded.grant()
    known = guarded.http.options(f"{STOP}?token={token}", headers={"origin": PAGE})
    assert known.status_code == 200
    allowed = {name: known.headers[f"access-control-allow-{name}"] for name in ("headers", "methods")}
    assert allowed == {"headers": "authorization, content-type", "methods": "POST"}
    asked = guarded.http.post(f"{STOP}?token={token}", json=ABOUT, headers={"origin": PAGE})
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, PAGE)
    guarded.asked.clear()
    for address, origin in [
        (f"{STOP}?token={token}", "http://evil.example"),
        (f"{HISTORY}?token={token}", PAGE),
        (f"{STOP}?token={token[:-4]}AAAA", PAGE),
        (STOP, PAGE),
    ]:
        answer = guarded.http.options(address, headers={"origin": origin})
        assert answer.status_code == 401
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert guarded.asked == []


def test_a_view_that_has_no_origin_is_known_to_nobody(guarded: Guarded) -> None:
    token = guarded.grant("null")
    answer = guarded.as_view(token, origin="null")
    assert answer.status_code == 401 and "access-control-allow-origin" not in answer.headers


def test_a_rebound_host_gets_nothing_by_a_known_origin(guarded: Guarded) -> None:
    token = guarded.grant()
    answer = guarded.post(STOP, ABOUT, host="evil.example", origin=PAGE, authorization=f"Bearer {token}")
    assert answer.status_code == 403


def test_the_gateways_own_token_is_good_from_a_page_too_but_lets_no_other_page_read(
    guarded: Guarded,
) -> None:
    answer = guarded.as_view(TOKEN, HISTORY, origin="http://evil.example")
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
