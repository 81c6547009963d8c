"""Server-sent events: the decoder against the specification's text, byte by byte (protocols section 5)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jupyter_ssechat.errors import EventTooLarge
from jupyter_ssechat.sse import LONGEST_RETRY, ServerSentEvent, SSEDecoder, comment, encode

WIRE = Path(__file__).parent / "wire"
STREAMS = sorted(WIRE.glob("*.sse"))


def decode(stream: bytes, *, size: int | None = None, **options: bool) -> list[ServerSentEvent]:
    """Decode in chunks of `size` bytes, or in one."""
    decoder = SSEDecoder(**options)
    size = size or max(len(stream), 1)
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    return [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.finish()


def specified(stream: bytes) -> tuple[list[ServerSentEvent], str, int | None]:
    """The algorithm of the specification, word for word and slow: events, last event id, retry."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]
    events: list[ServerSentEvent] = []
    data, name, id_buffer, last_id = "", "", "", ""
    retry: int | None = None
    block_retry: int | None = None
    for line in lines:
        if line == "":
            last_id = id_buffer
            if data != "":
                events.append(
                    ServerSentEvent(name or "message", data.removesuffix("\n"), last_id, block_retry)
                )
            data, name, block_retry = "", "", None
            continue
        if line.startswith(":"):
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "event":
                name = value
            case "data":
                data += value + "\n"
            case "id" if "\0" not in value:
                id_buffer = value
            case "retry" if value and all(c in "0123456789" for c in value):
                retry = block_retry = min(int(value), LONGEST_RETRY)
    return events, last_id, retry


FIELDS = b"data|event|id|retry|data: a\n|data: b\n\n|data:\n\n|data\n\n|event: e\n|id: 1\n|id\n|: c\n|Data: A\n".split(
    b"|"
)
ENDS = [b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r"]
OTHERS = [b":", b": ", b" ", b"x", b"7", b"007", b"\0", b"\v", b"\f", b"\x85", b"\xc2\x85", "\u2028".encode()]
BROKEN = [b"\xe5\xa5\xbd", b"\xe5\xa5", b"\xff", b"\xef\xbb\xbf", b"\xef\xbb"]
pieces = st.sampled_from(FIELDS + ENDS + OTHERS + BROKEN)
streams = st.lists(pieces, max_size=30).map(b"".join)


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[a:b] for a, b in pairwise(edges)]


@given(streams, st.lists(st.integers(0, 400), max_size=12))
@example(b"data: a\n\n\ndata: b\n\n", [9, 10])
@example(b"data: a\n\n\n\ndata: b\n\n", [])
@example(b"\xef\xbb\xbfdata: a\r\rdata: b\r\n\r\n", [1, 2, 3, 11, 12])
@example(b"data: a\r\n\r\n", range(12))
def test_any_bytes_in_any_chunks_decode_as_specified(stream: bytes, places: Iterable[int]) -> None:
    decoder = SSEDecoder()
    events = [event for chunk in cut(stream, places) for event in decoder.feed(chunk)]
    expected, last_id, retry = specified(stream)
    assert events == expected
    assert decoder.last_event_id == last_id
    assert decoder.retry == retry
    assert decoder.finish() == []
    assert decoder.retry == retry


@given(streams, st.lists(st.integers(0, 400), max_size=12))
def test_a_lenient_end_is_a_blank_line_at_the_end(stream: bytes, places: Iterable[int]) -> None:
    decoder = SSEDecoder(lenient_end=True)
    events = [event for chunk in cut(stream, places) for event in decoder.feed(chunk)]
    assert events + decoder.finish() == specified(stream + b"\n\n")[0]
    assert decoder.finish() == []


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_recorded_streams_decode_alike_at_every_byte_boundary(path: Path) -> None:
    stream = path.read_bytes()
    whole = specified(stream)[0]
    assert whole
    assert decode(stream, size=1) == whole
    for at in range(len(stream) + 1):
        decoder = SSEDecoder()
        assert decoder.feed(stream[:at]) + decoder.feed(stream[at:]) == whole


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_a_byte_order_mark_is_dropped_also_byte_by_byte(path: Path) -> None:
    stream = path.read_bytes()
    assert decode(b"\xef\xbb\xbf" + stream, size=1) == decode(stream)
    assert decode(b"\xef\xbb\xbf" + stream) == decode(stream)


