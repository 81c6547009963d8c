"""Frames ↔ patches → document: the sticky ``{"v","p","o"}`` protocol (protocols section 1).

A frame is one JSON object of the wire. A `Patch` is what it means: absolute, one operation, free of
stickiness and of BATCH. A `Document` takes patches; text in it is a list of pieces, so that appending costs
the delta and not the text, and reading joins once. Frames come from strangers: paths and values are bounded
in depth, nothing here recurses over what a stranger can nest, and what cannot be applied is counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from .wire_json import as_object, dumps, excerpt, is_list, is_object, loads

MAX_DEPTH = 100
MAX_PATH_LENGTH = 1024
PIECES = 1024

Op = Literal["SET", "APPEND"]

_MISSING: Any = object()
_NUMBER = re.compile(r"-?[0-9]+")
_INDEX = re.compile(r"-?[0-9]{1,9}")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Patch:
    """One change: SET `value` at `path`, or APPEND it to the text or list there; path "" is the root."""

    path: str
    op: Op
    value: Any


class PatchDecoder:
    """Frames → patches, one decoder for each HTTP body (protocols section 1, "Decoding rules").

    From the first snapshot on the decoder keeps the document's outline (its containers, no text), so that a
    frame whose path cannot be is ignored and leaves the sticky state alone, as the rules ask.
    """

    def __init__(self) -> None:
        self.ignored = 0
        self._path = ""
        self._op = "SET"
        self._appends_text = False
        self._outline: Document | None = None

    def decode(self, frame: object) -> list[Patch]:
        """Decode one frame; [] for bookkeeping (no ``v``) and for what cannot be."""
        if not is_object(frame):
            return self._ignore()
        if self._appends_text and len(frame) == 1 and type(text := frame.get("v")) is str:
            return [Patch(self._path, "APPEND", text)]
        if "v" not in frame:
            return []
        if _is_snapshot(frame):
            return self._snapshot(frame["v"])
        path, op = frame.get("p", self._path), _operation(frame, self._op)
        if not _possible(path, op, frame["v"]):
            return self._ignore()
        patches = self._one(Patch(path, op, frame["v"])) if op != "BATCH" else self._batch(path, frame["v"])
        if patches or op == "BATCH":
            self._path, self._op = path, frame.get("o", self._op)
            self._appends_text = op == "APPEND" and isinstance(frame["v"], str)
        return patches

    def _snapshot(self, value: dict[str, Any]) -> list[Patch]:
        self._path, self._op, self._appends_text = "", "SET", False
        patch = Patch("", "SET", value)
        outline = Document()
        if not outline.apply(_outlined(patch)):
            return self._ignore()
        self._outline = outline
        return [patch]

    def _one(self, patch: Patch) -> list[Patch]:
        """Check `patch` against the outline; without a snapshot nothing is known and all passes."""
        if self._outline is not None and not self._outline.apply(_outlined(patch)):
            return self._ignore()
        return [patch]

    def _batch(self, path: str, items: list[Any]) -> list[Patch]:
        """Flatten a BATCH; each level has its own sticky state and paths relative to the outer one."""
        patches: list[Patch] = []
        levels = [_Level(path, iter(items))]
        while levels:
            level = levels[-1]
            if (frame := next(level.frames, _MISSING)) is _MISSING:
                levels.pop()
            elif not is_object(frame):
                self._ignore()
            elif "v" in frame:
                patches += self._inner(level, frame, levels)
        return patches

    def _inner(self, level: _Level, frame: dict[str, Any], levels: list[_Level]) -> list[Patch]:
        path, op, value = frame.get("p", level.path), _operation(frame, level.op), frame["v"]
        if not isinstance(path, str) or not _possible(absolute := _join(level.prefix, path), op, value):
            return self._ignore()
        if op == "BATCH":
            levels.append(_Level(absolute, iter(value)))
            patches: list[Patch] = []
        elif not (patches := self._one(Patch(absolute, op, value))):
            return []
        level.path, level.op = path, frame.get("o", level.op)
        return patches

    def _ignore(self) -> list[Patch]:
        self.ignored += 1
        return []


@dataclass(slots=True)
class _Level:
    """One open BATCH."""

    prefix: str
    frames: Iterator[Any]
    path: str = ""
    op: str = "SET"


def _is_snapshot(frame: dict[str, Any]) -> bool:
    """A ``response`` object with no path is the whole document anew, also in mid-stream."""
    if "p" in frame or frame.get("o", "SET") != "SET":
        return False
    return is_object(as_object(frame["v"]).get("response"))


def _operation(frame: dict[str, Any], sticky: str) -> Any:
    """Return the frame's operation; a sticky BATCH is for lists, and a SET for anything else."""
    op = frame.get("o", sticky)
    return "SET" if op == "BATCH" and "o" not in frame and not isinstance(frame["v"], list) else op


def _possible(path: Any, op: Any, value: Any) -> bool:
    if not isinstance(path, str) or len(path) > MAX_PATH_LENGTH:
        return False
    return op in ("SET", "APPEND") or (op == "BATCH" and is_list(value))


