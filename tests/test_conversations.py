"""Calls → generations: what the upstream is asked, which images travel along, and when an answer is let go."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
import pytest

from jupyter_ssechat.errors import GatewayError, InvalidRequest
from jupyter_ssechat.gateway.bodies import (
    Completion,
    Continue,
    EditMessage,
    ImportedSession,
    Regenerate,
    as_body,
)
from jupyter_ssechat.gateway.conversations import Conversations
from jupyter_ssechat.gateway.log import Reader
from jupyter_ssechat.gateway.server import Gateway
from jupyter_ssechat.message import finished, stopped
from jupyter_ssechat.model_server import ModelServer
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.request import Request

from .servers import ModelServerForTests, Pause, Script, answer, chunk, finish, model_server

T = TypeVar("T")
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
PICTURE = "https://example.com/a.png"
AT_ONCE_SECONDS = 0.1


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, 30))


class Asked:
    """An upstream that notes what it is asked; each answer has a handle, and ends as `ends` says."""

    name = "asked"

    def __init__(self, ends: Callable[[], list[Patch]] = finished) -> None:
        self.requests: list[Request] = []
        self._ends = ends

    async def stream(self, request: Request) -> AsyncGenerator[list[Patch]]:
        self.requests.append(request)
        number = len(self.requests)
        yield [
            Patch("response/upstream", "SET", {"server": "asked", "id": number}),
            Patch("response/content", "APPEND", f"answer {number}"),
            *self._ends(),
        ]

    async def models(self) -> list[str]:
        return []

    async def aclose(self) -> None:
        """Nothing to let go of."""


class Talk:
    """A conversation with an upstream that notes what it is asked."""

    def __init__(self, ends: Callable[[], list[Patch]] = finished) -> None:
        self.upstream = Asked(ends)
        self.conversations = Conversations(self.upstream)
        self._id = ""

    async def session_id(self) -> str:
        self._id = self._id or (await self.conversations.sessions.create()).id
        return self._id

    async def history(self) -> list[dict[str, Any]]:
        session = await self.conversations.sessions.get(await self.session_id())
        return [record.to_wire() for record in session.records.values()]

    async def complete(self, prompt: str, parent: int | None = None, **more: Any) -> Request:
        body = Completion(
            chat_session_id=await self.session_id(), prompt=prompt, parent_message_id=parent, **more
        )
        return await self._asked(await self.conversations.complete(body))

    async def edit(self, message_id: int, prompt: str, **more: Any) -> Request:
        body = EditMessage(
            chat_session_id=await self.session_id(), message_id=message_id, prompt=prompt, **more
        )
        return await self._asked(await self.conversations.edit(body))

    async def regenerate(self, message_id: int, **more: Any) -> Request:
        body = Regenerate(chat_session_id=await self.session_id(), child_message_id=message_id, **more)
        return await self._asked(await self.conversations.regenerate(body))

    async def go_on(self, message_id: int, **more: Any) -> Request:
        body = Continue(chat_session_id=await self.session_id(), message_id=message_id, **more)
        return await self._asked(await self.conversations.go_on(body))

    async def _asked(self, reader: Reader) -> Request:
        async for _ in reader.frames(60):
            pass
        return self.upstream.requests[-1]


# ---- handles ----


def test_an_answer_is_brought_along_with_what_its_server_calls_it() -> None:
    async def talk() -> Request:
        talk = Talk()
        await talk.complete("one")
        return await talk.complete("two", 2)

    request = run(talk())
    assert [(turn.content, turn.handle) for turn in request.turns] == [
        ("one", None),
        ("answer 1", {"server": "asked", "id": 1}),
        ("two", None),
    ]
    assert request.handle is None


def test_an_answer_that_goes_on_is_asked_for_by_its_handle() -> None:
    async def talk() -> tuple[Request, Request]:
        talk = Talk(stopped)
        return await talk.complete("one"), await talk.go_on(2)

    first, second = run(talk())
    assert (first.continues, first.handle) == (False, None)
    assert (second.continues, second.handle) == (True, {"server": "asked", "id": 1})
    assert second.content_so_far == "answer 1"


def test_imported_messages_are_asked_with_as_they_were() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}
    result = {"role": "tool", "tool_call_id": "c", "content": "4"}
    more = {"role": "user", "content": "so?"}
    messages: list[dict[str, Any]] = [
        {"message_id": 1, "role": "USER", "content": "", "verbatim": []},
        {"message_id": 2, "parent_id": 1, "role": "ASSISTANT", "verbatim": [call]},
        {"message_id": 3, "parent_id": 2, "role": "USER", "content": "4", "verbatim": [result, more]},
        {"message_id": 4, "parent_id": 3, "role": "ASSISTANT", "status": "INCOMPLETE", "verbatim": []},
    ]

    async def talk() -> tuple[Request, Request]:
        talk = Talk()
        imported = as_body({"chat_messages": messages}, ImportedSession).chat_messages
        talk._id = (await talk.conversations.sessions.restore(imported)).id
        return await talk.go_on(4), await talk.complete("two", 4)

    first, second = run(talk())
    assert [turn.verbatim for turn in first.turns] == [call, result, more]
    # What was imported as nothing has gone on, and is an answer now.
    assert [turn.content for turn in second.turns] == ["", "4", "so?", "answer 1", "two"]


def test_an_answer_anew_knows_nothing_of_the_one_beside_it() -> None:
    async def talk() -> Request:
        talk = Talk()
        await talk.complete("one")
        return await talk.regenerate(2)

    request = run(talk())
    assert (request.handle, [turn.handle for turn in request.turns]) == (None, [None])


# ---- images ----


def images_of(request: Request) -> list[tuple[str, ...]]:
    return [turn.images for turn in request.turns if turn.role == "user"]


def test_images_stay_with_their_prompt_in_later_turns_and_anew() -> None:
    async def talk() -> tuple[Request, Request, Request]:
        talk = Talk()
        first = await talk.complete("look", images=[PIXEL, PICTURE])
        return first, await talk.complete("and now?", 2), await talk.regenerate(2)

    first, second, again = run(talk())
    assert images_of(first) == images_of(again) == [(PIXEL, PICTURE)]
    assert images_of(second) == [(PIXEL, PICTURE), ()]


def test_an_edited_prompt_keeps_its_images_unless_others_are_given() -> None:
    async def talk() -> list[Request]:
        talk = Talk()
        await talk.complete("look", images=[PIXEL])
        changes: list[dict[str, Any]] = [{}, {"images": [PICTURE]}, {"images": []}]
        return [await talk.edit(1, "look again", **change) for change in changes]

    assert [images_of(request) for request in run(talk())] == [[(PIXEL,)], [(PICTURE,)], [()]]


def test_images_are_told_in_the_history_only_where_there_are_some() -> None:
    async def talk() -> list[dict[str, Any]]:
        talk = Talk()
        await talk.complete("look", images=[PIXEL])
        await talk.complete("and?", 2)
        return await talk.history()

    first, *others = run(talk())
    assert first["images"] == [PIXEL]
    assert not [record for record in others if "images" in record]


def test_a_wrong_image_leaves_the_conversation_as_it_was() -> None:
    async def talk() -> list[dict[str, Any]]:
        talk = Talk()
        with pytest.raises(InvalidRequest, match="images: number 1 is not an image"):
            await talk.complete("look", images=["a.png"])
        await talk.complete("look")
        with pytest.raises(InvalidRequest, match="images: number 1 is not an image"):
            await talk.edit(1, "look", images=["a.png"])
        return await talk.history()

    assert len(run(talk())) == 2


def test_an_answer_takes_no_images_of_its_own() -> None:
    async def talk() -> None:
        talk = Talk(stopped)
        await talk.complete("look")
        for call in (talk.regenerate, talk.go_on):
            assert await call(2, images=[])
            with pytest.raises(InvalidRequest, match="images: they belong to a prompt"):
                await call(2, images=[PIXEL])

    run(talk())


def test_files_are_refused_and_not_left_out() -> None:
    with pytest.raises(GatewayError, match="ref_file_ids: "):
        run(Talk().complete("look", ref_file_ids=["f"]))


def test_images_reach_the_model_server() -> None:
    with model_server(answer("A dot.")) as server, calling(server) as call:
        call.ask(images=[PIXEL])
        [turn] = server.requests[0]["messages"]
    assert turn["content"] == [
        {"type": "text", "text": "x"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
    ]


# ---- readers who leave, measured where the model server sees it ----


class Calling:
    """A caller of a gateway to a model server."""

    def __init__(self, gateway: Gateway) -> None:
        headers = {"authorization": f"Bearer {gateway.token}"}
        self.http = httpx.Client(base_url=gateway.url, headers=headers, timeout=20, trust_env=False)
        self.session = self.post("chat_session/create", {}).json()["data"]["biz_data"]["id"]

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return self.http.post(f"/api/v0/{path}", json=body)

    def about(self, **more: Any) -> dict[str, Any]:
        return {"chat_session_id": self.session, **more}

    def ask(self, **more: Any) -> httpx.Response:
        return self.post("chat/completion", self.about(prompt="x", **more))

    @contextmanager
    def asking(self, **more: Any) -> Iterator[httpx.Response]:
        body = self.about(prompt="x", **more)
        with self.http.stream("POST", "/api/v0/chat/completion", json=body) as response:
            assert response.status_code == 200
            yield response

    def message(self, message_id: int = 2) -> dict[str, Any]:
        history = self.post("chat/history_messages", self.about()).json()["data"]["biz_data"]
        return history["chat_messages"][message_id - 1]


@contextmanager
def calling(server: ModelServerForTests) -> Iterator[Calling]:
    with Gateway(ModelServer(server.url)) as gateway:
        call = Calling(gateway)
        try:
            yield call
        finally:
            call.http.close()


def waiting(begun: bool) -> tuple[Pause, Script]:
    """A script that waits, before its first token or after it."""
    pause = Pause()
    return pause, Script([chunk(content="a"), pause] if begun else [pause])


def seconds_until_left(server: ModelServerForTests, do: Callable[[], object]) -> float:
    began = time.monotonic()
    do()
    assert server.left.wait(10)
    return time.monotonic() - began


@pytest.mark.parametrize("begun", [False, True])
def test_a_lost_reader_cancels_at_once_where_that_is_asked_for(begun: bool) -> None:
    def once() -> float:
        pause, script = waiting(begun)
        with model_server(script) as server, calling(server) as call:
            with call.asking(on_disconnect="cancel") as response:
                assert pause.reached.wait(10)
                seconds = seconds_until_left(server, response.close)
            message = call.message()
        assert (message["status"], message["content"]) == ("FAILED", "a" if begun else "")
        assert message["error"] == {
            "type": "abandoned",
            "message": "the answer was cancelled when its last reader had left; resume to have it continued",
        }
        return seconds

    measured = [once() for _ in range(3)]
    assert statistics.median(measured) <= AT_ONCE_SECONDS


@pytest.mark.parametrize("begun", [False, True])
def test_stop_reaches_the_model_server_at_once(begun: bool) -> None:
    def once() -> float:
        pause, script = waiting(begun)
        with model_server(script) as server, calling(server) as call, call.asking():
            assert pause.reached.wait(10)
            stop = call.about(message_id=2)
            return seconds_until_left(server, lambda: call.post("chat/stop_stream", stop))

    measured = [once() for _ in range(3)]
    assert statistics.median(measured) <= AT_ONCE_SECONDS


def test_a_reader_who_comes_back_within_the_grace_keeps_the_answer_alive() -> None:
    pause = Pause()
    with (
        model_server(Script([chunk(content="a"), pause, chunk(content="b"), finish()])) as server,
        calling(server) as call,
    ):
        with call.asking(on_disconnect="cancel", grace=20):
            assert pause.reached.wait(10)
        resuming = call.http.stream("POST", "/api/v0/chat/resume_stream", json=call.about(message_id=2))
        with resuming as response:
            pause.end()
            response.read()
        assert (call.message()["status"], call.message()["content"]) == ("FINISHED", "ab")
        assert not server.left.is_set()


def test_while_one_reader_is_there_nothing_is_cancelled() -> None:
    pause = Pause()
    with (
        model_server(Script([chunk(content="a"), pause, chunk(content="b"), finish()])) as server,
        calling(server) as call,
        call.asking(on_disconnect="cancel") as response,
    ):
        assert pause.reached.wait(10)
        resume = call.about(message_id=2)
        with call.http.stream("POST", "/api/v0/chat/resume_stream", json=resume) as second:
            next(second.iter_raw())
        pause.end()
        response.read()
        assert (call.message()["status"], call.message()["content"]) == ("FINISHED", "ab")


def test_an_answer_that_goes_on_has_its_limit_too() -> None:
    pause, script = waiting(begun=True)
    with model_server(script, answer(" and b")) as server, calling(server) as call:
        with call.asking(grace=0.05):
            assert pause.reached.wait(10)
        assert server.left.wait(10)
        error = call.message()["error"]
        assert error == {
            "type": "abandoned",
            "message": "nobody has read this answer for 0.05 s, so it was ended; resume to have it continued",
        }
        call.post("chat/continue", call.about(message_id=2))
        assert (call.message()["status"], call.message()["content"]) == ("FINISHED", "a and b")


def test_the_policy_belongs_to_every_call_that_generates() -> None:
    with model_server(answer("a")) as server, calling(server) as call:
        call.ask()
        policy = {"on_disconnect": "cancel", "grace": 1.5}
        assert call.ask(**policy).status_code == 200
        edit = call.about(message_id=1, prompt="y", **policy)
        assert call.post("chat/edit_message", edit).status_code == 200
        again = call.about(child_message_id=2, **policy)
        assert call.post("chat/regenerate", again).status_code == 200
        for wrong in ({"grace": -1}, {"grace": "1"}, {"on_disconnect": "stay"}):
            [field] = wrong
            refused = call.ask(**wrong)
            assert (refused.status_code, refused.json()["msg"].partition(":")[0]) == (422, field)
        endless = json.dumps(call.about(prompt="x", grace=float("inf")))
        assert call.http.post("/api/v0/chat/completion", content=endless).status_code == 422


# ---- how it is counted ----


def test_streams_readers_stops_and_resumes_are_counted() -> None:
    pause, script = waiting(begun=True)
    with model_server(script, answer("b")) as server, calling(server) as call:
        with call.asking():
            assert pause.reached.wait(10)
            call.post("chat/stop_stream", call.about(message_id=2))
            assert server.left.wait(10)
        call.post("chat/resume_stream", call.about(message_id=2))
        call.post("chat/continue", call.about(message_id=2))
        lines = call.http.get("/metrics").text.splitlines()
    for line in (
        'ssechat_streams_total{api="patches",outcome="cancelled"} 1.0',
        'ssechat_streams_total{api="patches",outcome="ok"} 1.0',
        'ssechat_streams_running{api="patches"} 0.0',
        'ssechat_readers{api="patches"} 0.0',
        "ssechat_stops_total 1.0",
        "ssechat_resumes_total 1.0",
    ):
        assert line in lines