def test_only_one_byte_order_mark_is_dropped() -> None:
    assert decode(b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n") == [ServerSentEvent(data="b")]


@pytest.mark.parametrize(
    ("stream", "events"),
    [  # the examples of the specification
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [ServerSentEvent(data="YHOO\n+2\n10")]),
        (
            b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
            [
                ServerSentEvent(data="first event", id="1"),
                ServerSentEvent(data="second event"),
                ServerSentEvent(data=" third event"),
            ],
        ),
        (b"data\n\ndata\ndata\n\ndata:", [ServerSentEvent(data=""), ServerSentEvent(data="\n")]),
        (b"data:test\n\ndata: test\n\n", [ServerSentEvent(data="test")] * 2),
        (b"event: add\ndata: 73857293\n\n", [ServerSentEvent("add", "73857293")]),
    ],
)
def test_examples_of_the_specification(stream: bytes, events: list[ServerSentEvent]) -> None:
    assert decode(stream) == decode(stream, size=1) == events


def test_a_block_without_data_dispatches_nothing_and_resets_the_type() -> None:
    assert decode(b"event: lost\n\ndata: a\n\n") == [ServerSentEvent(data="a")]


def test_a_ping_after_an_id_is_no_event() -> None:
    assert decode(b"id: 7\ndata: a\n\n: ping\n\ndata: b\n\n") == [
        ServerSentEvent(data="a", id="7"),
        ServerSentEvent(data="b", id="7"),
    ]


def test_an_id_is_committed_at_the_blank_line() -> None:
    decoder = SSEDecoder()
    decoder.feed(b"id: 1\n\nid: 2\n")
    assert decoder.last_event_id == "1"
    decoder.feed(b"\n")
    assert decoder.last_event_id == "2"


def test_an_id_with_nul_is_ignored() -> None:
    assert decode(b"id: 1\ndata: a\n\nid: \0 2\ndata: b\n\n")[1].id == "1"


def test_retry_takes_ascii_digits_only() -> None:
    decoder = SSEDecoder()
    for text in ("-1", "1_000", "+5", "1.5", " 5", "٣", "5 ", ""):
        decoder.feed(f"retry: {text}\n\n".encode())
    assert decoder.retry is None
    assert decoder.feed(b"retry: 0050\ndata: a\n\n") == [ServerSentEvent(data="a", retry=50)]
    decoder.feed(b"retry:0\n")
    assert decoder.retry == 0


def test_an_endless_retry_is_cut_and_costs_no_time() -> None:
    decoder = SSEDecoder()
    started = time.process_time()
    decoder.feed(b"retry: " + b"9" * 2**20 + b"\n\n")
    assert decoder.retry == LONGEST_RETRY
    assert time.process_time() - started < 1


def test_separators_of_other_standards_are_data() -> None:
    text = "a\u2028b\u2029c\x85d\ve\ff\x1cg"
    assert decode(f"data: {text}\n\n".encode()) == [ServerSentEvent(data=text)]


def test_invalid_utf8_becomes_replacement_characters_wherever_it_is_cut() -> None:
    stream = b"data: \xff \xe5\xa5 \xf0\x9f\x98\n\n"
    assert decode(stream) == decode(stream, size=1) == [ServerSentEvent(data="\ufffd \ufffd \ufffd")]


def test_a_stream_that_ends_its_lines_with_cr_does_not_wait_for_the_next_byte() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a\r\r") == [ServerSentEvent(data="a")]
    assert decoder.feed(b"\ndata: b\r\n\r") == [ServerSentEvent(data="b")]
    assert decoder.feed(b"") == []
    assert decoder.feed(b"\n\n\n") == []
    assert decoder.feed(b"data: c\n\r") == [ServerSentEvent(data="c")]


