"""A body of ``/v1/chat/completions`` → what an upstream is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InvalidRequest
from ..openai_messages import text_of, turn_of
from ..request import Request
from ..wire_json import as_list, as_object
from .bodies import ChatCompletion

OURS = {"messages", "model", "stream", "stream_options", "n"}
NO_THINKING = "none"
"""The `reasoning_effort` that is said by `Request.thinking`, for every wire has its own words for it."""

_SYSTEM = ("system", "developer")


def chat_request(body: ChatCompletion, fields: Mapping[str, Any]) -> Request:
    """Ask what the client asks; `fields` is the body as it was sent. Raises InvalidRequest for what cannot be.

    The system prompt is what stands first. Every other message is kept verbatim, and what is not ours to read
    is an option, for a server of the same wire gets exactly what the client sent.
    """
    if body.n not in (None, 1):
        raise InvalidRequest(
            f"n: {body.n} answers are asked for; this gateway gives one for each request, so send n=1, or"
            " several requests",
            status=422,
        )
    messages = [as_object(message) for message in as_list(fields.get("messages"))]
    leading = next((n for n, one in enumerate(messages) if one.get("role") not in _SYSTEM), len(messages))
    thinking = body.reasoning_effort != NO_THINKING
    left_out = OURS if thinking else OURS | {"reasoning_effort"}
    return Request(
        turns=tuple(map(turn_of, messages[leading:])),
        model=body.model or None,
        system="\n\n".join(map(text_of, messages[:leading])) or None,
        thinking=thinking,
        options={name: value for name, value in fields.items() if name not in left_out},
        only_grows=bool(body.stream),
    )


__all__ = ["chat_request"]
