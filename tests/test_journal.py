"""What a gateway tells of itself: nothing unless somebody listens, and then what happened, not what was said."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httpx
import pytest

from jupyter_ssechat.gateway import journal
from jupyter_ssechat.gateway.journal import StoreHealth, tell
from jupyter_ssechat.gateway.metrics import Metrics
from jupyter_ssechat.gateway.patch_stream import PatchStream
from jupyter_ssechat.gateway.server import Gateway
from jupyter_ssechat.gateway.sessions import Session
from jupyter_ssechat.gateway.stores.store import StoreUnavailable
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.upstream import Demo

PROMPT = "a prompt that nobody else may read"


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, journal.NAME)
    return caplog


def events(heard: pytest.LogCaptureFixture) -> list[tuple[str, str, dict[str, Any]]]:
    """Level, event and fields of each record."""
    return [
        (record.levelname, record.getMessage(), vars(record)["fields"])
        for record in heard.records
        if record.name == journal.NAME
    ]


def test_a_gateway_in_a_kernel_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    tell("something", logging.ERROR)
    with Gateway(Demo(pace=0)) as gateway:
        ask(gateway)
    assert capfd.readouterr() == ("", "")


def ask(gateway: Gateway) -> str:
    """Ask once over each wire, and call what is not served; the id of the plain stream."""
    headers = {"authorization": f"Bearer {gateway.token}"}
    with httpx.Client(base_url=gateway.url, headers=headers, trust_env=False) as http:
        made = http.post("/api/v0/chat_session/create", json={}).json()["data"]["biz_data"]["id"]
        body = {"chat_session_id": made, "parent_message_id": None, "prompt": PROMPT}
        assert http.post("/api/v0/chat/completion", json=body).status_code == 200
        chat = {"model": "demo", "stream": True, "messages": [{"role": "user", "content": PROMPT}]}
        assert http.post("/v1/chat/completions", json=chat).status_code == 200
        plain = http.post("/ai/chat/stream/init", json={"message": PROMPT}).json()["sessionId"]
        assert http.get(f"/ai/chat/stream/{plain}?q=secret").status_code == 200
        assert http.get("/v1/models/secret").status_code == 404
        assert http.request("BREW", "/secret").status_code == 404
        assert http.get("/health").status_code == 200
    return plain


def test_each_call_and_each_end_of_an_answer_is_told_once(heard: pytest.LogCaptureFixture) -> None:
    with Gateway(Demo(pace=0)) as gateway:
        plain = ask(gateway)
    told = events(heard)
    calls = [fields for _, event, fields in told if event == "call"]
    assert {(one["method"], one["route"], one["status"]) for one in calls} == {
        ("POST", "/api/v0/chat_session/create", 200),
        ("POST", "/api/v0/chat/completion", 200),
        ("POST", "/v1/chat/completions", 200),
        ("POST", "/ai/chat/stream/init", 200),
        ("GET", "/ai/chat/stream/{session_id}", 200),
        ("GET", "/v1/models/{name}", 404),
        ("other", "other", 404),
        ("GET", "/health", 200),
    }
    assert len(calls) == 8
    streams = {one["route"]: one for one in calls if "bytes" in one}
    assert set(streams) == {
        "/api/v0/chat/completion",
        "/v1/chat/completions",
        "/ai/chat/stream/{session_id}",
    }
    assert all(one["bytes"] > 1000 and one["seconds"] >= 0 for one in streams.values())
    ended = {fields["api"]: fields for _, event, fields in told if event == "answer ended"}
    assert {api: (one["outcome"], one["error"]) for api, one in ended.items()} == {
        "patches": ("ok", None),
        "chat": ("ok", None),
        "plain": ("ok", None),
    }
    assert all(one["tokens"] > 100 and one["first_token"] <= one["seconds"] for one in ended.values())
    whose = ended["patches"]
    assert (whose["message_id"], whose["epoch"], len(whose["session_id"])) == (2, 1, 36)
    for secret in (PROMPT, plain, gateway.token, "secret"):
        assert secret not in str(told)


def test_the_bytes_of_a_stream_are_those_that_its_reader_gets(heard: pytest.LogCaptureFixture) -> None:
    with Gateway(Demo(pace=0)) as gateway:
        headers = {"authorization": f"Bearer {gateway.token}"}
        body = {"model": "demo", "stream": True, "messages": [{"role": "user", "content": PROMPT}]}
        got = [
            httpx.get(f"{gateway.url}/ai/chat/stream?message=x", headers=headers, trust_env=False),
            httpx.post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers, trust_env=False),
        ]
    told = {fields["route"]: fields["bytes"] for _, event, fields in events(heard) if event == "call"}
    assert told == {one.url.path: len(one.content) for one in got}


def test_who_watches_over_it_is_told_of_only_when_refused(heard: pytest.LogCaptureFixture) -> None:
    with Gateway(Demo(pace=0)) as gateway:
        for path in ("/health", "/metrics"):
            httpx.get(f"{gateway.url}{path}", trust_env=False)
    levels = [(level, fields["route"]) for level, event, fields in events(heard) if event == "call"]
    assert levels == [("DEBUG", "/health"), ("INFO", "/metrics")]


def test_tokens_are_told_at_the_end_and_not_one_by_one(heard: pytest.LogCaptureFixture) -> None:
    stream = Metrics().open_stream("chat", session_id="s")
    for _ in range(1000):
        stream.saw([Patch("response/content", "APPEND", "word")])
    assert events(heard) == []
    stream.end("failed", f"named by a stranger: {PROMPT}")
    [(level, event, fields)] = events(heard)
    assert (level, event, fields["tokens"], fields["error"]) == ("WARNING", "answer ended", 1000, "other")
    assert fields["session_id"] == "s"


def test_a_store_is_told_of_when_it_goes_and_when_it_is_back_for_all(
    heard: pytest.LogCaptureFixture,
) -> None:
    health = StoreHealth()
    health.back("reader")
    for user in ("reader", "writer", "reader", "writer"):
        health.away(user, refused())
    health.back("reader")
    health.away("reader", refused())
    health.back("writer")
    health.back("reader")
    health.back("reader")
    assert events(heard) == [
        ("WARNING", "store unavailable", {"cause": "ConnectionResetError"}),
        ("INFO", "store back", {}),
    ]


def refused() -> StoreUnavailable:
    """As a store says it, with the fault below it."""
    try:
        try:
            raise ConnectionResetError(PROMPT)
        except OSError:
            raise StoreUnavailable(PROMPT) from None
    except StoreUnavailable as error:
        return error


def test_a_reader_that_is_detached_is_told_of(heard: pytest.LogCaptureFixture) -> None:
    async def lag() -> None:
        session = Session("s", lambda: 0.0)
        record = session.add_answer(
            session.add_prompt("x", None).message_id, model="", thinking=False, search=False
        )
        stream = PatchStream(session, record)
        stream.attach()
        for _ in range(20):
            stream.write([Patch("response/content", "APPEND", "x" * 2**20)])

    asyncio.run(lag())
    assert events(heard) == [("WARNING", "reader too slow", {"session_id": "s", "message_id": 2, "epoch": 0})]
