"""Answers of a model server by other people, end to end: every way they arrive, and every way they fail."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Wire:
    """A wire that aimock speaks, at `path` below its ``/v1``.

    Before the first text of an answer it sends `opening` events, before that of a thought `opening_thought`;
    `unfinished` is how many events it has sent of SKY, ten characters each, when only the end is missing.
    An answer that was cut goes on by `continuation`.
    """

    dialect: str
    path: str
    opening: int
    opening_thought: int
    unfinished: int
    continuation: str

    def chat(self, server: Aimock, **options: Any) -> Chat:
        """A conversation over this wire, which nothing but the address tells."""
        return Chat(server.url + self.path, model="m", **options)


CHAT = Wire("openai_chat", "", opening=1, opening_thought=0, unfinished=6, continuation="asked")
RESPONSES = Wire(
    "openai_responses", "/responses", opening=4, opening_thought=4, unfinished=12, continuation="asked"
)
MESSAGES = Wire(
    "anthropic_messages", "/messages", opening=2, opening_thought=2, unfinished=8, continuation="prefill"
)


@pytest.fixture(autouse=True, scope="module")
def _closed_in_the_end() -> Iterator[None]:
    yield
    close_embedded()


@pytest.fixture(params=[CHAT, RESPONSES, MESSAGES], ids=lambda wire: wire.dialect)
def wire(request: pytest.FixtureRequest) -> Wire:
    """Each wire in turn."""
    return request.param


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start the server on fixtures: `serve(reply_with(...), keys=(...))`; it ends with the test."""
    if (lack := missing()) is not None:
        pytest.fail(lack) if os.environ.get("CI") == "true" else pytest.skip(lack)
    with ExitStack() as running:

        def start(*fixtures: Fixture, keys: tuple[str, ...] = ()) -> Aimock:
            return running.enter_context(aimock(tmp_path, *fixtures, keys=keys))

        yield start


def stalls_after(events: int) -> dict[str, Any]:
    """Send the first events at once, with ten characters of text each, and the next one not while we look."""
    delays = [*[0] * (events - 1), 600_000]
    timings = {"ttftMs": 0, "interChunkDelaysMs": delays, "totalDurationMs": 600_000}
    return {"chunkSize": 10, "recordedTimings": timings}


def cut_after(events: int) -> dict[str, Any]:
    """Send the first events at once, and hang up a moment later."""
    return {**stalls_after(events), "disconnectAfterMs": 300}


# ---- whole answers ----


def test_thinking_answer_and_usage_arrive_whole(serve: Serve, wire: Wire) -> None:
    reply = wire.chat(serve(reply_with({"content": SKY, "reasoning": THOUGHT, "usage": COUNTS}))).ask("why?")
    assert (reply.status, reply.finish_reason, reply.error) == ("finished", "stop", None)
    assert (reply.thinking, reply.content) == (THOUGHT, SKY)
    assert reply.usage is not None and reply.usage.to_dict() == COUNTS
    assert reply.ttft is not None and 0 < reply.ttft <= reply.elapsed


def test_a_dialect_may_be_named(serve: Serve, wire: Wire) -> None:
    server = serve(reply_with({"content": SKY}))
    assert Chat(server.url, dialect=wire.dialect, model="m").ask("x").content == SKY
    assert server.journal()[0].path == "/v1" + (wire.path or "/chat/completions")


def test_characters_that_the_server_cuts_in_half_are_whole(serve: Serve, wire: Wire) -> None:
    text = "aé😀b👨‍👩‍👧\u2028—"
    server = serve(reply_with({"content": text, "reasoning": text}, chunkSize=1))
    with wire.chat(server).stream("x") as deltas:
        pieces = [delta.text.encode().decode() for delta in deltas if delta.kind == "content"]
    assert "".join(pieces) == deltas.reply.content == deltas.reply.thinking == text


def test_the_server_sees_the_system_prompt_and_the_turns_before(serve: Serve, wire: Wire) -> None:
    first = {"match": {"turnIndex": 0, "systemMessage": "brief"}, "response": {"content": "one"}}
    second = {"match": {"turnIndex": 1, "systemMessage": "brief"}, "response": {"content": "two"}}
    chat = wire.chat(serve(first, second), system="Be brief.")
    assert [chat.ask("count").content, chat.ask("go on").content] == ["one", "two"]


