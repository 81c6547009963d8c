"""A model server: what it is asked, which model, how an answer goes on, what can go wrong, where the key goes."""

from __future__ import annotations

import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from jupyter_ssechat.errors import BadInput, ConnectionFailed, Redirected, SSEChatError, UpstreamError
from jupyter_ssechat.message import Message
from jupyter_ssechat.model_server import ModelServer
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.request import GO_ON, Request, Turn

from .asking import KEY, asking, gather, message_of, patches_of, run
from .servers import CUT, DONE, Pause, Script, Served, answer, chunk, finish, model_server

WIRE = Path(__file__).parent / "wire"


def asked(url: str, request: Request | None = None, **options: Any) -> Message:
    """The answer of a model server to one request."""
    return message_of(patches_of(ModelServer(url, **options), request))


def refused(url: str, **options: Any) -> UpstreamError:
    with pytest.raises(UpstreamError) as error:
        asked(url, **options)
    return error.value


class Server:
    """A model server that has what it is given, and nothing else; it knows what it was asked."""

    def __init__(self, models: Response | None = None, chat: Response | None = None) -> None:
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self._models, self._chat = models, chat
        self._served = Served(
            Starlette(routes=[Route("/{rest:path}", self._answer, methods=["GET", "POST"])])
        )
        self.url = self._served.url

    async def _answer(self, request: HTTPRequest) -> Response:
        body = json.loads(await request.body() or b"null")
        self.asked.append((f"{request.url.path}?{request.url.query}", dict(request.headers), body))
        given = self._models if request.method == "GET" else self._chat or events(b"data: [DONE]\n\n")
        return given or Response("not here", 404)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._served.close()


def events(body: bytes) -> Response:
    return Response(body, media_type="text/event-stream")


def listed(*names: str) -> Response:
    return JSONResponse({"object": "list", "data": [{"id": name} for name in names]})


# ---- addresses ----


@pytest.mark.parametrize(
    ("given", "complete"),
    [
        ("http://h", "http://h/v1/chat/completions"),
        ("http://h/", "http://h/v1/chat/completions"),
        ("http://h:11434/v1", "http://h:11434/v1/chat/completions"),
        ("http://h/v1/", "http://h/v1/chat/completions"),
        ("https://h/api/v3", "https://h/api/v3/chat/completions"),
        ("http://h/v1/chat/completions", "http://h/v1/chat/completions"),
        ("http://h/v1/chat/completions/", "http://h/v1/chat/completions"),
        ("http://h/v1#here", "http://h/v1/chat/completions"),
        ("https://h/deployments/d?api-version=1", "https://h/deployments/d/chat/completions?api-version=1"),
    ],
)
def test_an_address_is_completed_from_wherever_it_ends(given: str, complete: str) -> None:
    assert ModelServer(given).url == complete
    assert ModelServer(complete).url == complete


@pytest.mark.parametrize("address", ["", "http://", "http:///v1", "nonsense", "http://[::1/v1"])
def test_an_address_without_a_host_is_bad_input(address: str) -> None:
    with pytest.raises(BadInput, match="expected"):
        ModelServer(address)


def test_the_list_of_models_stands_beside_the_endpoint_also_with_a_query() -> None:
    with Server(models=listed("only")) as server:
        asked(f"{server.url}/deployments/d?api-version=1")
    assert [path for path, _, _ in server.asked] == [
        "/deployments/d/models?api-version=1",
        "/deployments/d/chat/completions?api-version=1",
    ]


def test_the_name_of_a_server_shows_neither_its_user_nor_its_query() -> None:
    server = ModelServer("http://me:secret@h/v1?key=secret")
    assert server.name == "http://h/v1/chat/completions"
    assert repr(server) == "ModelServer('http://h/v1/chat/completions')"


# ---- dialects ----


