"""A reply over real servers: its states and phases, reading it while it grows, stop, resume, its view."""

from __future__ import annotations

import asyncio
import functools
import queue
import re
import sys
import threading
import types
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from jupyter_ssechat import reply as module
from jupyter_ssechat.client import GatewayClient
from jupyter_ssechat.consumer import shared_consumer
from jupyter_ssechat.deltas import DeltaStream
from jupyter_ssechat.errors import AnswerFailed, BadInput, NotFound
from jupyter_ssechat.gateway.server import Gateway
from jupyter_ssechat.message import Delta
from jupyter_ssechat.model_server import ModelServer
from jupyter_ssechat.patches import Document, Patch
from jupyter_ssechat.reply import Reply
from jupyter_ssechat.upstream import Demo

from .servers import CUT, DONE, Pause, Script, Served, answer, chunk, finish, model_server, usage

NO_WAITING = (0.0, 0.0)
LONG = 20.0
clients: list[GatewayClient] = []


@pytest.fixture(autouse=True)
def _closed_in_the_end() -> Iterator[None]:
    yield
    while clients:
        shared_consumer().submit(clients.pop().aclose()).result(LONG)


def ask(url: str, token: str | None = None, *, sleep: Any = asyncio.sleep, **options: Any) -> Reply:
    """A reply that is being asked for at a gateway."""
    client = GatewayClient(url, token, retries=NO_WAITING, sleep=sleep)
    clients.append(client)
    reply = Reply(shared_consumer(), client, "hello", **options)

    async def prepare() -> Any:
        session = await client.create_session()
        return "completion", {"chat_session_id": session, "parent_message_id": None, "prompt": "hello"}

    reply.start_with(prepare)
    return reply


@contextmanager
def asked(*scripts: Script, **options: Any) -> Generator[Reply]:
    """A reply of a model server that plays these scripts, through a gateway."""
    with model_server(*scripts) as server, Gateway(ModelServer(server.url)) as gateway:
        yield ask(gateway.url, gateway.token, **options)


class Seen:
    """A view that keeps what it gets, and can be waited for."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.batches: list[list[Patch]] = []
        self.document = Document({"response": {}})
        self.changed = threading.Condition()

    def begin(self, reply: Reply) -> None:
        self.calls.append("begin")

    def ready(self, reply: Reply) -> None:
        self.calls.append("ready")

    def push(self, patches: list[Patch]) -> None:
        with self.changed:
            self.batches.append(patches)
            for patch in patches:
                assert self.document.apply(patch)
            self.changed.notify_all()

    def end(self, reply: Reply) -> None:
        self.calls.append("end")

    def close(self) -> None:
        self.calls.append("close")

    def get(self, path: str) -> Any:
        with self.changed:
            return self.document.get(path)

    def until(self, path: str, value: Any) -> None:
        """Wait until this stands in the document."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.document.get(path) == value, LONG), self.batches

    @property
    def phases(self) -> list[Any]:
        return [patch.value for batch in self.batches for patch in batch if patch.path == "phase"]


