"""A real Redis server for tests: in a folder of its own, on a socket of its own, ended by its pid."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import pytest

START_SECONDS = 20.0
PASSWORD = "of-the/store?#%"
_DOCS = Path(__file__).resolve().parent.parent / "docs" / "stores.md"


def restricted_user() -> list[str]:
    """The words of the user that the docs give to a store."""
    [line] = re.findall(r"^ACL SETUSER (.+)$", _DOCS.read_text(), re.M)
    return ["--user", *line.replace("PASSWORD", PASSWORD).split()]


def as_restricted(url: str) -> str:
    """An address, with the name and the password of that user."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://ssechat:{quote(PASSWORD, safe='')}@{rest}"


class RedisServer:
    """A server with its data in `folder`; it survives `kill` and `start` with what it had."""

    def __init__(self, executable: str, folder: Path) -> None:
        self._executable = executable
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self._socket = folder / "redis.sock"
        self.url = f"unix://{self._socket}"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "dir": str(self._folder),
            "appendonly": "yes",
            "save": "",
            "logfile": str(self._folder / "redis.log"),
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        command = [self._executable, *words, *restricted_user()]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until = time.monotonic() + START_SECONDS
        while not self._answers():
            assert time.monotonic() < until and self.process.poll() is None, self.log()
            time.sleep(0.01)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            try:
                connection.connect(str(self._socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(16) == b"+PONG\r\n"
            except OSError:
                return False

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def log(self) -> str:
        """What it said."""
        return (self._folder / "redis.log").read_text()

    def close(self) -> None:
        """End it, and forget its data."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def redis_executable() -> str:
    """Where Debian's Redis is; without it tests are skipped, and fail in CI."""
    executable = shutil.which("redis-server")
    if executable is None:
        missing = (
            "redis-server is not installed; `make test` as root installs it (apt-get install redis-server)"
        )
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    return executable
