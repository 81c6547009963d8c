"""Patches → one answer: its text, its state, its figures (protocols sections 1 and 6).

A `Message` reads a `Document` that it alone changes. Appending a token costs the token; texts are joined when
read, and kept joined until more arrives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from .patches import Document, Patch, mend
from .wire_json import as_list, as_object, as_text, is_list, is_object

Status = Literal["streaming", "finished", "stopped", "filtered", "failed", "interrupted"]
Kind = Literal["thinking", "content"]

THINKING = "response/thinking_content"
CONTENT = "response/content"
FRAGMENTS = "response/fragments"
SILENT = "the server gave no reason"

_KINDS: dict[str, Kind] = {"THINK": "thinking", "RESPONSE": "content", "TEMPLATE_RESPONSE": "content"}
_STATES: dict[str, tuple[Status, str | None]] = {
    "WIP": ("streaming", None),
    "FINISHED": ("finished", "stop"),
    "INCOMPLETE": ("stopped", "stopped"),
    "CONTENT_FILTER": ("filtered", "content_filter"),
    "CONTEXT_LENGTH_EXCEEDED": ("finished", "length"),
    "TIMEOUT": ("failed", "error"),
    "FAILED": ("failed", "error"),
}


@dataclass(frozen=True, slots=True)
class Delta:
    """Text that became visible: more of it, or, when `replaces`, the whole of its kind anew."""

    kind: Kind
    text: str
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the server counted them; None is unknown."""

    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None

    @classmethod
    def from_wire(cls, usage: dict[str, Any]) -> Usage:
        """Read a ``usage`` object of the OpenAI shape; what is not a number is unknown."""
        prompt, completion, total = (
            usage.get(f"{name}_tokens") for name in ("prompt", "completion", "total")
        )
        return cls(_count(prompt), _count(completion), _count(total))

    def __getitem__(self, name: str) -> int | None:
        """Read a count by its name on the wire."""
        return self.to_dict()[name]

    def to_dict(self) -> dict[str, int | None]:
        """Return the object of protocols section 6."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
        }


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an answer failed: a word for programs, a line for people."""

    type: str
    message: str

    def __getitem__(self, name: str) -> str:
        """Read a field by its name on the wire."""
        return self.to_dict()[name]

    def to_dict(self) -> dict[str, str]:
        """Return the object of protocols section 6."""
        return {"type": self.type, "message": self.message}


@dataclass(frozen=True, slots=True)
class Source:
    """A page that was found or read on the way to the answer; either text may be empty, not both."""

    title: str
    url: str


