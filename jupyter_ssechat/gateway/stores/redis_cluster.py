"""Commands and scripts → the servers of a Redis Cluster, in one round trip for each that has a part in them.

The client for clusters in redis-py closes all its connections when one server is away, sends what is
redirected one by one, and refuses who comes when all connections are in use. Here each server is one of
`RedisCalls`, and errors lead to a new map.
"""

from __future__ import annotations

import asyncio
import bisect
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ...errors import BadInput
from .redis_calls import (
    BLOCK_MILLISECONDS,
    MOST_ENTRIES,
    Command,
    RedisCalls,
    answers,
    redirect,
    server_name,
    slot,
)
from .store import StoreUnavailable

SCHEMES = ("redis+cluster://", "rediss+cluster://")
EXPECTED = "redis+cluster://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…], with %XX for what is special in a URL"
PAUSES = (0.0, 0.0, 0.05, 0.2, 0.5)
"""Seconds before each attempt: a new map helps at once, a new primary takes longer."""
POLL_SECONDS, MOST_POLL_SECONDS, BUSY_FACTOR = 0.02, 0.5, 2.0
KEY_AT = {"EVALSHA": 3, "XREAD": -2}
ASKING: Command = ("ASKING",)
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/,\[\]]+)(?::(\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Map:
    """Which server has which slots: `owners[i]` those up to `lasts[i]`. Servers are called ``HOST:PORT``."""

    lasts: Sequence[int] = ()
    owners: Sequence[str] = ()

    def owner(self, command: Command) -> str:
        """The server for a command; what has no key goes to a fixed one."""
        key = str(command[KEY_AT.get(str(command[0]), 1)]) if len(command) > 1 else ""
        at = bisect.bisect_left(self.lasts, slot(key))
        return self.owners[min(at, len(self.owners) - 1)]


class ClusterCalls:
    """The Redis Cluster at `url`, which names one of its servers or more.

    A call that lost its connection is made again, where the slot is then: what it does, it does once.
    """

    def __init__(self, url: str) -> None:
        self._seeds, self._link = _read(url)
        self._map = Map()
        self._poll_at = 0.0
        self._learning = asyncio.Lock()
        self._servers = {name: self._opened(name) for name in self._seeds}

    @property
    def trips(self) -> int:
        """The round trips to all servers that are known."""
        return sum(server.trips for server in self._servers.values())

    async def all(self, *commands: Command) -> list[Any]:
        """Run commands, on all their servers at the same time; StoreUnavailable when one does not answer."""
        results: list[Any] = [None] * len(commands)
        due: Iterable[int] = range(len(commands))
        sent_to: dict[int, str] = {}
        for pause in PAUSES:
            await asyncio.sleep(pause)
            known = self._map if self._map.owners else await self._learn(self._map)
            await self._round(known, commands, due, sent_to, results)
            ways = {at: way for at in due if (way := redirect(results[at])) is not None}
            if not ways:
                break
            due, sent_to = ways, {at: way.address for at, way in ways.items() if way.address}
            if len(sent_to) < len(ways):
                await self._learn(known)
        return answers(results)

    async def one(self, *command: str | int | float | bytes) -> Any:
        """Run one command."""
        [result] = await self.all(command)
        return result

    async def in_order(self, *steps: Sequence[Command]) -> list[Any]:
        """Run commands so that no step begins before the one before it is done."""
        return [result for step in steps if step for result in await self.all(*step)]

    async def read(self, streams: Mapping[str, str]) -> dict[str, list[tuple[str, dict[str, str]]]]:
        """Wait for entries after those ids, for a while.

        A blocking read cannot span slots. So one stream is waited for; of several all are asked again and
        again, each server once in a round, with more time between rounds that take long.
        """
        if len(streams) == 1:
            return await self._read(streams, "BLOCK", BLOCK_MILLISECONDS)
        until = time.monotonic() + BLOCK_MILLISECONDS / 1000
        while True:
            await asyncio.sleep(max(self._poll_at - time.monotonic(), 0))
            began = time.monotonic()
            found = await self._read(streams)
            ended = time.monotonic()
            pause = max(POLL_SECONDS, BUSY_FACTOR * (ended - began))
            self._poll_at = ended + min(pause, MOST_POLL_SECONDS)
            if found or ended > until:
                return found

    async def _read(
        self, streams: Mapping[str, str], *block: str | int
    ) -> dict[str, list[tuple[str, dict[str, str]]]]:
        how = ("XREAD", "COUNT", MOST_ENTRIES, *block, "STREAMS")
        results = await self.all(*((*how, name, after) for name, after in streams.items()))
        return dict(line for lines in results for line in lines or ())

    async def aclose(self) -> None:
        """Close every connection."""
        await asyncio.gather(*(server.aclose() for server in self._servers.values()))

    # ---- one attempt ----

    async def _round(
        self,
        known: Map,
        commands: Sequence[Command],
        due: Iterable[int],
        sent_to: Mapping[int, str],
        results: list[Any],
    ) -> None:
        parts: defaultdict[str, list[int]] = defaultdict(list)
        for at in due:
            parts[sent_to.get(at) or known.owner(commands[at])].append(at)

        async def part(name: str, places: Sequence[int]) -> None:
            said = [one for at in places for one in ([ASKING] if at in sent_to else []) + [commands[at]]]
            got = await self._tried(name, said)
            answered = (result for command, result in zip(said, got, strict=True) if command is not ASKING)
            for at, result in zip(places, answered, strict=True):
                results[at] = result

        await asyncio.gather(*(part(name, places) for name, places in parts.items()))

    async def _tried(self, name: str, commands: Sequence[Command]) -> list[Any]:
        if name not in self._servers:
            self._servers[name] = self._opened(name)
        try:
            return await self._servers[name].tried(commands)
        except StoreUnavailable as error:
            return [error] * len(commands)

    def _opened(self, name: str) -> RedisCalls:
        return RedisCalls(self._link.format(name), retries=1)

    # ---- the map ----

    async def _learn(self, known: Map) -> Map:
        """A newer map than `known`, which somebody else may have fetched meanwhile."""
        async with self._learning:
            if self._map is known:
                self._map = await self._fetched()
                for name in self._servers.keys() - set(self._map.owners) - set(self._seeds):
                    await self._servers.pop(name).aclose()
            return self._map

    async def _fetched(self) -> Map:
        """What the first server says that answers: one that hangs holds up nobody."""
        asking = [asyncio.create_task(self._slots(name)) for name in self._servers]
        failed = StoreUnavailable("the store does not answer now (the cluster serves no slots); try again")
        try:
            for answer in asyncio.as_completed(asking):
                try:
                    if (found := await answer).owners:
                        return found
                except StoreUnavailable as error:
                    failed = error
            raise failed
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    async def _slots(self, name: str) -> Map:
        host = name.rpartition(":")[0].strip("[]")  # for servers that do not know their own address
        lines = sorted(await self._servers[name].one("CLUSTER", "SLOTS"))
        return Map(
            [last for _, last, *_ in lines],
            [
                server_name(host if said in (None, "", "?") else said, port)
                for _, _, (said, port, *_), *_ in lines
            ],
        )


def _read(url: str) -> tuple[list[str], str]:
    """The servers of an address, and what makes a server's own address of its name."""
    parts = urlsplit(url)
    who, at, hosts = parts.netloc.rpartition("@")
    found = [_HOST.fullmatch(host) for host in hosts.split(",")]
    if parts.path not in ("", "/", "/0") or parts.fragment or not all(found):
        raise BadInput(f"the store's address cannot be used; expected {EXPECTED}")
    names = [f"{match[1]}:{match[2] or 6379}" for match in found if match]
    query = f"?{parts.query}" if parts.query else ""
    start, end = f"{parts.scheme.partition('+')[0]}://{who}{at}", query
    return names, f"{_literal(start)}{{}}{_literal(end)}"


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


Calls = RedisCalls | ClusterCalls


def calls_at(url: str) -> Calls:
    """What makes calls at an address."""
    return ClusterCalls(url) if url.startswith(SCHEMES) else RedisCalls(url)


__all__ = ["Calls", "calls_at"]
