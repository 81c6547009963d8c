"""``serve`` as people run it: a process of its own, its one line, HTTP, and signals."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import openai
import pytest

from jupyter_ssechat.dialects.deepseek import DeepSeek
from jupyter_ssechat.message import Message
from jupyter_ssechat.sse import SSEDecoder

from .servers import Pause, Script, answer, chunk, model_server

COMMAND = [sys.executable, "-m", "jupyter_ssechat", "serve"]
KEY = "sk-the-key-of-the-model-server"
PROMPT = "a prompt that nobody else may read"


class Server:
    """A running ``serve``: the line it printed, a caller with its token, and what it said when it had ended."""

    def __init__(
        self, *options: str, env: dict[str, str] | None = None, start_new_session: bool = False
    ) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
            start_new_session=start_new_session,
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        printed = urlsplit(self.line.removeprefix("listening on ").strip())
        assert self.line.startswith("listening on http://"), self.process.communicate(timeout=30)
        self.url = f"http://{printed.netloc}"
        [self.token] = parse_qs(printed.query)["token"]
        headers = {"authorization": f"Bearer {self.token}"}
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.http.post(f"/api/v0/{path}", json=body)

    def session(self) -> str:
        return self.post("chat_session/create", {}).json()["data"]["biz_data"]["id"]

    @contextmanager
    def asking(self, prompt: str, session: str = "") -> Iterator[Iterator[Message]]:
        """The answer to a prompt, as it grows."""
        session = session or self.session()
        body = {"chat_session_id": session, "parent_message_id": None, "prompt": prompt}
        with self.http.stream("POST", "/api/v0/chat/completion", json=body) as response:
            assert response.status_code == 200
            yield growing(response.iter_raw())

    def ask(self, prompt: str) -> Message:
        with self.asking(prompt) as growing:
            *_, message = growing
        return message

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Send a signal, and wait for what comes of it."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str, str]:
        """Wait for the end: the exit status, what came on standard output after the line, and on error."""
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err

    def close(self) -> None:
        self.http.close()
        with self.process:
            self.process.kill()


def growing(chunks: Iterator[bytes]) -> Iterator[Message]:
    decoder, dialect, message = SSEDecoder(), DeepSeek(), Message()
    for raw in chunks:
        for event in decoder.feed(raw):
            for patch in dialect.feed(event):
                message.apply(patch)
        yield message


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers; what still runs at the end is killed by its handle."""
    started: list[Server] = []

    def start(*options: str, env: dict[str, str] | None = None) -> Server:
        started.append(Server(*options, env=env))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture(scope="module")
def demo() -> Iterator[Server]:
    server = Server("--pace", "0", "--cors", "https://page.example")
    yield server
    server.close()


def refused(*options: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """The exit status and the one line of a command that does not start."""
    ran = subprocess.run(
        [*COMMAND, *options],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, **(env or {})},
        check=False,
    )
    assert ran.stdout == ""
    assert ran.stderr.count("\n") == 1 and "Traceback" not in ran.stderr
    return ran.returncode, ran.stderr


# ---- what it prints, and what it serves ----


def test_it_prints_one_line_with_the_address_and_a_token(demo: Server) -> None:
    assert re.fullmatch(r"listening on http://127\.0\.0\.1:\d+/\?token=[\w-]{32,}\n", demo.line)


def test_the_printed_address_opens_as_it_stands(demo: Server) -> None:
    printed = demo.line.removeprefix("listening on ").strip()
    answer = httpx.get(printed, trust_env=False)
    assert answer.json()["data"]["biz_data"] == {"name": "jupyter_ssechat gateway"}


def test_the_demo_answers(demo: Server) -> None:
    message = demo.ask("hello")
    assert (message.status, message.model) == ("finished", "demo")
    assert message.thinking and message.content


