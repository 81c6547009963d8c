"""The gateway over real HTTP: addresses, shapes, states and errors of protocols sections 1, 4 and 6."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from jupyter_ssechat.deadlines import Deadlines
from jupyter_ssechat.dialects.deepseek import DeepSeek
from jupyter_ssechat.gateway.endpoint import MAX_BODY_BYTES
from jupyter_ssechat.gateway.server import Gateway
from jupyter_ssechat.gateway.settings import Settings
from jupyter_ssechat.message import Message
from jupyter_ssechat.model_server import ModelServer
from jupyter_ssechat.sse import ServerSentEvent, SSEDecoder
from jupyter_ssechat.upstream import Demo

from .servers import CUT, Breath, Pause, Script, answer, chunk, finish, model_server


class Caller:
    """A plain HTTP caller, as a foreign program would be."""

    def __init__(self, gateway: Gateway) -> None:
        headers = {"authorization": f"Bearer {gateway.token}"}
        self.http = httpx.Client(base_url=gateway.url, headers=headers, timeout=20, trust_env=False)
        self.session = self.call("chat_session/create", {})["id"]

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.http.post(f"/api/v0/{path}", json=body)

    def call(self, path: str, body: Any) -> Any:
        answer = self.post(path, body)
        assert answer.status_code == 200, answer.text
        envelope = answer.json()
        assert (envelope["code"], envelope["data"]["biz_code"]) == (0, 0)
        return envelope["data"]["biz_data"]

    def ask(self, prompt: str, parent: int | None = None, **more: Any) -> list[ServerSentEvent]:
        return self.events("completion", prompt=prompt, parent_message_id=parent, **more)

    def events(self, path: str, **body: Any) -> list[ServerSentEvent]:
        answer = self.post(f"chat/{path}", {"chat_session_id": self.session, **body})
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/event-stream")
        return SSEDecoder().feed(answer.content)

    @contextmanager
    def reading(self, path: str, **body: Any) -> Iterator[Reading]:
        body = {"chat_session_id": self.session, **body}
        with self.http.stream("POST", f"/api/v0/chat/{path}", json=body) as response:
            yield Reading(response)


class Reading:
    """A stream in the course of being read."""

    def __init__(self, response: httpx.Response) -> None:
        self._chunks = response.iter_raw()
        self._decoder = SSEDecoder()
        self._dialect = DeepSeek()
        self.message = Message()

    def until_text(self, text: str) -> None:
        while text not in self.message.content:
            self._step()

    def to_end(self) -> Message:
        for raw in self._chunks:
            self._feed(raw)
        return self.message

    def _step(self) -> None:
        self._feed(next(self._chunks))

    def _feed(self, raw: bytes) -> None:
        for event in self._decoder.feed(raw):
            for patch in self._dialect.feed(event):
                self.message.apply(patch)


def message_of(events: list[ServerSentEvent]) -> Message:
    dialect, message = DeepSeek(), Message()
    for event in events:
        for patch in dialect.feed(event):
            message.apply(patch)
    return message


def names(events: list[ServerSentEvent]) -> list[str]:
    return [event.event for event in events]


@pytest.fixture
def demo() -> Iterator[Caller]:
    with Gateway(Demo(pace=0)) as gateway, Caller(gateway) as caller:
        yield caller


@contextmanager
def gateway_to(
    *scripts: Script, deadlines: Deadlines | None = None, **options: Any
) -> Iterator[tuple[Caller, Any]]:
    with (
        model_server(*scripts) as server,
        Gateway(ModelServer(server.url, deadlines=deadlines), **options) as gateway,
        Caller(gateway) as caller,
    ):
        yield caller, server


def test_who_sends_a_body_that_is_too_large_to_its_end_learns_why_it_is_refused(demo: Caller) -> None:
    size = MAX_BODY_BYTES + 2**20
    head = (
        f"POST /api/v0/chat/completion HTTP/1.1\r\nHost: {demo.http.base_url.netloc.decode()}\r\n"
        f"Authorization: {demo.http.headers['authorization']}\r\nContent-Length: {size}\r\n\r\n"
    )
    address = (demo.http.base_url.host, demo.http.base_url.port)
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(head.encode() + b" " * size)
        assert connection.recv(64).startswith(b"HTTP/1.1 413 ")


def test_a_completion_begins_with_ready_and_ends_with_close(demo: Caller) -> None:
    events = demo.ask("hello")
    assert names(events)[:3] == ["ready", "update_session", "message"]
    assert names(events)[-3:] == ["finish", "update_session", "close"]
    ready = json.loads(events[0].data)
    assert set(ready) == {"stream_id", "request_message_id", "response_message_id"}
    assert (ready["request_message_id"], ready["response_message_id"]) == (1, 2)


def test_the_first_data_is_the_snapshot_of_an_empty_answer_in_progress(demo: Caller) -> None:
    snapshot = json.loads(demo.ask("hello")[2].data)["v"]["response"]
    assert (snapshot["status"], snapshot["content"], snapshot["message_id"]) == ("WIP", "", 2)
    assert (snapshot["parent_id"], snapshot["role"]) == (1, "ASSISTANT")


def test_the_demo_answer_arrives_whole_with_thinking_usage_and_status(demo: Caller) -> None:
    message = message_of(demo.ask("hello"))
    assert message.status == "finished"
    assert message.thinking and message.content
    assert message.usage is not None and message.usage.total_tokens
    assert message.thinking_seconds is not None


def test_every_frame_carries_its_number_and_epoch(demo: Caller) -> None:
    ids = [event.id for event in demo.ask("hello") if event.event == "message"]
    assert ids[0] == "1-0"
    assert all(one.startswith("1-") for one in ids)


def test_thinking_disabled_gives_no_thinking(demo: Caller) -> None:
    assert message_of(demo.ask("hello", thinking_enabled=False)).thinking == ""


def test_a_conversation_is_a_tree_of_prompts_and_answers(demo: Caller) -> None:
    demo.ask("one")
    demo.ask("two", parent=2)
    message = message_of(demo.events("edit_message", message_id=3, prompt="three"))
    assert message.message_id == 6
    assert message_of(demo.events("regenerate", child_message_id=6)).message_id == 7
    tree = demo.call("chat/history_messages", {"chat_session_id": demo.session})["chat_messages"]
    assert [(one["message_id"], one["parent_id"], one["role"]) for one in tree] == [
        (1, None, "USER"),
        (2, 1, "ASSISTANT"),
        (3, 2, "USER"),
        (4, 3, "ASSISTANT"),
        (5, 2, "USER"),
        (6, 5, "ASSISTANT"),
        (7, 5, "ASSISTANT"),
    ]


def test_the_upstream_gets_the_branch_and_nothing_that_was_not_asked_for() -> None:
    with gateway_to(answer("Hi")) as (caller, server):
        caller.ask("one")
        caller.ask("two", parent=2, model="m", system="be brief", options={"temperature": 0})
        assert [turn["content"] for turn in server.requests[1]["messages"]] == [
            "be brief",
            "one",
            "Hi",
            "two",
        ]
        assert set(server.requests[0]) == {"messages", "stream", "stream_options", "model"}
        assert (server.requests[1]["model"], server.requests[1]["temperature"]) == ("m", 0)


def test_a_finished_answer_replays_to_its_end(demo: Caller) -> None:
    first = message_of(demo.ask("hello"))
    events = demo.events("resume_stream", message_id=2)
    assert message_of(events).to_dict() == first.to_dict()
    assert names(events) == ["ready", "update_session", "message", "finish", "update_session", "close"]


def test_a_late_reader_gets_the_snapshot_and_then_the_same_patches() -> None:
    pause, second = Pause(), Pause()
    steps = [chunk(content="Hel"), pause, chunk(content="lo "), second, chunk(content="you"), finish()]
    with (
        gateway_to(Script(steps)) as (caller, _),
        caller.reading("completion", prompt="x", parent_message_id=None) as one,
    ):
        one.until_text("Hel")
        with caller.reading("resume_stream", message_id=2) as late:
            late.until_text("Hel")
            pause.end()
            late.until_text("Hello ")
            with caller.reading("resume_stream", message_id=2) as later:
                later.until_text("Hello ")
                second.end()
                ends = [reading.to_end().to_dict() for reading in (one, late, later)]
    assert ends[0] == ends[1] == ends[2]
    assert (ends[0]["content"], ends[0]["status"]) == ("Hello you", "finished")


def test_generation_goes_on_when_every_reader_leaves() -> None:
    pause = Pause()
    with gateway_to(Script([chunk(content="a"), pause, chunk(content="b"), finish()])) as (caller, _):
        with caller.reading("completion", prompt="x", parent_message_id=None) as reading:
            reading.until_text("a")
        pause.end()
        assert message_of(caller.events("resume_stream", message_id=2)).content == "ab"


def test_stop_keeps_the_text_ends_every_reader_and_closes_the_upstream() -> None:
    pause = Pause()
    with gateway_to(Script([chunk(content="partial"), pause])) as (caller, server):
        with (
            caller.reading("completion", prompt="x", parent_message_id=None) as one,
            caller.reading("resume_stream", message_id=2) as two,
        ):
            one.until_text("partial")
            caller.call("chat/stop_stream", {"chat_session_id": caller.session, "message_id": 2})
            for message in (one.to_end(), two.to_end()):
                assert (message.status, message.content, message.finish_reason) == (
                    "stopped",
                    "partial",
                    "stopped",
                )
        assert server.left.wait(10)


def test_stop_works_before_the_first_token() -> None:
    pause = Pause()
    with gateway_to(Script([pause])) as (caller, server):
        with caller.reading("completion", prompt="x", parent_message_id=None) as reading:
            assert pause.reached.wait(10)
            caller.call("chat/stop_stream", {"chat_session_id": caller.session, "message_id": 2})
            assert reading.to_end().status == "stopped"
        assert server.left.wait(10)


def test_stop_is_idempotent_and_never_touches_a_newer_generation() -> None:
    first, second = Pause(), Pause()
    scripts = Script([chunk(content="one"), first]), Script([chunk(content=" two"), second, finish()])
    with gateway_to(*scripts) as (caller, _):
        about = {"chat_session_id": caller.session, "message_id": 2}
        with caller.reading("completion", prompt="x", parent_message_id=None) as reading:
            reading.until_text("one")
            for _ in range(2):
                caller.call("chat/stop_stream", about)
            reading.to_end()
        with caller.reading("continue", message_id=2) as reading:
            reading.until_text("one two")
            caller.call("chat/stop_stream", {**about, "stream_id": "an older one"})
            second.end()
            assert reading.to_end().status == "finished"
        caller.call("chat/stop_stream", about)
        assert message_of(caller.events("resume_stream", message_id=2)).status == "finished"


def test_continue_goes_on_with_the_same_message_and_drops_what_the_model_says_twice() -> None:
    pause = Pause()
    scripts = Script([chunk(content="The quick brown fox jumps"), pause]), answer("brown fox jumps", " over")
    with gateway_to(*scripts) as (caller, server):
        with caller.reading("completion", prompt="x", parent_message_id=None) as reading:
            reading.until_text("jumps")
            caller.call("chat/stop_stream", {"chat_session_id": caller.session, "message_id": 2})
            reading.to_end()
        message = message_of(caller.events("continue", message_id=2))
        assert (message.message_id, message.content) == (2, "The quick brown fox jumps over")
        assert message.status == "finished"
        assert [turn["role"] for turn in server.requests[1]["messages"]] == ["user", "assistant", "user"]


def test_a_stopped_demo_goes_on_to_the_very_text_it_would_have_had(demo: Caller) -> None:
    whole = message_of(demo.ask("hello"))
    with Gateway(Demo(pace=0.2)) as gateway, Caller(gateway) as caller:
        with caller.reading("completion", prompt="hello", parent_message_id=None) as reading:
            reading.until_text(whole.content[:10])
            caller.call("chat/stop_stream", {"chat_session_id": caller.session, "message_id": 2})
            assert reading.to_end().status == "stopped"
        message = message_of(caller.events("continue", message_id=2))
    assert (message.content, message.thinking) == (whole.content, whole.thinking)


def test_a_truncated_upstream_is_a_failure_that_keeps_its_text() -> None:
    with gateway_to(Script([chunk(content="half"), CUT])) as (caller, _):
        events = caller.ask("x")
    message = message_of(events)
    assert (message.status, message.content) == ("failed", "half")
    assert message.error is not None and message.error.type == "upstream_interrupted"
    assert names(events)[-2:] == ["hint", "close"]


def test_a_body_that_ends_without_an_end_is_no_success_either() -> None:
    with gateway_to(Script([chunk(content="half")])) as (caller, _):
        assert message_of(caller.ask("x")).status == "failed"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (Script(status=401, body={"error": {"message": "bad key"}}), "401: bad key"),
        (Script(status=429, body={"error": "slow down"}), "429: slow down"),
        (Script(status=500, body={"detail": "oops"}), "500: oops"),
        (Script(body={"ok": True}), "text/event-stream"),
        (Script([b"data: {not json\n\n"]), "JSON"),
        (Script([{"error": {"message": "out of memory"}}]), "out of memory"),
    ],
)
def test_what_the_model_server_refuses_is_a_failed_stream_with_one_line(script: Script, said: str) -> None:
    with gateway_to(script) as (caller, _):
        message = message_of(caller.ask("x"))
    assert message.status == "failed"
    assert message.error is not None and said in message.error.message
    assert "\n" not in message.error.message


def test_a_model_server_that_is_not_there_is_a_failed_stream() -> None:
    with Gateway(ModelServer("http://127.0.0.1:9/v1")) as gateway, Caller(gateway) as caller:
        message = message_of(caller.ask("x"))
    assert message.error is not None and message.error.type == "connection_failed"


def test_an_event_above_the_cap_is_a_failed_stream() -> None:
    with gateway_to(Script([chunk(content="a"), b"data: " + b"x" * (9 * 2**20)])) as (caller, _):
        message = message_of(caller.ask("x"))
    assert (message.status, message.content) == ("failed", "a")
    assert message.error is not None and message.error.type == "event_too_large"


def test_the_key_of_the_model_server_is_never_shown() -> None:
    script = Script(status=401, body={"error": {"message": "wrong key sk-secret-123"}})
    with (
        model_server(script) as server,
        Gateway(ModelServer(server.url, api_key="sk-secret-123")) as gateway,
        Caller(gateway) as caller,
    ):
        events = caller.ask("x")
        assert server.request_headers[0]["authorization"] == "Bearer sk-secret-123"
    assert "sk-secret" not in "".join(event.data for event in events)


def test_silence_is_filled_with_comments_that_no_client_takes_for_events() -> None:
    pause = Pause()
    script = Script([chunk(content="a"), pause, finish()])
    with gateway_to(script, settings=Settings(keep_alive=0.05)) as (caller, _):
        body = {"chat_session_id": caller.session, "prompt": "x", "parent_message_id": None}
        with caller.http.stream("POST", "/api/v0/chat/completion", json=body) as response:
            raw = b""
            for piece in response.iter_raw():
                raw += piece
                if raw.count(b": keep-alive\n") == 2:
                    pause.end()
    assert b": keep-alive\n\n" not in raw
    assert message_of(SSEDecoder().feed(raw)).status == "finished"


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "biz_code"),
    [
        ("chat/history_messages", {"chat_session_id": "none"}, 404, 0, 26),
        ("chat/resume_stream", {"chat_session_id": "S", "message_id": 99}, 404, 0, 26),
        ("chat/stop_stream", {"chat_session_id": "S", "message_id": 99}, 404, 0, 26),
        ("chat/completion", {"chat_session_id": "S", "prompt": "x", "parent_message_id": 7}, 404, 0, 26),
        ("chat/completion", {"chat_session_id": "S"}, 422, 42200, 0),
        ("chat/completion", {"chat_session_id": "S", "prompt": 3}, 422, 42200, 0),
        ("chat/completion", {"chat_session_id": "S", "prompt": "x", "colour": "red"}, 422, 42200, 0),
        ("chat_session/create", {"a": 1}, 422, 42200, 0),
        ("chat_session/create", [], 422, 42200, 0),
    ],
)
def test_errors_are_envelopes_with_their_codes(
    demo: Caller, path: str, body: Any, status: int, code: int, biz_code: int
) -> None:
    if isinstance(body, dict) and body.get("chat_session_id") == "S":
        body = {**body, "chat_session_id": demo.session}
    answer = demo.post(path, body)
    envelope = answer.json()
    assert (answer.status_code, envelope["code"], envelope["data"]["biz_code"]) == (status, code, biz_code)
    assert envelope["msg"] or envelope["data"]["biz_msg"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"chat_session_id": "S"}, "prompt"),
        ({"chat_session_id": "S", "prompt": "x", "colour": 1}, "colour"),
        ({"chat_session_id": "S", "prompt": 3}, "prompt"),
        ({"chat_session_id": "S", "prompt": "x", "parent_message_id": "one"}, "parent_message_id"),
    ],
)
def test_an_invalid_body_names_the_field(demo: Caller, body: dict[str, Any], field: str) -> None:
    assert demo.post("chat/completion", body).json()["msg"].startswith(f"{field}:")


def test_a_body_that_is_not_json_is_refused(demo: Caller) -> None:
    answer = demo.http.post("/api/v0/chat/completion", content=b"{oops")
    assert (answer.status_code, answer.json()["code"]) == (422, 42200)


def test_sessions_are_listed_and_deleted_and_then_gone(demo: Caller) -> None:
    demo.ask("my title")
    rows = demo.call("chat_session/list", {})["chat_sessions"]
    assert [(row["id"], row["title"]) for row in rows] == [(demo.session, "my title")]
    demo.call("chat_session/delete", {"chat_session_id": demo.session})
    answer = demo.post("chat/history_messages", {"chat_session_id": demo.session})
    assert (answer.status_code, answer.json()["data"]["biz_code"]) == (410, 27)


def test_a_saved_conversation_becomes_a_session_that_goes_on(demo: Caller) -> None:
    demo.ask("hello")
    history = demo.call("chat/history_messages", {"chat_session_id": demo.session})["chat_messages"]
    fields = ("message_id", "parent_id", "role", "content", "thinking_content", "status", "usage", "model")
    saved = [{name: one[name] for name in fields if one.get(name) is not None} for one in history]
    session = demo.call("chat_session/import", {"chat_messages": saved})
    assert session["id"] != demo.session and session["title"] == "hello"
    again = demo.call("chat/history_messages", {"chat_session_id": session["id"]})["chat_messages"]
    assert [{name: one.get(name) for name in fields} for one in again] == [
        {name: one.get(name) for name in fields} for one in history
    ]
    demo.session = session["id"]
    assert message_of(demo.events("resume_stream", message_id=2)).content == history[1]["content"]
    assert message_of(demo.ask("more", 2)).message_id == 4


def test_a_saved_conversation_that_cannot_be_names_the_message_and_leaves_no_session(demo: Caller) -> None:
    prompt = {"message_id": 1, "role": "USER", "content": "x"}
    before = demo.call("chat_session/list", {})
    for broken, said in [
        ({"message_id": 2, "parent_id": 1, "role": "ASSISTANT", "status": "WIP"}, "chat_messages[1].status"),
        ({"message_id": 2, "parent_id": 7, "role": "ASSISTANT"}, "chat_messages[1].parent_id: message 7"),
    ]:
        answer = demo.post("chat_session/import", {"chat_messages": [prompt, broken]})
        assert answer.status_code == 422 and said in answer.json()["msg"]
    assert demo.call("chat_session/list", {}) == before


def test_a_complete_answer_cannot_be_continued(demo: Caller) -> None:
    demo.ask("hello")
    answer = demo.post("chat/continue", {"chat_session_id": demo.session, "message_id": 2})
    assert answer.status_code == 422


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic x"}])
def test_a_call_without_the_token_is_refused(demo: Caller, headers: dict[str, str]) -> None:
    answer = httpx.post(
        demo.http.base_url.join("/api/v0/chat_session/create"), json={}, headers=headers, trust_env=False
    )
    assert (answer.status_code, answer.json()["code"]) == (401, 40003)


def test_the_token_may_stand_in_the_address() -> None:
    with Gateway(Demo(pace=0)) as gateway:
        url = f"{gateway.url}/api/v0/chat_session/create?token={gateway.token}"
        assert httpx.post(url, json={}, trust_env=False).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:1", "localhost", ""])
def test_a_foreign_host_is_refused_even_with_the_token(demo: Caller, host: str) -> None:
    assert demo.http.post("/api/v0/chat_session/create", json={}, headers={"host": host}).status_code == 403


def test_a_view_may_stop_its_own_stream_from_its_own_origin_and_nothing_else() -> None:
    origin = "http://127.0.0.1:8888"
    with Gateway(Demo(pace=0)) as gateway, Caller(gateway) as caller:
        caller.ask("hello")
        asked = {"chat_session_id": caller.session, "message_id": 2, "origin": origin}
        grant = caller.call("chat/grant", asked)["token"]
        about = {"chat_session_id": caller.session, "message_id": 2}

        def status(path: str, body: Any, from_: str | None = origin) -> int:
            headers = {"authorization": f"Bearer {grant}"} | ({"origin": from_} if from_ else {})
            return httpx.post(
                f"{gateway.url}/api/v0/{path}", json=body, headers=headers, trust_env=False
            ).status_code

        assert status("chat/stop_stream", about) == 200
        assert status("chat/resume_stream", about) == 200
        assert status("chat/stop_stream", {**about, "message_id": 1}) == 401
        assert status("chat/stop_stream", about, "http://evil.example") == 401
        assert status("chat/stop_stream", about, None) == 401
        assert status("chat/history_messages", {"chat_session_id": caller.session}) == 401
        address = f"{gateway.url}/api/v0/chat/stop_stream?token={grant}"
        preflight = httpx.options(address, headers={"origin": origin}, trust_env=False)
        assert preflight.headers["access-control-allow-origin"] == origin
        stranger = httpx.options(
            address,
            headers={"origin": "http://evil.example"},
            trust_env=False,
        )
        assert "access-control-allow-origin" not in stranger.headers


def test_many_readers_of_one_answer_all_read_the_same() -> None:
    with Gateway(Demo(pace=0.1)) as gateway, Caller(gateway) as caller:
        found: list[dict[str, Any]] = []

        def read_late() -> None:
            found.append(message_of(caller.events("resume_stream", message_id=2)).to_dict())

        with caller.reading("completion", prompt="hello", parent_message_id=None) as reading:
            reading.until_text(" ")
            threads = [threading.Thread(target=read_late) for _ in range(20)]
            for thread in threads:
                thread.start()
            whole = reading.to_end().to_dict()
            for thread in threads:
                thread.join(20)
    assert found == [whole] * 20


def test_closing_the_gateway_ends_its_readers_with_a_reason() -> None:
    pause = Pause()
    with model_server(Script([chunk(content="a"), pause])) as server:
        gateway = Gateway(ModelServer(server.url))
        with (
            Caller(gateway) as caller,
            caller.reading("completion", prompt="x", parent_message_id=None) as reading,
        ):
            reading.until_text("a")
            gateway.close()
            message = reading.to_end()
    assert message.error is not None and message.error.type == "gateway_closed"


def test_a_finished_answer_does_not_wait_for_a_connection_that_stays_open() -> None:
    script = Script([chunk(content="all"), finish(), Pause()])
    with gateway_to(script, deadlines=Deadlines(last_words=0.1)) as (caller, server):
        message = message_of(caller.ask("x"))
        assert (message.status, message.content) == ("finished", "all")
        assert server.left.wait(10)


def test_a_connection_cut_after_the_finish_reason_is_finished() -> None:
    with gateway_to(Script([chunk(content="all"), finish("length"), CUT])) as (caller, _):
        message = message_of(caller.ask("x"))
    assert (message.status, message.finish_reason) == ("finished", "length")


def test_half_a_tag_at_a_cut_is_text() -> None:
    with gateway_to(Script([chunk(content="<thi"), CUT])) as (caller, _):
        message = message_of(caller.ask("x"))
    assert (message.status, message.content) == ("failed", "<thi")


@pytest.mark.parametrize("field", ["images", "ref_file_ids"])
def test_what_cannot_be_passed_on_is_refused_and_not_left_out(demo: Caller, field: str) -> None:
    answer = demo.post("chat/completion", {"chat_session_id": demo.session, "prompt": "x", field: ["a"]})
    assert (answer.status_code, answer.json()["msg"].partition(":")[0]) == (422, field)


def test_an_unknown_address_and_a_wrong_method_are_envelopes_too(demo: Caller) -> None:
    assert demo.post("nowhere", {}).json()["code"] == 40400
    assert demo.http.get("/api/v0/chat/completion").json()["code"] == 40500


def test_comments_after_the_finish_reason_do_not_keep_an_answer_open() -> None:
    pauses = [step for _ in range(200) for step in (b": ping\n", Breath())]
    script = Script([chunk(content="all"), finish(), *pauses])
    with gateway_to(script, deadlines=Deadlines(last_words=0.1)) as (caller, server):
        assert message_of(caller.ask("x")).status == "finished"
        assert server.left.wait(10)


def test_a_session_deleted_in_mid_answer_stops_what_runs_in_it() -> None:
    pause = Pause()
    with gateway_to(Script([chunk(content="a"), pause])) as (caller, server):
        with (
            caller.reading("completion", prompt="x", parent_message_id=None) as one,
            caller.reading("completion", prompt="y", parent_message_id=None) as two,
        ):
            one.until_text("a")
            two.until_text("a")
            caller.call("chat_session/delete", {"chat_session_id": caller.session})
            assert [one.to_end().status, two.to_end().status] == ["stopped", "stopped"]
        assert server.left.wait(10)


def test_a_trailing_slash_is_an_unknown_address(demo: Caller) -> None:
    assert demo.post("chat_session/create/", {}).json()["code"] == 40400


def test_an_answer_goes_on_as_it_was_asked_for_unless_something_else_is_said() -> None:
    cut = Script([chunk(content="one "), CUT])
    with gateway_to(cut, cut, answer("two")) as (caller, server):
        options = {"model": "big", "system": "brief", "options": {"top_p": 0.5}, "thinking_enabled": False}
        message = message_of(caller.ask("x", **options))
        for again in ({}, {"model": "small", "options": {"seed": 7}}):
            going_on = {"chat_session_id": caller.session, "message_id": message.message_id, **again}
            caller.post("chat/continue", going_on)
    first, second, third = server.requests
    for asked in (first, second):
        assert (asked["model"], asked["top_p"], asked["reasoning_effort"]) == ("big", 0.5, "none")
        assert asked["messages"][0] == {"role": "system", "content": "brief"}
    assert (third["model"], third["top_p"], third["seed"]) == ("small", 0.5, 7)


def test_an_openai_stream_is_told_when_the_gateway_closes() -> None:
    with (
        model_server(Script([chunk(content="half"), Pause()])) as server,
        Gateway(ModelServer(server.url)) as gateway,
        Caller(gateway) as caller,
    ):
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]}
        with caller.http.stream("POST", "/v1/chat/completions", json=body) as response:
            received = b""
            for piece in response.iter_bytes():
                received += piece
                if b"half" in received:
                    gateway.begin_to_close()
    assert b"gateway_closed" in received and received.endswith(b"data: [DONE]\n\n")
    assert b'"finish_reason":"' not in received


def test_to_go_on_with_a_complete_answer_or_to_resume_it_gives_it_whole(demo: Caller) -> None:
    message = message_of(demo.ask("hello"))
    body = {"message_id": message.message_id, "fallback_to_resume": True}
    again = message_of(demo.events("continue", **body))
    assert (again.status, again.content) == ("finished", message.content)


def test_nothing_is_asked_below_an_answer_that_still_runs() -> None:
    pause = Pause()
    with (
        gateway_to(Script([chunk(content="a"), pause, chunk(content="b"), finish()])) as (caller, server),
        caller.reading("completion", prompt="x", parent_message_id=None) as reading,
    ):
        reading.until_text("a")
        body = {"chat_session_id": caller.session, "prompt": "y", "parent_message_id": 2}
        answer = caller.post("chat/completion", body)
        assert (answer.status_code, "answer 2 still runs" in answer.json()["msg"]) == (422, True)
        pause.end()
        assert reading.to_end().content == "ab"
        assert len(server.requests) == 1
