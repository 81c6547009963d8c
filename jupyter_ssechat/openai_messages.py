"""A message of chat completions ↔ what it says and shows; pure values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .request import Role, Turn
from .wire_json import as_list, as_object, as_text


def turn_of(message: dict[str, Any]) -> Turn:
    """The turn that a message is, kept verbatim; who is not the assistant speaks to it."""
    role: Role = "assistant" if message.get("role") == "assistant" else "user"
    return Turn(role, text_of(message), images=tuple(_images(message)), verbatim=message)


def text_of(message: dict[str, Any]) -> str:
    """What a message says, its parts on lines of their own."""
    content = message.get("content")
    parts = (as_text(as_object(part).get("text")) for part in as_list(content))
    return as_text(content) or "\n".join(filter(None, parts))


def _images(message: dict[str, Any]) -> Iterator[str]:
    for part in map(as_object, as_list(message.get("content"))):
        image = part.get("image_url")
        if url := as_text(as_object(image).get("url")) or as_text(image):
            yield url


def message_of(
    role: Role, content: str, *, images: Sequence[str] = (), tool_calls: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """The message that says this; images are parts, and an answer that only calls tools has no content."""
    if images:
        parts: list[dict[str, Any]] = [{"type": "text", "text": content}] if content else []
        return {"role": role, "content": parts + [_image_part(url) for url in images]}
    if tool_calls:
        return {"role": role, "content": content or None, "tool_calls": [*map(_call, tool_calls)]}
    return {"role": role, "content": content}


def _image_part(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def _call(call: dict[str, Any]) -> dict[str, Any]:
    """A call without its place in the stream, which is no part of a message."""
    return {name: value for name, value in call.items() if name != "index"}


__all__ = ["message_of", "text_of", "turn_of"]
