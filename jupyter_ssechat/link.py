"""A chat → its gateway: in this process, in a process of the user's own, or anywhere else."""

from __future__ import annotations

from typing import Protocol
from urllib.parse import parse_qs

from .client import GatewayClient
from .errors import BadInput
from .gateway.server import embedded
from .own_gateway import listens, own_gateway
from .transport import parsed
from .upstream import Upstream
from .upstream_spec import UpstreamSpec

OF_THE_USER = (None, "thread", "process")
"""The gateways whose upstream their user chooses; any other one is an address."""


class Link(Protocol):
    """The gateway of one chat."""

    client: GatewayClient

    @property
    def alive(self) -> bool:
        """Whether the gateway may still be there."""
        ...

    @property
    def gone(self) -> str:
        """What to say of a gateway that is not."""
        ...

    async def assign(self, session_id: str, spec: UpstreamSpec | None, upstream: Upstream) -> None:
        """Let an upstream answer in a session from now on: as it is, or opened from what describes it."""
        ...


class Embedded:
    """The gateway of this process."""

    gone = "was closed, or belongs to the process that this one was forked from"

    def __init__(self) -> None:
        here = embedded()
        self.client = GatewayClient(here.url, here.token)

    @property
    def alive(self) -> bool:
        return self.client.url == embedded().url

    async def assign(self, session_id: str, spec: UpstreamSpec | None, upstream: Upstream) -> None:
        embedded().assign(session_id, upstream)


class Own:
    """The user's own gateway, a process that may outlive this one."""

    gone = "has ended, and its conversations with it"

    def __init__(self) -> None:
        there = own_gateway()
        self.client = GatewayClient(there.url, there.token)

    @property
    def alive(self) -> bool:
        return listens(self.client.url)

    async def assign(self, session_id: str, spec: UpstreamSpec | None, upstream: Upstream) -> None:
        if spec is None:
            raise BadInput(
                f"{upstream.name} lives in this process, and the gateway in another one; use gateway='thread'"
            )
        await self.client.assign(session_id, spec.with_key().to_wire())


class Elsewhere:
    """A gateway at an address, which has its own upstream; `token` may also stand in the address."""

    alive = True
    gone = ""

    def __init__(self, address: str, token: str | None = None) -> None:
        given = parse_qs(parsed(address).query).get("token", [None])[0]  # as a gateway prints it
        self.client = GatewayClient(address, token or given)

    async def assign(self, session_id: str, spec: UpstreamSpec | None, upstream: Upstream) -> None:
        raise BadInput(f"the gateway at {self.client.url} chooses its own upstream")


def link_to(gateway: str | None, token: str | None) -> Link:
    """The gateway that is named: ``thread`` (or None), ``process``, or its address."""
    match gateway:
        case None | "thread":
            return Embedded()
        case "process":
            return Own()
        case _:
            return Elsewhere(gateway, token)


__all__ = ["OF_THE_USER", "Link", "link_to"]
