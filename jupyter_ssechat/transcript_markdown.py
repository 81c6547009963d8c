"""A conversation → Markdown to read, for a notebook, a page or a repository; it is as safe as a saved output."""

from __future__ import annotations

import re
from typing import Any

from .gateway.bodies import SavedMessage
from .message import Message
from .projection import to_markdown
from .transcript import INTERRUPTED, Transcript, message_in
from .wire_json import as_object, as_text

RULE = "\n\n---\n\n"


def transcript_markdown(transcript: Transcript, *, thinking: bool = True) -> str:
    """Write the branch that leads to the head: who speaks, what they say, how an answer ended that is not whole.

    `thinking` is folded above its answer, or left out. Ends with a newline; "" for nothing said.
    """
    parts = [_part("System", to_markdown(transcript.system))] if transcript.system else []
    parts += [_said(one, thinking=thinking) for one in transcript.branch() if not _is_nothing(one)]
    return RULE.join(parts) + "\n" if parts else ""


def _is_nothing(saved: SavedMessage) -> bool:
    """Whether it only stands in the place of a message that never was."""
    return saved.verbatim == [] and saved.error is None


def _said(saved: SavedMessage, *, thinking: bool) -> str:
    if saved.role == "USER":
        return _part("You", "\n\n".join(filter(None, [to_markdown(saved.content), *_images(saved)])))
    message = message_in(saved)
    who = f"Model · {_one_line(saved.model)}" if saved.model else "Model"
    text = "\n\n".join([message.content, *map(_call, message.tool_calls)]).lstrip("\n")
    thoughts = message.thinking if thinking else ""
    return _part(who, to_markdown(text, thoughts, status_note=ending(message)))


def _part(who: str, text: str) -> str:
    return f"**{who}**\n\n{text}".rstrip("\n")


def _one_line(name: str) -> str:
    return to_markdown(" ".join(name.split()).replace("*", "\\*"))


def _images(saved: SavedMessage) -> list[str]:
    """A line for each image: where it is, or how large it is."""
    return [_image(url, number) for number, url in enumerate(saved.images or [], 1)]


def _image(url: str, number: int) -> str:
    kind = re.match(r"data:(image/[a-z0-9.+-]+);base64,", url, re.I)
    if kind is None:
        return to_markdown(f"[image {number}]({url})")
    size = (len(url) - kind.end()) * 3 // 4
    return f"*image {number}: {kind[1]}, {size:,} bytes*"


def _call(call: dict[str, Any]) -> str:
    function = as_object(call.get("function"))
    name, arguments = as_text(function.get("name")), as_text(function.get("arguments"))
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", arguments)), default=0))
    return f"Tool call: {' '.join(name.split())}\n\n{fence}json\n{arguments}\n{fence}"


def ending(message: Message) -> str:
    """How an answer ended that is not whole; empty for a whole one."""
    failure = message.error
    match message.status:
        case "stopped":
            return "Stopped: this answer is not complete."
        case "failed" if failure and failure.type == INTERRUPTED:
            return f"Interrupted: {failure.message}."
        case "failed":
            return f"Failed: {failure.message if failure else 'for an unknown reason'}"
        case "filtered":
            return "Filtered: the model server withheld the rest."
        case "finished" if message.finish_reason == "length":
            return "Cut: the limit of tokens was reached."
        case _:
            return ""


__all__ = ["ending", "transcript_markdown"]