def test_empty_chunks_cost_nothing() -> None:
    decoder = SSEDecoder()
    for chunk in (b"", b"data: a\n", b"", b"", b"\n", b""):
        events = decoder.feed(chunk)
        assert events == ([ServerSentEvent(data="a")] if chunk == b"\n" else [])
        assert b"" not in vars(decoder)["_parts"][1:]


def test_the_unfinished_block_is_discarded_unless_lenient() -> None:
    stream = b"data: a\n\ndata: [DONE]"
    assert decode(stream) == [ServerSentEvent(data="a")]
    assert decode(stream, lenient_end=True) == [ServerSentEvent(data="a"), ServerSentEvent(data="[DONE]")]


def test_blocks_that_dispatch_nothing_are_offered() -> None:
    seen: list[tuple[str, list[str]]] = []
    decoder = SSEDecoder(on_ignored=lambda name, comments: seen.append((name, comments)))
    decoder.feed(b"event: error\n: out of\n: memory\n\n: ping\n\n\n\nid: 3\n\ndata: a\n: c\n\nevent: e\n\n")
    assert seen == [("error", ["out of", "memory"]), ("", ["ping"]), ("e", [])]


def test_an_event_in_place_of_an_ignored_block_keeps_the_order() -> None:
    decoder = SSEDecoder(on_ignored=lambda name, comments: ServerSentEvent(name, " ".join(comments)))
    events = decoder.feed(b"data: a\n\nevent: error\n: no\n\ndata: b\n\n")
    assert [event.data for event in events] == ["a", "no", "b"]


def test_an_event_above_the_cap_fails_the_decoder_for_good() -> None:
    decoder = SSEDecoder(max_event_bytes=100)
    with pytest.raises(EventTooLarge, match=r"^[^\n]*100 bytes[^\n]*max_event_bytes$"):
        decoder.feed(b"data: " + b"x" * 200)
    for again in (lambda: decoder.feed(b"data: a\n\n"), decoder.finish):
        with pytest.raises(EventTooLarge):
            again()


def test_events_before_one_above_the_cap_are_not_lost() -> None:
    for big in (b"data: " + b"x" * 200, b"data: " + b"x" * 200 + b"\n\ndata: late\n\n"):
        decoder = SSEDecoder(max_event_bytes=100)
        assert decoder.feed(b"data: a\n\ndata: b\n\n" + big) == [
            ServerSentEvent(data="a"),
            ServerSentEvent(data="b"),
        ]
        with pytest.raises(EventTooLarge):
            decoder.feed(b"")


def events_until_failure(stream: bytes, size: int, cap: int) -> tuple[list[ServerSentEvent], bool]:
    decoder, events = SSEDecoder(max_event_bytes=cap), []
    try:
        for at in range(0, len(stream), size):
            events += decoder.feed(stream[at : at + size])
        decoder.finish()
    except EventTooLarge:
        return events, True
    return events, False


@given(streams, st.integers(1, 40), st.sampled_from([1, 2, 3, 7, 1000]))
def test_the_cap_does_not_depend_on_the_chunks(stream: bytes, cap: int, size: int) -> None:
    stream += b"\n\n"
    whole = events_until_failure(stream, len(stream), cap)
    assert events_until_failure(stream, size, cap) == whole


def test_the_cap_counts_exactly_the_bytes_of_the_field_lines() -> None:
    stream = b"event: e\r\n: a comment\r\ndata: xx\r\n\r\n"  # 9 + 9 with one byte for each line end
    for size in (1, 5, 100):
        assert events_until_failure(stream, size, 18) == ([ServerSentEvent("e", "xx")], False)
        assert events_until_failure(stream, size, 17) == ([], True)


