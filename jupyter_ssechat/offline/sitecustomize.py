"""The start of any Python process → no network but loopback, where `JUPYTER_SSECHAT_OFFLINE` is set.

Python runs this file by itself when its folder stands in PYTHONPATH. So a kernel, and what it starts, is kept from
the network before the first cell runs, whatever runs the notebook. What would leave the machine fails as an OSError
that says so, and is noted, a line each, in the file that the variable names ("1" is none).

It stands alone: the interpreter it guards need not have this package.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import socket
import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from typing import Any

VARIABLE = "JUPYTER_SSECHAT_OFFLINE"
INSTALLED = "_jupyter_ssechat_offline"
PROXIES = ("http_proxy", "https_proxy", "all_proxy")


class NetworkKeptAway(ConnectionError):
    """A connection or a name lookup that would have left the machine."""


def keep_offline(note: str | None = None) -> None:
    """Refuse what would leave the machine, from now on and for good; what is refused is noted in a file."""
    if hasattr(sys, INSTALLED):
        return
    setattr(sys, INSTALLED, True)
    for name in [name for name in os.environ if name.lower() in PROXIES]:
        del os.environ[name]  # one on loopback would carry the request out of sight
    ours = frozenset({"", "localhost", socket.gethostname().lower()})

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        find = _TARGETS.get(event)
        target = find(arguments) if find is not None else None
        if target is None or is_near(target[0], ours):
            return
        place = _place(*target)
        if note is not None:
            _append(note, place)
        raise NetworkKeptAway(f"{place} is not on this machine, and {VARIABLE} keeps the network away")

    sys.addaudithook(refuse)


def is_near(host: str, ours: frozenset[str]) -> bool:
    """Whether a host is this machine: one of `ours`, or loopback by address or name."""
    name = host.rstrip(".").lower()
    if name in ours or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or mapped.is_unspecified


def _connected(arguments: tuple[Any, ...]) -> tuple[str, Any] | None:
    """Where a socket connects or sends to; None for one that knows it already, or speaks to the kernel alone."""
    family, address = arguments[0].family, arguments[1]
    if family not in (socket.AF_INET, socket.AF_INET6) or not address:
        return None
    return _text(address[0]), address[1]


def _looked_up(arguments: tuple[Any, ...]) -> tuple[str, Any] | None:
    host = _text(arguments[0])
    port = arguments[1] if len(arguments) > 1 else None
    return host, port


def _place(host: str, port: Any) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{port}" if port else host


def _text(host: Any) -> str:
    return host.decode("ascii", "replace") if isinstance(host, bytes | bytearray) else str(host or "")


_TARGETS: dict[str, Callable[[tuple[Any, ...]], tuple[str, Any] | None]] = {
    "socket.connect": _connected,
    "socket.sendto": _connected,
    "socket.sendmsg": _connected,
    "socket.getaddrinfo": _looked_up,
    "socket.gethostbyname": _looked_up,
    "socket.gethostbyaddr": _looked_up,
}


def _append(path: str, line: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


def _pass_on() -> None:
    """Run the sitecustomize that this one stands before."""
    here = os.path.dirname(os.path.abspath(__file__))
    others = [path for path in sys.path if os.path.abspath(path) != here]
    spec = PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        sys.modules["sitecustomize"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


if wanted := os.environ.get(VARIABLE, ""):
    keep_offline(None if wanted == "1" else wanted)
if __name__ == "sitecustomize":
    _pass_on()
