"""Bytes → events: our decoder against httpx-sse's own, on the same chunks, UTF-8 decoding included."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable

from httpx_sse._decoders import SSEDecoder as TheirDecoder
from httpx_sse._decoders import SSELineDecoder

from jupyter_ssechat.sse import SSEDecoder
from jupyter_ssechat.wire_json import loads

from .corpora import cut, long_line, openai_chunks, patch_events
from .measure import Row, interleaved, row

SIZES = {"64 KiB": 2**16, "1 KiB": 2**10, "17 B": 17}
CORPORA = {"60,000 patch events": patch_events, "20,000 OpenAI chunks": openai_chunks}
LEAST = 1.5


def run() -> list[Row]:
    """Compare both corpora in three chunk sizes, with and without JSON, then one long line."""
    rows = [
        _compared(f"{name}, {size}", cut(corpus(), SIZES[size]), with_json=with_json)
        for with_json in (False, True)
        for name, corpus in CORPORA.items()
        for size in SIZES
    ]
    return rows + _long_lines()


def _compared(case: str, chunks: list[bytes], *, with_json: bool) -> Row:
    assert _theirs(chunks, None) == _ours(chunks, None)
    ours, theirs = (loads, json.loads) if with_json else (None, None)
    seconds = interleaved({"ours": lambda: _ours(chunks, ours), "theirs": lambda: _theirs(chunks, theirs)})
    ratio = seconds["theirs"] / seconds["ours"]
    if with_json:
        return row(f"framing and JSON, {case}", ratio, "× httpx-sse")
    return row(f"framing, {case}", ratio, "× httpx-sse", at_least=LEAST)


def _ours(chunks: Iterable[bytes], read: Callable[[str], object] | None) -> int:
    decoder, count = SSEDecoder(), 0
    for chunk in chunks:
        for event in decoder.feed(chunk):
            count += 1
            if read is not None:
                read(event.data)
    return count


def _theirs(chunks: Iterable[bytes], read: Callable[[str], object] | None) -> int:
    text, lines, decoder = codecs.getincrementaldecoder("utf-8")("replace"), SSELineDecoder(), TheirDecoder()
    count = 0
    for chunk in chunks:
        for line in lines.decode(text.decode(chunk)):
            event = decoder.decode(line.rstrip("\n"))
            if event is not None:
                count += 1
                if read is not None:
                    read(event.data)
    return count


def _long_lines() -> list[Row]:
    """One line of 1 MB in tiny chunks: per byte against lines of 64 KB, and against large chunks.

    A large chunk costs little more than copying it, and a tiny one at least a call: the last row is the cost
    of a `feed` that does nothing at all, below which no decoder in Python can be.
    """
    whole, part = long_line(), long_line(2**16)
    cases = {"large": cut(whole, 2**16), "tiny": cut(whole, 17), "short": cut(part, 17) * 16}
    calls = {name: (lambda chunks=chunks: _ours(chunks, None)) for name, chunks in cases.items()}
    seconds = interleaved({**calls, "nothing": lambda: _nothing(cases["tiny"])})
    cases["nothing"] = cases["tiny"]
    each = {name: seconds[name] * 1e9 / sum(map(len, cases[name])) for name in cases}
    return [
        row("17 B chunks, 1 MB line / 64 KB lines", each["tiny"] / each["short"], "×", at_most=3),
        row("1 MB line, 17 B chunks / 64 KiB chunks", each["tiny"] / each["large"], "×"),
        row("1 MB line, 64 KiB chunks", each["large"], "ns/byte"),
        row("1 MB line, 17 B chunks", each["tiny"], "ns/byte"),
        row("1 MB line, 17 B chunks, a feed that does nothing", each["nothing"], "ns/byte"),
    ]


class _Nothing:
    def feed(self, chunk: bytes) -> list[object]:
        return []


def _nothing(chunks: Iterable[bytes]) -> int:
    decoder, count = _Nothing(), 0
    for chunk in chunks:
        for _ in decoder.feed(chunk):
            count += 1
    return count
