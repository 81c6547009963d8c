"""The replay command, and what becomes of wrong input: never an exception, never finished too early."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jupyter_ssechat.__main__ import main
from jupyter_ssechat.dialects import Dialect, PlainContent
from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.replay import exit_status, replay

WIRE = Path(__file__).parent / "wire"
EXPECTED: dict[str, Any] = json.loads((WIRE / "expected.json").read_text("utf-8"))
TEXT = b'data: {"v":{"response":{"status":"WIP"}}}\n\ndata: {"v":"so far","p":"response/content","o":"APPEND"}\n\n'


def run(*args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "jupyter_ssechat", *args]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)


def exits(*args: str) -> int:
    """The exit status of a command, also when its arguments are refused."""
    try:
        return main(args)
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else -1


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_json_is_the_object_of_the_protocol(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    expected = EXPECTED[name]["message"]
    status = 0 if expected["status"] in ("finished", "stopped", "filtered") else 1
    for dialect in ((), ("--dialect", EXPECTED[name]["dialect"])):
        assert main(["replay", str(WIRE / name), "--json", *dialect]) == status
        printed = capsys.readouterr()
        assert json.loads(printed.out) == expected
        assert printed.out.count("\n") == 1
        assert printed.err.count("\n") == (expected["error"] is not None)


def test_the_recorded_resume_snapshot_is_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    path = WIRE / "deepseek_resume_snapshot.json"
    response = json.loads(path.read_text("utf-8"))["v"]["response"]
    assert main(["replay", str(path), "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["status"] == "interrupted"
    assert (printed["thinking"], printed["content"]) == (response["thinking_content"], response["content"])
    assert (printed["thinking_seconds"], printed["message_id"]) == (41.0, 8)


def test_people_get_the_text_and_a_line_about_its_state(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(WIRE / "deepseek_flat_b.sse")]) == 0
    printed = capsys.readouterr()
    expected = EXPECTED["deepseek_flat_b.sse"]["message"]
    assert (
        printed.out
        == f"── thinking, 50 s ──\n\n{expected['thinking']}\n\n── answer ──\n\n{expected['content']}\n"
    )
    assert printed.err == "finished (stop) · 2297 tokens\n"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("openai_chat_qwen.sse", "finished (stop) · qwen-max · 39 tokens\n"),
        ("synthetic_deepseek_stopped.sse", "stopped · 17 tokens\n"),
        ("synthetic_deepseek_recall.sse", "filtered (content_filter)\n"),
        ("synthetic_deepseek_truncated.sse", "interrupted: the stream ends before a terminal status\n"),
        ("synthetic_deepseek_hint_after_text.sse", "failed: Generation failed. (generation_err)\n"),
    ],
)
def test_the_status_line_says_how_it_ended(name: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["replay", str(WIRE / name)])
    assert capsys.readouterr().err == line


def test_tool_calls_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    main(["replay", str(WIRE / "synthetic_openai_chat_tool_calls.sse")])
    assert r'"arguments":"{\"city\":\"Köln\"}"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("stream", "status", "error"),
    [
        (b"", "interrupted", None),
        (b"\n\n", "interrupted", None),
        (TEXT, "interrupted", None),
        (TEXT + b'data: {"v":"FINISHED","p":"response/status","o":"SET"}', "interrupted", None),
        (TEXT + b"data: {broken\n\n", "failed", "invalid_data"),
        (TEXT + b"data: " + b"x" * 3000, "failed", "event_too_large"),
        (b"<!doctype html><title>502 Bad Gateway</title>", "failed", "not_an_event_stream"),
        (
            b'{"code":0,"msg":"","data":{"biz_code":0,"biz_msg":"","biz_data":null}}',
            "failed",
            "not_an_event_stream",
        ),
        (b'{"code":40003,"msg":"no token"}', "failed", "code_40003"),
        (b'{"v":', "failed", "invalid_data"),
        (b"[1, 2]", "failed", "invalid_data"),
        (b'{"v":"' + b"x" * 3000, "failed", "event_too_large"),
        (b"\xff\xfe\x00garbage", "interrupted", None),
    ],
)
def test_wrong_input_is_a_state_and_keeps_the_text(stream: bytes, status: str, error: str | None) -> None:
    for chunks in ([stream], [stream[at : at + 1] for at in range(len(stream))]):
        message = replay(chunks, max_event_bytes=2000)
        assert (message.status, message.error and message.error.type) == (status, error)
        assert message.content == ("so far" if stream.startswith(TEXT) else "")
        assert exit_status(message) == 1
        assert message.error is None or "\n" not in message.error.message


def test_a_whole_completion_in_place_of_a_stream_is_read() -> None:
    body = {
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}],
    }
    message = replay([b"\xef\xbb\xbf \n", json.dumps(body).encode()])
    assert (message.status, message.content, message.model) == ("finished", "a", "m")


@pytest.mark.parametrize("dialect", [None, "plain_content", PlainContent])
def test_json_in_place_of_a_stream_is_read_in_its_dialect(dialect: str | type[Dialect] | None) -> None:
    message = replay([b'{"content":"a"}'], dialect)
    assert (message.status, message.content) == ("finished", "a")


def test_json_of_another_dialect_than_the_one_named_is_no_answer() -> None:
    message = replay([b'{"content":"a"}'], "openai_chat")
    assert (message.status, message.content) == ("failed", "")


def test_endless_blank_lines_cost_linear_time_and_no_memory() -> None:
    assert replay(b"\n" * 2**16 for _ in range(200)).status == "interrupted"


def test_an_unknown_dialect_is_refused() -> None:
    with pytest.raises(BadInput, match="expected one of .*deepseek, .*openai_chat"):
        replay([], "klingon")


@pytest.mark.parametrize(
    "args",
    [
        ["replay", "missing.sse"],
        ["replay", str(WIRE)],
        ["replay"],
        ["replay", "x", "--dialect", "klingon"],
        ["replay", "x", "--nonsense"],
        ["unknown"],
        [],
    ],
)
def test_what_cannot_be_run_is_one_line_and_status_2(
    args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exits(*args) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("jupyter-ssechat")


def test_help_names_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert exits("replay", "--help") == 0
    assert "failed or interrupted" in capsys.readouterr().out


def test_a_stream_comes_from_standard_input_in_any_locale() -> None:
    done = run("replay", "-", "--json", stdin=(WIRE / "openai_chat_qwen.sse").read_bytes())
    assert done.returncode == 0
    assert json.loads(done.stdout) == EXPECTED["openai_chat_qwen.sse"]["message"]
    assert done.stderr == b""


def test_a_reader_that_leaves_early_is_no_error() -> None:
    stream = (
        TEXT
        + b'data: {"v":"'
        + b"x" * 2**20
        + b'"}\n\n'
        + b'data: {"v":"FINISHED","p":"response/status","o":"SET"}\n\n'
    )
    command = [sys.executable, "-m", "jupyter_ssechat", "replay", "-"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(stream)
        process.stdin.close()
        complaint = process.stderr.read()
    assert b"Traceback" not in complaint
    assert b"Exception" not in complaint


class Counting(io.RawIOBase):
    """A file of endless comments that notes how much of it is asked for at once."""

    def __init__(self, size: int) -> None:
        self.left, self.largest = size, 0

    def read(self, size: int = -1) -> bytes:
        self.largest = max(self.largest, size)
        assert size > 0
        piece = b": x\n" * (min(size, self.left) // 4)
        self.left -= len(piece)
        return piece


def test_a_big_file_is_read_in_bounded_pieces(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    big = Counting(20 * 2**20)

    class Stdin:
        buffer = big

    monkeypatch.setattr(sys, "stdin", Stdin)
    assert main(["replay", "-"]) == 1
    assert big.left == 0
    assert big.largest <= 2**16
    assert capsys.readouterr().err == "interrupted: the stream ends before a terminal status\n"


def test_a_terminal_gets_no_control_characters() -> None:
    from jupyter_ssechat.__main__ import readable

    message = replay([TEXT, b'data: {"v":" \\u001b[31mred\\u009b\\n\\tend"}\n\n'])
    assert readable(message, terminal=True) == "so far \ufffd[31mred\ufffd\n\tend"
    assert readable(message) == "so far \x1b[31mred\x9b\n\tend"
