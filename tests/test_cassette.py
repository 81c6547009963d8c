"""The lines of a cassette: what is written is read again, and what cannot be read is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.corpora import openai_chunks, patch_events
from jupyter_ssechat.cassette import (
    Again,
    Ask,
    By,
    Chunk,
    Closed,
    Ended,
    Episode,
    Event,
    Omitted,
    Opened,
    header,
    is_cassette,
    line_of,
    written,
)
from jupyter_ssechat.errors import (
    ConnectionFailed,
    EventTooLarge,
    InvalidData,
    Redirected,
    SSEChatError,
    TimedOut,
    UpstreamError,
)

BY = By(dialect="openai_chat", server="http://h/v1/chat/completions", at="2026-01-31T12:00:00.000Z")


def again(line: Any) -> Any:
    return line_of(written(line).decode())


@given(st.integers(0, 10**9), st.binary(max_size=300) | st.text().map(str.encode))
def test_bytes_come_back_exactly_be_they_text_or_not(ms: int, data: bytes) -> None:
    raw = written(Chunk(ms, data))
    assert again(Chunk(ms, data)) == Chunk(ms, data)
    assert raw.endswith(b"\n") and raw.count(b"\n") == 1
    assert raw.isascii() or raw.decode()


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1), st.data())
def test_a_character_that_is_cut_in_two_leaves_the_rest_readable(text: str, data: st.DataObject) -> None:
    raw = text.encode()
    cut = data.draw(st.integers(0, len(raw)))
    parts = [again(Chunk(0, part)).data for part in (raw[:cut], raw[cut:])]
    assert b"".join(parts) == raw


def test_text_stands_as_text_and_only_what_is_none_in_base64() -> None:
    raw = "data: 你好".encode()
    assert written(Chunk(15, raw)).decode() == '[15,"data: 你好"]\n'
    assert written(Chunk(15, raw[:-1])).decode() == '[15,"data: 你",{"base64":"5aU="}]\n'
    assert written(Chunk(3, b"\xbd\n\n")).decode() == '[3,{"base64":"vQ=="},"\\n\\n"]\n'


LINES = [
    Ask({"turns": [{"user": "Why?"}], "thinking": True}),
    BY,
    By(
        dialect="patches",
        server="demo",
        at="",
        certain=False,
        prefill="prefix",
        asks_usage=False,
        handles=(None, {"id": 3}),
    ),
    Opened(12, 200, "text/event-stream"),
    Opened(0, 429, "application/json", 2.5),
    Chunk(0, b""),
    Closed(3),
    Again(0, 0.371),
    Ended(0, "finished", answer="Because."),
    Ended(7, "stopped"),
    Omitted("the prompt holds what looks like a secret"),
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: type(line).__name__)
def test_every_line_comes_back_as_it_was(line: Any) -> None:
    assert again(line) == line


@pytest.mark.parametrize(
    "error",
    [
        ConnectionFailed("it broke"),
        TimedOut("it went silent"),
        Redirected("elsewhere"),
        EventTooLarge("too large"),
        UpstreamError("no", type="rate_limit_reached", status=429, retry_after=3.0),
        UpstreamError("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_come_back_with_their_kind_and_their_fields(error: SSEChatError) -> None:
    for line in (Closed(1, error), Ended(1, "raised", error)):
        read = again(line).error
        assert type(read) is type(error)
        assert str(read) == str(error)
        assert vars(read) == vars(error)


def test_a_long_answer_is_shown_by_its_beginning_since_the_chunks_have_all_of_it() -> None:
    line = json.loads(written(Ended(0, "finished", answer="word " * 2000)))
    assert line["answer"].startswith("word word") and line["answer"].endswith("… (10,000 characters)")
    assert len(line["answer"]) < 2100


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "not JSON"),
        ('{"ask":', "not JSON"),
        ('{"other": 1}', "has none of cassette, ask, by"),
        ("3", "is no list"),
        ("[]", "time in milliseconds"),
        ('["15", "x"]', "time in milliseconds"),
        ('[-1, "x"]', "time in milliseconds"),
        ("[15, 3]", "other than text or"),
        ('[15, {"base64": "%"}]', "broken base64"),
        ('[15, "\\ud800"]', "half of a surrogate pair"),
        ('{"cassette": 2}', "version 2 is not known here; expected 1"),
        ('{"ask": 1}', "ask is no object"),
        ('{"by": {"dialect": "x"}}', "server is missing"),
        ('{"open": {"status": "200"}, "ms": 1}', "a status is missing"),
        ('{"close": "end"}', "time in milliseconds"),
        ('{"close": {"kind": "Oops", "message": "x"}, "ms": 1}', "unknown kind"),
        ('{"close": {"kind": "is_object", "message": "x"}, "ms": 1}', "unknown kind"),
        ('{"again": "x", "ms": 1}', "seconds is no number"),
        ('{"end": "done", "ms": 1}', "none of finished, stopped"),
        ('{"end": "raised", "ms": 1}', "without its error"),
    ],
)
def test_a_line_that_cannot_be_read_says_why(line: str, said: str) -> None:
    with pytest.raises(InvalidData, match=said):
        line_of(line)


def test_the_times_of_an_episode_are_whole_milliseconds_since_the_line_before() -> None:
    episode = Episode(Ask({"turns": []}), BY)
    for make, at, *fields in (
        (Opened, 12, 200, "t"),
        (Chunk, 30, b"a"),
        (Chunk, 29, b"b"),
        (Ended, 35, "cut"),
    ):
        episode.add(make, at, *fields)
    read = [line_of(raw.decode()) for raw in episode.block().splitlines()]
    times = [line.ms for line in read if isinstance(line, Event)]
    assert times == [12, 18, 0, 5]
    assert episode.at == 35


def test_a_cassette_is_told_by_its_first_line() -> None:
    assert is_cassette(header())
    assert not is_cassette(b"data: {}\n")
    assert not is_cassette(b"")


def test_tokens_take_at_most_twice_the_bytes_that_came() -> None:
    for corpus, factor in ((patch_events(2000), 2.0), (openai_chunks(500), 1.25)):
        chunks = [event + b"\n\n" for event in corpus.split(b"\n\n")[:-1]]
        assert sum(len(written(Chunk(15, chunk))) for chunk in chunks) < factor * len(corpus)
