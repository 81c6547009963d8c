"""Commands and scripts → Redis in one round trip: the one door to redis-py."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.crc import key_slot
from redis.credentials import UsernamePasswordCredentialProvider
from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    RedisError,
    TryAgainError,
)

from ...errors import BadInput
from .redis_scripts import SCRIPTS
from .store import StoreUnavailable

Command = tuple[str | int | float | bytes, ...]
SOCKET_SECONDS = 5.0
BLOCK_MILLISECONDS = 2_000
MOST_ENTRIES = 256
MOST_CONNECTIONS = 32
EXPECTED = "redis://[USER:PASSWORD@]HOST[:PORT][/DB], with %XX for what is special in a URL"

_SHAS = {
    name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in SCRIPTS.items()
}


def script(name: str, keys: Iterable[str], *arguments: str | int | float) -> Command:
    """The command that runs a script."""
    keys = tuple(keys)
    return ("EVALSHA", _SHAS[name], len(keys), *keys, *arguments)


class Redirect(NamedTuple):
    """Where to ask again: where the new map says, once at `address` (``HOST:PORT``), or there later."""

    where: Literal["map", "address", "later"]
    address: str = ""


class RedisCalls:
    """A Redis server at `url`, ``redis://[USER:PASSWORD@]HOST[:PORT][/DB]``, ``rediss://…`` or ``unix://PATH``.

    A call that lost its connection is made again: what it does, it does once.
    """

    def __init__(self, url: str, *, retries: int = 3) -> None:
        self._redis = _connected(url, retries=retries)
        self._waiting = _connected(url, retries=0)
        self.trips = 0

    async def all(self, *commands: Command) -> list[Any]:
        """Run commands in one round trip and return what each gives; StoreUnavailable when Redis does not answer."""
        return answers(await self.tried(commands))

    async def in_order(self, *steps: Sequence[Command]) -> list[Any]:
        """Run commands so that no step begins before the last one is done; here one round trip does that."""
        return await self.all(*(command for step in steps for command in step))

    async def tried(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip and return what each gives, which may be an error."""
        results = await self._trip(commands)
        if any(isinstance(result, NoScriptError) for result in results):
            await self._trip([("SCRIPT", "LOAD", text) for text in SCRIPTS.values()])
            results = await self._trip(commands)
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
        _hide_password(pool.connection_kwargs)
        pool.connection_class(**pool.connection_kwargs)  # which refuses unknown options
        if not url.startswith("unix:") and not re.fullmatch(r"/?\d*", urlsplit(url).path):
            raise ValueError
    except (ValueError, TypeError, RedisError):  # whose texts may hold a part of the password
        raise BadInput(f"the store's address cannot be used; expected {EXPECTED}") from None
    return Redis.from_pool(pool)


def _hide_password(options: dict[str, Any]) -> None:
    """Put it where no text shows it: a pool may show its options, as in a warning that it was not closed."""
    who, password = options.pop("username", None), options.pop("password", None)
    if who or password:
        options["credential_provider"] = UsernamePasswordCredentialProvider(who, password)


def answers(results: list[Any]) -> list[Any]:
    """The same results; StoreUnavailable if one is an error."""
    for result in results:
        if isinstance(result, Exception):
            raise _unavailable(result)
    return results


def redirect(result: Any) -> Redirect | None:
    """What an error of one server of a cluster means for who has asked; None for all else."""
    match result:
        case MovedError():
            return Redirect("map")
        case AskError():
            host, _, port = str(result).rpartition(" ")[2].rpartition(":")
            return Redirect("address", server_name(host, port))
        case TryAgainError() | ClusterDownError() | StoreUnavailable():
            return Redirect("later")
        case _:
            return None


def server_name(host: str, port: int | str) -> str:
    """``HOST:PORT``, as in an address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def slot(key: str) -> int:
    """The slot of a cluster that has a key, 0 to 16383."""
    return key_slot(key.encode())


def _unavailable(error: Exception) -> StoreUnavailable:
    if isinstance(error, StoreUnavailable):
        return error
    if isinstance(error, (MovedError, ClusterCrossSlotError)):
        return StoreUnavailable(
            "the store is a Redis Cluster; write its address as redis+cluster://HOST:PORT"
        )
    said = " ".join(str(error).split())[:200]
    return StoreUnavailable(f"the store does not answer now ({type(error).__name__}: {said}); try again")


__all__ = [
    "BLOCK_MILLISECONDS",
    "MOST_ENTRIES",
    "Command",
    "Redirect",
    "RedisCalls",
    "answers",
    "redirect",
    "script",
    "server_name",
    "slot",
]
