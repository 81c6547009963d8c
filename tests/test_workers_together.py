"""``serve --workers``: processes on one socket and one store, replaced when they die."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from jupyter_ssechat import demo
from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.gateway.server import Gateway, close_embedded, embedded
from jupyter_ssechat.sse import ServerSentEvent, SSEDecoder

from .cluster import TOKEN, Cluster
from .redis_server import RedisServer
from .test_serve import COMMAND, Server, half_a_request
from .test_serve import growing as grown


def children(pid: int) -> set[int]:
    """The processes that a process has started."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def refused(*options: str) -> tuple[int, str]:
    ran = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=60, check=False)
    return ran.returncode, ran.stderr


def test_workers_without_a_common_store_are_refused_with_the_reason() -> None:
    code, said = refused("--workers", "2")
    assert code == 2
    assert "2 workers cannot share a store in memory; expected --store sqlite:PATH or redis://" in said


@pytest.mark.parametrize("options", [["--store", "postgres://x"], ["--workers", "0"], ["--workers", "two"]])
def test_what_cannot_be_is_refused(options: list[str]) -> None:
    code, said = refused(*options)
    assert code == 2 and "expected" in said


def test_workers_answer_together_and_one_that_dies_is_replaced(tmp_path: Path) -> None:
    server = Server("--workers", "2", "--store", f"sqlite:{tmp_path / 's.db'}", "--pace", "0")
    try:
        first = children(server.process.pid)
        assert len(first) == 2
        sessions = [server.session() for _ in range(10)]
        assert server.ask("hello").status == "finished"
        os.kill(min(first), signal.SIGKILL)
        while len(now := children(server.process.pid)) < 2 or min(first) in now:
            time.sleep(0.01)
        found = server.post("chat_session/list", {}).json()["data"]["biz_data"]["chat_sessions"]
        assert {one["id"] for one in found} >= set(sessions)
        assert server.ask("hello").status == "finished"
        code, _, said = server.end()
        assert (code, said.splitlines()[-1]) == (0, "jupyter-ssechat: stopped")
    finally:
        server.close()


CHAT = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}


@contextmanager
def together(folder: Path, *options: str) -> Iterator[Server]:
    """Two workers in a session of their own, as under a terminal or systemd, that log for machines."""
    store = ("--workers", "2", "--store", f"sqlite:{folder / 's.db'}", "--lease", "1")
    server = Server(*store, "--log-format", "json", *options, start_new_session=True)
    try:
        yield server
    finally:
        server.close()


def records(server: Server) -> Iterator[dict[str, Any]]:
    """What it logs, as it comes."""
    assert server.process.stderr is not None
    return map(json.loads, server.process.stderr)


def one_call(server: Server, method: str, path: str, **what: Any) -> httpx.Response:
    """A call on a connection of its own, which any worker may take."""
    headers = {"authorization": f"Bearer {server.token}"}
    return httpx.request(method, f"{server.url}{path}", headers=headers, timeout=30, trust_env=False, **what)


def test_a_scrape_tells_the_figures_of_all_workers_and_of_those_that_died(tmp_path: Path) -> None:
    with together(tmp_path, "--pace", "0") as server:
        log, answered = records(server), dict.fromkeys(children(server.process.pid), 0)
        while not all(answered.values()):
            assert one_call(server, "POST", "/v1/chat/completions", json=CHAT).status_code == 200
            answered[next(one["pid"] for one in log if one["event"] == "answer ended")] += 1
        said = f'ssechat_streams_total{{api="chat",outcome="ok"}} {sum(answered.values())}.0'
        assert all(said in one_call(server, "GET", "/metrics").text for _ in range(10))
        folder = figures_of(min(answered))
        killed = min(answered)
        os.kill(killed, signal.SIGKILL)
        died = next(one for one in log if one["event"] == "worker died")
        born = next(one for one in log if one["event"] == "worker started")
        assert (died["worker"], died["status"], born["worker"] in answered) == (
            killed,
            -signal.SIGKILL,
            False,
        )
        assert all(said in one_call(server, "GET", "/metrics").text for _ in range(10))
        assert folder.stat().st_mode & 0o077 == 0
        assert server.end()[0] == 0
        assert not folder.exists()


