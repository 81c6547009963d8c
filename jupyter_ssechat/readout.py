"""A cassette → the messages on it, at full speed.

Patches, of which there may be a million, are read together: all the text that follows itself is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cassette import PATCHES, Ask
from .cassette_file import Contents, Place, chunk_texts, contents, lines
from .errors import InvalidData, SSEChatError
from .matching import request_of
from .message import Message, failed, stopped
from .patches import Patch, PatchDecoder
from .player import Player
from .sse import SSEDecoder
from .upstream import CONTENT, THINKING
from .wire_json import as_text, loads

_DATA = "data: "


@dataclass(frozen=True, slots=True)
class Told:
    """One episode: what was asked, and the answer as it ended."""

    meaning: dict[str, Any]
    message: Message


class Readout:
    """The episodes of the cassette at `path`, in the order of the file; what is broken is told in `problems`.

    Raises BadInput where it is no cassette.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._contents: Contents = contents(path)
        self.problems = self._contents.problems

    def __iter__(self) -> Iterator[Told]:
        for place in self._contents:
            ask = next(lines(self._path, place))
            meaning = dict(ask.meaning) if isinstance(ask, Ask) else {}
            if place.dialect == PATCHES and place.how != "raised":
                message = message_of(self._path, place)
            else:
                message = asyncio.run(_played(self._path, place, meaning))
            yield Told(meaning, message)


def prompt_of(meaning: Mapping[str, Any]) -> str:
    """What was asked last."""
    return request_of(meaning).prompt


def message_of(path: Path, place: Place) -> Message:
    """Read an episode that is patches to its end."""
    gathering, decoder, events = _Gathering(), PatchDecoder(), SSEDecoder()
    for text in chunk_texts(path, place):
        for patch in _patches(text, decoder, events):
            gathering.take(patch)
    message = gathering.done()
    _seal(message, place)
    return message


class _Gathering:
    """A message that gets its texts at the end, as wholes: pieces would be kept beside what is made of them."""

    def __init__(self) -> None:
        self._message = Message()
        self._texts: dict[str, list[str]] = {}

    def take(self, patch: Patch) -> None:
        if patch.op == "APPEND" and patch.path in (THINKING, CONTENT) and isinstance(patch.value, str):
            self._texts.setdefault(patch.path, []).append(patch.value)
            return
        if patch.path in ("", "response", THINKING, CONTENT):
            self._put()
        self._message.apply(patch)

    def done(self) -> Message:
        self._put()
        return self._message

    def _put(self) -> None:
        for path in list(self._texts):
            stands = self._message.document.has(path)
            text = "".join(self._texts.pop(path))
            self._message.apply(Patch(path, "APPEND" if stands else "SET", text))


def _patches(text: str, decoder: PatchDecoder, events: SSEDecoder) -> Iterator[Patch]:
    for frame in _joined(_frames(text, events)):
        yield from decoder.decode(frame)


def _frames(text: str, events: SSEDecoder) -> list[Any]:
    """The frames of a text; read in one go where each is a line of data, as we write them."""
    if text.startswith(_DATA) and text.endswith("\n\n"):
        datas = text[len(_DATA) : -2].split(f"\n\n{_DATA}")
        if text.count("\n") == 2 * len(datas):
            try:
                return loads(f"[{','.join(datas)}]")
            except InvalidData:
                pass
    return [loads(event.data) for event in events.feed(text.encode("utf-8", "surrogateescape"))]


def _joined(frames: list[Any]) -> Iterator[Any]:
    """The frames, of those that only add to the same text one."""
    run: list[str] = []
    for frame in frames:
        if len(frame) == 1 and type(text := frame.get("v")) is str:
            run.append(text)
            continue
        if run:
            yield {"v": "".join(run)}
            run = []
        yield frame
    if run:
        yield {"v": "".join(run)}


def _seal(message: Message, place: Place) -> None:
    if place.how == "stopped" and not message.terminal:
        for patch in stopped():
            message.apply(patch)
    message.interrupt()


async def _played(path: Path, place: Place, meaning: dict[str, Any]) -> Message:
    message = Message()
    player = Player(lines(path, place), request_of(meaning), stops=place.how == "stopped", pace=0, hold=0)
    try:
        async with aclosing(player.stream()) as stream:
            async for patches in stream:
                for patch in patches:
                    message.apply(patch)
    except SSEChatError as error:
        for patch in failed(as_text(getattr(error, "type", "")) or "upstream_error", str(error)):
            message.apply(patch)
    _seal(message, place)
    return message


__all__ = ["Readout", "Told", "message_of", "prompt_of"]