def test_where_no_model_is_named_the_offered_ones_are(serve: Serve) -> None:
    reply = Chat(serve(reply_with({"content": SKY})).url).ask("x")
    assert reply.error is not None and reply.error.type == "no_model"
    assert "gpt-4o" in reply.error.message and "choose one of them as the model" in reply.error.message


@pytest.mark.parametrize(
    ("wire", "said", "status", "finish_reason"),
    [
        (CHAT, "length", "finished", "length"),
        (CHAT, "content_filter", "filtered", "content_filter"),
        (MESSAGES, "length", "finished", "length"),
        (MESSAGES, "refusal", "filtered", "content_filter"),
    ],
    ids=lambda value: value.dialect if isinstance(value, Wire) else None,
)
def test_an_answer_ends_for_the_reason_that_the_server_gives(
    serve: Serve, wire: Wire, said: str, status: str, finish_reason: str
) -> None:
    reply = wire.chat(serve(reply_with({"content": SKY, "finishReason": said}))).ask("x")
    assert (reply.status, reply.finish_reason, reply.content) == (status, finish_reason, SKY)


@pytest.mark.parametrize(("said", "error"), [("length", "incomplete"), ("content_filter", "failed")])
def test_a_response_that_is_not_whole_for_no_reason_told_fails_and_keeps_its_text(
    serve: Serve, said: str, error: str
) -> None:
    """aimock says so in a ``response.completed`` whose status is another, and tells no reason."""
    reply = RESPONSES.chat(serve(reply_with({"content": SKY, "finishReason": said}))).ask("x")
    assert (reply.status, reply.finish_reason, reply.content) == ("failed", "error", SKY)
    assert reply.error is not None and error in reply.error.message


def test_a_search_that_the_server_made_itself_is_no_end_and_no_text(serve: Serve) -> None:
    reply = RESPONSES.chat(serve(reply_with({"content": SKY, "webSearches": ["sky"]}))).ask("x")
    assert (reply.status, reply.finish_reason, reply.content) == ("finished", "stop", SKY)


def test_thinking_that_the_server_keeps_secret_is_left_out(serve: Serve) -> None:
    secret = {"redactedThinking": ["c2VjcmV0"], "reasoningSignature": "signature"}
    server = serve(reply_with({"content": SKY, "reasoning": THOUGHT, **secret}))
    reply = MESSAGES.chat(server).ask("x")
    assert (reply.status, reply.thinking, reply.content) == ("finished", THOUGHT, SKY)


@pytest.mark.parametrize("text", ["", SKY])
def test_calls_of_tools_are_the_end_of_the_answer_and_no_text(serve: Serve, wire: Wire, text: str) -> None:
    asked = {"weather": {"city": "Ulm"}, "time": {"zone": "Europe/Zürich"}}
    calls = [{"name": name, "arguments": given} for name, given in asked.items()]
    response = {"content": text, "toolCalls": calls} if text else {"toolCalls": calls}
    reply = wire.chat(serve(reply_with(response, chunkSize=3))).ask("x")
    assert (reply.status, reply.finish_reason, reply.content) == ("finished", "tool_calls", text)
    functions = [call["function"] for call in reply.tool_calls]
    assert {one["name"]: json.loads(one["arguments"]) for one in functions} == asked
    assert all(call["id"] for call in reply.tool_calls)


# ---- slow, stopped, cut ----


def test_slow_tokens_are_seen_one_after_the_other(serve: Serve, wire: Wire) -> None:
    server = serve(reply_with({"content": SKY}, chunkSize=4, streamingProfile={"ttft": 100, "tps": 20}))
    with wire.chat(server).stream("x") as deltas:
        seen = [time.monotonic() for _ in deltas]
    reply = deltas.reply
    assert reply.content == SKY
    assert len(seen) >= 3 and all(a <= b for a, b in pairwise(seen))
    assert seen[-1] - seen[0] > 0.25  # twelve pieces, 50 ms apart
    assert reply.ttft is not None and 0.1 <= reply.ttft < reply.elapsed - 0.25


def test_an_answer_that_hangs_is_stopped_and_keeps_its_text(serve: Serve, wire: Wire) -> None:
    server = serve(reply_with({"content": SKY}, **stalls_after(wire.opening + 2)))
    with wire.chat(server).stream("x") as deltas:
        text = ""
        while len(text) < 20:
            text += next(deltas).text
        reply = deltas.reply.stop()
    assert (reply.status, reply.finish_reason, reply.content) == ("stopped", "stopped", SKY[:20])