def test_nothing_but_the_health_is_told_without_a_token(demo: Server) -> None:
    for path in ("/", "/metrics", "/v1/models", "/api/v0/chat/completion"):
        assert httpx.get(f"{demo.url}{path}", trust_env=False).status_code == 401
    healthy = httpx.get(f"{demo.url}/health", headers={"host": "any.name"}, trust_env=False)
    assert (healthy.status_code, healthy.text) == (200, '{"status":"ok"}')
    assert httpx.post(f"{demo.url}/health", trust_env=False).status_code == 401


def test_a_foreign_host_is_refused_with_the_way_to_allow_it(demo: Server) -> None:
    answer = demo.http.get("/", headers={"host": "evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (403, 40301)
    assert "--allowed-host" in answer.json()["msg"]


def test_its_figures_count_the_answers(serve: Serve) -> None:
    server = serve("--pace", "0")
    server.ask("hello")
    figures = server.http.get("/metrics").text
    assert 'ssechat_streams_total{api="patches",outcome="ok"} 1.0' in figures
    assert 'ssechat_streams_running{api="patches"} 0.0' in figures
    assert 'ssechat_first_token_seconds_count{api="patches"} 1.0' in figures
    assert not re.search(r'ssechat_tokens_total\{api="patches"\} 0\.0', figures)


def test_a_reader_who_leaves_and_a_stop_are_figures_too(serve: Serve) -> None:
    with model_server(Script([chunk(content="so far"), Pause()])) as model:
        server = serve("--upstream", model.url)
        session = server.session()
        with server.asking("x", session) as growing:
            assert any(grown.content for grown in growing)
            assert 'ssechat_readers{api="patches"} 1.0' in server.http.get("/metrics").text
        while 'ssechat_disconnects_total{api="patches"} 1.0' not in server.http.get("/metrics").text:
            assert server.process.poll() is None
        assert 'ssechat_streams_running{api="patches"} 1.0' in server.http.get("/metrics").text
        server.post("chat/stop_stream", {"chat_session_id": session, "message_id": 2})
        figures = server.http.get("/metrics").text
    assert "ssechat_stops_total 1.0" in figures
    assert 'ssechat_streams_total{api="patches",outcome="cancelled"} 1.0' in figures
    assert 'ssechat_readers{api="patches"} 0.0' in figures


def test_a_named_page_may_ask_and_another_one_may_not(demo: Server) -> None:
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    welcome, foreign = (
        httpx.options(f"{demo.url}/v1/chat/completions", headers={"origin": page, **asks}, trust_env=False)
        for page in ("https://page.example", "https://page.example.evil")
    )
    assert (welcome.status_code, welcome.headers["access-control-allow-origin"]) == (
        200,
        "https://page.example",
    )
    assert foreign.status_code == 401 and "access-control-allow-origin" not in foreign.headers


def test_the_openai_client_is_told_of_a_wrong_token_in_words(demo: Server) -> None:
    with (
        httpx.Client(trust_env=False) as http,
        openai.OpenAI(base_url=f"{demo.url}/v1", api_key="wrong", http_client=http, max_retries=0) as client,
        pytest.raises(openai.AuthenticationError, match="the token is wrong; send Authorization") as caught,
    ):
        client.models.list()
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["type"] == "invalid_request_error"


def test_a_model_server_answers_with_its_key_and_neither_key_nor_prompt_is_told(serve: Serve) -> None:
    with model_server(answer("Once", " upon"), models=["small"]) as model:
        server = serve(
            "--upstream", model.url, "--model", "small", "--api-key-env", "MY_KEY", env={"MY_KEY": KEY}
        )
        assert server.ask(PROMPT).content == "Once upon"
        assert model.requests[0]["model"] == "small"
        assert model.request_headers[0]["authorization"] == f"Bearer {KEY}"
        figures = server.http.get("/metrics").text
        _, out, err = server.end()
    for said in (out, err, figures):
        assert not [secret for secret in (KEY, PROMPT, server.token) if secret in said]


def test_a_silent_stream_is_kept_alive_as_often_as_it_was_told(serve: Serve) -> None:
    pause = Pause()
    with model_server(Script([chunk(content="a"), pause])) as model:
        server = serve("--upstream", model.url, "--keep-alive", "0.05")
        body = {"chat_session_id": server.session(), "parent_message_id": None, "prompt": "x"}
        with server.http.stream("POST", "/api/v0/chat/completion", json=body) as response:
            assert any(b": keep-alive" in raw for raw in response.iter_raw())


# ---- the token ----


def test_a_given_token_is_printed_as_an_address_needs_it(serve: Serve) -> None:
    server = serve("--token", "a/b?c&d=e+f%20#")
    assert server.token == "a/b?c&d=e+f%20#"
    assert server.http.get("/").status_code == 200
    assert httpx.get(server.line.removeprefix("listening on ").strip(), trust_env=False).status_code == 200


def test_the_token_may_stand_in_a_file(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("the-token-in-the-file\n")
    assert serve("--token-file", str(file)).token == "the-token-in-the-file"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"two\nlines\n", "cannot stand in a header"),
        ("tökén".encode(), "cannot stand in a header"),
        (b"\xff\x00", "cannot stand in a header"),
        (b"x" * 5000, "is larger than 4096 bytes"),
    ],
)
def test_a_token_file_that_holds_none_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    status, line = refused("--token-file", str(file))
    assert (status, said in line) == (2, True)


