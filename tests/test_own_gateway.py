"""The user's own gateway: a real process that outlives whoever started it, and is found again."""

from __future__ import annotations

import json
import os
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import jupyter_ssechat.own_gateway as module
from jupyter_ssechat import Chat
from jupyter_ssechat.client import GatewayClient
from jupyter_ssechat.consumer import shared_consumer
from jupyter_ssechat.errors import BadInput, ConnectionFailed, InvalidRequest, NotFound
from jupyter_ssechat.gateway.server import Gateway
from jupyter_ssechat.message import Message
from jupyter_ssechat.own_gateway import Whereabouts, own_gateway, read_whereabouts, runtime_file
from jupyter_ssechat.upstream_spec import UpstreamSpec

from .servers import answer, model_server


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder; the gateway that is told of there ends with the test."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    yield tmp_path / "runtime"
    with suppress(FileNotFoundError, ProcessLookupError):
        end(pid())


def pid() -> int:
    number: int = json.loads(runtime_file().read_text())["pid"]
    return number


def end(number: int, how: signal.Signals = signal.SIGTERM) -> None:
    """End a gateway, and wait until it has gone."""
    gone = os.pidfd_open(number)
    signal.pidfd_send_signal(gone, how)
    until_gone(gone)


def until_gone(process: int) -> None:
    try:
        assert select.select([process], [], [], 20)[0], "it did not end"
    finally:
        os.close(process)


def asked(there: Whereabouts, spec: UpstreamSpec, prompt: str) -> Message:
    """Ask through a gateway, of an upstream that is told to it."""

    async def ask() -> Message:
        client, message = GatewayClient(there.url, there.token), Message()
        session = await client.create_session()
        await client.assign(session, spec.with_key().to_wire())
        body = {"chat_session_id": session, "parent_message_id": None, "prompt": prompt}
        async for signal_ in client.follow("completion", body, message):
            assert signal_ is not None
        await client.aclose()
        return message

    return shared_consumer().submit(ask()).result(60)


def test_it_is_started_once_and_found_again(runtime: Path) -> None:
    first = own_gateway()
    assert own_gateway() == first
    assert read_whereabouts(runtime_file()) == first
    assert runtime_file().parent == runtime


def test_only_the_user_can_read_where_it_is(runtime: Path) -> None:
    token = own_gateway().token
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in runtime.iterdir()}
    assert set(modes.values()) == {0o600}
    assert token not in runtime_file().with_suffix(".log").read_text()
    assert token not in Path(f"/proc/{pid()}/cmdline").read_text()
    assert token not in repr(own_gateway())


def test_it_outlives_the_process_that_started_it_and_that_ones_group(runtime: Path) -> None:
    code = (
        "from jupyter_ssechat.own_gateway import own_gateway; print(own_gateway().url, flush=True); input()"
    )
    kernel = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    assert kernel.stdin is not None and kernel.stdout is not None
    with kernel.stdin, kernel.stdout:
        url = kernel.stdout.readline().strip()
        os.killpg(kernel.pid, signal.SIGKILL)
        kernel.wait()
    assert own_gateway().url == url


def test_one_that_was_killed_is_replaced(runtime: Path) -> None:
    first = own_gateway()
    end(pid(), signal.SIGKILL)
    second = own_gateway()
    assert second.url != first.url
    assert asked(second, UpstreamSpec(pace=0), "hello").status == "finished"


@pytest.mark.parametrize("said", ["", "no JSON", "[]", '{"url": "http://127.0.0.1:9", "token": "x"}'])
def test_a_runtime_file_that_tells_nothing_true_is_replaced(runtime: Path, said: str) -> None:
    runtime.mkdir()
    runtime_file().write_text(said)
    there = own_gateway()
    assert read_whereabouts(runtime_file()) == there


def test_when_it_ends_its_file_goes_and_not_that_of_another(runtime: Path) -> None:
    own_gateway()
    first = pid()
    other = Whereabouts("http://127.0.0.1:9", "x")
    saved = runtime_file().read_text()
    runtime_file().write_text(json.dumps(other._asdict()))
    end(first)
    assert read_whereabouts(runtime_file()) == other
    runtime_file().write_text(saved)
    own_gateway()
    end(pid())
    assert not runtime_file().exists()


def test_it_ends_by_itself_when_nobody_uses_it(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.2)
    own_gateway()
    until_gone(os.pidfd_open(pid()))
    assert not runtime_file().exists()


def test_kernels_say_who_answers_and_their_key_goes_there_alone(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_OF_THE_KERNEL", "sk-of-the-kernel")
    there = own_gateway()
    with model_server(answer("from the server")) as server:
        spec = UpstreamSpec(spec=server.url, api_key_env="KEY_OF_THE_KERNEL")
        message = asked(there, spec, "who are you?")
    assert message.content == "from the server"
    assert server.request_headers[-1]["authorization"] == "Bearer sk-of-the-kernel"
    assert "sk-of" not in repr(spec.with_key())
    assert all("sk-of" not in file.read_text() for file in runtime.iterdir())


def test_what_cannot_answer_is_refused_with_the_reason(runtime: Path) -> None:
    with pytest.raises(InvalidRequest, match="'nowhere' is not an upstream"):
        asked(own_gateway(), UpstreamSpec(spec="nowhere"), "hello")


def test_a_gateway_that_others_use_too_lets_nobody_choose_whom_it_calls() -> None:
    with Gateway() as gateway, pytest.raises(NotFound):
        asked(Whereabouts(gateway.url, gateway.token), UpstreamSpec(), "hello")


def test_one_that_cannot_start_says_why(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", -1.0)
    with pytest.raises(ConnectionFailed, match="the gateway did not start: .*'-1' is not a time"):
        own_gateway()


def test_a_conversation_whose_gateway_was_killed_says_so_and_a_new_one_has_another(runtime: Path) -> None:
    chat = Chat(gateway="process", pace=0)
    fresh = Chat(gateway="process", pace=0)
    assert chat.ask("hello").status == "finished"
    end(pid(), signal.SIGKILL)
    gone = "the gateway of this conversation has ended, and its conversations with it; begin a new one"
    for call in (lambda: chat.ask("and now?"), chat.history, chat.sessions):
        with pytest.raises(BadInput, match=gone):
            call()
    chat.new()
    assert chat.ask("hello again").status == "finished"
    assert fresh.ask("hello").status == "finished", "where nothing was said nothing is lost"
    assert fresh.gateway == chat.gateway
