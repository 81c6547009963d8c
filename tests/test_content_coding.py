"""Unpacking: every coding however it is cut, as soon as it can be read, and never more than a piece at once."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ssechat.content_coding import PIECE_BYTES, ContentDecoder
from jupyter_ssechat.errors import UndecodableBody

TEXT = "data: 你好\n\n".encode() * 2000


def raw_deflate(data: bytes) -> bytes:
    packing = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packing.compress(data) + packing.flush()


def members(data: bytes) -> bytes:
    """Each hundred bytes a gzip of their own."""
    return b"".join(gzip.compress(data[at : at + 100]) for at in range(0, len(data), 100))


PACKED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "none": ("", bytes),
    "identity": ("Identity", bytes),
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZip", gzip.compress),
    "gzip and nothing": ("identity, gzip", gzip.compress),
    "members": ("gzip", members),
    "padded": ("gzip", lambda data: gzip.compress(data) + b"\0" * 512),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
}


@pytest.mark.parametrize("name", PACKED)
@given(cuts=st.lists(st.integers(1, 400), min_size=1, max_size=8))
def test_every_coding_is_read_however_it_is_cut(name: str, cuts: list[int]) -> None:
    coding, pack = PACKED[name]
    decoder, packed, sizes = ContentDecoder(coding), pack(TEXT), iter(cuts * 10**5)
    unpacked = b""
    while packed:
        size = next(sizes)
        unpacked += b"".join(decoder.feed(packed[:size]))
        packed = packed[size:]
    assert unpacked == TEXT
    assert decoder.complete


@pytest.mark.parametrize("wbits", [31, 15, -15])
def test_what_is_flushed_is_read_at_once(wbits: int) -> None:
    decoder = ContentDecoder("gzip" if wbits == 31 else "deflate")
    packing = zlib.compressobj(wbits=wbits)
    for number in range(100):
        token = b"data: %d\n\n" % number
        packed = packing.compress(token) + packing.flush(zlib.Z_SYNC_FLUSH)
        assert b"".join(decoder.feed(packed)) == token
    assert not decoder.complete


@pytest.mark.parametrize("name", ["gzip", "zlib", "raw deflate"])
def test_a_body_that_is_cut_is_not_complete(name: str) -> None:
    coding, pack = PACKED[name]
    for end in (1, 2, 20, -1):
        decoder = ContentDecoder(coding)
        assert TEXT.startswith(b"".join(decoder.feed(pack(TEXT)[:end])))
        assert not decoder.complete


@pytest.mark.parametrize("coding", ["gzip", "deflate", ""])
def test_no_body_is_a_complete_one(coding: str) -> None:
    assert ContentDecoder(coding).complete


@pytest.mark.parametrize(
    "coding", ["br", "zstd", "compress", "gzip, gzip", "deflate,gzip", "\x1b[31m" * 20, "a\nb"]
)
def test_a_coding_that_nobody_asked_for_is_an_error_in_one_line(coding: str) -> None:
    with pytest.raises(
        UndecodableBody, match="which nobody asked for; expected none, gzip or deflate"
    ) as error:
        ContentDecoder(coding)
    assert str(error.value).isprintable() and len(str(error.value)) < 300


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@given(data=st.binary(min_size=1, max_size=200))
def test_no_bytes_break_it(coding: str, data: bytes) -> None:
    decoder = ContentDecoder(coding)
    with suppress(UndecodableBody):
        for at in range(len(data)):
            list(decoder.feed(data[at : at + 1]))


def test_broken_bytes_are_an_error_that_says_so() -> None:
    packed = gzip.compress(TEXT)
    for broken in (b"no gzip", packed[:20] + b"junk" + packed[24:], packed + b"junk"):
        with pytest.raises(UndecodableBody, match="the compressed body is broken: .*"):
            list(ContentDecoder("gzip").feed(broken))


def test_what_follows_the_end_of_a_deflate_body_is_nothing() -> None:
    decoder = ContentDecoder("deflate")
    assert b"".join(decoder.feed(zlib.compress(b"all") + b"junk")) == b"all"
    assert list(decoder.feed(b"more")) == []


def zeros(packed_bytes: int) -> Iterator[bytes]:
    """So many bytes of gzip, in chunks as they come from a socket; each expands a thousandfold."""
    packing = zlib.compressobj(wbits=31)
    yield packing.compress(b"\0" * 2**20) + packing.flush(zlib.Z_FULL_FLUSH)
    block = packing.compress(b"\0" * 2**26) + packing.flush(zlib.Z_FULL_FLUSH)
    for _ in range(packed_bytes // len(block)):
        yield block


def test_a_chunk_that_expands_a_thousandfold_comes_in_pieces_and_memory_is_bounded() -> None:
    decoder = ContentDecoder("gzip")
    chunks = list(islice(zeros(10 * 2**20), 3))
    assert len(chunks[-1]) < 2**17
    tracemalloc.start()
    unpacked = 0
    for chunk in chunks:
        for piece in decoder.feed(chunk):
            assert len(piece) <= PIECE_BYTES
            unpacked += len(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert unpacked == 2**20 + 2 * 2**26
    assert peak < 2**20


def test_one_who_stops_taking_pieces_costs_no_more() -> None:
    decoder = ContentDecoder("gzip")
    [_, chunk] = islice(zeros(10 * 2**20), 2)
    list(decoder.feed(next(zeros(0))))
    assert [len(piece) for piece in islice(decoder.feed(chunk), 2)] == [PIECE_BYTES, PIECE_BYTES]