# ---- options that cannot be used ----


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--token-file", "/no/such/file"], 2, "cannot be read: No such file"),
        (["--token", ""], 2, "--token is empty"),
        (["--token", "a b"], 2, "cannot stand in a header"),
        (["--token", "a", "--token-file", "b"], 2, "not allowed with"),
        (["--port", "65536"], 2, "expected 0 to 65535"),
        (["--port", "-1"], 2, "expected 0 to 65535"),
        (["--host", ""], 2, "it is empty"),
        (["--host", "no.such.host.invalid"], 1, "cannot listen on no.such.host.invalid:0: "),
        (["--host", "a" * 80], 1, "cannot listen on "),
        (["--host", "192.0.2.1"], 1, "cannot listen on 192.0.2.1:0: "),
        (["--upstream", "nonsense"], 2, "'nonsense' is not an upstream"),
        (["--upstream", "http://"], 2, "http://"),
        (["--dialect", "klingon"], 2, "'klingon'"),
        (["--pace", "-1"], 2, "pace is -1"),
        (["--pace", "slow"], 2, "'slow'"),
        (["--pace", "nan"], 2, "pace is nan"),
        (["--keep-alive", "0"], 2, "expected seconds, more than 0"),
        (["--keep-alive", "inf"], 2, "expected seconds, more than 0"),
        (["--allowed-host", "http://name"], 2, "'http://name' is not a host"),
        (["--allowed-host", "*"], 2, "'*' is not a host"),
        (["--cors", "*"], 2, "'*' is not an origin"),
        (["--cors", "null"], 2, "'null' is not an origin"),
        (["--cors", "https://page.example/"], 2, "and no path"),
        (
            ["--upstream", "http://127.0.0.1:9/v1", "--api-key-env", "NOT_SET"],
            2,
            "NOT_SET is empty or not set",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line(options: list[str], status: int, said: str) -> None:
    ended, line = refused(*options)
    assert (ended, said in line) == (status, True), line


def test_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, line = refused("--port", str(port))
    assert (status, line) == (
        1,
        f"jupyter-ssechat: cannot listen on 127.0.0.1:{port}: Address already in use\n",
    )


# ---- other addresses ----


def test_every_address_is_printed_as_this_machine_reaches_it_and_others_are_told_how(serve: Serve) -> None:
    server = serve("--host", "0.0.0.0")
    assert server.url.startswith("http://127.0.0.1:")
    assert server.http.get("/").status_code == 200
    port = urlsplit(server.url).port
    assert server.http.get("/", headers={"host": f"box.example:{port}"}).status_code == 403
    _, _, err = server.end()
    assert "--allowed-host NAME" in err


def test_an_allowed_host_may_be_called_with_and_without_the_port(serve: Serve) -> None:
    server = serve("--host", "0.0.0.0", "--allowed-host", "box.example", "Proxy.example:8443")
    port = urlsplit(server.url).port
    for host in ("box.example", f"box.example:{port}", "proxy.example:8443"):
        assert server.http.get("/", headers={"host": host}).status_code == 200
    for host in ("box.example:1", "proxy.example", f"proxy.example:{port}"):
        assert server.http.get("/", headers={"host": host}).status_code == 403
    _, _, err = server.end()
    assert "others reach it as box.example, Proxy.example:8443" in err


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_stands_in_brackets(serve: Serve, host: str) -> None:
    server = serve("--host", host)
    assert server.url.startswith("http://[::1]:")
    assert server.http.get("/").status_code == 200


# ---- the end ----


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_every_stream_with_a_terminal_status_and_then_the_process(
    serve: Serve, number: int
) -> None:
    with model_server(Script([chunk(content="so far"), Pause()])) as model:
        server = serve("--upstream", model.url)
        with server.asking("x") as growing:
            message = next(grown for grown in growing if grown.content)
            server.process.send_signal(number)
            *_, message = growing
        assert model.left.wait(10)
    assert (message.status, message.content) == ("failed", "so far")
    assert message.error is not None and message.error.type == "gateway_closed"
    status, out, err = server.ended()
    assert (status, out) == (0, "")
    assert err.splitlines()[-1] == "jupyter-ssechat: stopped"
    assert "Traceback" not in err


def test_a_signal_ends_an_openai_stream_with_an_error_that_its_clients_raise(serve: Serve) -> None:
    server = serve("--pace", "4")
    with (
        httpx.Client(trust_env=False, timeout=30) as http,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.token, http_client=http) as client,
        client.chat.completions.create(
            model="demo", messages=[{"role": "user", "content": "x"}], stream=True
        ) as chunks,
    ):
        next(chunks)
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(openai.APIError, match="the gateway was shut down"):
            list(chunks)
    status, _, err = server.ended()
    assert (status, "Traceback" in err) == (0, False)


