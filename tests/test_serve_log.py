"""Lines on standard error: one for each event, for people or machines, and no secret in any of them."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from jupyter_ssechat.serve_log import JSONLines, TextLines, begin_to_log

from .redis_server import RedisServer, redis_executable
from .servers import CUT, Script, answer, chunk, model_server
from .test_serve import Server

SECRET = "the-words-of-a-user"


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[str], Callable[[], list[str]]]]:
    """Log as the command does, until the end of the test."""
    root, own = logging.getLogger(), logging.getLogger("jupyter_ssechat")
    handlers, level = root.handlers[:], own.level

    def begin(format: str) -> Callable[[], list[str]]:
        begin_to_log(format, "info")
        return lambda: capsys.readouterr().err.splitlines()

    yield begin
    root.handlers[:] = handlers
    own.setLevel(level)


def test_a_line_for_people_has_time_level_pid_event_and_fields() -> None:
    record = logging.LogRecord("jupyter_ssechat.gateway", logging.INFO, "f.py", 1, "a call", None, None)
    record.created, record.msecs, record.process = 1.5, 500.0, 7
    record.fields = {"status": 200, "none": None, "text": 'two "words"', "forged": "x\n2 error", "empty": ""}
    assert TextLines().format(record) == (
        "1970-01-01T00:00:01.500Z info 7 a call"
        ' status=200 none=- text="two \\"words\\"" forged="x\\n2 error" empty=""'
    )


def test_a_line_for_machines_is_one_object() -> None:
    record = logging.LogRecord("jupyter_ssechat.gateway", logging.WARNING, "f.py", 1, "a call", None, None)
    record.created, record.msecs, record.process = 1.5, 500.0, 7
    record.fields = {"status": 200, "none": None, "text": "x\ny"}
    line = JSONLines().format(record)
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:01.500Z",
        "level": "warning",
        "pid": 7,
        "event": "a call",
        "status": 200,
        "none": None,
        "text": "x\ny",
    }
    assert datetime.fromisoformat(json.loads(line)["time"])


@pytest.mark.parametrize("format", ["text", "json"])
def test_faults_and_other_libraries_are_told_without_their_words(lines: Any, format: str) -> None:
    said = lines(format)
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        logging.getLogger("asyncio").error("Task failed: %s\n%r", SECRET, error, exc_info=error)
        logging.getLogger("uvicorn.error").error("Exception in ASGI application\n", exc_info=error)
        logging.getLogger("httpx").info("GET %s", SECRET)
        logging.getLogger("httpcore").debug("headers %s", SECRET)
        logging.getLogger("jupyter_ssechat.gateway").error("ours", exc_info=error)
    told = said()
    assert len(told) == 3 and SECRET not in str(told)
    for line in told:
        assert "ValueError" in line and "test_serve_log.py:" in line
    assert "asyncio" in told[0] and "Exception in ASGI application" in told[1]


# ---- serve ----


@contextmanager
def serving(*options: str, env: dict[str, str] | None = None) -> Iterator[Server]:
    server = Server(*options, env=env)
    try:
        yield server
    finally:
        server.close()


def told(err: str, format: str) -> list[dict[str, str]]:
    """The events of a log, each with its fields as texts."""
    if format == "json":
        return [{name: str(value) for name, value in json.loads(line).items()} for line in err.splitlines()]
    lines = [line.split(" ", 3) for line in err.splitlines() if not line.startswith("jupyter-ssechat: ")]
    for _, level, pid, rest in lines:
        assert level in {"debug", "info", "warning", "error"} and pid.isdigit() and rest
    return [
        {"level": level, "event": re.split(r" \w+=", rest)[0], **dict(re.findall(r"(\w+)=(\S+)", rest))}
        for _, level, _, rest in lines
    ]


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_conversation_leaves_no_secret_in_the_log(format: str, tmp_path: Path) -> None:
    secrets = {
        name: f"{name}-that-nobody-may-read"
        for name in (
            "prompt",
            "system",
            "answer",
            "thinking",
            "key",
            "token",
            "query",
            "header",
            "path",
            "kind",
        )
    }
    refusal = {"error": {"message": f"{secrets['key']} {secrets['prompt']}", "type": secrets["kind"]}}
    config = tmp_path / "serve.toml"
    config.write_text(f'token = "{secrets["token"]}"\nlog-format = "{format}"\nlog-level = "debug"\n')
    config.chmod(0o600)
    scripts = [
        answer(secrets["answer"], thinking=(secrets["thinking"],)),
        Script(status=401, body=refusal),
        Script([chunk(content=secrets["answer"]), CUT]),
        Script([b'data: {"error": ' + json.dumps(refusal["error"]).encode() + b"}\n\n"]),
        Script(status=500, body=refusal),
    ]
    options = ("--config", str(config), "--api-key-env", "MY_KEY", "--model", "m")
    with (
        model_server(*scripts) as model,
        serving("--upstream", model.url, *options, env={"MY_KEY": secrets["key"]}) as server,
    ):
        assert server.token == secrets["token"]
        for _ in range(4):
            server.ask(secrets["prompt"])
        headers = {"x-other": secrets["header"], "cookie": secrets["header"]}
        chat = [
            {"role": "system", "content": secrets["system"]},
            {"role": "user", "content": secrets["prompt"]},
        ]
        asked = {"model": "m", "stream": True, "messages": chat}
        assert server.http.post("/v1/chat/completions", json=asked, headers=headers).status_code >= 400
        address = f"{server.url}/ai/chat/stream?message={secrets['prompt']}&token={secrets['token']}"
        httpx.get(f"{address}&x={secrets['query']}", trust_env=False)
        assert httpx.get(f"{server.url}/?token={secrets['query']}", trust_env=False).status_code == 401
        server.http.get(f"/{secrets['path']}")
        server.http.get(f"/v1/models/{secrets['path']}")
        server.post("chat/completion", {"prompt": secrets["prompt"], "parent_message_id": "no"})
        status, out, err = server.end()
    assert (status, out) == (0, "")
    assert [name for name, secret in secrets.items() if secret in err] == []
    events = told(err, format)
    ended = [(one["outcome"], one["api"]) for one in events if one["event"] == "answer ended"]
    assert ended[:4] == [("ok", "patches"), *[("failed", "patches")] * 3]
    assert sum(one["event"] == "call" for one in events) >= 14
    assert events[0]["event"] == "started" and events[-1]["event"] == "stopped"


def test_little_is_printed_when_little_is_asked_for() -> None:
    with serving("--pace", "0", "--log-level", "warning", "--log-format", "json") as server:
        server.ask("hello")
        assert server.end() == (0, "", "")


def test_a_store_that_goes_and_comes_back_is_told_once(tmp_path: Path) -> None:
    redis = RedisServer(redis_executable(), tmp_path)
    try:
        options = ("--store", redis.url, "--pace", "0", "--lease", "1", "--log-format", "json")
        with serving(*options) as server:
            assert server.ask("hello").status == "finished"
            redis.kill()
            assert wait_for(server, "store unavailable")["cause"] == "ConnectionError"
            redis.start()
            wait_for(server, "store back")
            assert server.ask("hello").status == "finished"
            _, _, err = server.end()
        assert not [one for one in told(err, "json") if one["event"].startswith("store ")]
    finally:
        redis.close()


def wait_for(server: Server, event: str) -> dict[str, Any]:
    """The record of an event, which is the next of its kind."""
    assert server.process.stderr is not None
    for line in server.process.stderr:
        record = json.loads(line)
        if record["event"].startswith(event.partition(" ")[0] + " "):
            assert record["event"] == event
            return record
    raise AssertionError(f"it ended without {event!r}")