def _join(prefix: str, path: str) -> str:
    return f"{prefix}/{path}" if prefix and path else prefix or path


class PatchEncoder:
    """Patches → frames with the fewest keys that every decoder of the rules understands.

    A bare ``{"v"}`` follows only an APPEND to the same path; anything else is explicit.
    """

    def __init__(self) -> None:
        self._path: str | None = None
        self._nothing: str | list[Any] = ""

    def encode(self, patch: Patch) -> dict[str, Any]:
        """Encode one patch; the frame shares the patch's value."""
        appends_text = isinstance(patch.value, str)
        appends = patch.op == "APPEND" and (appends_text or is_list(patch.value))
        if appends and patch.path == self._path:
            return {"v": patch.value}
        self._path = patch.path if appends else None
        self._nothing = "" if appends_text else []
        return {"v": patch.value, "p": patch.path, "o": patch.op}

    def sync(self) -> dict[str, Any] | None:
        """Return the frame that brings a decoder fresh from a snapshot into this sticky state.

        It appends nothing; None when the next frame is explicit anyway.
        """
        return None if self._path is None else {"v": self._nothing, "p": self._path, "o": "APPEND"}


class Text:
    """A text that grows: pieces, which are joined when it is read.

    Since a piece takes ten times the room of its text, many are joined into blocks before that. So each character
    is copied twice, whatever the length.
    """

    __slots__ = ("_blocks", "_pieces")

    def __init__(self, text: str = "") -> None:
        self._blocks = [text]
        self._pieces: list[str] = []

    def append(self, piece: str) -> None:
        """Add a piece."""
        self._pieces.append(piece)
        if len(self._pieces) >= PIECES:
            self._blocks.append("".join(self._pieces))
            self._pieces = []

    def join(self) -> str:
        """Return the text; what it was made of collapses into one."""
        if self._pieces or len(self._blocks) > 1:
            self._blocks = [_paired("".join((*self._blocks, *self._pieces)))]
            self._pieces = []
        return self._blocks[0]


class Document:
    """A JSON object that takes patches (protocols section 1, "Decoding rules")."""

    def __init__(self, value: dict[str, Any] | None = None) -> None:
        self.ignored = 0
        self._root: dict[str, Any] = _copy(value or {})
        # The text that was appended to last: almost every patch is for it.
        self._hot_path: str | None = None
        self._hot = Text()

    def apply(self, patch: Patch) -> bool:
        """Apply one patch; False when it cannot be, which changes nothing and is counted in `ignored`."""
        if patch.path == self._hot_path and patch.op == "APPEND" and type(patch.value) is str:
            if patch.value:
                self._hot.append(patch.value)
            return True
        try:
            self._hot_path = None
            if patch.op == "APPEND":
                self._append(patch.path, patch.value)
            else:
                self._set(patch.path, patch.value)
        except _Impossible:
            self.ignored += 1
            return False
        return True

    def get(self, path: str, default: Any = None) -> Any:
        """Return the plain JSON at `path`, a copy; `default` when there is nothing."""
        try:
            found = _find(self._root, _segments(path))
        except _Impossible:
            return default
        return default if found is _MISSING else _plain(found)

    def has(self, path: str) -> bool:
        """Whether there is something other than null at `path`; reads no text."""
        try:
            return _find(self._root, _segments(path)) not in (_MISSING, None)
        except _Impossible:
            return False

    def snapshot(self) -> dict[str, Any]:
        """Return the whole document as plain JSON, a copy."""
        return _plain(self._root)

    def _set(self, path: str, value: Any) -> None:
        value = _copy(value)
        if path:
            container, key = self._place(path)
            container[key] = value
        elif is_object(value):
            self._root.update(value)
        else:
            raise _Impossible

    def _append(self, path: str, value: Any) -> None:
        current = _find(self._root, _segments(path)) if path else self._root
        known = None if current is _MISSING else current
        if isinstance(value, str) and (known is None or isinstance(known, str | Text)):
            self._append_text(path, known, value)
        elif is_list(value) and known is None:
            self._set(path, value)
        elif is_list(value) and is_list(known):
            known.extend(_copy(value))
        elif value is not None or not (known is None or is_list(known) or isinstance(known, str | Text)):
            raise _Impossible

    def _append_text(self, path: str, known: str | Text | None, value: str) -> None:
        text = known if isinstance(known, Text) else Text(known or "")
        if text is not known:
            container, key = self._place(path)
            container[key] = text
        if value:
            text.append(value)
        self._hot_path, self._hot = path, text

    def _place(self, path: str) -> tuple[Any, Any]:
        """Find the container and the key that `path` names; missing objects on the way are created."""
        *way, last = _segments(path)
        node: Any = self._root
        for depth, segment in enumerate(way):
            node = _step(node, segment)
            if node is _MISSING or node is None:
                return self._create(way[:depth], way[depth:], last)
        return node, _key(node, last)

    def _create(self, known: list[str], missing: list[str], last: str) -> tuple[Any, Any]:
        # A list made for an index would be empty, and no index is inside it.
        if any(_NUMBER.fullmatch(segment) for segment in (*missing[1:], last)):
            raise _Impossible
        node: Any = _find(self._root, known)
        for segment in missing:
            made: dict[str, Any] = {}
            node[_key(node, segment)] = made
            node = made
        return node, last