def test_an_idle_server_ends_at_a_signal_though_connections_are_open(serve: Serve) -> None:
    server = serve()
    assert server.http.get("/").status_code == 200
    assert server.end(signal.SIGINT)[:2] == (0, "")


def test_the_second_signal_ends_the_process_at_once(serve: Serve) -> None:
    server = serve()
    with half_a_request(server):
        server.process.send_signal(signal.SIGINT)
        wait_for_line(server, "ending")
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == -signal.SIGINT


@contextmanager
def half_a_request(server: Server) -> Iterator[None]:
    """A call whose body does not come: a server that ends gracefully waits for it for a while."""
    address = urlsplit(server.url)
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=10) as connection:
        head = (
            "POST /api/v0/chat_session/create HTTP/1.1",
            f"host: {address.netloc}",
            f"authorization: Bearer {server.token}",
            "content-length: 2",
            "expect: 100-continue",
        )
        connection.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        yield


def wait_for_line(server: Server, word: str) -> None:
    assert server.process.stderr is not None
    assert any(word in line for line in server.process.stderr)


def test_a_cassette_is_recorded_and_then_served_without_its_server(serve: Serve, tmp_path: Path) -> None:
    cassette = str(tmp_path / "talk.jsonl")
    with model_server(answer("Once ", "upon.")) as model:
        live = serve("--upstream", model.url, "--model", "m", "--cassette", cassette).ask("hello")
    again = serve("--cassette", cassette, "--record-mode", "none").ask("hello")
    assert (live.content, live.status) == ("Once upon.", "finished")
    assert again.to_dict() == live.to_dict()
