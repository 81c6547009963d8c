"""The address of a store → the store: ``memory``, ``sqlite:PATH``, ``redis://…``, ``redis+cluster://…``."""

from __future__ import annotations

from collections.abc import Callable

from ...errors import BadInput
from .memory import MemoryStore
from .sqlite import SQLiteStore
from .store import Store

REDIS = ("redis://", "rediss://", "unix://", "redis+cluster://", "rediss+cluster://")
EXPECTED = "expected memory, sqlite:PATH or redis://HOST[:PORT][/DB], redis+cluster://HOST[:PORT],…"


def store_at(address: str) -> Callable[[], Store]:
    """What opens the store at `address`, on the event loop that it is for; BadInput for what is no address."""
    kind, _, path = address.partition(":")
    if address == "memory":
        return MemoryStore
    if kind == "sqlite" and path:
        return lambda: SQLiteStore(path)
    if address.startswith(REDIS):
        return _redis(address)
    raise BadInput(f"{public(address)!r} is not a store; {EXPECTED}")


def public(address: str) -> str:
    """An address without its user, password and options."""
    if address.startswith("sqlite:"):
        return address
    kind, mark, rest = address.partition("://") if "://" in address else ("", "", address)
    _, at, where = rest.rpartition("@")
    return f"{kind}{mark}{at and '…@'}{where.partition('?')[0]}"


def _redis(url: str) -> Callable[[], Store]:
    try:
        from .redis import RedisStore  # an extra of this package
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise BadInput(
            "a store in Redis needs the package redis; install it with: pip install 'jupyter-ssechat[redis]'"
        ) from None
    return lambda: RedisStore(url)


__all__ = ["public", "store_at"]
