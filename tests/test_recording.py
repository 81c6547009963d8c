"""A cassette before an upstream: what is recorded, what is replayed, in which mode, and what never reaches the file."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import urllib.parse
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jupyter_ssechat.cassette import RecordMode
from jupyter_ssechat.cassette_file import contents
from jupyter_ssechat.errors import BadInput, ConnectionFailed, SSEChatError, UpstreamError
from jupyter_ssechat.exchange import Patience
from jupyter_ssechat.message import failed, finished
from jupyter_ssechat.model_server import ModelServer
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.recording import recording
from jupyter_ssechat.request import Request
from jupyter_ssechat.tape import Cassette
from jupyter_ssechat.upstream import Demo, Upstream

from .asking import KEY, asking, message_of, patches_of
from .rogue import STREAM, Rogue, hanging, playing, raw
from .servers import CUT, DONE, Script, answer, chunk, finish, model_server, usage
from .taping import cassette, episode

SOON = Patience(first=0.001)


class Words:
    """An upstream that says the next of its answers each time; it counts how often it is asked."""

    name = "words"

    def __init__(self, *answers: str | Exception | list[list[Patch]]) -> None:
        self.answers = list(answers)
        self.asked: list[Request] = []
        self.closed = 0

    async def stream(self, request: Request) -> AsyncGenerator[list[Patch]]:
        self.asked.append(request)
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(said, Exception):
            raise said
        if not isinstance(said, list):
            said = [[Patch("response/content", "APPEND", said)], finished()]
        for patches in said:
            yield patches

    async def models(self) -> list[str]:
        return ["w"]

    async def aclose(self) -> None:
        self.closed += 1


def content(upstream: Upstream, request: Request | None = None) -> str:
    return message_of(patches_of(upstream, request)).content


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "talk.jsonl"


# ---- any upstream ----


@pytest.mark.parametrize(
    "said",
    [
        [],
        [[], [Patch("response/content", "APPEND", "a"), Patch("response/content", "APPEND", "b")]],
        [[Patch("response/status", "SET", "CONTENT_FILTER"), Patch("response/content", "SET", "recalled")]],
        [[Patch("response/tool_calls", "APPEND", [{"id": "1", "n": None}])], finished("tool_calls")],
        [
            [Patch("response/content", "APPEND", "half \ud83d")],
            [Patch("response/content", "APPEND", "\ude42")],
        ],
        [[Patch("", "SET", {"response": {"content": "whole"}})], [Patch("response/a/0/b", "SET", 1.5)]],
        [[Patch("response/content", "APPEND", "line\u2028 and \x00 and \x85")], failed("x", "broke")],
    ],
    ids=range(7),
)
def test_the_patches_of_any_upstream_come_back_as_they_were(path: Path, said: list[list[Patch]]) -> None:
    live = patches_of(recording(Words(said), path))
    assert live == [patch for patches in said for patch in patches]
    assert patches_of(recording(None, path)) == live


@pytest.mark.parametrize(
    "error",
    [
        UpstreamError("no such model", type="not_found", status=404),
        ConnectionFailed("nobody there"),
        BadInput("images cannot be sent"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_back_as_it_was(path: Path, error: SSEChatError) -> None:
    for real in (Words(error), None):
        with pytest.raises(type(error)) as raised:
            patches_of(recording(real, path))
        assert str(raised.value) == str(error) and vars(raised.value) == vars(error)


def test_an_upstream_that_fails_unexpectedly_is_left_out_with_a_note(path: Path) -> None:
    tape = Cassette(path)
    with pytest.raises(RuntimeError):
        patches_of(recording(Words(RuntimeError("a bug")), tape))
    assert tape.notes == ["talk.jsonl: an answer was not recorded: words failed with RuntimeError"]


def test_the_demo_replays_without_waiting_and_word_for_word(path: Path) -> None:
    live = patches_of(recording(Demo(pace=0), path), asking("a table"))
    assert patches_of(recording(None, path, mode="none"), asking("a table")) == live
    assert (
        message_of(live).content in path.read_text("utf-8").encode().decode("unicode_escape", "ignore")
        or live
    )


# ---- modes ----


def test_once_records_where_there_is_no_file_and_then_only_replays(path: Path) -> None:
    words = Words("first", "second")
    assert content(recording(words, path)) == "first"
    again = recording(words, path)
    assert content(again) == "first"
    with pytest.raises(UpstreamError, match="is not on cassette talk.jsonl"):
        content(again, asking("something else"))
    assert len(words.asked) == 1


def test_once_records_all_there_is_while_the_file_is_new(path: Path) -> None:
    tape = Cassette(path)
    upstream = recording(Words("first", "second"), tape)
    assert [content(upstream), content(upstream)] == ["first", "second"]
    assert tape.recorded == 2
    assert [content(recording(None, path)) for _ in range(2)] == ["first", "first"]


def test_new_episodes_replays_what_is_known_and_records_the_rest(path: Path) -> None:
    cassette(path, episode("hello", "known"))
    words = Words("new")
    upstream = recording(words, path, mode="new_episodes")
    assert [content(upstream, asking(text)) for text in ("hello", "other", "hello")] == [
        "known",
        "new",
        "new",
    ]
    assert [request.prompt for request in words.asked] == ["other", "hello"]
    again = recording(None, path, mode="none")
    assert [content(again, asking(text)) for text in ("hello", "hello", "other")] == ["known", "new", "new"]


def test_all_records_everything_anew_in_place_of_the_old_file(path: Path) -> None:
    cassette(path, episode("hello", "old"), episode("gone", "old"))
    upstream = recording(Words("new", "newer"), path, mode="all")
    assert len(contents(path)) == 2
    assert [content(upstream), content(upstream)] == ["new", "newer"]
    assert [content(one) for one in [recording(None, path)] for _ in range(2)] == ["new", "newer"]
    assert len(contents(path)) == 2


def test_none_replays_and_asks_nobody(path: Path) -> None:
    cassette(path, episode("hello", "known"))
    words = Words("never")
    upstream = recording(words, path, mode="none")
    assert content(upstream) == "known"
    with pytest.raises(UpstreamError) as refused:
        content(upstream, asking("hullo", model="m"))
    assert refused.value.type == "not_recorded"
    assert str(refused.value) == (
        "this request is not on cassette talk.jsonl, which has 1 episode; the nearest differs in its prompt:"
        " asked 'hullo', recorded 'hello'; record it in the mode new_episodes"
    )
    assert words.asked == [] and path.read_bytes().count(b'"ask"') == 1


def test_the_same_question_replays_in_the_order_it_was_asked_and_the_last_answer_again(path: Path) -> None:
    cassette(path, episode("hello", "one", at="2026-01-01"), episode("hello", "two", at="2026-01-02"))
    upstream = recording(None, path)
    assert [content(upstream) for _ in range(4)] == ["one", "two", "two", "two"]
    assert content(recording(None, path)) == "one"


@pytest.mark.parametrize(
    ("open_it", "said"),
    [
        (lambda path: Cassette(path, "none"), "does not exist; record it first"),
        (
            lambda path: Cassette(path, "some"),
            "'some' is not a record mode; expected one of once, new_episodes",
        ),
        (lambda path: Cassette(path, pace=-1), "pace is -1; expected 0"),
        (lambda path: Cassette(path.parent / "no folder" / "x.jsonl"), "there is no folder"),
        (lambda path: Cassette(path.parent), "cannot be read"),
        (lambda path: Cassette(path.with_suffix(".sse")), "does not exist"),
        (lambda path: recording(None, path), "nothing to record from"),
        (lambda path: path.touch() or Cassette(path, "none"), "talk.jsonl is empty; record it first"),
    ],
    ids=range(8),
)
def test_what_cannot_be_used_is_bad_input(path: Path, open_it: Callable[[Path], object], said: str) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        open_it(path)
    assert "\n" not in str(refused.value)


def test_the_upstream_is_opened_when_it_is_needed_and_not_before(path: Path) -> None:
    cassette(path, episode("hello", "known"))
    opened: list[Words] = []

    def opens() -> Words:
        opened.append(Words("new"))
        return opened[-1]

    upstream = recording(opens, path, mode="new_episodes")
    assert content(upstream) == "known" and not opened
    assert content(upstream, asking("other")) == "new" and len(opened) == 1
    assert content(upstream, asking("another")) == "new" and len(opened) == 1
    assert opened[0].closed == 2  # with each question of this test


def test_an_upstream_that_cannot_be_opened_fails_the_answer(path: Path) -> None:
    cassette(path, episode("hello", "known"))

    def opens() -> Words:
        raise BadInput("openai needs a key; set the environment variable OPENAI_API_KEY")

    with pytest.raises(BadInput, match="needs a key"):
        content(recording(opens, path, mode="new_episodes"), asking("other"))


def test_a_broken_line_is_noted_and_told_where_it_may_be_the_reason(path: Path) -> None:
    cassette(path, episode("hello", "known"), episode("lost", "words"))
    path.write_bytes(path.read_bytes()[:-20])
    tape = Cassette(path, "none")
    assert content(recording(None, tape)) == "known"
    [note] = tape.notes
    assert note.startswith("talk.jsonl, line 11: the file is cut off here")
    with pytest.raises(UpstreamError, match="line 11: the file is cut off here"):
        content(recording(None, tape), asking("lost"))


def test_an_answer_that_cannot_be_written_is_whole_for_its_reader_and_noted(path: Path) -> None:
    tape = Cassette(path)
    path.mkdir()
    assert content(recording(Words("said"), tape)) == "said"
    assert tape.notes == ["talk.jsonl: an answer was not recorded: Is a directory"]


def test_its_models_are_those_of_the_upstream_or_those_that_were_asked_for(path: Path) -> None:
    live = recording(Words("x"), path)
    assert asyncio.run(live.models()) == ["w"]
    patches_of(live, asking(model="b"))
    patches_of(live, asking(model="a"))
    patches_of(live, asking())
    assert asyncio.run(recording(None, path).models()) == ["a", "b"]


# ---- model servers ----


def replayed(path: Path, request: Request | None = None) -> list[Patch]:
    return patches_of(recording(None, path, mode="none"), request)


def recorded(path: Path, url: str, request: Request | None = None, **options: Any) -> list[Patch]:
    options = {"patience": SOON, **options}
    return patches_of(recording(ModelServer(url, **options), path, mode="new_episodes"), request)


THOUGHTFUL = answer("Once ", "upon ", "a ", "time.", thinking=("Well", "…"))


def test_a_model_servers_stream_is_kept_as_bytes_and_replays_without_the_server(path: Path) -> None:
    with model_server(THOUGHTFUL) as server:
        live = recorded(path, server.url)
    assert message_of(live).status == "finished"
    assert replayed(path) == live
    assert json.dumps('data: {"id": "c1"')[1:-1] in path.read_text("utf-8")


@pytest.mark.parametrize(
    "scripts",
    [
        (Script([chunk(content="to"), CUT]),),
        (
            Script(body={"error": {"message": "slow down"}}, status=429, headers={"retry-after": "0"}),
            THOUGHTFUL,
        ),
        (Script(body={"error": {"message": "full"}}, status=503, headers={"retry-after": "3600"}),),
        (Script(body={"error": {"message": "unknown stream_options"}}, status=400), THOUGHTFUL),
        (Script(body={"error": {"message": "no"}}, status=401),),
        (Script([b"<html>"], content_type="text/html"),),
        (Script([chunk(content="a"), {"error": {"message": "it broke"}}]),),
        (Script([b"data: {nonsense\n\n"]),),
        (Script(body={"choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}]}),),
        (Script([chunk(content="a"), finish("length"), usage(3, 1), DONE]),),
        (Script([], status=204),),
    ],
    ids=range(11),
)
def test_refusals_retries_cuts_and_failures_come_back_as_they_were(
    path: Path, scripts: tuple[Script, ...]
) -> None:
    def outcome(ask: Callable[[], list[Patch]]) -> object:
        try:
            return ask()
        except SSEChatError as error:
            return type(error), str(error), vars(error)

    with model_server(*scripts) as server:
        live = outcome(lambda: recorded(path, server.url, asking(model="m")))
    assert outcome(lambda: replayed(path, asking(model="m"))) == live


def test_a_server_that_cannot_be_reached_replays_as_such(path: Path) -> None:
    told: list[str] = []
    for ask in (
        lambda: recorded(path, "http://127.0.0.1:9/v1", asking(model="m")),
        lambda: replayed(path, asking(model="m")),
    ):
        with pytest.raises(ConnectionFailed) as failed_:
            ask()
        told.append(str(failed_.value))
    assert told[0] == told[1]


def test_an_answer_that_goes_on_is_asked_and_trimmed_as_it_was(path: Path) -> None:
    request = asking(model="m", continues=True, content_so_far="The quick brown fox jumps")
    with model_server(answer("brown fox jumps over ", "the dog.")) as server:
        live = recorded(path, server.url, request)
    assert message_of(live).content == " over the dog."
    assert replayed(path, request) == live


async def taken_up(asked: Any, writer: Any) -> None:
    """A plain stream that breaks after its second event, and goes on after the last one that was had."""
    after = int(asked.headers.get("last-event-id", "0"))
    words = [f'id: {n}\ndata: {{"content": "word {n} "}}\n\n'.encode() for n in range(1, 6)]
    last = b"event: close\ndata: {}\n\n"
    if after:
        return await playing(raw(b"".join(words[after:]) + last, STREAM))(asked, writer)
    writer.write(raw(b"", STREAM, "transfer-encoding: chunked", length=False))
    for word in words[:2]:
        writer.write(b"%x\r\n%b\r\n" % (len(word), word))
    await writer.drain()
    return None


def test_a_stream_that_broke_and_was_taken_up_replays_over_both_connections(path: Path) -> None:
    async def live() -> list[Patch]:
        found: list[Patch] = []
        server = Rogue(taken_up)
        async with server.serving() as url:
            upstream = recording(ModelServer(f"{url}/ai/chat/stream", patience=SOON), path)
            async for patches in upstream.stream(asking()):
                found += patches
            await upstream.aclose()
        assert len(server.asked) == 2
        return found

    patches = asyncio.run(asyncio.wait_for(live(), 30))
    assert message_of(patches).content == "word 1 word 2 word 3 word 4 word 5 "
    assert any(patch.path == "response/notice" and patch.value for patch in patches)
    assert replayed(path) == patches
    text = path.read_text("utf-8")
    assert text.count('{"open"') == 2 and text.count('{"again"') == 1 and '"kind":"ConnectionFailed"' in text


def test_the_dialects_address_of_a_recording_is_found_again() -> None:
    for name in (
        "openai_chat",
        "openai_responses",
        "anthropic_messages",
        "deepseek",
        "plain_content",
        "plain_text",
    ):
        for url in ("http://h", "http://u:p@h:81/v1?x=1", "http://h/api/v0/chat"):
            server = ModelServer(url, dialect=name)
            assert ModelServer(server.name, dialect=name).name == server.name


# ---- secrets ----

TALES = {
    "plain": KEY,
    "json": json.dumps(KEY).replace("-", "\\u002d"),
    "percent": urllib.parse.quote(KEY).replace("-", "%2D"),
    "base64": base64.b64encode(f"user:{KEY}".encode()).decode(),
    "base64 later": base64.b64encode(f"x user:{KEY} and more".encode()).decode(),
    "upper": KEY.upper(),
    "hex": KEY.encode().hex(),
}


@pytest.mark.parametrize("form", sorted(TALES))
@pytest.mark.parametrize("size", [3, 1000])
def test_a_stream_with_the_key_in_any_form_is_not_recorded(path: Path, form: str, size: int) -> None:
    tale = TALES[form]
    pieces = [tale[at : at + size] for at in range(0, len(tale), size)]
    with model_server(answer("your key is ", *pieces)) as server:
        tape = Cassette(path)
        upstream = recording(ModelServer(server.url, api_key=KEY), tape)
        live = patches_of(upstream, asking(model="m"))
    assert message_of(live).content == f"your key is {tale}"
    [note] = tape.notes
    assert "not recorded" in note and "holds the key of the model server" in note
    assert_free_of(path.read_bytes(), KEY)


def assert_free_of(raw: bytes, secret: str) -> None:
    """Look for a secret, whole and in its parts, as it is and inside of what is coded."""
    text = raw.decode()
    words = [word[: len(word) // 4 * 4] for word in re.findall(r"[A-Za-z0-9+/]{12,}", text)]
    coded = [base64.b64decode(word).decode("latin-1") for word in words]
    for found in (text, urllib.parse.unquote(text), *coded):
        assert secret.lower() not in found.lower()
        assert secret.lower()[3:15] not in found.lower()


def test_keys_headers_cookies_and_the_query_of_an_address_never_reach_the_file(path: Path) -> None:
    script = replace(
        THOUGHTFUL, headers={"set-cookie": "session=c00kie-of-the-server", "x-request-id": "header-of-theirs"}
    )
    with model_server(script) as server:
        url = server.url.replace("http://", f"http://user:{KEY}-password@") + f"?key={KEY}-query"
        recorded(path, url, asking(model="m"), api_key=KEY)
        assert "authorization" in server.request_headers[0]
    text = path.read_text("utf-8")
    assert '"finished"' in text
    assert_free_of(path.read_bytes(), KEY)
    for word in (
        "authorization",
        "cookie",
        "c00kie",
        "header-of-theirs",
        "password",
        "query",
        "Bearer",
        "user:",
    ):
        assert word.lower() not in text.lower()


def test_a_refusal_that_quotes_the_key_is_recorded_without_it_and_replays_the_same(path: Path) -> None:
    script = Script(body={"error": {"message": f"Incorrect API key provided: {KEY}."}}, status=401)
    said: list[str] = []
    with model_server(script) as server:
        for ask in (
            lambda: recorded(path, server.url, asking(model="m"), api_key=KEY),
            lambda: replayed(path, asking(model="m")),
        ):
            with pytest.raises(UpstreamError) as refused:
                ask()
            said.append(str(refused.value))
    assert said[0] == said[1] and "***" in said[0]
    assert_free_of(path.read_bytes(), KEY)


@pytest.mark.parametrize(
    "request_",
    [
        asking("my key is ghp_abcdefABCDEF0123456789abcdefABCDEF01"),
        asking("hello", system="password: aB3dE6fG9hJ2kL5m"),
        asking("hello", options={"api_key": "aB3dE6fG9hJ2kL5mN8"}),
        asking("hello", continues=True, content_so_far="AKIAIOSFODNN7EXAMPLE"),
    ],
    ids=range(4),
)
def test_a_question_that_holds_what_looks_like_a_secret_is_answered_and_not_recorded(
    path: Path, request_: Request
) -> None:
    tape = Cassette(path)
    assert content(recording(Words("fine"), tape), request_) == "fine"
    [note] = tape.notes
    assert note.startswith(
        "talk.jsonl: an answer was not recorded: the request holds what looks like a secret"
    )
    text = path.read_text("utf-8")
    assert not any(secret in text for secret in ("ghp_", "aB3dE6", "AKIA"))
    with pytest.raises(
        UpstreamError, match="left out when it was recorded: the request holds what looks like"
    ):
        content(recording(None, path), request_)


def test_a_secret_that_comes_letter_by_letter_is_found(path: Path) -> None:
    said = [
        [Patch("response/content", "APPEND", char)]
        for char in "it is ghp_abcdefABCDEF0123456789abcdefABCDEF01"
    ]
    tape = Cassette(path)
    patches_of(recording(Words([*said, finished()]), tape))
    assert "the answer holds what looks like a secret (a key that begins with ghp)" in tape.notes[0]
    assert '"end"' not in path.read_text("utf-8")


def test_what_is_left_out_is_told_of_each_answer_when_all_is_recorded_anew(path: Path) -> None:
    cassette(path, episode("hello", "former"))
    words = Words("ghp_abcdefABCDEF0123456789abcdefABCDEF01", "sk-proj-Ab12cd34ef56gh78ij90", "fine")
    upstream = recording(words, path, mode="all")
    for prompt in ("a", "b", "c"):
        content(upstream, asking(prompt))
    found = contents(path)
    assert len(found.omitted) == 2 and len(found) == 1 and b"former" not in path.read_bytes()


SPELLED = "".join(f"\\u{ord(char):04x}" for char in KEY)


@pytest.mark.parametrize(
    "script",
    [
        Script([b'data: {"unread": "%b"}\n\n' % SPELLED.encode(), chunk(content="a"), finish(), DONE]),
        Script([b": %b\n\n" % KEY.encode(), chunk(content="a"), finish(), DONE]),
        Script([b"x"], content_type=f"text/{KEY}"),
        Script(
            [
                chunk(tool_calls=[{"index": 0, "id": "c", "function": {"name": "f", "arguments": KEY[:9]}}]),
                chunk(tool_calls=[{"index": 0, "function": {"arguments": KEY[9:]}}]),
                finish("tool_calls"),
                DONE,
            ]
        ),
    ],
    ids=["spelled", "comment", "type", "tool"],
)
def test_a_key_in_what_nobody_reads_does_not_reach_the_file(path: Path, script: Script) -> None:
    with model_server(script) as server, contextlib.suppress(UpstreamError):
        recorded(path, server.url, asking(model="m"), api_key=KEY)
    text = path.read_text("utf-8")
    assert KEY not in text and SPELLED not in text.replace("\\\\", "\\") and KEY[9:] not in text


# ---- hold ----


def test_an_answer_that_its_readers_left_replays_to_there_and_ends_as_cut(path: Path) -> None:
    async def leave(url: str) -> None:
        upstream = recording(ModelServer(url), path)
        stream = upstream.stream(asking(model="m"))
        async for patches in stream:
            if any(patch.path == "response/content" for patch in patches):
                break
        await stream.aclose()
        await upstream.aclose()

    async def live() -> None:
        head = (
            raw(b"", STREAM, length=False)
            + b"data: "
            + json.dumps(chunk(content="so far")).encode()
            + b"\n\n"
        )
        server = Rogue(hanging(head))
        async with server.serving() as url:
            await leave(f"{url}/v1")
            await server.left.wait()

    asyncio.run(asyncio.wait_for(live(), 30))
    assert '{"end":"left"' in path.read_text("utf-8")
    tape = Cassette(path, "none")
    tape.hold = 0
    message = message_of(patches_of(recording(None, tape), asking(model="m")))
    message.interrupt()
    assert (message.content, message.status) == ("so far", "interrupted")


MODES: tuple[RecordMode, ...] = ("once", "new_episodes", "all", "none")


@pytest.mark.parametrize("mode", MODES)
def test_its_name_is_the_same_while_it_records_and_while_it_replays(path: Path, mode: RecordMode) -> None:
    if mode == "none":
        cassette(path, episode("hello", "known"))
    assert recording(Words("x"), path, mode=mode).name == "cassette talk.jsonl"
