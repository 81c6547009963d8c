"""Answers of a model server by other people, end to end: every way they arrive, and every way they fail."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jupyter_ssechat import Chat
from jupyter_ssechat.errors import AnswerFailed
from jupyter_ssechat.gateway.server import close_embedded

from .aimock import Aimock, Fixture, aimock, missing, refusal, reply_with

if TYPE_CHECKING:
    Serve = Callable[..., Aimock]

SKY = "The sky is blue because of Rayleigh scattering."
THOUGHT = "Short waves scatter more."
COUNTS = {"prompt_tokens": 11, "completion_tokens": 22, "total_tokens": 33}


@pytest.fixture(autouse=True, scope="module")
def _closed_in_the_end() -> Iterator[None]:
    yield
    close_embedded()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start the server on fixtures: `serve(reply_with(...), keys=(...))`; it ends with the test."""
    if (lack := missing()) is not None:
        pytest.fail(lack) if os.environ.get("CI") == "true" else pytest.skip(lack)
    with ExitStack() as running:

        def start(*fixtures: Fixture, keys: tuple[str, ...] = ()) -> Aimock:
            return running.enter_context(aimock(tmp_path, *fixtures, keys=keys))

        yield start


def stalls_after(chunks: int) -> dict[str, Any]:
    """Send the first chunks at once, and the next one not in the time of a test."""
    return {
        "chunkSize": 10,
        "recordedTimings": {
            "ttftMs": 0,
            "interChunkDelaysMs": [*[0] * (chunks - 1), 600_000],
            "totalDurationMs": 1,
        },
    }


def test_thinking_answer_and_usage_arrive_whole(serve: Serve) -> None:
    server = serve(reply_with({"content": SKY, "reasoning": THOUGHT, "usage": COUNTS}))
    reply = Chat(server.url, model="m").ask("why?")
    assert (reply.status, reply.finish_reason, reply.error) == ("finished", "stop", None)
    assert (reply.thinking, reply.content) == (THOUGHT, SKY)
    assert reply.usage is not None and reply.usage.to_dict() == COUNTS
    assert reply.ttft is not None and 0 < reply.ttft <= reply.elapsed


def test_characters_that_the_server_cuts_in_half_are_whole(serve: Serve) -> None:
    text = "aé😀b👨‍👩‍👧\u2028—"
    server = serve(reply_with({"content": text, "reasoning": text}, chunkSize=1))
    with Chat(server.url, model="m").stream("x") as deltas:
        pieces = [delta.text.encode().decode() for delta in deltas if delta.kind == "content"]
    assert "".join(pieces) == deltas.reply.content == deltas.reply.thinking == text


def test_the_server_sees_the_system_prompt_and_the_turns_before(serve: Serve) -> None:
    first = {"match": {"turnIndex": 0, "systemMessage": "brief"}, "response": {"content": "one"}}
    second = {"match": {"turnIndex": 1, "systemMessage": "brief"}, "response": {"content": "two"}}
    server = serve(first, second)
    chat = Chat(server.url, model="m", system="Be brief.")
    assert [chat.ask("count").content, chat.ask("go on").content] == ["one", "two"]


def test_where_no_model_is_named_the_offered_ones_are(serve: Serve) -> None:
    reply = Chat(serve(reply_with({"content": SKY})).url).ask("x")
    assert reply.error is not None and reply.error.type == "no_model"
    assert "gpt-4o" in reply.error.message and "-m MODEL" in reply.error.message


@pytest.mark.parametrize(
    ("said", "status", "finish_reason"),
    [
        ("stop", "finished", "stop"),
        ("length", "finished", "length"),
        ("content_filter", "filtered", "content_filter"),
    ],
)
def test_an_answer_ends_for_the_reason_that_the_server_gives(
    serve: Serve, said: str, status: str, finish_reason: str
) -> None:
    reply = Chat(serve(reply_with({"content": SKY, "finishReason": said})).url, model="m").ask("x")
    assert (reply.status, reply.finish_reason, reply.content) == (status, finish_reason, SKY)


@pytest.mark.parametrize("text", ["", SKY])
def test_a_call_of_a_tool_is_the_end_of_the_answer_and_no_text(serve: Serve, text: str) -> None:
    call = {"toolCalls": [{"name": "weather", "arguments": {"city": "Ulm"}}]}
    reply = Chat(serve(reply_with({"content": text, **call} if text else call)).url, model="m").ask("x")
    assert (reply.status, reply.finish_reason, reply.content) == ("finished", "tool_calls", text)


# ---- slow, stopped, cut ----


def test_slow_tokens_are_seen_one_after_the_other(serve: Serve) -> None:
    server = serve(reply_with({"content": SKY}, chunkSize=4, streamingProfile={"ttft": 100, "tps": 20}))
    with Chat(server.url, model="m").stream("x") as deltas:
        seen = [time.monotonic() for _ in deltas]
    reply = deltas.reply
    assert reply.content == SKY
    assert len(seen) >= 3 and all(a <= b for a, b in pairwise(seen))
    assert seen[-1] - seen[0] > 0.25  # twelve pieces, 50 ms apart
    assert reply.ttft is not None and 0.1 <= reply.ttft < reply.elapsed - 0.25


def test_an_answer_that_hangs_is_stopped_and_keeps_its_text(serve: Serve) -> None:
    server = serve(reply_with({"content": SKY}, **stalls_after(3)))
    with Chat(server.url, model="m").stream("x") as deltas:
        text = ""
        while len(text) < 20:
            text += next(deltas).text
        reply = deltas.reply.stop()
    assert (reply.status, reply.finish_reason, reply.content) == ("stopped", "stopped", SKY[:20])


