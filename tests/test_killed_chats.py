"""``kill -9`` of any part while an EventSource reads: every character once, in order, and one end.

The seconds at which parts are killed come from a seed; `make soak` kills each of them a hundred times.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from pathlib import Path

import httpx
import pytest

from jupyter_ssechat import demo
from jupyter_ssechat.sse import ServerSentEvent, SSEDecoder

from .cluster import TOKEN, Cluster
from .redis_server import RedisServer, redis_executable

STREAM = "/ai/chat/stream"
SECONDS, RETRY_SECONDS = 1.5, 0.2
TOGETHER = 3
SCRIPT = list(demo.script("hello", thinking=True, turn=1, system=None))
WHOLE = {
    name: "".join(token.text for token in SCRIPT if token.kind == kind)
    for name, kind in (("thinking", "thinking"), ("message", "content"))
}
TRY_AGAIN = (502, 503)


class EventSource:
    """Reads as a browser does: it comes back after every end, with the last id, until the answer is 204."""

    def __init__(self, cluster: Cluster, counts: Counter[str]) -> None:
        self._url = cluster.url
        self._counts = counts
        self._last = ""
        self._texts = dict.fromkeys(WHOLE, "")
        self._names: Counter[str] = Counter()
        self.chat = ""
        self.ready = asyncio.Event()

    async def read(self, path: str) -> None:
        """Read to the end, over all its connections."""
        async with httpx.AsyncClient(base_url=self._url, timeout=30, trust_env=False) as http:
            while not await self._ended(http, path):
                self._counts["connections"] += 1
                await asyncio.sleep(RETRY_SECONDS)
        assert self._texts == WHOLE
        assert self._names["ready"] == self._names["close"] == 1
        self._counts["whole"] += 1

    async def _ended(self, http: httpx.AsyncClient, path: str) -> bool:
        headers = {"authorization": f"Bearer {TOKEN}"} | ({"last-event-id": self._last} if self._last else {})
        decoder = SSEDecoder()
        try:
            async with http.stream("GET", path, params={"message": "hello"}, headers=headers) as response:
                if response.status_code == 200:
                    async for piece in response.aiter_raw():
                        for event in decoder.feed(piece):
                            self._hear(event)
                assert response.status_code in (200, 204, *TRY_AGAIN), await response.aread()
                return response.status_code == 204
        except httpx.TransportError:
            return False

    def _hear(self, event: ServerSentEvent) -> None:
        self._last, data = event.id, json.loads(event.data)
        self._names[event.event] += 1
        match event.event:
            case "ready":
                self.chat = data["sessionId"]
                self.ready.set()
            case "close":
                assert data["status"] == "finished"
            case name:
                self._texts[name] += data["content"]
                assert WHOLE[name].startswith(self._texts[name]), "text is lost, repeated or out of order"


async def answers(cluster: Cluster, counts: Counter[str]) -> list[asyncio.Task[None]]:
    """Answers that the first worker generates, each with a second reader at the other."""
    cluster.door.preferred = 0
    askers = [EventSource(cluster, counts) for _ in range(TOGETHER)]
    reading = [asyncio.create_task(each.read(STREAM)) for each in askers]
    await asyncio.gather(*(each.ready.wait() for each in askers))
    cluster.door.preferred = 1
    others = [EventSource(cluster, counts) for _ in askers]
    paths = [f"{STREAM}/{each.chat}" for each in askers]
    reading += [asyncio.create_task(each.read(path)) for each, path in zip(others, paths, strict=True)]
    await asyncio.gather(*(each.ready.wait() for each in others))
    return reading


async def killed(redis: RedisServer, part: str, times: int, seed: int) -> Counter[str]:
    """Kill a part again and again, each time in the middle of several answers."""
    chance, counts = random.Random(f"{seed} {part}"), Counter[str]()
    async with Cluster(redis.url, redis) as cluster:
        for _ in range(times):
            reading = await answers(cluster, counts)
            await asyncio.sleep(chance.uniform(0, SECONDS))
            await cluster.lose(part)
            counts["killed"] += 1
            await asyncio.gather(*reading)
    return counts


SOAK = pytest.mark.soak


@pytest.mark.parametrize(
    ("part", "times"),
    [
        ("redis", 1),
        *(pytest.param(part, 100, marks=SOAK) for part in ("generator", "reader", "redis", "line")),
    ],
)
def test_whatever_part_is_killed_every_event_source_hears_the_whole_answer(
    part: str, times: int, tmp_path: Path
) -> None:
    redis = RedisServer(redis_executable(), tmp_path)
    try:
        counts = asyncio.run(asyncio.wait_for(killed(redis, part, times, seed=6), 60 + 15 * times))
    finally:
        redis.close()
    print(f"{part}: {dict(sorted(counts.items()))}")
    assert counts["killed"] == times
    assert counts["whole"] == 2 * TOGETHER * times