class Message:
    """One answer, from its first snapshot to its terminal status."""

    def __init__(self, document: Document | None = None) -> None:
        self.document = document or Document()
        self._interrupted = False
        self._failure: Failure | None = None
        self._texts: dict[Kind, str | None] = {"thinking": None, "content": None}
        # What each fragment shows; None until the next patch asks.
        self._shown: list[Kind | None] | None = None
        # The text path that was appended to last, and what it shows.
        self._hot_path = ""
        self._hot_kind: Kind | None = None

    def apply(self, patch: Patch) -> tuple[Delta, ...]:
        """Apply one patch and return the text that became visible by it.

        An APPEND gives its text. A SET or a snapshot gives what it adds to the text shown before, or, when
        that text was not its beginning, the whole text as one that replaces.
        """
        if patch.path == self._hot_path and patch.op == "APPEND" and type(patch.value) is str:
            return self._lengthened(self._hot_kind, patch)
        if not _shows_text(patch.path):
            self.document.apply(patch)
            return ()
        if patch.op == "APPEND":
            return self._appended(patch)
        return self._compared(patch)

    def _appended(self, patch: Patch) -> tuple[Delta, ...]:
        if type(patch.value) is str and self._only_lengthens(patch.path):
            self._hot_path = patch.path
            return self._lengthened(self._hot_kind, patch)
        if patch.path == FRAGMENTS and is_list(patch.value) and self._kinds():
            return self._opened(patch, patch.value)
        return self._compared(patch)

    def _only_lengthens(self, path: str) -> bool:
        """Whether text appended at `path` is at the end of its kind, or of no kind; sets what it shows."""
        kinds = self._kinds()
        if path in (THINKING, CONTENT):
            self._hot_kind = None if kinds else "thinking" if path == THINKING else "content"
            return True
        index = _fragment_index(path, len(kinds))
        if index is None:
            return False
        later = kinds[index:]
        self._hot_kind = later[0]
        return later[0] is None or later[0] not in later[1:]

    def _lengthened(self, kind: Kind | None, patch: Patch) -> tuple[Delta, ...]:
        if not self.document.apply(patch) or not patch.value or kind is None:
            return ()
        self._texts[kind] = None
        return (Delta(kind, patch.value),)

    def _opened(self, patch: Patch, fragments: list[Any]) -> tuple[Delta, ...]:
        """Open fragments after those that stand: their text is all that is new."""
        if not self.document.apply(patch):
            return ()
        self._hot_path = ""
        self._kinds().extend(_kind(one) for one in fragments)
        self._texts = {"thinking": None, "content": None}
        return tuple(delta for one in fragments if (delta := _shown(one)) is not None)

    def _compared(self, patch: Patch) -> tuple[Delta, ...]:
        """Apply `patch`, and find what it changed by comparing the texts before and after."""
        before = self.thinking, self.content
        if not self.document.apply(patch):
            return ()
        if _is_snapshot(patch):  # a new truth
            self._interrupted, self._failure = False, None
        self._hot_path, self._shown = "", None
        self._texts = {"thinking": None, "content": None}
        changes = (_change("thinking", before[0], self.thinking), _change("content", before[1], self.content))
        return tuple(delta for delta in changes if delta is not None)

    def _kinds(self) -> list[Kind | None]:
        if self._shown is None:
            self._shown = [_kind(one) for one in as_list(self.document.get(FRAGMENTS))]
        return self._shown

    @property
    def thinking(self) -> str:
        """The thinking so far; "" when there is none."""
        return self._text("thinking")

    @property
    def content(self) -> str:
        """The answer so far; "" when there is none."""
        return self._text("content")

    def told(self, kind: Kind) -> str:
        """All text of a kind as it came: half a character at its end is still there."""
        return "".join(self._pieces(kind))

    def _text(self, kind: Kind) -> str:
        text = self._texts[kind]
        if text is None:
            whole, held = mend(self.told(kind))
            text = self._texts[kind] = whole + ("\ufffd" if held else "")
        return text

    def _pieces(self, kind: Kind) -> Iterator[str]:
        if self._kinds():
            for delta in map(_shown, self.fragments):
                if delta is not None and delta.kind == kind:
                    yield delta.text
        elif isinstance(flat := self.document.get(THINKING if kind == "thinking" else CONTENT), str):
            yield flat

    @property
    def fragments(self) -> list[dict[str, Any]]:
        """The fragments of the newer wire generations, also those that are neither thinking nor answer."""
        return [one for one in as_list(self.document.get(FRAGMENTS)) if is_object(one)]

    @property
    def started(self) -> bool:
        """Whether a snapshot has been seen."""
        return self.document.has("response")

    @property
    def status(self) -> Status:
        """The state in our words (protocols section 6)."""
        status = self._state()[0]
        if status != "streaming":
            return status
        if self._failure is not None:
            return "failed"
        return "interrupted" if self._interrupted else "streaming"

    @property
    def terminal(self) -> bool:
        """Whether nothing more will come; an interrupted answer can be resumed."""
        return self.status not in ("streaming", "interrupted")

    @property
    def finish_reason(self) -> str | None:
        """Why it ended, None before it has."""
        status = self.status
        if status in ("streaming", "interrupted"):
            return None
        if status == "failed":
            return "error"
        said, wire = self.document.get("response/finish_reason"), self.document.get("response/status")
        if wire in ("FINISHED", "INCOMPLETE") and isinstance(said, str) and said:
            return said
        return self._state()[1]

    def _state(self) -> tuple[Status, str | None]:
        wire = self.document.get("response/status")
        if not isinstance(wire, str) or not wire:
            return "streaming", None
        # The end is the status leaving WIP, also for a word that we do not know.
        return _STATES.get(wire, ("failed", "error"))

    @property
    def error(self) -> Failure | None:
        """Why it failed, None when it has not."""
        if self.status != "failed":
            return None
        wire = self.document.get("response/error")
        if self._state()[0] == "failed" and is_object(wire):
            return Failure(str(wire.get("type") or "error"), str(wire.get("message") or SILENT))
        if self._failure is not None:
            return self._failure
        status = str(self.document.get("response/status"))
        return Failure(status.lower(), f"the server ended the answer with status {status}")

    @property
    def usage(self) -> Usage | None:
        """The token counts; only the total where the wire has nothing else."""
        wire = self.document.get("response/usage")
        if is_object(wire):
            return Usage.from_wire(wire)
        total = _count(self.document.get("response/accumulated_token_usage"))
        return Usage(None, None, total) if total else None

    @property
    def thinking_seconds(self) -> float | None:
        """How long it thought, as the server says; the sum over the fragments where each has its own."""
        flat = _seconds(self.document.get("response/thinking_elapsed_secs"))
        if flat is not None:
            return flat
        each = [_seconds(one.get("elapsed_secs")) for one in self.fragments if one.get("type") == "THINK"]
        known = [seconds for seconds in each if seconds is not None]
        return sum(known) if known else None

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        """The calls of tools that the model asks for, as far as they have arrived; copies."""
        return [one for one in as_list(self.document.get("response/tool_calls")) if is_object(one)]

    @property
    def sources(self) -> list[Source]:
        """The pages found and read on the way, each once, in the order of the wire."""
        found: dict[str, Source] = {}
        for page in map(as_object, self._pages()):
            one = Source(as_text(page.get("title")), as_text(page.get("url")))
            known = found.get(name := one.url or one.title)
            if name and (known is None or not known.title):
                found[name] = one
        return list(found.values())

    def _pages(self) -> Iterator[object]:
        for fragment in self.fragments:
            yield from as_list(fragment.get("results"))
            yield fragment.get("result")
        yield from as_list(self.document.get("response/search_results"))

    @property
    def model(self) -> str | None:
        """The model's name."""
        name = self.document.get("response/model")
        return name if isinstance(name, str) and name else None

    @property
    def message_id(self) -> int | None:
        """The number of this message in its session."""
        return _count(self.document.get("response/message_id"))

    @property
    def parent_id(self) -> int | None:
        """The number of the message that this one answers."""
        return _count(self.document.get("response/parent_id"))

    def interrupt(self) -> None:
        """Note that the body ended too early; without effect on an answer that has ended."""
        self._interrupted = True

    def resume(self) -> None:
        """Take an interrupted answer up again."""
        self._interrupted = False

    def fail(self, type: str, message: str) -> None:
        """Note a failure that the wire's status does not tell; without effect on an answer that has ended."""
        if not self.terminal:
            self._failure = Failure(type, message)

    def to_dict(self) -> dict[str, Any]:
        """Return the object of protocols section 6."""
        usage, error = self.usage, self.error
        return {
            "status": self.status,
            "finish_reason": self.finish_reason,
            "thinking": self.thinking,
            "content": self.content,
            "thinking_seconds": self.thinking_seconds,
            "usage": usage and usage.to_dict(),
            "model": self.model,
            "message_id": self.message_id,
            "error": error and error.to_dict(),
        }


