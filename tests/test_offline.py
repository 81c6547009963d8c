"""A Python process that is kept from the network: loopback alone, whoever asks, and what is refused is told."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_ssechat.offline.sitecustomize import VARIABLE, is_near

from .servers import answer, model_server

FOLDER = Path(__file__).resolve().parent.parent / "jupyter_ssechat" / "offline"
AWAY = "not on this machine, and JUPYTER_SSECHAT_OFFLINE keeps the network away"


def run(code: str, note: Path | str = "1", path: str = "", **env: str) -> str:
    """What a Python prints that starts with the folder in its path."""
    folders = os.pathsep.join(filter(None, [str(FOLDER), path]))
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": folders, VARIABLE: str(note), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def refused(call: str) -> str:
    """Code that prints what a call fails with."""
    return f"import socket, asyncio\ntry:\n    {call}\nexcept OSError as error:\n    print(error)"


@pytest.mark.parametrize(
    ("call", "place"),
    [
        ("socket.create_connection(('192.0.2.1', 80), 5)", "192.0.2.1:80"),
        ("socket.create_connection(('model.example', 443), 5)", "model.example:443"),
        ("socket.socket().connect_ex(('192.0.2.1', 81))", "192.0.2.1:81"),
        ("socket.socket(socket.AF_INET6).connect(('2001:db8::1', 80))", "[2001:db8::1]:80"),
        ("socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))", "192.0.2.1:53"),
        ("socket.gethostbyname('model.example')", "model.example"),
        ("asyncio.run(asyncio.open_connection('192.0.2.1', 80))", "192.0.2.1:80"),
    ],
)
def test_what_would_leave_the_machine_fails_with_one_line_and_is_noted(
    tmp_path: Path, call: str, place: str
) -> None:
    note = tmp_path / "note"
    assert run(refused(call), note) == f"{place} is {AWAY}\n"
    assert note.read_text() == f"{place}\n"


def test_this_machine_is_reached_and_nothing_is_noted(tmp_path: Path) -> None:
    note = tmp_path / "note"
    with model_server(answer("Hi")) as server:
        code = f"from jupyter_ssechat import Chat; print(Chat({server.url!r}).ask('hello').content)"
        assert run(code, note) == "Hi\n"
        assert run(code.replace("127.0.0.1", "localhost"), note) == "Hi\n"
    assert not note.exists()


def test_a_chat_with_a_server_elsewhere_fails_and_says_why() -> None:
    code = "from jupyter_ssechat import Chat; print(Chat('https://model.example/v1').ask('x').one_line())"
    assert AWAY in run(code)


def test_a_proxy_on_this_machine_is_no_way_out() -> None:
    code = "import urllib.request\n" + refused("urllib.request.urlopen('http://192.0.2.1/', timeout=5)")
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        assert f"192.0.2.1:80 is {AWAY}" in run(code, http_proxy=address, HTTP_PROXY=address)


def test_processes_that_are_started_are_kept_away_too() -> None:
    inner = refused("socket.create_connection(('192.0.2.1', 80), 5)")
    assert AWAY in run(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])")


def test_without_the_variable_nothing_is_refused() -> None:
    code = "import sys; print(hasattr(sys, '_jupyter_ssechat_offline'))"
    assert (run(code, note=""), run(code)) == ("False\n", "True\n")


def test_a_sitecustomize_that_stands_behind_it_still_runs(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.behind = True")
    assert run(
        "import sys; print(sys.behind, sys.modules['sitecustomize'].__file__)", path=str(tmp_path)
    ) == (f"True {tmp_path / 'sitecustomize.py'}\n")


def test_a_command_has_loopback_alone_where_the_machine_permits_a_network_of_its_own() -> None:
    code = """
import socket
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname(), 5).close()
print("near")
""" + refused("socket.create_connection(('192.0.2.1', 80), 5)")
    command = [str(FOLDER.parent.parent / "scripts" / "offline"), sys.executable, "-c", code]
    ran = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHON": sys.executable},
    )
    if "permits no network namespace" in ran.stderr:
        pytest.skip("this machine permits no network namespace")
    assert ran.stdout == "near\n[Errno 101] Network is unreachable\n"


def test_a_command_ends_as_it_ends() -> None:
    offline = str(FOLDER.parent.parent / "scripts" / "offline")
    assert subprocess.run([offline, "sh", "-c", "exit 7"], capture_output=True, check=False).returncode == 7
    assert subprocess.run([offline], capture_output=True, check=False).returncode == 2


@pytest.mark.parametrize(
    ("host", "near"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", True),
        ("app.localhost.", True),
        ("me", True),
        ("::ffff:192.0.2.1", False),
        ("fe80::1%eth0", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("<broadcast>", False),
    ],
)
def test_near_is_what_the_machine_answers_itself(host: str, near: bool) -> None:
    assert is_near(host, frozenset({"me"})) is near