def test_a_disconnect_in_mid_stream_fails_and_keeps_every_word_before_it(serve: Serve, wire: Wire) -> None:
    server = serve(reply_with({"content": SKY}, **cut_after(wire.opening + 2)))
    reply = wire.chat(server).ask("x")
    assert (reply.status, reply.finish_reason, reply.content) == ("failed", "error", SKY[:20])
    assert reply.error is not None and reply.error.type == "upstream_interrupted"
    assert len(server.journal()) == 1  # to ask anew would be another answer


def test_a_disconnect_while_it_thinks_keeps_the_thought(serve: Serve, wire: Wire) -> None:
    cut = reply_with({"content": SKY, "reasoning": THOUGHT}, **cut_after(wire.opening_thought + 2))
    reply = wire.chat(serve(cut)).ask("x")
    assert (reply.status, reply.thinking, reply.content) == ("failed", THOUGHT[:20], "")
    assert reply.error is not None and reply.error.type == "upstream_interrupted"


def test_an_answer_cut_after_any_number_of_events_is_never_finished(serve: Serve, wire: Wire) -> None:
    cuts = [
        reply_with({"content": SKY}, nth=nth, chunkSize=10, latency=2, truncateAfterChunks=2 + nth)
        for nth in range(wire.unfinished - 1)
    ]
    server = serve(*cuts)
    replies = [wire.chat(server).ask("x") for _ in cuts]
    assert all(SKY.startswith(reply.content) for reply in replies)
    assert {reply.error and reply.error.type for reply in replies} == {"upstream_interrupted"}
    assert {reply.status for reply in replies} == {"failed"}
    assert len({reply.content for reply in replies}) >= 4  # before, in and after the text


def test_a_loop_over_an_answer_that_is_cut_raises(serve: Serve) -> None:
    cut = reply_with({"content": SKY}, **cut_after(3))
    deltas = Chat(serve(cut).url, model="m").stream("x")
    with pytest.raises(AnswerFailed, match="ended before the answer was complete"):
        list(deltas)
    assert deltas.reply.content == SKY[:20]


@pytest.mark.parametrize("again", [20, 0])
def test_an_answer_that_was_cut_is_resumed_with_nothing_lost_and_nothing_twice(
    serve: Serve, wire: Wire, again: int
) -> None:
    cut = {"match": {"turnIndex": 0}, "response": {"content": SKY}, **cut_after(wire.opening + 2)}
    rest = {"match": {"turnIndex": 1}, "response": {"content": SKY[20 - again :]}}
    reply = wire.chat(serve(cut, rest)).ask("x")
    assert reply.content == SKY[:20]
    assert reply.resume().wait(30).content == SKY
    assert (reply.status, reply.error, reply.continuation) == ("finished", None, wire.continuation)


def test_an_answer_that_is_cut_twice_is_resumed_twice(serve: Serve, wire: Wire) -> None:
    first = reply_with({"content": SKY}, nth=0, **cut_after(wire.opening + 2))
    second = reply_with({"content": SKY[20:]}, nth=1, **cut_after(wire.opening + 1))
    reply = wire.chat(serve(first, second, reply_with({"content": SKY[30:]}, nth=2))).ask("x")
    assert (reply.content, reply.status) == (SKY[:20], "failed")
    assert (reply.resume().wait(30).content, reply.status) == (SKY[:30], "failed")
    assert (reply.resume().wait(30).content, reply.status) == (SKY, "finished")


def test_a_server_that_hangs_up_before_the_first_token_is_no_answer(serve: Serve) -> None:
    reply = Chat(serve(reply_with({"content": SKY}, chaos={"disconnectRate": 1})).url, model="m").ask("x")
    assert (reply.status, reply.content) == ("failed", "")
    assert reply.error is not None and reply.error.type == "connection_failed"


# ---- refused ----


def test_a_limit_is_waited_for_as_long_as_the_server_says(serve: Serve, wire: Wire) -> None:
    limit = reply_with(refusal(429, "slow down", retryAfter=1), nth=0)
    server = serve(limit, reply_with({"content": SKY}, nth=1))
    reply = wire.chat(server).ask("x")
    assert (reply.status, reply.content, reply.error) == ("finished", SKY, None)
    refused, answered = server.journal()
    assert (refused.status, answered.status) == (429, 200)
    assert answered.at - refused.at >= 1


