"""Tokens → message: what one more token costs in a short and in a very long answer."""

from __future__ import annotations

from collections.abc import Callable

from jupyter_ssechat.message import Message
from jupyter_ssechat.patches import Document, Patch, PatchDecoder

from .corpora import tokens
from .measure import Row, interleaved, row

COUNTS = (10_000, 100_000, 1_000_000)
MOST = 1.5
SNAPSHOT = {"v": {"response": {"status": "WIP", "content": ""}}}
FIRST = {"v": "", "p": "response/content", "o": "APPEND"}


def run() -> list[Row]:
    """Append 10 thousand to a million tokens, as patches to a message, to a document, and as wire frames."""
    rows: list[Row] = []
    for name, work in {
        "frame → message": _frames,
        "patch → message": _message,
        "patch → document": _document,
    }.items():
        rows += _scaled(name, work)
    return rows


def _scaled(name: str, work: Callable[[list[str]], int]) -> list[Row]:
    answers = {count: tokens(count) for count in COUNTS}
    # As much work in each turn as the turn's largest has in one: short turns are lost in the clock's noise.
    repeat = {count: max(1, COUNTS[1] // count) for count in COUNTS}

    def turn(count: int) -> Callable[[], int]:
        return lambda: sum(work(answers[count]) for _ in range(repeat[count]))

    seconds = interleaved({str(count): turn(count) for count in COUNTS})
    each = {count: seconds[str(count)] * 1e9 / count / repeat[count] for count in COUNTS}
    rows = [row(f"{name}, {count:,} tokens", each[count], "ns/token") for count in COUNTS]
    growth = each[COUNTS[-1]] / each[COUNTS[0]]
    return [*rows, row(f"{name}, {COUNTS[-1]:,} / {COUNTS[0]:,} tokens", growth, "×", at_most=MOST)]


def _frames(answer: list[str]) -> int:
    decoder, message = PatchDecoder(), Message()
    for frame in (SNAPSHOT, FIRST):
        for patch in decoder.decode(frame):
            message.apply(patch)
    for token in answer:
        for patch in decoder.decode({"v": token}):
            message.apply(patch)
    return len(message.content)


def _message(answer: list[str]) -> int:
    message = Message()
    message.apply(Patch("", "SET", SNAPSHOT["v"]))
    for token in answer:
        message.apply(Patch("response/content", "APPEND", token))
    return len(message.content)


def _document(answer: list[str]) -> int:
    document = Document(SNAPSHOT["v"])
    for token in answer:
        document.apply(Patch("response/content", "APPEND", token))
    return len(document.get("response/content"))
