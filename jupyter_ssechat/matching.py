"""A request → what it means, to be looked for on a cassette; and how it differs from what was found.

Names of sessions, ids, keys and headers mean nothing, nor does who is asked: only what the model is told, and how
it shall answer.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from hashlib import sha256
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from .request import Request, Turn
from .wire_json import as_list, as_object, as_text, dumps, excerpt

COMPARED = 400
SHOWN = 60

_SAID_ELSEWHERE = {"role", "content"}
_KNOWN_PARTS = {"text", "image_url"}


def meaning(request: Request) -> dict[str, Any]:
    """What is asked, as JSON; images by their digest, and of an answer that goes on the text that stands."""
    told: dict[str, Any] = {
        "system": request.system,
        "turns": [_turn(turn) for turn in request.turns],
        "model": request.model,
        "thinking": request.thinking,
        "options": {name: request.options[name] for name in sorted(request.options)},
        "so_far": _so_far(request) if request.continues else None,
    }
    return {name: value for name, value in told.items() if value not in (None, {}, "")}


def request_of(meaning: Mapping[str, Any]) -> Request:
    """A request that means this, as far as it counts for reading the answer: images are gone."""
    so_far = meaning.get("so_far")
    said = [_said(turn) for turn in as_list(meaning.get("turns"))]
    return Request(
        turns=tuple(Turn("assistant" if role == "assistant" else "user", text) for role, text in said),
        continues=so_far is not None,
        thinking_so_far=as_text(as_object(so_far).get("thinking")),
        content_so_far=as_text(as_object(so_far).get("content")),
    )


def key(meaning: Mapping[str, Any]) -> bytes:
    """The same for what means the same."""
    return sha256(json.dumps(meaning, sort_keys=True, separators=(",", ":")).encode()).digest()


def _turn(turn: Turn) -> dict[str, Any]:
    sent = turn.verbatim or {}
    parts = [part for part in as_list(sent.get("content")) if _is_of_its_own(part)]
    told: dict[str, Any] = {
        as_text(sent.get("role")) or turn.role: turn.content,
        "images": [_image(url) for url in turn.images],
        "parts": [_digest(dumps(part).encode()) for part in parts],
        "more": {name: value for name, value in sorted(sent.items()) if name not in _SAID_ELSEWHERE},
    }
    return {name: value for name, value in told.items() if isinstance(value, str) or value}


def _is_of_its_own(part: object) -> bool:
    """Whether a part of a message is neither text nor an image, which stand for themselves."""
    return not isinstance(part, str) and as_object(part).get("type") not in _KNOWN_PARTS


def _so_far(request: Request) -> dict[str, str]:
    return {"thinking": request.thinking_so_far, "content": request.content_so_far}


def _image(url: str) -> str:
    """An image in a few words: its type or its place, without a query, and the digest of it or of its address."""
    if not url.startswith("data:"):
        parts = urlsplit(url)
        return f"{parts.hostname or ''}{parts.path} {_digest(url.encode())}"
    head, _, data = url.removeprefix("data:").partition(",")
    try:
        content = b64decode(data) if head.endswith(";base64") else unquote_to_bytes(data)
    except ValueError:
        content = data.encode()
    return f"{head.partition(';')[0]} {_digest(content)}"


def _digest(content: bytes) -> str:
    return f"sha256:{sha256(content).hexdigest()[:32]}"


# ---- what is not there ----


def nearest(asked: Mapping[str, Any], recorded: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The recorded request that is most like the one asked; of several the first."""
    return max(recorded, key=lambda one: _likeness(asked, one), default=None)


def _likeness(asked: Mapping[str, Any], recorded: Mapping[str, Any]) -> float:
    alike = sum(asked.get(name) == recorded.get(name) for name in ("system", "model", "thinking", "options"))
    goes_on = ("so_far" in asked) == ("so_far" in recorded)
    same_length = len(as_list(asked.get("turns"))) == len(as_list(recorded.get("turns")))
    words = SequenceMatcher(
        None, _last(asked)[1][:COMPARED], _last(recorded)[1][:COMPARED], autojunk=False
    ).quick_ratio()
    return 8 * words + 2 * goes_on + same_length + alike / 2


def difference(asked: Mapping[str, Any], recorded: Mapping[str, Any]) -> str:
    """In what a recorded request differs from the one asked, the first thing that tells; "" if in nothing."""
    here, there = as_list(asked.get("turns")), as_list(recorded.get("turns"))
    (role, said), (_, told) = _last(asked), _last(recorded)
    if said != told:
        return _texts("prompt" if role == "user" else f"last message ({role})", said, told)
    if len(here) != len(there):
        return f"history: {_turns(here)} asked, {_turns(there)} recorded"
    for number, (mine, theirs) in enumerate(zip(here, there, strict=True), 1):
        if mine != theirs:
            return _texts(f"turn {number}", *_sides(mine, theirs))
    for name in ("system", "model", "thinking", "options"):
        if asked.get(name) != recorded.get(name):
            return _texts(name, _plain(asked.get(name)), _plain(recorded.get(name)))
    if asked.get("so_far") != recorded.get("so_far"):
        return _goes_on(asked.get("so_far"), recorded.get("so_far"))
    return ""


def _goes_on(asked: object, recorded: object) -> str:
    if asked is None or recorded is None:
        return f"an answer that {'begins' if asked is None else 'goes on'} is asked for, the recorded one does not"
    mine, theirs = (as_text(as_object(one).get("content")) for one in (asked, recorded))
    return _texts("the answer that goes on", mine, theirs)


def _sides(mine: object, theirs: object) -> tuple[str, str]:
    """Two turns as texts that differ: what was said, or all of them."""
    said, told = _said(mine), _said(theirs)
    return (said[1], told[1]) if said[1] != told[1] else (dumps(mine), dumps(theirs))


def _last(meaning: Mapping[str, Any]) -> tuple[str, str]:
    turns = as_list(meaning.get("turns"))
    return _said(turns[-1]) if turns else ("user", "")


def _said(turn: object) -> tuple[str, str]:
    fields = as_object(turn)
    return next(((role, text) for role, text in fields.items() if isinstance(text, str)), ("user", ""))


def _turns(turns: list[Any]) -> str:
    return f"{len(turns)} turn{'' if len(turns) == 1 else 's'}"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else "none" if value is None else dumps(value)


def _texts(what: str, asked: str, recorded: str) -> str:
    """Two texts from a little before they differ."""
    same = next((n for n, (a, b) in enumerate(zip(asked, recorded, strict=False)) if a != b), None)
    same = min(len(asked), len(recorded)) if same is None else same
    begin = max(same - SHOWN // 2, 0) if same > SHOWN // 2 else 0
    mine, theirs = (f"{'…' if begin else ''}{excerpt(text[begin:], SHOWN)}" for text in (asked, recorded))
    return f"{what}: asked {mine!r}, recorded {theirs!r}"


__all__ = ["difference", "key", "meaning", "nearest", "request_of"]
