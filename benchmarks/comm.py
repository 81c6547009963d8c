"""A 20,000-token answer → what travels to the browser: ours, and the three ways that others send it.

Bytes are those of the JSON of each comm message after comm_open, in UTF-8. Ours is the whole road: an
upstream, the gateway over HTTP, the client, the batches, the real widget.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import comm
from comm.base_comm import BaseComm

from jupyter_ssechat import Chat, ChatView
from jupyter_ssechat.gateway.server import close_embedded
from jupyter_ssechat.message import finished
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.upstream import Request

from .corpora import tokens
from .measure import Row, row

COUNT = 20_000
RATE = 4_000
FRAMES = 30
PER_FLUSH = 700
ANSWER = tokens(COUNT)


class Recorded(BaseComm):
    """A comm whose messages are counted instead of sent."""

    sizes: list[int] = []  # noqa: RUF012  (one view at a time)

    def publish_msg(self, msg_type: str, data: Any = None, *_: Any, **__: Any) -> None:
        """Count one message."""
        if msg_type == "comm_msg":
            self.sizes.append(_size(data))


class Tokens:
    """An upstream that gives the answer at `rate` tokens per second; None is at once."""

    name = "tokens"

    def __init__(self, rate: float | None) -> None:
        self._rate = rate

    async def stream(self, request: Request) -> AsyncGenerator[list[Patch]]:
        """Yield the tokens, in time with a clock and not with the length of sleeps."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for number, token in enumerate(ANSWER):
            if self._rate is not None and (wait := begun + number / self._rate - loop.time()) > 0:
                await asyncio.sleep(wait)
            elif number % 64 == 0:
                await asyncio.sleep(0)
            yield [Patch("response/content", "APPEND", token)]
        yield finished()

    async def aclose(self) -> None:
        """Nothing to let go of."""


def run() -> list[Row]:
    """Measure the answer at 4,000 tokens a second and at full speed, and count what others would send."""
    text = sum(map(_bytes, ANSWER))
    rows: list[Row] = []
    for speed, rate in ((f"{RATE:,} tokens/s", RATE), ("at once", None)):
        sizes, flushes = _ours(rate)
        over = (sum(sizes) - text) / flushes
        rows += [
            row(f"ours, {speed}", sum(sizes) / 1024, "KB"),
            row(f"ours, {speed}, messages", len(sizes), "messages"),
            row(f"ours, {speed}, beyond the text", over, "B/flush", at_most=PER_FLUSH),
        ]
        if rate is not None:
            rows += [row(f"{name} / ours", size / sum(sizes), "×") for name, size in _peers().items()]
    close_embedded()
    return rows


def _ours(rate: float | None) -> tuple[list[int], int]:
    """The size of each message, and how many of them were flushes."""
    before, comm.create_comm = comm.create_comm, _recorded
    try:
        view = ChatView()
        Recorded.sizes.clear()
        reply = Chat(Tokens(rate)).send("go", view=view).wait()
    finally:
        comm.create_comm = before
    assert reply.content == "".join(ANSWER)
    return list(Recorded.sizes), view.get_state()["snapshot"]["seq"]


def _peers() -> dict[str, int]:
    """What the same answer costs in bytes: as a trait that grows, or as one message for each token."""
    whole, full, at_frames, deltas = "", 0, 0, 0
    due = RATE / FRAMES
    for number, token in enumerate(ANSWER):
        whole += token
        size = _size({"method": "update", "state": {"text": whole}, "buffer_paths": []})
        full += size
        deltas += _size({"method": "custom", "content": {"delta": token}})
        if number >= due:
            due += RATE / FRAMES
            at_frames += size
    return {
        "full text for each token": full,
        f"full text {FRAMES} times a second": at_frames,
        "a message for each token": deltas,
    }


def _recorded(*args: Any, **keywords: Any) -> Recorded:
    return Recorded(*args, **keywords)


def _size(data: Any) -> int:
    return _bytes(json.dumps(data, ensure_ascii=False))


def _bytes(text: str) -> int:
    return len(text.encode())