def test_the_wait_for_a_limit_can_be_stopped(serve: Serve) -> None:
    limit = reply_with(refusal(429, "slow down", retryAfter=30), nth=0)
    server = serve(limit, reply_with({"content": SKY}, nth=1))
    reply = Chat(server.url, model="m").send("x")
    server.wait_for_requests(1)
    assert (reply.stop().status, reply.content) == ("stopped", "")
    assert reply.elapsed < 20 and len(server.journal()) == 1


@pytest.mark.parametrize(("retry_after", "requests"), [(0, 3), (86_400, 1)])
def test_a_limit_that_stays_fails_in_one_line(
    serve: Serve, wire: Wire, retry_after: int, requests: int
) -> None:
    server = serve(reply_with(refusal(429, "slow\ndown", retryAfter=retry_after)))
    reply = wire.chat(server).ask("x")
    assert (reply.status, reply.content) == ("failed", "")
    assert reply.error is not None and reply.error.type == "rate_limit_reached"
    assert "slow down" in reply.error.message and "\n" not in reply.error.message
    assert [one.status for one in server.journal()] == [429] * requests


def test_a_server_that_is_overloaded_for_a_moment_is_asked_again(serve: Serve, wire: Wire) -> None:
    server = serve(reply_with(refusal(503, "overloaded"), nth=0), reply_with({"content": SKY}, nth=1))
    assert wire.chat(server).ask("x").content == SKY
    assert [one.status for one in server.journal()] == [503, 200]


@pytest.mark.parametrize(("status", "requests"), [(400, 1), (404, 1), (503, 3)])
def test_a_refusal_says_its_status_and_its_reason(
    serve: Serve, wire: Wire, status: int, requests: int
) -> None:
    server = serve(reply_with(refusal(status, "not\ntoday")))
    reply = wire.chat(server).ask("x")
    assert reply.status == "failed" and reply.error is not None
    assert f"answered {status}: not today" in reply.error.message
    assert len(server.journal()) == requests


def test_json_that_is_garbled_is_no_answer(serve: Serve, wire: Wire) -> None:
    reply = wire.chat(serve(reply_with({"content": SKY}, chaos={"malformedRate": 1}))).ask("x")
    assert (reply.status, reply.content) == ("failed", "")
    assert reply.error is not None and reply.error.type == "not_an_event_stream"


def test_the_right_key_is_let_in(serve: Serve, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIMOCK_KEY", "sk-right")
    server = serve(reply_with({"content": SKY}), keys=("sk-right",))
    assert wire.chat(server, api_key_env="AIMOCK_KEY").ask("x").content == SKY


@pytest.mark.parametrize("key", [None, "sk-wrong-secret"])
def test_a_wrong_key_or_none_is_an_authentication_error(
    serve: Serve, wire: Wire, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    server = serve(reply_with({"content": SKY}), keys=("sk-right",))
    monkeypatch.setenv("AIMOCK_KEY", key or "")
    reply = wire.chat(server, api_key_env="AIMOCK_KEY" if key else None).ask("x")
    assert reply.status == "failed" and reply.error is not None
    assert reply.error.type == "authentication_error" and "API key" in reply.error.message
    assert server.journal() == []  # refused at the door


@pytest.mark.parametrize("key", ["sk-wrong-secret", "oddly-7f3a9c"])
def test_a_key_that_the_server_repeats_is_shown_nowhere(
    serve: Serve, wire: Wire, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    server = serve(reply_with(refusal(401, f"Incorrect API key provided: {key}.")))
    monkeypatch.setenv("AIMOCK_KEY", key)
    chat = wire.chat(server, api_key_env="AIMOCK_KEY")
    reply = chat.ask("x")
    assert reply.error is not None and reply.error.type == "authentication_error"
    with pytest.raises(AnswerFailed) as raised:
        reply.raise_for_status()
    shown = [repr(chat), repr(reply), str(reply), json.dumps(reply.to_dict()), str(raised.value)]
    assert "Incorrect API key provided" in reply.error.message
    assert not any(key in text for text in shown)
    assert len(server.journal()) == 1