@pytest.mark.parametrize(
    ("address", "dialect"),
    [
        ("http://h", "openai_chat"),
        ("http://h/v1", "openai_chat"),
        ("http://h/v1/chat/completions", "openai_chat"),
        ("https://api.openai.com/v1/responses", "openai_responses"),
        ("http://h/v1/messages", "anthropic_messages"),
        ("https://api.anthropic.com", "anthropic_messages"),
        ("http://h/api/v0", "deepseek"),
        ("http://h/api/v0/chat/completion", "deepseek"),
        ("http://h/ai/chat/stream", "plain_content"),
    ],
)
def test_an_address_tells_the_dialect(address: str, dialect: str) -> None:
    assert ModelServer(address).dialect == dialect == ModelServer(address, dialect="auto").dialect


def test_the_dialect_that_is_named_counts_and_an_unknown_one_is_bad_input() -> None:
    assert ModelServer("http://h/v1/messages", dialect="openai_chat").dialect == "openai_chat"
    with pytest.raises(BadInput, match="'klingon' is not a dialect; expected auto, anthropic_messages, "):
        ModelServer("http://h", dialect="klingon")


@pytest.mark.parametrize("recorded", ["deepseek_flat_b", "synthetic_anthropic_messages_anthropic"])
def test_a_stream_in_another_dialect_than_the_address_tells_is_read_all_the_same(recorded: str) -> None:
    stream = (WIRE / f"{recorded}.sse").read_bytes()
    with model_server(Script([stream])) as server:
        message = asked(server.url)
        strictly = asked(server.url, dialect="openai_chat")
    assert (message.status, bool(message.thinking)) == ("finished", True)
    assert strictly.status != "finished"


# ---- what a model server is asked ----


def test_a_request_says_what_was_asked_for_and_nothing_else() -> None:
    turns = (Turn("user", "one"), Turn("assistant", "1"), Turn("user", "two"))
    with model_server(answer("ok")) as server:
        asked(server.url, Request(turns=turns, model="m"))
        asked(server.url, Request(turns=turns, model="m", system="be brief", options={"temperature": 0}))
    history = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "two"},
    ]
    plain = {
        "messages": history,
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert server.requests[0] == plain
    system = {"role": "system", "content": "be brief"}
    assert server.requests[1] == {**plain, "messages": [system, *history], "temperature": 0}


def test_an_option_wins_over_what_is_asked_by_default() -> None:
    with model_server(answer("ok")) as server:
        asked(server.url, asking(options={"stream_options": {"include_usage": False}, "model": "other"}))
    assert server.requests[0]["stream_options"] == {"include_usage": False}
    assert server.requests[0]["model"] == "other"


def test_to_go_on_is_to_show_the_answer_so_far_and_to_ask_for_the_rest() -> None:
    with model_server(answer(" and end")) as server:
        request = asking("tell", continues=True, content_so_far="Begin")
        assert asked(server.url, request).content == " and end"
        asked(server.url, asking("tell", continues=True))
    [question] = server.requests[1]["messages"]
    assert server.requests[0]["messages"] == [
        question,
        {"role": "assistant", "content": "Begin"},
        {"role": "user", "content": GO_ON},
    ]


# ---- which model ----


def test_the_model_of_the_question_comes_before_that_of_the_server() -> None:
    with model_server(answer("ok"), models=["a", "b", "c"]) as server:
        asked(server.url, asking(model="a"), model="b")
        asked(server.url, model="b")
    assert [body["model"] for body in server.requests] == ["a", "b"]


def test_the_only_model_that_is_offered_is_taken() -> None:
    with model_server(answer("ok"), models=["the-one"]) as server:
        asked(server.url)
    assert server.requests[0]["model"] == "the-one"


def test_several_models_are_not_guessed_at_but_listed() -> None:
    with model_server(answer("ok"), models=["a", "b"]) as server:
        error = refused(server.url)
    assert error.type == "no_model"
    assert str(error) == "this server offers several models (a, b); choose one of them as the model"
    assert server.requests == []


def test_a_long_list_of_models_is_shortened() -> None:
    with model_server(answer("ok"), models=[f"m{number}" for number in range(100)]) as server:
        assert "(m0, m1, m2, m3, m4, m5, m6, m7, …)" in str(refused(server.url))


@pytest.mark.parametrize(
    "models",
    [
        None,
        listed(),
        Response("<html>", media_type="text/html"),
        JSONResponse({"data": "none"}),
        JSONResponse([{"id": "x"}]),
        JSONResponse({"data": [{"name": "x"}, "y", {"id": 3}]}),
        JSONResponse({"data": [{"id": "x"}]}, 401),
    ],
)
def test_a_server_without_a_list_of_models_is_asked_without_a_model(models: Response | None) -> None:
    with Server(models=models) as server:
        asked(server.url)
    assert "model" not in server.asked[-1][2]


# ---- what can go wrong ----

ADVICE = "check the API key, and that it is read from the right variable (--key-env, api_key_env)"


@pytest.mark.parametrize(
    ("status", "kind", "advice"),
    [
        (400, "upstream_error", ""),
        (401, "authentication_error", f"; {ADVICE}"),
        (403, "permission_error", f"; {ADVICE}"),
        (404, "not_found", "; check the address and the model's name"),
        (429, "rate_limit_reached", "; wait a while and ask again"),
        (503, "upstream_error", ""),
    ],
)
def test_a_refusal_has_a_type_a_status_and_advice(status: int, kind: str, advice: str) -> None:
    with model_server(Script(status=status, body={"error": {"message": "no\nreally"}})) as server:
        error = refused(server.url)
    assert (error.type, error.status) == (kind, status)
    assert str(error) == f"the model server answered {status}: no really{advice}"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "in error.message"}}, "in error.message"),
        ({"error": "in error"}, "in error"),
        ({"object": "error", "message": "in message"}, "in message"),
        ({"detail": "in detail"}, "in detail"),
        ({"detail": [{"loc": ["body"], "msg": "in a list"}]}, "in a list"),
        ({}, "{}"),
    ],
)
def test_what_a_server_says_is_found_wherever_it_says_it(body: Any, said: str) -> None:
    with model_server(Script(status=500, body=body)) as server:
        assert said in str(refused(server.url))