class Foreign:
    """A gateway of another make, that answers each path with a script, and knows what it was asked."""

    def __init__(self, **scripts: list[Any] | Response) -> None:
        self._scripts = scripts
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.arrived = threading.Condition()
        session = {"code": 0, "msg": "", "data": {"biz_code": 0, "biz_msg": "", "biz_data": {"id": "s"}}}
        self._session = JSONResponse(session)
        self._served = Served(
            Starlette(routes=[Route("/api/v0/{rest:path}", self._answer, methods=["POST"])])
        )
        self.url = self._served.url

    async def _answer(self, request: Request) -> Response:
        call = request.url.path.rpartition("/")[2]
        with self.arrived:
            self.asked.append((call, await request.json()))
            self.arrived.notify_all()
        script = self._scripts.get(call, self._session)
        if isinstance(script, Response):
            return script
        if script and isinstance(script[0], Pause):
            await script[0].wait()
        return StreamingResponse(self._play(script), media_type="text/event-stream")

    async def _play(self, script: list[Any]) -> AsyncGenerator[bytes]:
        for step in script:
            if isinstance(step, Pause):
                await step.wait()
            elif step is CUT:
                raise ConnectionResetError("cut by the script")
            else:
                yield step

    def until(self, call: str) -> dict[str, Any]:
        """Wait until this was asked; returns the body."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: call in dict(self.asked), LONG), self.asked
        return dict(self.asked)[call]

    def __enter__(self) -> Foreign:
        return self

    def __exit__(self, *_: object) -> None:
        self._served.close()


READY = b'event: ready\ndata: {"stream_id":"x","request_message_id":1,"response_message_id":2}\n\n'
SNAPSHOT = b'data: {"v":{"response":{"message_id":2,"status":"WIP","content":""}}}\n\n'
HALF = b'data: {"v":"half","p":"response/content","o":"APPEND"}\n\n'
FRAGMENTS = SNAPSHOT.replace(b'"content":""', b'"fragments":[{"type":"RESPONSE","content":""}]')
FINISHED = b'data: {"v":"FINISHED","p":"response/status","o":"SET"}\n\n'


# ---- how it ends ----


@pytest.mark.parametrize(
    ("script", "status", "reason", "line"),
    [
        (answer("Hi"), "finished", "stop", "the answer is finished"),
        (Script([chunk(content="Hi"), finish("length")]), "finished", "length", "the answer is finished"),
        (
            Script([chunk(content="Hi"), finish("content_filter"), DONE]),
            "filtered",
            "content_filter",
            "the answer is filtered",
        ),
        (Script(status=500, body={"error": "oops"}), "failed", "error", "the answer failed: .*500: oops.*"),
        (Script([chunk(content="Hi"), CUT]), "failed", "error", "the answer failed: .*resume.*"),
    ],
)
def test_an_ended_reply_says_how(script: Script, status: str, reason: str, line: str) -> None:
    with asked(script) as reply:
        assert reply.wait(LONG) is reply
    assert (reply.status, reply.phase, reply.finish_reason, reply.done) == (status, status, reason, True)
    assert re.fullmatch(line, reply.one_line())
    if status == "failed":
        assert reply.error is not None
        with pytest.raises(AnswerFailed, match=line):
            reply.raise_for_status()
    else:
        assert reply.error is None
        assert reply.raise_for_status() is reply


def test_an_answer_whose_gateway_is_lost_is_interrupted() -> None:
    with Foreign(completion=[READY, SNAPSHOT, HALF, CUT], resume_stream=Response(status_code=404)) as gateway:
        reply = ask(gateway.url).wait(LONG)
    assert (reply.status, reply.content, reply.error, reply.finish_reason) == (
        "interrupted",
        "half",
        None,
        None,
    )
    with pytest.raises(AnswerFailed, match="connection broke before its end; resume it"):
        reply.raise_for_status()


def test_a_refused_question_is_a_failed_reply_that_keeps_the_refusal() -> None:
    envelope = {
        "code": 0,
        "msg": "",
        "data": {"biz_code": 26, "biz_msg": "no such\nparent", "biz_data": None},
    }
    with Foreign(completion=JSONResponse(envelope, 404)) as gateway:
        reply = ask(gateway.url).wait(LONG)
    assert isinstance(reply.refusal, NotFound)
    assert reply.to_dict() == {
        "status": "failed",
        "finish_reason": "error",
        "thinking": "",
        "content": "",
        "thinking_seconds": None,
        "usage": None,
        "model": None,
        "message_id": None,
        "error": {"type": "NotFound", "message": "the gateway refused: no such parent"},
    }
    assert reply.one_line() == "the answer failed: the gateway refused: no such parent"


def test_a_whole_reply_as_a_dict_is_the_object_of_the_protocol() -> None:
    script = Script([chunk(reasoning_content="Hm"), chunk(content="Hi"), finish(), usage(5, 2), DONE])
    with asked(script) as reply:
        fields = reply.wait(LONG).to_dict()
    seconds = fields.pop("thinking_seconds")
    assert isinstance(seconds, float)
    assert fields == {
        "status": "finished",
        "finish_reason": "stop",
        "thinking": "Hm",
        "content": "Hi",
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
        "model": "script",
        "message_id": 2,
        "error": None,
    }
    assert (reply.request_message_id, reply.message_id, reply.model) == (1, 2, "script")
    assert reply.usage is not None and reply.usage.total_tokens == 7


def test_the_repr_is_short_and_on_one_line() -> None:
    with asked(answer("a\n\nb ", "c" * 1000)) as reply:
        shown = repr(reply.wait(LONG))
    assert shown == f"Reply(status='finished', content={('a b ' + 'c' * 55 + '…')!r})"


# ---- phases ----


def test_the_phases_come_in_their_order() -> None:
    first, thinking, answering = Pause(), Pause(), Pause()
    steps = [first, chunk(reasoning_content="Hm"), thinking, chunk(content="Hi"), answering, finish()]
    seen = Seen()
    with asked(Script(steps), view=seen) as reply:
        for pause, phase in ((first, "waiting"), (thinking, "thinking"), (answering, "answering")):
            seen.until("phase", phase)
            assert (reply.phase, reply.status, reply.done) == (phase, "streaming", False)
            pause.end()
        seen.until("phase", "finished")
        assert reply.wait(LONG).phase == "finished"
    assert seen.phases == ["connecting", "waiting", "thinking", "answering", "finished"]
    assert seen.calls == ["begin", "ready", "end"]


def test_before_the_gateway_answers_it_is_connecting() -> None:
    gate, seen = Pause(), Seen()
    with Foreign(create=[gate]) as gateway:
        reply = ask(gateway.url, view=seen)
        gateway.until("create")
        assert (reply.phase, reply.message_id, reply.session_id) == ("connecting", None, None)
        reply.stop()
        gate.end()


def test_a_long_silence_is_told_as_stalled_until_something_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    first, second, seen = Pause(), Pause(), Seen()
    steps = [chunk(content="a"), first, chunk(content="b"), second, finish()]
    with asked(Script(steps), view=seen) as reply:
        seen.until("response/content", "a")
        now[0] += module.STALLED_SECONDS
        assert reply.phase == "answering"
        now[0] += 0.5
        assert reply.phase == "stalled"
        assert (reply.status, reply.elapsed) == ("streaming", 10.5)
        first.end()
        seen.until("response/content", "ab")
        assert reply.phase == "answering"
        now[0] += 1.0
        second.end()
        reply.wait()
        now[0] += 100.0
    assert (reply.phase, reply.elapsed, reply.ttft) == ("finished", 11.5, 0.0)
    assert seen.get("timing") == {"ttft": 0.0, "elapsed": 11.5}


def test_the_time_it_took_is_that_of_all_its_legs_without_the_pause_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    held, seen = Pause(), Seen()
    again = Pause()
    more = Script([again, chunk(content=" two"), finish()])
    with asked(Script([chunk(content="one"), held]), more, view=seen) as reply:
        seen.until("response/content", "one")
        now[0] += 4.0
        reply.stop()
        assert (reply.status, reply.elapsed) == ("stopped", 4.0)
        now[0] += 60.0
        reply.resume()
        assert again.reached.wait(LONG)
        now[0] += 2.5
        assert reply.elapsed == 6.5
        again.end()
        assert (reply.wait().status, reply.elapsed) == ("finished", 6.5)
        assert seen.get("timing")["elapsed"] == 6.5


def test_while_it_is_taken_up_again_it_is_reconnecting() -> None:
    wait, again, seen = Pause(), Pause(), Seen()

    def held(_: float) -> Any:
        return wait.wait()

    resumed = [READY, SNAPSHOT.replace(b'""', b'"half"'), again, HALF, FINISHED]
    with Foreign(completion=[READY, SNAPSHOT, HALF], resume_stream=resumed) as gateway:
        reply = ask(gateway.url, view=seen, sleep=held)
        assert wait.reached.wait(LONG)
        assert (reply.phase, reply.status, reply.content) == ("reconnecting", "streaming", "half")
        seen.until("phase", "reconnecting")
        wait.end()
        assert again.reached.wait(LONG)
        seen.until("phase", "answering")
        again.end()
        assert reply.wait(LONG).content == "halfhalf"
    assert (reply.status, seen.get("response/content")) == ("finished", "halfhalf")


# ---- reading it while it grows ----


@contextmanager
def impatient() -> Generator[None]:
    """Let the threads take turns as often as Python can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def events(count: int, path: str) -> list[bytes]:
    """So many words at `path`, a hundred to a chunk."""
    frames = [b'data: {"v":"%d "}\n\n' % number for number in range(count)]
    first = b'data: {"v":"","p":"%s","o":"APPEND"}\n\n' % path.encode()
    return [first, *(b"".join(frames[at : at + 100]) for at in range(0, count, 100))]


