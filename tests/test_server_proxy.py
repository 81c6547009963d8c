"""The gateway behind a real Jupyter server, through jupyter-server-proxy: its login, and no other token."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from jupyter_ssechat import Chat
from jupyter_ssechat.errors import SSEChatError
from jupyter_ssechat.server_proxy import OPTIONS, TOKEN, gateway

CONFIG = """
import sys
sys.path.insert(0, {checkout!r})
from jupyter_ssechat.server_proxy import gateway
c.ServerProxy.servers = {{"jupyter-ssechat": gateway()}}
"""
CHECKOUT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Hub:
    """A Jupyter server below a base of its own, as a hub gives each user one."""

    url: str
    token: str


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    config = folder / "jupyter_server_config.py"
    config.write_text(CONFIG.format(checkout=str(CHECKOUT)))
    token = secrets.token_hex(16)
    options = {
        "config": config,
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": 0,
        "ServerApp.base_url": "/user/ada/",
        "ServerApp.root_dir": folder,
        "ServerApp.allow_root": True,
        "ServerApp.jpserver_extensions": "jupyter_server_proxy=True",
        "IdentityProvider.token": token,
    }
    command = [
        sys.executable,
        "-m",
        "jupyter_server",
        *(f"--{name}={value}" for name, value in options.items()),
    ]
    environment = {**os.environ, OPTIONS: "--pace 0.3", "PYTHONPATH": str(CHECKOUT)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=folder)
    assert process.stderr is not None
    said, url = "", None
    for line in process.stderr:
        said += line
        if url := re.search(r"http://127\.0\.0\.1:[1-9]\d*/user/ada/", line):
            break
    if url is None:
        raise RuntimeError(said[-2000:])
    until_it_answers(f"{url[0]}api/status", token)
    yield Hub(f"{url[0]}jupyter-ssechat", token)
    process.terminate()
    with process.stderr:
        process.stderr.read()
    process.wait(20)


def until_it_answers(url: str, token: str) -> None:
    """A Jupyter server says where it runs before it listens there."""
    end = time.monotonic() + 60
    while True:
        try:
            assert httpx.get(url, headers={"authorization": f"token {token}"}).status_code == 200
            return
        except httpx.TransportError:
            assert time.monotonic() < end, "the Jupyter server does not answer"
            time.sleep(0.05)


def test_who_is_logged_in_needs_no_other_token(hub: Hub) -> None:
    chat = Chat(gateway=hub.url, token=hub.token)
    reply = chat.ask("hello")
    assert reply.status == "finished" and "demo model" in reply.content
    assert chat.regenerate().wait().status == "finished"
    assert len(chat.history()) == 3


def test_an_answer_comes_through_the_proxy_as_it_grows_and_is_stopped(hub: Hub) -> None:
    long = Chat(gateway=hub.url, token=hub.token).stream("Write a long text")
    assert next(long).text
    assert long.reply.stop().status == "stopped"


def test_who_is_not_logged_in_gets_nothing(hub: Hub) -> None:
    with pytest.raises(SSEChatError):
        Chat(gateway=hub.url, token="wrong").ask("hello")
    assert httpx.get(f"{hub.url}/health", follow_redirects=False).status_code in (302, 403)


def test_the_token_of_the_gateway_is_in_no_command_and_is_another_one_for_each_server() -> None:
    first, second = gateway(), gateway()
    token = first["environment"][TOKEN]
    assert token not in json.dumps(first["command"])
    assert first["request_headers_override"]["Authorization"] == f"Bearer {token}"
    assert token != second["environment"][TOKEN]