@pytest.mark.parametrize(
    ("page", "said"), [(b"", "(nothing)"), (b"\xff bad \n gateway", "\ufffd bad gateway")]
)
def test_a_page_in_place_of_json_is_shown_as_text(page: bytes, said: str) -> None:
    with Server(chat=Response(page, 502, media_type="text/html")) as server:
        assert str(refused(server.url)) == f"the model server answered 502: {said}"


def test_a_very_long_refusal_is_cut() -> None:
    with Server(chat=Response("x" * 100_000, 500)) as server:
        assert len(str(refused(server.url))) < 600


def test_json_in_place_of_the_stream_says_that_the_address_may_be_wrong() -> None:
    with model_server(Script(body={"choices": []})) as server:
        error = refused(server.url)
    assert (error.type, error.status) == ("not_an_event_stream", 200)
    assert "200 with application/json" in str(error)


def test_a_server_that_is_not_there_is_told_from_either_call() -> None:
    with pytest.raises(
        UpstreamError, match="cannot be reached: no connection to http://127.0.0.1:9/"
    ) as error:
        asked("http://127.0.0.1:9/v1")
    assert error.value.type == "connection_failed"
    with pytest.raises(ConnectionFailed, match="no connection to http://127.0.0.1:9/v1/chat/completions"):
        asked("http://127.0.0.1:9/v1", model="m")


def test_an_error_that_is_only_a_comment_is_a_failure_that_keeps_the_text() -> None:
    with model_server(Script([chunk(content="half"), b"event: error\n: out of memory\n\n"])) as server:
        message = asked(server.url)
    assert (message.status, message.content) == ("failed", "half")
    assert message.error is not None and message.error.message == "out of memory"