def figures_of(worker: int) -> Path:
    """The folder where the workers count together."""
    mapped = Path(f"/proc/{worker}/maps").read_text().splitlines()
    [folder] = {line.split()[-1].rpartition("/")[0] for line in mapped if "-figures-" in line}
    return Path(folder)


def test_a_signal_to_all_of_them_hands_streams_over_and_their_readers_come_again(tmp_path: Path) -> None:
    with together(tmp_path, "--pace", "0.3") as first:
        session = first.session()
        raw: list[bytes] = []
        body = {"chat_session_id": session, "parent_message_id": None, "prompt": "hello"}
        with first.http.stream("POST", "/api/v0/chat/completion", json=body) as response:
            chunks = response.iter_raw()
            while b"APPEND" not in b"".join(raw):
                raw.append(next(chunks))
            os.killpg(first.process.pid, signal.SIGTERM)
            raw += chunks
        assert data_of_last(raw) == {"click_behavior": "none", "auto_resume": True}
        code, events = ended_with_log(first)
        assert code == 0 and events[-1]["event"] == "stopped"
        assert "handed_over" in [one.get("outcome") for one in events]
    with together(tmp_path, "--pace", "0") as second:
        resume = {"chat_session_id": session, "message_id": 2}
        with second.http.stream("POST", "/api/v0/chat/resume_stream", json=resume) as response:
            *_, message = grown(response.iter_raw())
        assert message.status == "finished"
        second.process.send_signal(signal.SIGTERM)
        code, events = ended_with_log(second)
        assert code == 0 and "answer taken over" in [one["event"] for one in events]


def data_of_last(raw: list[bytes]) -> Any:
    """The data of the event that closes a stream."""
    last = b"".join(raw).decode().rstrip().split("\n\n")[-1]
    assert last.startswith("event: close")
    return json.loads(last.partition("data:")[2])


def ended_with_log(server: Server) -> tuple[int, list[dict[str, Any]]]:
    code, _, said = server.ended()
    return code, [json.loads(line) for line in said.splitlines()]


def test_a_second_signal_ends_all_workers_at_once(tmp_path: Path) -> None:
    with together(tmp_path) as server, half_a_request(server):
        log = records(server)
        server.process.send_signal(signal.SIGTERM)
        assert next(one for one in log if one["event"] == "stopping")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        assert [one["event"] for one in log][-1] == "stopped"


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    with together(tmp_path) as server:
        workers = children(server.process.pid)
        assert server.http.get("/health").status_code == 200
        server.process.kill()
        # Standard error is open in each worker: this is over when the last one has ended.
        stopping = {one["pid"] for one in records(server) if one["event"] == "stopping"}
        assert stopping and stopping <= workers  # one that has just begun ends without a word


def test_a_conversation_in_redis_outlives_the_server(redis_server: RedisServer) -> None:
    options = ("--store", redis_server.url, "--pace", "0")
    first = Server(*options)
    try:
        session = first.session()
        with first.asking("hello", session) as growing:
            *_, message = growing
        assert first.end()[0] == 0
    finally:
        first.close()
    second = Server(*options)
    try:
        body = {"chat_session_id": session}
        history = second.post("chat/history_messages", body).json()["data"]["biz_data"]["chat_messages"]
        assert [one["content"] for one in history] == ["hello", message.content]
    finally:
        second.close()


