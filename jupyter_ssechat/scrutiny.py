"""What is asked, comes over the wire and is told → why an episode is not for a file that is shared."""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator

from .discretion import Discretion
from .patches import Document, Patch
from .secrecy import Lookout, looks_secret
from .wire_json import dumps, is_list, is_object

_ESCAPED = re.compile(r"\\u00([2-7][0-9a-fA-F])")


class Scrutiny:
    """Looks at one episode while it is recorded: for the secrets of its server, and for what looks like one."""

    def __init__(self, discretion: Discretion) -> None:
        self._discretion = discretion
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._stream = self._lookout("stream")
        # As people see it: what is in pieces on the wire, and in JSON, is whole here.
        self._document = Document()
        self._texts: dict[str, Lookout] = {}
        self._why: str | None = None

    def opened(self) -> None:
        """Another connection begins."""
        self._decoder.reset()
        self._stream.feed("\n")

    def heard(self, data: bytes) -> None:
        """Bytes have come over the wire."""
        self._stream.feed(self._decoder.decode(data))

    def told(self, patches: Iterable[Patch]) -> None:
        """The answer has changed."""
        for patch in patches:
            if isinstance(patch.value, str):
                self._said(patch.path, patch.value if patch.op == "APPEND" else f"\n{patch.value}")
            elif patch.value is not None:
                self._renewed(patch.path)
                self._said(patch.path, f"\n{dumps(patch.value)}")
            self._document.apply(patch)

    def why(self, asked: object, rest: Iterable[str]) -> str | None:
        """Why the episode is not for a file, in words that do not tell the secret; None where it is."""
        looked = (
            *(self._looks("request", text) for text in strings(asked)),
            self._why,
            *(lookout.found() for lookout in self._texts.values()),
            *(self._looks("answer", text) for text in rest),
            self._stream.found(),
        )
        return next(filter(None, looked), None)

    def _said(self, path: str, text: str) -> None:
        if path not in self._texts:
            self._texts[path] = self._lookout("answer")
            # It may have come with something larger, and goes on by itself.
            begun = self._document.get(path)
            self._texts[path].feed(begun if isinstance(begun, str) else "")
        self._texts[path].feed(text)

    def _renewed(self, path: str) -> None:
        """Close the texts inside of what is replaced, or moved by it."""
        for inner in [one for one in self._texts if not path or one.startswith(f"{path}/")]:
            self._why = self._texts.pop(inner).found() or self._why

    def _lookout(self, place: str) -> Lookout:
        return Lookout(lambda text: self._looks(place, text))

    def _looks(self, place: str, text: str) -> str | None:
        if place == "stream" and "\\u00" in text:
            text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
        if self._discretion.finds(text):
            return f"the {place} holds the key of the model server; take it out, and ask again"
        # What is named a token in a stream is rarely one of those that give access.
        what = looks_secret(text, named=place != "stream")
        return what and f"the {place} holds what looks like a secret ({what}); take it out, and ask again"


def strings(value: object, name: str = "") -> Iterator[str]:
    """All texts in a value, each with what it is called."""
    if isinstance(value, str):
        yield f"{name}: {value}" if name else value
    elif is_list(value):
        for one in value:
            yield from strings(one, name)
    elif is_object(value):
        for inner, one in value.items():
            yield from strings(one, inner)


__all__ = ["Scrutiny", "strings"]
