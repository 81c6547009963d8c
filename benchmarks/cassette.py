"""A cassette of 1,000,000 tokens → the message: against httpx-sse and json on the same bytes, and its memory."""

from __future__ import annotations

import codecs
import json
import tempfile
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

from httpx_sse._decoders import SSEDecoder as TheirDecoder
from httpx_sse._decoders import SSELineDecoder

from jupyter_ssechat.cassette import PATCHES, Ask, By, Chunk, Ended, Episode, Opened, header
from jupyter_ssechat.message import finished
from jupyter_ssechat.patches import Patch, PatchEncoder
from jupyter_ssechat.readout import Readout
from jupyter_ssechat.sse import encode
from jupyter_ssechat.wire_json import dumps

from .corpora import cut, openai_chunks, tokens
from .measure import Row, interleaved, row

TOKENS = 1_000_000
SPACING_MS = 15
LEAST = 3.0
MOST = 3.0
ASKED = {"turns": [{"user": "a long answer"}], "thinking": True}


def run() -> list[Row]:
    """Compare the reading of a recorded answer, and weigh it."""
    with tempfile.TemporaryDirectory() as folder:
        return _patches(Path(folder) / "patches.jsonl") + _openai(Path(folder) / "openai.jsonl")


def _patches(path: Path) -> list[Row]:
    chunks = patch_chunks(TOKENS)
    text = write(path, chunks, By(dialect=PATCHES, server="demo", at=""))
    whole = cut(b"".join(chunks), 2**16)
    seconds = interleaved(
        {"ours": lambda: read(path), "theirs": lambda: theirs(chunks), "large": lambda: theirs(whole)}, runs=3
    )
    return [
        row("1,000,000 tokens, cassette to message", seconds["ours"] * 1e6 / TOKENS, "µs/token"),
        row(
            "the same against httpx-sse and json, in the chunks that were recorded",
            seconds["theirs"] / seconds["ours"],
            "×",
            at_least=LEAST,
        ),
        row("the same against httpx-sse and json, in 64 KiB chunks", seconds["large"] / seconds["ours"], "×"),
        row("memory while it is read, of its text", peak(path) / len(text.encode()), "×", at_most=MOST),
        row("file, of the bytes that were received", path.stat().st_size / sum(map(len, chunks)), "×"),
    ]


def _openai(path: Path) -> list[Row]:
    chunks = [event + b"\n\n" for event in openai_chunks().split(b"\n\n")[:-1]] + [b"data: [DONE]\n\n"]
    by = By(dialect="openai_chat", server="http://127.0.0.1/v1/chat/completions", at="")
    write(path, chunks, by)
    seconds = interleaved({"ours": lambda: read(path), "theirs": lambda: theirs(chunks[:-1])}, runs=3)
    return [
        row("20,000 OpenAI chunks, cassette to message", seconds["ours"] * 1e6 / len(chunks), "µs/token"),
        row("the same against httpx-sse and json alone", seconds["theirs"] / seconds["ours"], "×"),
        row("file, of the bytes that were received", path.stat().st_size / sum(map(len, chunks)), "×"),
    ]


def patch_chunks(count: int) -> list[bytes]:
    """An answer of so many tokens, each in a chunk of its own, as an upstream of ours is recorded."""
    encoder = PatchEncoder()
    patches = [Patch("response/content", "APPEND", token) for token in tokens(count)] + finished()
    return [encode(data=dumps(encoder.encode(patch))) for patch in patches]


def write(path: Path, chunks: Iterable[bytes], by: By) -> str:
    """Write a cassette of one answer; returns the text of the answer."""
    made = Episode(Ask(ASKED), by)
    if by.dialect != PATCHES:
        made.add(Opened, 1, 200, "text/event-stream", None)
    for chunk in chunks:
        made.add(Chunk, made.at + SPACING_MS, chunk)
    made.add(Ended, made.at, "finished", None, "")
    path.write_bytes(header() + made.block())
    return read(path)


def read(path: Path) -> str:
    """Look through a cassette and read its only answer."""
    [told] = Readout(path)
    assert told.message.status == "finished", told.message.error
    return told.message.content


def theirs(chunks: Iterable[bytes]) -> int:
    """The JSON of every event, by httpx-sse."""
    text, lines, decoder = codecs.getincrementaldecoder("utf-8")("replace"), SSELineDecoder(), TheirDecoder()
    count = 0
    for chunk in chunks:
        for line in lines.decode(text.decode(chunk)):
            event = decoder.decode(line.rstrip("\n"))
            if event is not None:
                json.loads(event.data)
                count += 1
    return count


def peak(path: Path) -> int:
    """The most bytes that Python had while it read a cassette, the text that it returns included."""
    tracemalloc.start()
    try:
        read(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