@pytest.mark.parametrize(
    ("snapshot", "path"),
    [(SNAPSHOT, "response/content"), (FRAGMENTS, "response/fragments/-1/content")],
)
def test_it_can_be_read_at_any_moment_and_no_text_is_lost(snapshot: bytes, path: str) -> None:
    count = 10_000
    whole = "".join(f"{number} " for number in range(count))
    look: list[Callable[[Reply], object]] = [
        lambda reply: whole.startswith(reply.content),
        lambda reply: whole.startswith(reply.to_dict()["content"]),
        lambda reply: reply.thinking == "",
        lambda reply: reply.thinking_seconds is None,
        lambda reply: reply.usage is None and reply.error is None and reply.model is None,
        lambda reply: reply.status in ("streaming", "finished"),
        lambda reply: repr(reply).startswith("Reply(status="),
    ]
    with impatient(), Foreign(completion=[READY, snapshot, *events(count, path), FINISHED]) as gateway:
        reply = ask(gateway.url)
        looks = 0
        while not reply.done:
            assert look[looks % len(look)](reply)
            looks += 1
    assert looks > len(look)
    assert (reply.status, reply.content) == ("finished", whole)


# ---- what its view gets ----


def test_the_first_text_leaves_at_once_with_its_time() -> None:
    pause, seen = Pause(), Seen()
    with asked(Script([chunk(content="a"), pause, finish()]), view=seen) as reply:
        seen.until("response/content", "a")
        assert isinstance(seen.get("timing/ttft"), float)
        pause.end()
        reply.wait(LONG)
    told = [patch for batch in seen.batches for patch in batch if patch.path == "timing/ttft"]
    assert len(told) == 1 and told[0].value == round(reply.ttft or 0, 3)
    assert seen.get("continued") is None