def test_an_error_that_is_only_a_comment_counts_also_when_the_connection_then_breaks() -> None:
    script = Script([chunk(content="half"), b"event: error\n: out of memory\n\n", CUT])
    with model_server(script) as server:
        message = asked(server.url)
    assert (message.status, message.content) == ("failed", "half")
    assert message.error is not None and message.error.message == "out of memory"


def test_a_body_that_just_ends_yields_no_end() -> None:
    with model_server(Script([chunk(content="half")])) as server:
        assert asked(server.url).status == "streaming"


def test_a_body_that_ends_after_its_finish_reason_is_finished() -> None:
    with model_server(Script([chunk(content="whole"), finish("length")])) as server:
        message = asked(server.url)
    assert (message.status, message.finish_reason) == ("finished", "length")


def test_a_connection_that_breaks_after_the_finish_reason_lost_nothing() -> None:
    with model_server(Script([chunk(content="whole"), finish(), CUT])) as server:
        assert asked(server.url).status == "finished"


@pytest.mark.parametrize("broken", [True, False])
def test_text_held_back_as_repetition_is_given_out_when_the_stream_ends(broken: bool) -> None:
    so_far = "The quick brown fox jumps over the lazy dog"
    found: list[Patch] = []
    with model_server(Script([chunk(content="brown fox"), *([CUT] if broken else [])])) as server:
        try:
            request = asking(continues=True, content_so_far=so_far)
            run(gather(ModelServer(server.url), request, found))
        except SSEChatError:
            assert broken
    assert message_of(found).content == "brown fox"


def test_closing_the_stream_ends_the_generation_at_the_server() -> None:
    pause = Pause()

    async def leave(url: str) -> None:
        upstream = ModelServer(url)
        async with aclosing(upstream.stream(asking())) as stream:
            assert await anext(stream) == []  # it has begun
            assert Patch("response/content", "APPEND", "a") in await anext(stream)
        await upstream.aclose()

    with model_server(Script([chunk(content="a"), pause])) as server:
        run(leave(server.url))
        assert server.left.wait(10)


# ---- the key ----


def test_without_a_key_nothing_is_sent_in_its_place() -> None:
    with model_server(answer("ok")) as server:
        asked(server.url)
    assert "authorization" not in server.request_headers[0]


def test_the_key_is_sent_with_both_calls_to_its_server() -> None:
    with Server(models=listed("m")) as server:
        asked(server.url, api_key=KEY)
    assert [headers["authorization"] for _, headers, _ in server.asked] == [f"Bearer {KEY}"] * 2


def test_the_key_does_not_follow_a_redirect() -> None:
    with Server() as other, Server(chat=RedirectResponse(f"{other.url}/v1/chat/completions", 307)) as server:
        elsewhere = pytest.raises(Redirected, match="use that address")
        with elsewhere:
            asked(server.url, api_key=KEY)
    assert other.asked == []


@pytest.mark.parametrize("before", [0, 400, 460, 470, 480, 490, 495, 499])
def test_no_part_of_the_key_stands_in_a_refusal_wherever_it_is_cut(before: int) -> None:
    said = f"{'x' * before} {KEY} is wrong"
    with model_server(Script(status=401, body={"error": {"message": said}})) as server:
        text = str(refused(server.url, api_key=KEY))
    assert KEY[:4] not in text


@pytest.mark.parametrize(
    "frame",
    [
        {"error": {"message": f"no such key:\n{KEY}", "type": KEY}},
        f'event: error\ndata: {{"message": "no such key: {KEY}"}}\n\n'.encode(),
        f"event: error\n: no such key {KEY}\n\n".encode(),
        f"data: no such key {KEY}\n\n".encode(),
    ],
)
def test_the_key_does_not_stand_in_an_error_in_mid_stream_either(frame: Any) -> None:
    with model_server(Script([chunk(content="half"), frame, DONE])) as server:
        message = asked(server.url, api_key=KEY)
    assert message.status == "failed"
    assert message.error is not None and "***" in message.error.message
    assert KEY not in json.dumps(message.to_dict())
    assert "\n" not in message.error.message
