"""Commands and scripts → Redis in one round trip: the one door to redis-py."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import NoScriptError, RedisError

from ...errors import BadInput
from .redis_scripts import SCRIPTS
from .store import StoreUnavailable

Command = tuple[str | int | float | bytes, ...]
SOCKET_SECONDS = 5.0
BLOCK_MILLISECONDS = 2_000
MOST_ENTRIES = 256
MOST_CONNECTIONS = 32

_SHAS = {
    name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in SCRIPTS.items()
}


def script(name: str, keys: Iterable[str], *arguments: str | int | float) -> Command:
    """The command that runs a script."""
    keys = tuple(keys)
    return ("EVALSHA", _SHAS[name], len(keys), *keys, *arguments)


class RedisCalls:
    """A Redis server at `url`, ``redis://[USER:PASSWORD@]HOST[:PORT][/DB]``, ``rediss://…`` or ``unix://PATH``.

    A call that lost its connection is made again: what it does, it does once.
    """

    def __init__(self, url: str) -> None:
        self._redis = _connected(url, retries=3)
        self._waiting = _connected(url, retries=0)
        self.trips = 0

    async def all(self, *commands: Command) -> list[Any]:
        """Run commands in one round trip and return what each gives; StoreUnavailable when Redis does not answer."""
        results = await self._trip(commands)
        if any(isinstance(result, NoScriptError) for result in results):
            await self._trip([("SCRIPT", "LOAD", text) for text in SCRIPTS.values()])
            results = await self._trip(commands)
        for result in results:
            if isinstance(result, Exception):
                raise _unavailable(result)
        return results

    async def one(self, *command: str | int | float | bytes) -> Any:
        """Run one command."""
        [result] = await self.all(command)
        return result

    async def read(self, streams: Mapping[str, str]) -> dict[str, list[tuple[str, dict[str, str]]]]:
        """Wait for entries after those ids, for a while."""
        self.trips += 1
        try:
            found = await self._waiting.xread(
                cast("Any", dict(streams)), count=MOST_ENTRIES, block=BLOCK_MILLISECONDS
            )
        except (RedisError, OSError) as error:
            raise _unavailable(error) from None
        return dict(cast("Any", found))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._redis.aclose()
        await self._waiting.aclose()

    async def _trip(self, commands: Iterable[Command]) -> list[Any]:
        self.trips += 1
        pipeline = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)  # pyright: ignore[reportUnknownMemberType]
        try:
            return await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            raise _unavailable(error) from None


def _connected(url: str, *, retries: int) -> Redis:
    try:
        pool = BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
            url,
            max_connections=MOST_CONNECTIONS,  # who comes when all are in use waits
            timeout=SOCKET_SECONDS,
            decode_responses=True,
            protocol=2,
            socket_timeout=SOCKET_SECONDS,
            socket_connect_timeout=SOCKET_SECONDS,
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.02), retries),
        )
    except ValueError as error:
        raise BadInput(f"the store's address cannot be used: {error}") from None
    return Redis.from_pool(pool)


def _unavailable(error: Exception) -> StoreUnavailable:
    said = " ".join(str(error).split())[:200]
    return StoreUnavailable(f"the store does not answer now ({type(error).__name__}: {said}); try again")


__all__ = ["Command", "RedisCalls", "script"]