def test_the_view_has_the_whole_text_before_it_is_told_of_the_end() -> None:
    seen = Seen()
    texts: list[Any] = []
    seen.end = lambda reply: texts.append((seen.get("response/content"), seen.get("phase")))
    with asked(answer(*["word "] * 500), view=seen) as reply:
        reply.wait(LONG)
    assert texts == [("word " * 500, "finished")]


def test_halves_of_a_character_reach_the_view_as_one() -> None:
    halves = [b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n']
    halves += [b'data: {"choices":[{"index":0,"delta":{"content":"\\ude00!"}}]}\n\n']
    seen, pause = Seen(), Pause()
    with asked(Script([halves[0], pause, halves[1], finish()]), view=seen) as reply:
        assert pause.reached.wait(LONG)
        pause.end()
        reply.wait(LONG)
    assert reply.content == seen.get("response/content") == "😀!"
    str(seen.batches).encode()


def test_a_refusal_is_told_to_the_view_too() -> None:
    seen = Seen()
    with Foreign(completion=JSONResponse({"code": 40003, "msg": "no"}, 401)) as gateway:
        ask(gateway.url, view=seen).wait(LONG)
    assert seen.get("response/error") == {"type": "Unauthorized", "message": "the gateway refused: no"}
    assert (seen.get("response/status"), seen.get("phase")) == ("FAILED", "failed")


@pytest.mark.parametrize("broken", ["push", "ready", "end", "on_end"])
def test_whatever_a_view_or_a_callback_does_nobody_waits_for_ever(broken: str) -> None:
    seen = Seen()
    ended: list[Reply] = []
    heard: list[Delta | None] = []

    def fail(*_: object) -> None:
        raise RuntimeError("a bug of the view")

    def on_end(reply: Reply) -> None:
        ended.append(reply)
        if broken == "on_end":
            fail()

    if broken != "on_end":
        setattr(seen, broken, fail)
    with asked(answer("Hi"), view=seen, on_delta=heard.append, on_end=on_end) as reply:
        assert reply.wait(LONG).done
    assert ended == [reply]
    assert heard[-1] is None
    if broken in ("push", "ready"):
        assert reply.error is not None and "a bug of the view" in reply.error.message


def test_another_view_may_join_with_the_text_that_stands() -> None:
    pause, seen, other = Pause(), Seen(), Seen()
    with asked(Script([chunk(content="a"), pause, chunk(content="b"), finish()]), view=seen) as reply:
        seen.until("response/content", "a")
        reply.show_in(other)
        assert (other.get("response/content"), other.get("phase")) == ("a", "answering")
        pause.end()
        reply.wait(LONG)
    assert reply.content == seen.get("response/content") == other.get("response/content") == "ab"
    assert other.calls == ["begin", "ready", "end"]


def test_a_dismissed_reply_is_stopped_and_its_view_closed() -> None:
    seen = Seen()
    with asked(Script([chunk(content="a"), Pause()]), view=seen) as reply:
        seen.until("response/content", "a")
        reply.dismiss()
        assert reply.wait(LONG).status == "stopped"
    assert "close" in seen.calls


# ---- waiting ----


def test_waiting_ends_with_the_time_or_with_the_answer() -> None:
    pause = Pause()
    with asked(Script([pause, chunk(content="a"), finish()])) as reply:
        assert reply.wait(0.01).status == "streaming"
        assert not reply.done
        pause.end()
        assert reply.wait().status == "finished"
        assert reply.wait(0).status == "finished"


def test_waiting_on_the_thread_that_streams_is_refused() -> None:
    async def wait(reply: Reply) -> None:
        reply.wait()

    with asked(Script([pause := Pause()])) as reply:
        assert pause.reached.wait(LONG)
        with pytest.raises(BadInput, match="would block the thread that streams"):
            shared_consumer().submit(wait(reply)).result(LONG)
        reply.stop()


# ---- stop ----


def test_stop_before_there_is_a_session_ends_it_here() -> None:
    gate = Pause()
    with Foreign(create=[gate]) as gateway:
        reply = ask(gateway.url)
        gateway.until("create")
        assert reply.stop().status == "stopped"
        gate.end()
    assert (reply.done, reply.message_id, reply.finish_reason) == (True, None, "stopped")
    with pytest.raises(BadInput, match="never began, so there is nothing to resume"):
        reply.resume()


def test_stop_before_there_is_an_id_ends_it_here_after_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNBORN_SECONDS", 0.01)
    gate = Pause()
    with Foreign(completion=[gate]) as gateway:
        reply = ask(gateway.url)
        gateway.until("completion")
        assert reply.stop().status == "stopped"
        gate.end()
    assert [call for call, _ in gateway.asked] == ["create", "completion"]


def test_stop_before_there_is_an_id_is_sent_as_soon_as_there_is_one() -> None:
    gate, rest = Pause(), Pause()
    sealed = b'data: {"v":"INCOMPLETE","p":"response/status","o":"SET"}\n\n'
    with Foreign(completion=[gate, READY, SNAPSHOT, HALF, rest, sealed]) as gateway:
        reply = ask(gateway.url)
        gateway.until("completion")
        reply.ask_to_stop()
        gate.end()
        body = gateway.until("stop_stream")
        rest.end()
        reply.wait(LONG)
    assert body == {"chat_session_id": "s", "message_id": 2, "stream_id": "x"}
    assert (reply.status, reply.content) == ("stopped", "half")


def test_stop_from_many_threads_stops_once_and_for_all() -> None:
    seen = Seen()
    with asked(Script([chunk(content="a"), Pause()]), view=seen) as reply:
        seen.until("response/content", "a")
        threads = [threading.Thread(target=reply.stop) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
        assert (reply.status, reply.content, seen.calls.count("end")) == ("stopped", "a", 1)
        assert reply.stop().status == "stopped"


def test_a_gateway_that_cannot_stop_any_more_leaves_the_answer_interrupted() -> None:
    with Foreign(completion=[READY, SNAPSHOT, HALF, Pause()], stop_stream=Response("", 502)) as gateway:
        deltas: list[Delta | None] = []
        arrived = threading.Event()

        def heard(delta: Delta | None) -> None:
            deltas.append(delta)
            arrived.set()

        reply = ask(gateway.url, on_delta=heard)
        assert arrived.wait(LONG)
        assert reply.stop().status == "interrupted"
    assert (reply.content, deltas) == ("half", [Delta("content", "half"), None])


def test_stop_after_the_end_does_nothing() -> None:
    with asked(answer("Hi")) as reply:
        assert reply.wait(LONG).stop().status == "finished"


# ---- resume ----


@pytest.mark.parametrize("script", [answer("Hi"), Script([finish("content_filter"), DONE])])
def test_what_is_complete_is_not_resumed(script: Script) -> None:
    with asked(script) as reply:
        reply.wait(LONG)
        with pytest.raises(BadInput, match=f"this answer is {reply.status}; regenerate it"):
            reply.resume()
        assert reply.done


def test_a_refused_question_is_not_resumed() -> None:
    with Foreign(completion=Response("", 503)) as gateway:
        reply = ask(gateway.url).wait(LONG)
    with pytest.raises(BadInput, match="never began"):
        reply.resume()


def test_what_still_runs_is_resumed_by_nothing_at_all() -> None:
    seen = Seen()
    with asked(Script([chunk(content="a"), Pause()]), view=seen) as reply:
        seen.until("response/content", "a")
        assert reply.resume() is reply
        reply.stop()
    assert seen.calls == ["begin", "ready", "end"]


@pytest.mark.parametrize(
    "first",
    [
        Script([chunk(content="one"), finish("length"), DONE]),
        Script([chunk(content="one"), CUT]),
        Script([chunk(content="one"), {"error": {"message": "busy"}}]),
    ],
)
def test_what_was_cut_or_failed_goes_on_in_the_same_message(first: Script) -> None:
    seen = Seen()
    with asked(first, answer(" two"), view=seen) as reply:
        reply.wait(LONG)
        first_token = reply.ttft
        assert reply.resume().wait(LONG).content == "one two"
    assert (reply.status, reply.error, reply.message_id, reply.ttft) == ("finished", None, 2, first_token)
    assert seen.calls == ["begin", "ready", "end", "begin", "ready", "end"]
    assert (seen.get("continued"), seen.get("response/content")) == (True, "one two")
    assert seen.get("response/error") is None


def test_an_interrupted_answer_is_attached_to_again_and_a_stopped_one_continued() -> None:
    sealed = b'data: {"v":"INCOMPLETE","p":"response/status","o":"SET"}\n\n'
    scripts: dict[str, Any] = {
        "completion": [READY, SNAPSHOT, HALF],
        "resume_stream": Response(status_code=404),
        "continue": [READY, SNAPSHOT, HALF, FINISHED],
    }
    with Foreign(**scripts) as gateway:
        reply = ask(gateway.url).wait(LONG)
        assert reply.status == "interrupted"
        scripts["resume_stream"] = [READY, SNAPSHOT, HALF, sealed]
        gateway._scripts.update(scripts)  # pyright: ignore[reportPrivateUsage]
        assert reply.resume().wait(LONG).status == "stopped"
        assert reply.resume().wait(LONG).status == "finished"
    calls = [call for call, _ in gateway.asked]
    assert calls == ["create", "completion", "resume_stream", "resume_stream", "continue"]
    about = {"chat_session_id": "s", "message_id": 2}
    assert [body for _, body in gateway.asked[-2:]] == [about, {**about, "fallback_to_resume": True}]


def test_a_continuation_that_drops_before_its_first_word_is_attached_to_again() -> None:
    sealed = b'data: {"v":"INCOMPLETE","p":"response/status","o":"SET"}\n\n'
    scripts: dict[str, Any] = {
        "completion": [READY, SNAPSHOT, HALF, sealed],
        "continue": [READY, CUT],
        "resume_stream": [READY, SNAPSHOT, HALF, HALF, FINISHED],
    }
    seen = Seen()
    with Foreign(**scripts) as gateway:
        reply = ask(gateway.url, view=seen).wait(LONG)
        assert reply.status == "stopped"
        assert reply.resume().wait(LONG).status == "finished"
    assert reply.content == seen.get("response/content") == "halfhalf"
    assert [call for call, _ in gateway.asked] == ["create", "completion", "continue", "resume_stream"]


# ---- what a view may do by itself ----


def test_a_view_is_told_how_to_stop_this_stream_and_that_works() -> None:
    seen, told = Seen(), queue.SimpleQueue[dict[str, Any]]()
    with asked(Script([chunk(content="a"), Pause()]), view=seen) as reply:
        seen.until("response/content", "a")
        reply.grant("http://page", told.put)
        grant = told.get(timeout=LONG)
        assert set(grant) == {"url", "token", "chat_session_id", "message_id", "stream_id"}
        assert (grant["message_id"], grant["stream_id"]) == (2, reply.stream_id)
        address = f"{grant.pop('url')}/api/v0/chat/stop_stream?token={grant.pop('token')}"
        assert httpx.post(address, json=grant, headers={"origin": "http://evil"}).status_code == 401
        assert httpx.post(address, json=grant, headers={"origin": "http://page"}).status_code == 200
        assert reply.wait(LONG).status == "stopped"


def test_a_view_is_told_nothing_without_ids_or_where_the_gateway_gives_no_tokens() -> None:
    gate, told = Pause(), list[dict[str, Any]]()
    with Foreign(create=[gate]) as gateway:
        early = ask(gateway.url)
        gateway.until("create")
        early.grant("http://page", told.append)
        early.stop()
        gate.end()
    refusal = JSONResponse({"detail": "Not Found"}, 404)
    with Foreign(completion=[READY, SNAPSHOT, HALF, FINISHED], grant=refusal) as gateway:
        ask(gateway.url).wait(LONG).grant("http://page", told.append)
        gateway.until("grant")
        assert shared_consumer().submit(clients[-1].create_session()).result(LONG)  # the refusal has come
    assert told == []


# ---- the text as an iterator ----


def test_a_loop_over_a_refused_answer_raises_the_refusal_and_then_is_over() -> None:
    deltas = DeltaStream()
    with Foreign(completion=JSONResponse({"code": 0, "msg": "gone"}, 404)) as gateway:
        deltas.reply = ask(gateway.url, on_delta=deltas.put)
        with pytest.raises(NotFound):
            next(deltas)
    assert list(deltas) == []


def test_deltas_come_with_the_reply_of_the_demo() -> None:
    heard: list[Delta | None] = []
    with Gateway(Demo(pace=0)) as gateway:
        reply = ask(gateway.url, gateway.token, on_delta=heard.append).wait(LONG)
    text = functools.partial(_text_of, heard)
    assert (text("thinking"), text("content")) == (reply.thinking, reply.content)
    assert heard[-1] is None and None not in heard[:-1]


@pytest.mark.parametrize("rest", ["\\ude00!", "!", ""])
def test_deltas_add_up_to_the_text_also_where_a_character_is_parted_by_a_drop(rest: str) -> None:
    first = HALF.replace(b"half", b"a\\ud83d")
    resumed = SNAPSHOT.replace(b'"content":""', b'"content":"a\\ud83d%s"' % rest.encode())
    heard: list[Delta | None] = []
    with Foreign(completion=[READY, SNAPSHOT, first], resume_stream=[READY, resumed, FINISHED]) as gateway:
        reply = ask(gateway.url, on_delta=heard.append).wait(LONG)
    assert reply.content == _text_of(heard, "content") == ("a😀!" if "u" in rest else f"a\ufffd{rest}")
    assert heard[-1] is None
    str(heard).encode()


def test_a_text_that_is_taken_back_is_a_delta_too() -> None:
    recalled = b'data: {"v":"","p":"response/content","o":"SET"}\n\n'
    heard: list[Delta | None] = []
    with Foreign(completion=[READY, SNAPSHOT, HALF, recalled, FINISHED]) as gateway:
        reply = ask(gateway.url, on_delta=heard.append).wait(LONG)
    assert heard == [Delta("content", "half"), Delta("content", "", replaces=True), None]
    assert reply.content == ""


def _text_of(deltas: list[Delta | None], kind: str) -> str:
    """The text as one has it who only listens."""
    text = ""
    for delta in deltas:
        if delta is not None and delta.kind == kind:
            text = delta.text if delta.replaces else text + delta.text
    return text
