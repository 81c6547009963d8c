"""A 20,000-token answer → what travels to the browser: ours, and the three ways that others send it.

Bytes are those of the JSON of each comm message after comm_open, in UTF-8: of its data alone, and of the whole
Jupyter message with its headers, as a kernel's session writes it. Ours is the whole road: an upstream, the
gateway over HTTP, the client, the batches, the real widget. The others are counted for the same tokens.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import comm
from comm.base_comm import BaseComm
from jupyter_client.session import Session

from jupyter_ssechat import Chat, ChatView
from jupyter_ssechat.gateway.server import close_embedded
from jupyter_ssechat.message import finished
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.request import Request

from .corpora import tokens
from .measure import Row, row

COUNT = 20_000
RATE = 4_000
FRAMES = 30
PER_FLUSH = 700
ANSWER = tokens(COUNT)
SESSION: Any = Session(key=b"")
# As JupyterLab asks: the header of this message travels with every answer to it.
QUESTION = SESSION.msg("execute_request", {"code": "%%chat"})


class Recorded(BaseComm):
    """A comm whose messages are counted instead of sent: the size of the data, and of the whole message."""

    sizes: list[tuple[int, int]] = []  # noqa: RUF012  (one view at a time)

    def publish_msg(self, msg_type: str, data: Any = None, *_: Any, **__: Any) -> None:
        """Count one message."""
        if msg_type == "comm_msg":
            self.sizes.append((_size(data), _whole_size(data, self.comm_id)))


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

    async def models(self) -> list[str]:
        """None to choose from."""
        return []

    async def aclose(self) -> None:
        """Nothing to let go of."""


def run() -> list[Row]:
    """Measure the answer at 4,000 tokens a second and at full speed, and count what others would send."""
    text = sum(map(_bytes, ANSWER))
    rows: list[Row] = []
    for speed, rate in ((f"{RATE:,} tokens/s", RATE), ("at once", None)):
        sizes, flushes = _ours(rate)
        data, whole = sum(size for size, _ in sizes), sum(size for _, size in sizes)
        ours = f"ours, {speed}"
        rows += [
            row(ours, data / 1024, "KB"),
            row(f"{ours}, messages", len(sizes), "messages"),
            row(f"{ours}, beyond the text", (data - text) / flushes, "B/flush", at_most=PER_FLUSH),
            row(f"{ours}, whole messages", whole / 1024, "KB"),
            row(
                f"{ours}, whole messages, beyond the text",
                (whole - text) / len(sizes),
                "B/message",
                at_most=PER_FLUSH,
            ),
        ]
        if rate is not None:
            rows += _compared(data, whole, (whole - data) / len(sizes))
    close_embedded()
    return rows


def _compared(data: int, whole: int, headers: float) -> list[Row]:
    """How many times as many bytes the others send; `headers` is what each message costs beside its data."""
    peers = _peers()
    return [row(f"{name} / ours", size / data, "×") for name, (size, _) in peers.items()] + [
        row(f"{name} / ours, whole messages", (size + count * headers) / whole, "×")
        for name, (size, count) in peers.items()
    ]


def _ours(rate: float | None) -> tuple[list[tuple[int, int]], int]:
    """The sizes of each message, and how many of them were flushes."""
    before, comm.create_comm = comm.create_comm, _recorded
    try:
        view = ChatView()
        Recorded.sizes.clear()
        reply = Chat(Tokens(rate)).send("go", view=view).wait()
    finally:
        comm.create_comm = before
    assert reply.content == "".join(ANSWER)
    return list(Recorded.sizes), view.get_state()["snapshot"]["seq"]


def _peers() -> dict[str, tuple[int, int]]:
    """What the same answer costs in bytes and messages: as a trait that grows, or as one message for each token."""
    whole, full, at_frames, deltas, frames = "", 0, 0, 0, 0
    due = RATE / FRAMES
    for number, token in enumerate(ANSWER):
        whole += token
        size = _size({"method": "update", "state": {"text": whole}, "buffer_paths": []})
        full += size
        deltas += _size({"method": "custom", "content": {"delta": token}})
        if number >= due:
            due += RATE / FRAMES
            at_frames += size
            frames += 1
    return {
        "full text for each token": (full, COUNT),
        f"full text {FRAMES} times a second": (at_frames, frames),
        "a message for each token": (deltas, COUNT),
    }


def _recorded(*args: Any, **keywords: Any) -> Recorded:
    return Recorded(*args, **keywords)


def _size(data: Any) -> int:
    return _bytes(json.dumps(data, ensure_ascii=False))


def _whole_size(data: Any, comm_id: str) -> int:
    """The JSON of a message as it leaves the kernel: header, parent's header, metadata, content."""
    content = {"data": data, "comm_id": comm_id}
    message = SESSION.msg("comm_msg", content, parent=QUESTION)
    frames = SESSION.serialize(message)
    return sum(map(len, frames[frames.index(b"<IDS|MSG>") + 2 :]))


def _bytes(text: str) -> int:
    return len(text.encode())
