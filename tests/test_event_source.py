"""A real browser's EventSource and the plain addresses, over a connection that breaks at any byte."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from jupyter_ssechat import demo
from jupyter_ssechat.gateway.audience import OnDisconnect
from jupyter_ssechat.gateway.server import Gateway
from jupyter_ssechat.gateway.settings import Settings
from jupyter_ssechat.model_server import ModelServer

from .cluster import TOKEN, Cluster
from .jupyter_lab import Browser
from .redis_server import RedisServer
from .servers import (
    CUT,
    CuttingProxy,
    ModelServerForTests,
    Pause,
    Script,
    Served,
    answer,
    chunk,
    finish,
    model_server,
)

STREAM = "/ai/chat/stream"
PATIENT = OnDisconnect("cancel", 600.0)
WORDS = ("Hé", "🎉\n", "中文", "\u2028end")
PAGE = """<!doctype html><title>EventSource</title><script>
const NAMES = ["ready", "message", "thinking", "replace", "error", "close"];
window.sources = [];
window.read = (url) => {
  const events = [], source = new EventSource(url);
  const note = (event) => "data" in event && events.push([event.type, event.lastEventId, event.data]);
  NAMES.forEach((name) => source.addEventListener(name, note));
  const reading = { source, events, opened: 0 };
  source.addEventListener("open", () => reading.opened++);
  window.sources.push(reading);
};
window.ended = () => window.sources.filter(({ source }) => source.readyState === EventSource.CLOSED).length;
</script>"""


@pytest.fixture(scope="module")
def browser(installed_chromium: str) -> Iterator[Browser]:
    """One Chromium for these tests."""
    browser = Browser(installed_chromium)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """The origin of a page from elsewhere."""

    async def page(_: Request) -> Response:
        return HTMLResponse(PAGE)

    served = Served(Starlette(routes=[Route("/", page)]))
    yield served.url
    served.close()


class Reader:
    """A page at `origin` that reads streams through a proxy."""

    def __init__(self, browser: Browser, origin: str, gateway: Gateway, through: CuttingProxy) -> None:
        self._browser = browser
        self._gateway = gateway
        self._through = through
        self._page = browser.new_page({})
        browser.do(self._page.goto(origin))

    def init(self, message: str) -> str:
        """Leave a message, and return the address of its stream."""
        headers = {"authorization": f"Bearer {self._gateway.token}"}
        url = f"{self._gateway.url}{STREAM}/init"
        answered = httpx.post(url, json={"message": message}, headers=headers, trust_env=False)
        return f"{STREAM}/{answered.json()['sessionId']}"

    def asking(self, message: str) -> str:
        """The address that asks."""
        return f"{STREAM}?message={quote(message)}&token={self._gateway.token}"

    def read(self, *addresses: str) -> None:
        """Open an EventSource for each address."""
        urls = [self.url(address) for address in addresses]
        self._browser.do(self._page.evaluate("urls => urls.forEach(window.read)", urls))

    def url(self, address: str) -> str:
        """An address, through the proxy."""
        return f"{self._through.url}{address}"

    def until(self, condition: str) -> None:
        """Wait for something to be true in the page."""
        self._browser.do(self._page.wait_for_function(condition, timeout=110_000))

    def to_end(self, count: int) -> list[list[list[str]]]:
        """Wait until so many sources are closed; the events of each, as the page got them."""
        self.until(f"window.ended() === {count}")
        found: Any = self._browser.do(self._page.evaluate("window.sources.map(({ events }) => events)"))
        return found

    def close(self) -> None:
        self._browser.do(self._page.close())


@contextmanager
def reader(
    browser: Browser,
    origin: str,
    server: ModelServerForTests,
    cuts: dict[int, int] | None = None,
    **options: Any,
) -> Iterator[Reader]:
    """A page whose connections number n break after `cuts[n]` bytes."""
    proxy = CuttingProxy(0, cuts or {}, gently=True)
    host = urlsplit(proxy.url).netloc
    upstream = ModelServer(server.url)
    # On a busy machine a page with many streams takes its time to come back.
    options.setdefault("settings", Settings(when_left=PATIENT))
    with Gateway(upstream, cors=(origin,), allowed_hosts=(host,), **options) as gateway:
        proxy.aim(urlsplit(gateway.url).port or 0)
        reader = Reader(browser, origin, gateway, proxy)
        try:
            yield reader
        finally:
            reader.close()
            proxy.close()


def assert_whole(events: list[list[str]], words: tuple[str, ...] = WORDS) -> None:
    """Every character once, in order, and nothing else; what was missed may come in one event."""
    names = [name for name, _, _ in events]
    assert [name for name, _ in groupby(names)] == ["ready", "message", "close"]
    assert names.count("ready") == names.count("close") == 1
    stream = json.loads(events[0][2])["sessionId"]
    ids = [id for _, id, _ in events]
    assert {id.rpartition("-")[0] for id in ids} == {stream} and len(set(ids)) == len(ids)
    said = "".join(json.loads(data)["content"] for name, _, data in events if name == "message")
    assert said == "".join(words)
    assert json.loads(events[-1][2]) == {"status": "finished", "finish_reason": "stop"}


def raw_answer(origin: str, url: str) -> bytes:
    """An answer as a page gets it, its head included."""
    place = urlsplit(url)
    lines = ["Host: " + place.netloc, "Origin: " + origin, "Accept: text/event-stream", "", ""]
    asked = "\r\n".join([f"GET {place.path}?{place.query} HTTP/1.1", *lines])
    received = b""
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=20) as connection:
        connection.sendall(asked.encode())
        while not received.endswith(b"0\r\n\r\n"):
            received += connection.recv(65536)
    return received


def test_a_stream_is_read_once_and_its_reconnect_ends_it(browser: Browser, origin: str) -> None:
    with model_server(answer(*WORDS)) as server, reader(browser, origin, server) as page:
        page.read(page.asking("hello"), page.init("hello"))
        for events in page.to_end(2):
            assert_whole(events)
        assert len(server.requests) == 2


def places(whole: bytes, step: int) -> list[int]:
    """Where to break: every `step` bytes of the body, and inside of numbers and characters.

    A head that breaks is for the browser to judge, and not every one makes it try again.
    """
    body = whole.index(b"\r\n\r\n") + 4
    marks = [match.start() for match in re.finditer("id: |🎉|中|é|event: close".encode(), whole)]
    return sorted({*range(body, len(whole), step), *(mark + n for mark in marks for n in (1, 2, 3))})


@pytest.mark.parametrize("step", [20, pytest.param(1, marks=pytest.mark.soak)])
def test_a_stream_that_breaks_at_any_byte_arrives_whole(browser: Browser, origin: str, step: int) -> None:
    with model_server(answer(*WORDS)) as server:
        with reader(browser, origin, server) as page:
            breaks = places(raw_answer(origin, page.url(page.init("hello"))), step)
        server.requests.clear()
        with reader(browser, origin, server, dict(enumerate(breaks))) as page:
            page.read(*(page.init(str(number)) for number in breaks))
            for events in page.to_end(len(breaks)):
                assert_whole(events)
        assert len(server.requests) == len(breaks)


def test_an_address_that_asks_is_not_asked_again_when_its_stream_breaks(
    browser: Browser, origin: str
) -> None:
    with model_server(answer(*WORDS)) as server:
        with reader(browser, origin, server) as page:
            whole = raw_answer(origin, page.url(page.asking("hello")))
        server.requests.clear()
        # From the end of the first event on, which tells the browser what to ask for.
        known = whole.index(b"\n\n") + 2
        breaks = [place for place in places(whole, 30) if place >= known]
        with reader(browser, origin, server, dict(enumerate(breaks))) as page:
            page.read(*(page.asking(str(number)) for number in breaks))
            for events in page.to_end(len(breaks)):
                assert_whole(events)
        assert sorted(one["messages"][0]["content"] for one in server.requests) == sorted(map(str, breaks))


def test_a_stream_that_breaks_while_the_model_waits_goes_on(browser: Browser, origin: str) -> None:
    pause = Pause()
    with model_server(Script([chunk(content="one "), pause, chunk(content="two"), finish()])) as server:
        # Comments fill the silence until the connection breaks.
        with reader(
            browser, origin, server, {0: 1200}, settings=Settings(keep_alive=0.01, when_left=PATIENT)
        ) as page:
            page.read(page.asking("hello"))
            page.until("window.sources[0].opened === 2")
            pause.end()
            [events] = page.to_end(1)
        assert_whole(events, ("one ", "two"))
        assert len(server.requests) == 1


def test_who_listens_for_messages_hears_the_answer_alone(browser: Browser, origin: str) -> None:
    with (
        model_server(answer("yes", thinking=("Hm",))) as server,
        reader(browser, origin, server) as page,
    ):
        page.read(page.asking("hello"))
        [events] = page.to_end(1)
    assert [(name, json.loads(data).get("content")) for name, _, data in events[1:3]] == [
        ("thinking", "Hm"),
        ("message", "yes"),
    ]


def test_a_failure_is_an_event_with_its_reason_and_ends_the_stream(browser: Browser, origin: str) -> None:
    with (
        model_server(Script([chunk(content="half"), CUT])) as server,
        reader(browser, origin, server) as page,
    ):
        page.read(page.asking("hello"))
        [events] = page.to_end(1)
        assert len(server.requests) == 1
    assert [name for name, _, _ in events] == ["ready", "message", "error", "close"]
    assert json.loads(events[2][2])["error"]["type"] == "upstream_interrupted"


def test_a_stream_that_is_not_there_is_not_tried_again(browser: Browser, origin: str) -> None:
    with model_server(answer("a")) as server, reader(browser, origin, server) as page:
        page.read(f"{STREAM}/unknown", f"{STREAM}?message=&token=x")
        assert page.to_end(2) == [[], []]
        assert server.requests == []


def test_a_page_hears_all_of_an_answer_whose_worker_is_killed(
    browser: Browser, origin: str, redis_server: RedisServer
) -> None:
    async def ask() -> list[list[str]]:
        page = browser.new_page({})

        async def until(condition: str) -> None:
            waiting = partial(page.wait_for_function, condition, timeout=60_000)
            await asyncio.to_thread(lambda: browser.do(waiting()))

        async with Cluster(redis_server.url, options=("--cors", origin)) as cluster:
            await asyncio.to_thread(lambda: browser.do(page.goto(origin)))
            url = f"{cluster.url}{STREAM}?message=hello&token={TOKEN}"
            await asyncio.to_thread(lambda: browser.do(page.evaluate("url => window.read(url)", url)))
            await until("window.sources[0].events.some(([name]) => name === 'thinking')")
            await cluster.door.workers[0].kill()
            await until("window.ended() === 1")
            events = page.evaluate("window.sources[0].events")
            found: Any = await asyncio.to_thread(lambda: browser.do(events))
        browser.do(page.close())
        return found

    events = asyncio.run(asyncio.wait_for(ask(), 100))
    assert [name for name, _ in groupby(name for name, _, _ in events)] == [
        "ready",
        "thinking",
        "message",
        "close",
    ]
    script = list(demo.script("hello", thinking=True, turn=1, system=None))
    for heard, kind in (("thinking", "thinking"), ("message", "content")):
        said = "".join(json.loads(data)["content"] for name, _, data in events if name == heard)
        assert said == "".join(token.text for token in script if token.kind == kind)
