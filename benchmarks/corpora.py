"""A seed → streams as servers send them: always the same bytes."""

from __future__ import annotations

import json
import random
from functools import cache

CHARACTERS = "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就 abcdefghijklmnopqrstuvwxyz,.，。"
MEGABYTE = 2**20


@cache
def patch_events(count: int = 60_000) -> bytes:
    """Patch events of 1 to 6 characters, most of them bare, as one stream."""
    chance = random.Random(60_000)
    frames = [_frame(chance, {"p": "response/content", "o": "APPEND"})]
    frames += [_frame(chance, {}) for _ in range(count - 1)]
    return b"".join(frames)


def _frame(chance: random.Random, sticky: dict[str, str]) -> bytes:
    return b"data: " + _json({"v": _token(chance), **sticky}) + b"\n\n"


@cache
def openai_chunks(count: int = 20_000) -> bytes:
    """OpenAI chat chunks of about 300 bytes, as one stream."""
    chance = random.Random(20_000)
    return b"".join(b"data: " + _json(_chunk(_token(chance))) + b"\n\n" for _ in range(count))


def _chunk(text: str) -> dict[str, object]:
    return {
        "id": "chatcmpl-428b414f-fdd4-94c6-b179-8f576ad653a8",
        "object": "chat.completion.chunk",
        "created": 1726132850,
        "model": "qwen-max-2026-01-25",
        "system_fingerprint": "fp_44709d6fcb",
        "service_tier": "default",
        "choices": [{"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}],
        "usage": None,
    }


@cache
def long_line(size: int = MEGABYTE) -> bytes:
    """One event, a single ``data:`` line of `size` bytes."""
    return b"data: " + b"x" * size + b"\n\n"


def tokens(count: int) -> list[str]:
    """Tokens of 1 to 6 characters."""
    chance = random.Random(count)
    return [_token(chance) for _ in range(count)]


def cut(stream: bytes, size: int) -> list[bytes]:
    """Cut a stream into chunks of `size` bytes."""
    return [stream[at : at + size] for at in range(0, len(stream), size)]


def _token(chance: random.Random) -> str:
    return "".join(chance.choices(CHARACTERS, k=chance.randint(1, 6)))


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