def test_a_half_finished_answer_in_a_file_survives_its_process(tmp_path: Path) -> None:
    options = ("--store", f"sqlite:{tmp_path / 's.db'}", "--pace", "0.3", "--lease", "1")
    first = Server(*options)
    try:
        session = first.session()
        with first.asking("hello", session) as growing:
            seen = next(message for message in growing if len(message.thinking) > 50)
            first.process.kill()
    finally:
        first.close()
    second = Server(*options)
    try:
        body = {"chat_session_id": session, "message_id": 2}
        with second.http.stream("POST", "/api/v0/chat/resume_stream", json=body) as response:
            *_, message = grown(response.iter_raw())
        script = list(demo.script("hello", thinking=True, turn=1, system=None))
        assert message.thinking.startswith(seen.thinking)
        assert message.thinking == "".join(token.text for token in script if token.kind == "thinking")
        assert message.content == "".join(token.text for token in script if token.kind == "content")
        assert message.status == "finished"
    finally:
        second.close()


async def heard(url: str, last: str = "", until: str = "close") -> list[ServerSentEvent]:
    """What an EventSource hears that comes back with the id `last`, until it has heard such an event."""
    headers = {"authorization": f"Bearer {TOKEN}"} | ({"last-event-id": last} if last else {})
    events: list[ServerSentEvent] = []
    decoder = SSEDecoder()
    async with (
        httpx.AsyncClient(timeout=30, trust_env=False) as http,
        http.stream("GET", url, params={"message": "hello"}, headers=headers) as response,
    ):
        assert response.status_code == 200, await response.aread()
        async for piece in response.aiter_raw():
            events += decoder.feed(piece)
            if until in (event.event for event in events):
                break
    return events


def test_an_event_stream_goes_on_at_another_worker_when_the_one_that_generates_is_killed(
    redis_server: RedisServer,
) -> None:
    async def ask() -> list[ServerSentEvent]:
        async with Cluster(redis_server.url) as cluster:
            one, two = (f"http://127.0.0.1:{each.port}/ai/chat/stream" for each in cluster.door.workers)
            events = await heard(one, until="thinking")
            events += await heard(two, events[-1].id, until="message")
            await cluster.door.workers[0].kill()
            events += await heard(two, events[-1].id)
            async with httpx.AsyncClient(trust_env=False) as http:
                address, after = f"{two}/{json.loads(events[0].data)['sessionId']}", events[-1].id
                again = await http.get(address, headers={"last-event-id": after})
                assert again.status_code == 204
        return events

    events = asyncio.run(asyncio.wait_for(ask(), 60))
    names = [event.event for event in events]
    assert (names[0], names[-1]) == ("ready", "close")
    assert set(names[1:-1]) == {"thinking", "message"}
    script = list(demo.script("hello", thinking=True, turn=1, system=None))
    for name, kind in (("thinking", "thinking"), ("message", "content")):
        said = "".join(json.loads(event.data)["content"] for event in events if event.event == name)
        assert said == "".join(token.text for token in script if token.kind == kind)
    assert json.loads(events[-1].data)["status"] == "finished"


def test_the_gateway_of_a_process_can_keep_its_conversations_in_a_file(tmp_path: Path) -> None:
    close_embedded()
    try:
        address = f"sqlite:{tmp_path / 's.db'}"
        session = created(embedded(address))
        with pytest.raises(BadInput, match="has a gateway whose store is sqlite:"):
            embedded("memory")
        assert embedded() is embedded(address)
        first = embedded()
        first.begin_to_close()
        first.wait()
        again = post(embedded(), "chat_session/list")["chat_sessions"]
        assert [one["id"] for one in again] == [session], "one that ended by itself comes back with its store"
        close_embedded()
        found = post(embedded(address), "chat_session/list")["chat_sessions"]
        assert [one["id"] for one in found] == [session]
    finally:
        close_embedded()


def post(gateway: Gateway, path: str) -> Any:
    headers = {"authorization": f"Bearer {gateway.token}"}
    answer = httpx.post(f"{gateway.url}/api/v0/{path}", json={}, headers=headers, trust_env=False)
    return answer.json()["data"]["biz_data"]


def created(gateway: Gateway) -> str:
    return post(gateway, "chat_session/create")["id"]
