"""What a call says, and what stands above an answer → what the upstream is asked; refusals that need no more."""

from __future__ import annotations

from typing import Any

from ..errors import GatewayError, InvalidRequest
from ..openai_messages import turn_of
from ..patches import Patch
from ..request import Request, Turn
from ..wire_json import as_list, as_object
from .audience import GRACES, OnDisconnect
from .bodies import Asking, Completion, Continue, EditMessage, Regenerate
from .sessions import Record, Session

IMAGES, HANDLE, VERBATIM = "response/images", "response/upstream", "response/verbatim"


def request_for(session: Session, record: Record, body: Asking, *, continues: bool) -> Request:
    """What the upstream is asked: the branch that leads to the answer."""
    branch = session.path_to(record)[:-1]
    turns = [turn for one in branch for turn in _turns(one)]
    options: dict[str, Any] = dict(body.options)
    return Request(
        turns=tuple(turns),
        model=body.model,
        system=body.system,
        thinking=body.thinking_enabled,
        options=options,
        continues=continues,
        thinking_so_far=record.message.thinking if continues else "",
        content_so_far=record.message.content if continues else "",
        handle=_handle(record) if continues else None,
    )


def may_go_on(record: Record) -> None:
    """Say no where an answer cannot go on."""
    if record.role != "ASSISTANT":
        raise wrong("message_id", f"message {record.message_id} is a prompt; expected an answer")
    if record.running:
        raise wrong("message_id", f"answer {record.message_id} is still running; resume or stop it")
    if is_complete(record):
        raise wrong("message_id", f"answer {record.message_id} is complete; regenerate it for another one")


def is_complete(record: Record) -> bool:
    """Whether an answer is whole."""
    message = record.message
    return message.status in ("finished", "filtered") and message.finish_reason != "length"


def as_asked(record: Record, body: Continue) -> Asking:
    """How an answer goes on: as it was asked for, but for what is said anew."""
    asked = record.asked
    if asked is None:
        return body
    return Asking(
        chat_session_id=body.chat_session_id,
        thinking_enabled=asked.thinking_enabled and body.thinking_enabled,
        search_enabled=asked.search_enabled or body.search_enabled,
        model=body.model or asked.model,
        system=body.system or asked.system,
        options={**asked.options, **body.options},
        on_disconnect=body.on_disconnect,
        grace=body.grace,
    )


def _turns(record: Record) -> list[Turn]:
    """What a message is to a model: one that was imported may stand for several, or for none."""
    verbatim = record.document.get(VERBATIM)
    if verbatim is not None:
        return [turn_of(message) for message in as_list(verbatim)]
    if record.role == "USER":
        return [Turn("user", record.message.content, images=tuple(images_of(record)))]
    content = record.message.content
    return [Turn("assistant", content, handle=_handle(record))] if content else []


def no_longer_verbatim(record: Record) -> list[Patch]:
    """An imported answer that goes on is not what was imported any more."""
    return [Patch(VERBATIM, "SET", None)] if record.document.get(VERBATIM) is not None else []


def _handle(record: Record) -> dict[str, Any] | None:
    """What the server that gave this answer calls it."""
    return as_object(record.document.get(HANDLE)) or None


def images_of(prompt: Record) -> list[str]:
    """The images of a prompt."""
    return as_list(prompt.document.get(IMAGES))


def with_images(prompt: Record, images: list[str]) -> Record:
    """The prompt, with images."""
    if images:
        prompt.apply([Patch(IMAGES, "SET", images)])
    return prompt


def policy_of(body: Asking) -> OnDisconnect:
    """What the generation does without readers."""
    return OnDisconnect(body.on_disconnect, GRACES[body.on_disconnect] if body.grace is None else body.grace)


def refuse_images(body: Regenerate | Continue) -> None:
    """Say no to images where no prompt is."""
    if body.images:
        raise wrong("images", "they belong to a prompt; edit the message to ask with others")


def refuse_files(body: Completion | EditMessage) -> None:
    """Say no to what would silently be left out of the question."""
    if body.ref_file_ids:
        raise wrong("ref_file_ids", "this gateway keeps no files; put what they say into the prompt")


def allow(record: Record, ban: str) -> None:
    """Say no to what the message forbids."""
    if record.document.get(f"response/{ban}"):
        raise GatewayError(
            f"message {record.message_id} does not allow this ({ban})", status=403, biz_code=28
        )


def wrong(field: str, message: str) -> InvalidRequest:
    """The error for a field that cannot be."""
    return InvalidRequest(f"{field}: {message}", status=422, code=42200)


__all__ = [
    "allow",
    "as_asked",
    "images_of",
    "is_complete",
    "may_go_on",
    "no_longer_verbatim",
    "policy_of",
    "refuse_files",
    "refuse_images",
    "request_for",
    "with_images",
    "wrong",
]
