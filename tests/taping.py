"""Cassettes of a few words for the tests."""

from __future__ import annotations

from pathlib import Path

from jupyter_ssechat.cassette import PATCHES, Ask, By, Chunk, Ended, Ending, Episode, header
from jupyter_ssechat.matching import meaning
from jupyter_ssechat.message import finished
from jupyter_ssechat.patches import Patch, PatchEncoder
from jupyter_ssechat.sse import encode
from jupyter_ssechat.wire_json import dumps

from .asking import asking


def said(*words: str) -> list[list[Patch]]:
    """The patches of an answer, word by word."""
    return [[Patch("response/content", "APPEND", word)] for word in words]


def episode(
    prompt: str, *words: str, how: Ending = "finished", at: str = "2026-01-31T12:00:00.000Z", ms: int = 10
) -> bytes:
    """The lines of an episode of patches, `ms` apart."""
    made = Episode(Ask(meaning(asking(prompt))), By(dialect=PATCHES, server="words", at=at))
    encoder = PatchEncoder()
    patches = [*said(*words), finished()] if how == "finished" else said(*words)
    for each in patches:
        data = b"".join(encode(data=dumps(encoder.encode(patch))) for patch in each)
        made.add(Chunk, made.at + ms, data)
    made.add(Ended, made.at, how, None, "".join(words))
    return made.block()


def cassette(path: Path, *episodes: bytes) -> Path:
    """A cassette with these episodes."""
    path.write_bytes(header() + b"".join(episodes))
    return path