def test_many_small_data_lines_are_capped_too() -> None:
    decoder = SSEDecoder(max_event_bytes=10_000)
    for _ in range(10_000 // 8):
        decoder.feed(b"data: x\n")
    with pytest.raises(EventTooLarge):
        decoder.feed(b"data: x\n")


def test_a_flood_of_comments_is_free_and_bounded() -> None:
    decoder = SSEDecoder(max_event_bytes=1000)
    decoder.feed(b"event: e\n")
    for _ in range(20_000):
        assert decoder.feed(b": keep-alive\n") == []
    for _ in range(20_000):
        assert decoder.feed(b":endless comment") == []
    held = sum(map(len, vars(decoder)["_parts"]))
    assert held <= 2100
    assert decoder.feed(b"\ndata: a\n\n") == [ServerSentEvent("e", "a")]


def seconds(stream: bytes, size: int) -> float:
    decoder, started = SSEDecoder(), time.process_time()
    for at in range(0, len(stream), size):
        decoder.feed(stream[at : at + size])
    return time.process_time() - started


@pytest.mark.parametrize("lines", [1, 10_000], ids=["one long line", "many short lines"])
def test_time_is_linear_in_tiny_chunks(lines: int) -> None:
    def stream(size: int) -> bytes:
        return (b"data: " + b"x" * (size // lines) + b"\n") * lines + b"\n"

    small = min(seconds(stream(2**18), 17) for _ in range(5))
    large = min(seconds(stream(2**21), 17) for _ in range(3))
    assert large < 8 * small * 3  # eight times the bytes; quadratic would be 64 times the time


def test_events_are_values() -> None:
    event = SSEDecoder().feed(b"id: 4\nretry: 5\nevent: e\ndata: d\n\n")[0]
    assert event == ServerSentEvent("e", "d", "4", 5)
    assert len({event, ServerSentEvent("e", "d", "4", 5)}) == 1
    assert repr(ServerSentEvent(data="d")) == "ServerSentEvent(event='message', data='d', id='', retry=None)"
    assert SSEDecoder().feed(b"data: d\n\n") == [ServerSentEvent(data="d")]
    assert hash(SSEDecoder().feed(b"data: d\n\n")[0]) == hash(ServerSentEvent(data="d"))
    with pytest.raises(AttributeError):
        event.data = "other"  # type: ignore[misc]


def test_a_cap_below_one_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="max_event_bytes is 0"):
        SSEDecoder(max_event_bytes=0)


names = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=10)


@given(names, st.text(st.characters(exclude_categories=["Cs"])), names, st.none() | st.integers(0, 10**9))
def test_what_is_encoded_decodes(event: str, data: str, id: str, retry: int | None) -> None:
    sent = ServerSentEvent(event or "message", data, id, retry)
    wire = encode(sent)
    assert b"\r" not in wire
    assert wire == encode(event=sent.event, data=data, id=id, retry=retry)
    received = ServerSentEvent(sent.event, data.replace("\r\n", "\n").replace("\r", "\n"), id, retry)
    assert decode(wire) == [received]


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\0b"])
def test_a_newline_has_no_place_in_names_ids_and_comments(text: str) -> None:
    for send in (
        lambda: encode(data="", event=text),
        lambda: encode(data="", id=text),
        lambda: comment(text),
    ):
        with pytest.raises(ValueError, match="newline"):
            send()


def test_a_comment_is_one_line_with_one_newline() -> None:
    assert comment("keep-alive") == b": keep-alive\n"
    assert decode(comment("a") + encode(data="x") + comment("b")) == [ServerSentEvent(data="x")]


def test_half_a_character_is_sent_as_a_replacement() -> None:
    assert encode(data="a\ud83d") == "data: a\ufffd\n\n".encode()


@pytest.mark.soak
@pytest.mark.parametrize(
    "property",
    [test_any_bytes_in_any_chunks_decode_as_specified, test_the_cap_does_not_depend_on_the_chunks],
)
def test_it_holds_at_length(property: Callable[[], None]) -> None:
    settings(max_examples=30_000, deadline=None)(property)()


@pytest.mark.parametrize(
    ("block", "told"),
    [
        (b'error: {"message":"m"}\n\n', [("error", ['{"message":"m"}'])]),
        (b"event: failure\nerror: m\n\n", [("failure", ["m"])]),
        (b"data: d\nerror: m\n\n", []),
        (b"errors: m\n\n", []),
    ],
)
def test_a_field_named_error_is_told_as_an_ignored_error(block: bytes, told: list[Any]) -> None:
    ignored: list[Any] = []
    decoder = SSEDecoder(on_ignored=lambda name, comments: ignored.append((name, comments)))
    decoder.feed(block)
    assert ignored == told
