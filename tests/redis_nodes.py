"""A real Redis Cluster for tests: servers in one folder, each at ports of its own, ended by their pids."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from .redis_server import restricted_user

START_SECONDS = 30.0
SLOTS = 16384
NODE_TIMEOUT_MS = 2000


PORTS = range(20_000, 32_000)
"""Below those that Linux gives to outgoing connections: a server that is born again finds its own."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now, all different."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError(f"no {count} ports are free")


class RedisNode:
    """One server of a cluster; it survives `kill` and `start` with what it had."""

    def __init__(self, executable: str, folder: Path, port: int, bus: int) -> None:
        folder.mkdir(parents=True)
        self._executable = executable
        self._folder = folder
        self.port, self.bus = port, bus
        self.begin()

    def begin(self) -> None:
        """Start it."""
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "cluster-enabled": "yes",
            "cluster-port": str(self.bus),
            "cluster-node-timeout": str(NODE_TIMEOUT_MS),
            "dir": str(self._folder),
            "appendonly": "yes",
            "save": "",
            "logfile": str(self._folder / "redis.log"),
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        command = [self._executable, *words, *restricted_user()]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def say(self, *words: object) -> str:
        """Give it a command, and return what it answers as it came; empty while it does not answer."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
                connection.sendall((" ".join(map(str, words)) + "\r\nQUIT\r\n").encode())
                return b"".join(iter(lambda: connection.recv(2**16), b"")).decode().removesuffix("+OK\r\n")
        except OSError:
            return ""

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def log(self) -> str:
        """What it said."""
        return (self._folder / "redis.log").read_text()


class RedisNodes:
    """A cluster of `primaries`, of which the first ones have replicas; `url` is its address."""

    def __init__(self, executable: str, folder: Path, *, primaries: int = 3, replicas: int = 0) -> None:
        self._folder = folder
        self._kills = 0
        ports = free_ports(2 * (primaries + replicas))
        self.nodes = [
            RedisNode(executable, folder / f"{number}", *ports[2 * number : 2 * number + 2])
            for number in range(primaries + replicas)
        ]
        self.primaries, self.replicas = self.nodes[:primaries], self.nodes[primaries:]
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.primaries)
        self._meet()

    def _meet(self) -> None:
        for number, node in enumerate(self.nodes):
            self.wait(lambda node=node: "PONG" in node.say("PING"))
            node.say("CLUSTER SET-CONFIG-EPOCH", number + 1)
            node.say("CLUSTER MEET 127.0.0.1", self.nodes[0].port, self.nodes[0].bus)
        for number, node in enumerate(self.primaries):
            first, end = (SLOTS * at // len(self.primaries) for at in (number, number + 1))
            node.say("CLUSTER ADDSLOTSRANGE", first, end - 1)
        self.wait(lambda: all(self._knows_all(node) for node in self.nodes))
        for replica, primary in zip(self.replicas, self.primaries, strict=False):
            replica.say("CLUSTER REPLICATE", primary.say("CLUSTER MYID").split()[1])
        self.wait(self.is_ready)

    def _knows_all(self, node: RedisNode) -> bool:
        return f"cluster_known_nodes:{len(self.nodes)}\r" in node.say("CLUSTER INFO")

    def is_ready(self) -> bool:
        """Whether every server serves, and every replica has all."""
        serving = all("cluster_state:ok" in node.say("CLUSTER INFO") for node in self.nodes)
        return serving and all(
            "master_link_status:up" in one.say("INFO replication") for one in self.replicas
        )

    def wait(self, until: Callable[[], bool]) -> None:
        """Wait until something is so."""
        end = time.monotonic() + START_SECONDS
        while not until():
            assert time.monotonic() < end, "\n".join(node.log() for node in self.nodes)
            time.sleep(0.02)

    def kill(self) -> None:
        """End one of the servers as a crash would, each time another."""
        self._dead = self.nodes[self._kills % len(self.nodes)]
        self._kills += 1
        self._dead.kill()

    def start(self) -> None:
        """Start what was killed, and wait until the cluster serves."""
        self._dead.begin()
        self.wait(self.is_ready)

    def close(self) -> None:
        """End all, and forget their data."""
        for node in self.nodes:
            node.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