def _shows_text(path: str) -> bool:
    """Whether a patch at `path` can change what is read: most figures and states cannot."""
    if path in ("", "response", THINKING, CONTENT):
        return True
    if not path.startswith(FRAGMENTS):
        return False
    segments = path.split("/")
    return segments[1] == "fragments" and (len(segments) < 4 or segments[3] in ("content", "type"))


def _is_snapshot(patch: Patch) -> bool:
    return patch.path == "response" or (patch.path == "" and "response" in as_object(patch.value))


def _fragment_index(path: str, count: int) -> int | None:
    """Return n of ``response/fragments/n/content``, from the start; None for other paths and places."""
    index = path.removeprefix(f"{FRAGMENTS}/").removesuffix("/content")
    if path != f"{FRAGMENTS}/{index}/content" or not re.fullmatch("-?[0-9]{1,9}", index):
        return None
    return int(index) % count if -count <= int(index) < count else None


def _kind(fragment: object) -> Kind | None:
    """What a fragment's text is, by its type; None for tools, tips and what is no fragment."""
    return _KINDS.get(str(as_object(fragment).get("type")))


def _shown(fragment: object) -> Delta | None:
    """The text that a fragment shows."""
    kind, text = _kind(fragment), as_object(fragment).get("content")
    return Delta(kind, text) if kind is not None and isinstance(text, str) and text else None


def _change(kind: Kind, was: str, now: str) -> Delta | None:
    if now == was:
        return None
    return Delta(kind, now[len(was) :]) if now.startswith(was) else Delta(kind, now, replaces=True)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def finished(finish_reason: str = "stop") -> list[Patch]:
    """Seal an answer that is complete."""
    return _sealed("FINISHED", finish_reason)


def stopped() -> list[Patch]:
    """Seal an answer that was stopped; its text stays."""
    return _sealed("INCOMPLETE", "stopped")


def filtered() -> list[Patch]:
    """Seal an answer that a content filter ended."""
    return _sealed("CONTENT_FILTER", "content_filter")


def failed(type: str, message: str) -> list[Patch]:
    """Seal an answer that failed; its text stays."""
    reason, status = _sealed("FAILED", "error")
    return [reason, Patch("response/error", "SET", Failure(type, message).to_dict()), status]


def reopened() -> list[Patch]:
    """Break the seal of an answer that goes on."""
    fields = {"finish_reason": None, "error": None, "status": "WIP"}
    return [Patch(f"response/{name}", "SET", value) for name, value in fields.items()]


def ends(patch: Patch) -> bool:
    """Whether `patch` brings a status that is terminal."""
    if patch.op != "SET":
        return False
    match patch.path:
        case "response/status":
            status = patch.value
        case "response":
            status = as_object(patch.value).get("status")
        case "":
            status = as_object(as_object(patch.value).get("response")).get("status")
        case _:
            return False
    return isinstance(status, str) and status not in ("", "WIP")


def _sealed(status: str, finish_reason: str) -> list[Patch]:
    return [Patch("response/finish_reason", "SET", finish_reason), Patch("response/status", "SET", status)]


__all__ = [
    "SILENT",
    "Delta",
    "Failure",
    "Kind",
    "Message",
    "Source",
    "Status",
    "Usage",
    "ends",
    "failed",
    "filtered",
    "finished",
    "reopened",
    "stopped",
]