class _Impossible(ValueError):
    """A patch that cannot be applied, or a value nested too deep to be kept."""


def _segments(path: str) -> list[str]:
    if len(path) > MAX_PATH_LENGTH or path.count("/") >= MAX_DEPTH:
        raise _Impossible
    return path.split("/") if path else []


def _find(node: Any, segments: list[str]) -> Any:
    """Walk down; _MISSING where a key is missing, also below null."""
    for segment in segments:
        if node is None:
            return _MISSING
        node = _step(node, segment)
        if node is _MISSING:
            return _MISSING
    return node


def _step(node: Any, segment: str) -> Any:
    return node.get(segment, _MISSING) if is_object(node) else node[_key(node, segment)]


def _key(node: Any, segment: str) -> str | int:
    """Return the key of an object, or an index inside a list."""
    if is_object(node):
        return segment
    if is_list(node) and _INDEX.fullmatch(segment):
        index = int(segment)
        if -len(node) <= index < len(node):
            return index
    raise _Impossible


def _copy(value: Any, depth: int = MAX_DEPTH) -> Any:
    """Copy JSON, so that nobody else can change it; bounded in depth."""
    if is_object(value):
        return {key: _copy(one, _below(depth)) for key, one in value.items()}
    if is_list(value):
        return [_copy(one, _below(depth)) for one in value]
    return value


def _below(depth: int) -> int:
    if depth == 0:
        raise _Impossible
    return depth - 1


def _plain(node: Any) -> Any:
    if isinstance(node, Text):
        return node.join()
    if is_object(node):
        return {key: _plain(one) for key, one in node.items()}
    if is_list(node):
        return [_plain(one) for one in node]
    return node


def _outlined(patch: Patch) -> Patch:
    """The same patch with its text left out."""
    try:
        return Patch(patch.path, patch.op, _outline(patch.value))
    except _Impossible:
        return patch  # the document refuses it by the same measure


def _outline(value: Any, depth: int = MAX_DEPTH) -> Any:
    if isinstance(value, str):
        return ""
    if is_object(value):
        return {key: _outline(one, _below(depth)) for key, one in value.items()}
    if is_list(value):
        return [_outline(one, _below(depth)) for one in value]
    return value


def merge(patches: Iterable[Patch]) -> list[Patch]:
    """Join neighbours: text APPENDs to one path, and SETs of one path, of which the last counts.

    Applying the result leaves the same document as applying `patches`.
    """
    merged: list[Patch] = []
    texts: list[str] = []
    for patch in patches:
        last = merged[-1] if merged else None
        if last is None or last.path != patch.path or last.op != patch.op or not _mergeable(last, patch):
            _close(merged, texts)
            merged.append(patch)
        elif patch.op == "SET":
            merged[-1] = patch
        else:
            texts.append(patch.value)
    _close(merged, texts)
    return merged


def _mergeable(last: Patch, patch: Patch) -> bool:
    if patch.op == "SET":  # at the root a SET merges keys: both count
        return patch.path != ""
    return isinstance(last.value, str) and isinstance(patch.value, str)


def _close(merged: list[Patch], texts: list[str]) -> None:
    if texts:
        last = merged[-1]
        merged[-1] = Patch(last.path, last.op, last.value + "".join(texts))
        texts.clear()


def snapshot_data(document: Document) -> dict[str, Any]:
    """Return the frame that gives a reader the whole document."""
    return {"v": document.snapshot()}


def mend(text: str) -> tuple[str, str]:
    """Return `text` with its surrogates mended, and a high one at its end, held back for the next call.

    Halves that stand together become their character; lone ones become U+FFFD.
    """
    if not _has_halves(text):
        return text, ""
    held = text[-1] if "\ud800" <= text[-1] <= "\udbff" else ""
    return _SURROGATE.sub("\ufffd", _paired(text[:-1] if held else text)), held


def _paired(text: str) -> str:
    """Join the surrogates that came in two parts; lone ones stay, their other half may still come."""
    if not _has_halves(text):
        return text
    return _PAIR.sub(lambda found: found[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)


def _has_halves(text: str) -> bool:
    """Whether there are surrogates; trying to encode finds them ten times faster than a regex."""
    try:
        return not text.isascii() and not text.encode()
    except UnicodeEncodeError:
        return True


__all__ = [
    "MAX_DEPTH",
    "MAX_PATH_LENGTH",
    "Document",
    "Op",
    "Patch",
    "PatchDecoder",
    "PatchEncoder",
    "Text",
    "dumps",
    "excerpt",
    "loads",
    "mend",
    "merge",
    "snapshot_data",
]
