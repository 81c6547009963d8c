"""Readers of many streams, in a process of their own, as cheaply as Python can: epoll, `recv` and `bytes.count`.

Of each stream one reader asks; when it has its first piece, the others resume where they are told to. A reader counts
marks, those of the snapshot that it begins with and those that come after it, and notes how long the tokens that bear
a time were on their way to it. What stands in a snapshot was on no way, and is not noted.
"""

from __future__ import annotations

import re
import select
import socket
import threading
import time
from dataclasses import dataclass
from typing import NamedTuple

from .endless import MARK
from .processes import Serve

APART = 0.004
SNAPSHOT = b'"response":{'
STAMP = re.compile(rb"<(\d+\.\d{6})>")
END_OF_BODY = b"0\r\n\r\n"
PIECE_BYTES = 2**18
Call = tuple[int, bytes]
"""A port, and what to write there."""


class Wanted(NamedTuple):
    """One stream: who asks, and who resumes it afterwards."""

    ask: Call
    resume: list[Call]


class Heard(NamedTuple):
    """What all readers have got so far: tokens, bytes, pieces, and how many of them have ended."""

    tokens: int
    bytes: int
    pieces: int
    ended: int


@dataclass(slots=True, eq=False)
class Listener:
    """One connection; `asked` says that its reader is the one who asked."""

    socket: socket.socket
    asked: bool
    resume: list[Call]
    tokens: int = 0
    bytes: int = 0
    pieces: int = 0
    rest: bytes = b""
    attached: bool = False
    ended: bool = False


class Listeners:
    """Opens all that is `wanted`, a little apart, and listens; on a thread of its own."""

    def __init__(self, wanted: list[Wanted]) -> None:
        self._wanted = wanted
        self._poll = select.epoll()
        self._all: dict[int, Listener] = {}
        self._late: dict[bool, list[float]] = {True: [], False: []}
        self._expected = sum(1 + len(one.resume) for one in wanted)
        threading.Thread(target=self._listen, daemon=True).start()

    def missing(self) -> int:
        """How many readers have no snapshot yet."""
        return self._expected - sum(one.attached for one in tuple(self._all.values()))

    def heard(self) -> Heard:
        """What has come so far."""
        every = tuple(self._all.values())
        return Heard(
            sum(one.tokens for one in every),
            sum(one.bytes for one in every),
            sum(one.pieces for one in every),
            sum(one.ended for one in every),
        )

    def late(self) -> tuple[list[float], list[float]]:
        """The seconds that tokens were on their way since the last call: to who asked, and to who resumed."""
        late, self._late = self._late, {True: [], False: []}
        return late[True], late[False]

    def _listen(self) -> None:
        began, opened = time.monotonic(), 0
        while True:
            due = min(int((time.monotonic() - began) / APART) + 1, len(self._wanted))
            for wanted in self._wanted[opened:due]:
                self._open(wanted.ask, asked=True, resume=wanted.resume)
            opened = due
            for number, _ in self._poll.poll(APART):
                self._take(self._all[number])

    def _open(self, call: Call, *, asked: bool, resume: list[Call]) -> None:
        port, request = call
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(request)
        connection.setblocking(False)
        self._all[connection.fileno()] = Listener(connection, asked, resume)
        self._poll.register(connection, select.EPOLLIN)

    def _take(self, one: Listener) -> None:
        try:
            data = one.socket.recv(PIECE_BYTES)
        except BlockingIOError:
            return
        now = time.monotonic()
        if not data:
            self._poll.unregister(one.socket)
            return
        one.bytes += len(data)
        one.pieces += 1
        if SNAPSHOT in one.rest + data:
            self._begin(one, one.rest + data)
            return
        one.tokens += data.count(MARK)
        text = one.rest + data
        if b"<" in text:
            self._late[one.asked] += [now - float(stamp) for stamp in STAMP.findall(text)]
        one.rest = text[-20:].rpartition(b">")[2]
        one.ended = one.ended or data.endswith(END_OF_BODY)

    def _begin(self, one: Listener, text: bytes) -> None:
        """Count from the snapshot on, be it the first or one that stands for all before it."""
        one.tokens = text[text.rindex(SNAPSHOT) :].count(MARK)
        one.rest, one.attached = b"", True
        one.ended = text.endswith(END_OF_BODY)
        resume, one.resume = one.resume, []
        for call in resume:
            self._open(call, asked=False, resume=[])


def listeners(serve: Serve, wanted: list[Wanted]) -> None:
    """Be the process of readers."""
    all_of_them = Listeners(wanted)
    serve(
        None,
        {"missing": all_of_them.missing, "heard": all_of_them.heard, "late": all_of_them.late},
    )