def test_a_disconnect_in_mid_stream_fails_and_keeps_every_word_before_it(serve: Serve) -> None:
    server = serve(reply_with({"content": SKY}, disconnectAfterMs=300, **stalls_after(3)))
    reply = Chat(server.url, model="m").ask("x")
    assert (reply.status, reply.finish_reason, reply.content) == ("failed", "error", SKY[:20])
    assert reply.error is not None and reply.error.type == "upstream_interrupted"


def test_a_disconnect_while_it_thinks_keeps_the_thought(serve: Serve) -> None:
    cut = reply_with({"content": SKY, "reasoning": THOUGHT}, disconnectAfterMs=300, **stalls_after(2))
    reply = Chat(serve(cut).url, model="m").ask("x")
    assert (reply.status, reply.thinking, reply.content) == ("failed", THOUGHT[:20], "")
    assert reply.error is not None and reply.error.type == "upstream_interrupted"


def test_an_answer_cut_after_any_number_of_chunks_is_never_finished(serve: Serve) -> None:
    cuts = [
        reply_with({"content": SKY}, nth=n, chunkSize=10, latency=2, truncateAfterChunks=n + 1)
        for n in range(6)  # one for the role, five with text; the next one ends the answer
    ]
    server = serve(*cuts)
    for _ in cuts:
        reply = Chat(server.url, model="m").ask("x")
        assert reply.status == "failed" and SKY.startswith(reply.content)
    assert len(server.journal()) == len(cuts)


def test_a_loop_over_an_answer_that_is_cut_raises(serve: Serve) -> None:
    server = serve(reply_with({"content": SKY}, disconnectAfterMs=300, **stalls_after(3)))
    deltas = Chat(server.url, model="m").stream("x")
    with pytest.raises(AnswerFailed, match="ended before the answer was complete"):
        list(deltas)
    assert deltas.reply.content == SKY[:20]


@pytest.mark.parametrize("again", [20, 0])
def test_an_answer_that_was_cut_is_resumed_with_nothing_lost_and_nothing_twice(
    serve: Serve, again: int
) -> None:
    cut = {"match": {"turnIndex": 0}, "response": {"content": SKY}, "disconnectAfterMs": 300}
    rest = {"match": {"turnIndex": 1}, "response": {"content": SKY[20 - again :]}}
    server = serve(cut | stalls_after(3), rest)
    reply = Chat(server.url, model="m").ask("x")
    assert reply.content == SKY[:20]
    assert reply.resume().wait(30).content == SKY
    assert (reply.status, reply.error) == ("finished", None)


def test_a_server_that_hangs_up_before_the_first_token_is_no_answer(serve: Serve) -> None:
    reply = Chat(serve(reply_with({"content": SKY}, chaos={"disconnectRate": 1})).url, model="m").ask("x")
    assert (reply.status, reply.content) == ("failed", "")
    assert reply.error is not None and reply.error.type == "connection_failed"


# ---- refused ----


def test_a_limit_that_stays_fails_in_one_line(serve: Serve) -> None:
    reply = Chat(serve(reply_with(refusal(429, "slow\ndown", retryAfter=0))).url, model="m").ask("x")
    assert (reply.status, reply.content) == ("failed", "")
    assert reply.error is not None and reply.error.type == "rate_limit_reached"
    assert "slow down" in reply.error.message and "\n" not in reply.error.message


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_a_refusal_says_its_status_and_its_reason(serve: Serve, status: int) -> None:
    reply = Chat(serve(reply_with(refusal(status, "not\ntoday"))).url, model="m").ask("x")
    assert reply.status == "failed" and reply.error is not None
    assert f"answered {status}: not today" in reply.error.message


def test_json_that_is_garbled_is_no_answer(serve: Serve) -> None:
    reply = Chat(serve(reply_with({"content": SKY}, chaos={"malformedRate": 1})).url, model="m").ask("x")
    assert (reply.status, reply.content) == ("failed", "")
    assert reply.error is not None and reply.error.type == "not_an_event_stream"


def test_the_right_key_is_let_in(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIMOCK_KEY", "sk-right")
    server = serve(reply_with({"content": SKY}), keys=("sk-right",))
    assert Chat(server.url, model="m", api_key_env="AIMOCK_KEY").ask("x").content == SKY


@pytest.mark.parametrize("key", [None, "sk-wrong-secret"])
def test_a_wrong_key_or_none_is_an_authentication_error(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    server = serve(reply_with({"content": SKY}), keys=("sk-right",))
    monkeypatch.setenv("AIMOCK_KEY", key or "")
    chat = Chat(server.url, model="m", api_key_env="AIMOCK_KEY" if key else None)
    reply = chat.ask("x")
    assert reply.status == "failed" and reply.error is not None
    assert reply.error.type == "authentication_error" and "API key" in reply.error.message
    assert server.journal() == []  # refused at the door, and not asked again


def test_a_key_that_the_server_repeats_is_shown_nowhere(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-wrong-secret"
    server = serve(reply_with(refusal(401, f"Incorrect API key provided: {key}.")))
    monkeypatch.setenv("AIMOCK_KEY", key)
    chat = Chat(server.url, model="m", api_key_env="AIMOCK_KEY")
    reply = chat.ask("x")
    assert reply.error is not None and reply.error.type == "authentication_error"
    with pytest.raises(AnswerFailed) as raised:
        reply.raise_for_status()
    shown = [repr(chat), repr(reply), str(reply), json.dumps(reply.to_dict()), str(raised.value)]
    assert "Incorrect API key provided" in reply.error.message
    assert not any(key in text for text in shown)
    assert len(server.journal()) == 1
