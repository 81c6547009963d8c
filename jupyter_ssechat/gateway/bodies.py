"""JSON bodies → typed requests: the one door to msgspec (protocols section 6, *Addresses and bodies*)."""

from __future__ import annotations

import binascii
import json
import math
import re
import sys
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from ..errors import InvalidRequest
from ..upstream_spec import UpstreamSpec
from .audience import Action

MAX_IMAGES = 20
MAX_IMAGE_BYTES = 20 * 2**20

MAX_MESSAGES = 10_000

Seconds = Annotated[float, msgspec.Meta(ge=0, le=sys.float_info.max)]
MessageId = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
Body = TypeVar("Body")


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No fields at all."""


class OfSession(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call about a session."""

    chat_session_id: str


class OfMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call about one message."""

    chat_session_id: str
    message_id: int


class Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a page at `origin` may do by itself: stop and resume this one answer."""

    chat_session_id: str
    message_id: int
    origin: str


class Assigned(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who answers in a session from now on."""

    chat_session_id: str
    upstream: UpstreamSpec


class StopStream(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """With `stream_id`, a newer generation of the message is left alone."""

    chat_session_id: str
    message_id: int
    stream_id: str | None = None


class Asking(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every call that generates may say; `grace` is in seconds, None for what is usual."""

    chat_session_id: str
    thinking_enabled: bool = True
    search_enabled: bool = False
    model: str | None = None
    system: str | None = None
    options: dict[str, Any] = {}
    images: list[str] | None = None
    on_disconnect: Action = "continue"
    grace: Seconds | None = None


def fields_of(asking: Asking) -> dict[str, Any]:
    """How an answer was asked for as JSON, without the images, which are kept with the prompt."""
    fields = msgspec.to_builtins(asking)
    return {name: fields[name] for name in Asking.__struct_fields__ if name != "images"}


def asking_of(fields: dict[str, Any]) -> Asking:
    """How an answer was asked for."""
    return msgspec.convert(fields, Asking)


class Completion(Asking, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A prompt after `parent_message_id`, None at the root."""

    prompt: str
    parent_message_id: int | None = None
    ref_file_ids: list[str] = []


class EditMessage(Asking, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A changed prompt in place of the user's message: a new branch."""

    message_id: int
    prompt: str
    ref_file_ids: list[str] = []


class Regenerate(Asking, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Another answer beside the answer `child_message_id`."""

    child_message_id: int


class Continue(Asking, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """More of the same answer; one that still runs is resumed if `fallback_to_resume`."""

    message_id: int
    fallback_to_resume: bool = False


class SavedError(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why an answer of a saved conversation failed."""

    type: str
    message: str


class SavedMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A message of a saved conversation, in the words of `history_messages`; an answer in it has ended.

    `verbatim` are the messages of chat completions that it stands for, where its other fields do not say all of
    them; `upstream` is what the server that gave the answer calls it.
    """

    message_id: MessageId
    parent_id: MessageId | None = None
    role: Literal["USER", "ASSISTANT"]
    content: str = ""
    thinking_content: str | None = None
    thinking_elapsed_secs: Seconds | None = None
    thinking_enabled: bool = False
    fragments: list[dict[str, Any]] | None = None
    search_results: list[Any] | None = None
    status: Literal[
        "FINISHED", "INCOMPLETE", "CONTENT_FILTER", "CONTEXT_LENGTH_EXCEEDED", "TIMEOUT", "FAILED"
    ] = "FINISHED"
    finish_reason: str | None = None
    error: SavedError | None = None
    usage: dict[str, Any] | None = None
    accumulated_token_usage: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    model: str = ""
    images: list[str] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    upstream: dict[str, Any] | None = None
    verbatim: list[dict[str, Any]] | None = None
    inserted_at: Seconds | None = None

    def to_wire(self) -> dict[str, Any]:
        """The fields that say something; always how it ended."""
        return {**msgspec.to_builtins(self), "status": self.status}


class ImportedSession(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A saved conversation, all branches, each message after its parent."""

    chat_messages: Annotated[list[SavedMessage], msgspec.Meta(max_length=MAX_MESSAGES)]


class PlainMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A message for a stream that a browser reads."""

    message: str
    model: str | None = None
    thinking: bool = True


def read(raw: bytes, kind: type[Body]) -> Body:
    """Read a request body as `kind`; InvalidRequest names the field that is wrong."""
    try:
        data = json.loads(raw or b"{}", parse_float=_finite, parse_constant=_finite)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _invalid(f"the body is not JSON: {error}", "body") from None
    except ValueError:  # JSON has no word for them, and Python no patience for thousands of digits
        raise _invalid("a number in the body is out of bounds", "body") from None
    except RecursionError:
        raise _invalid("the body is nested too deeply", "body") from None
    return as_body(data, kind)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def as_body(data: object, kind: type[Body]) -> Body:
    """Take JSON values as `kind`; InvalidRequest names the field that is wrong."""
    try:
        return msgspec.convert(data, kind, strict=True)
    except msgspec.ValidationError as error:
        raise _invalid(str(error), _field(str(error))) from None


def checked_images(addresses: list[str], field: str = "images") -> list[str]:
    """The addresses of images, each ``data:image/…;base64,…`` or http(s); InvalidRequest names one that is neither."""
    if len(addresses) > MAX_IMAGES:
        raise _invalid(f"{len(addresses)} of them; expected at most {MAX_IMAGES}", field)
    for number, address in enumerate(addresses, 1):
        if fault := _image_fault(address):
            raise _invalid(f"number {number} {fault}", field)
    return addresses


def _image_fault(address: str) -> str | None:
    if len(address) * 3 > MAX_IMAGE_BYTES * 4:
        return f"is larger than {MAX_IMAGE_BYTES // 2**20} MiB; send a smaller image"
    if re.fullmatch(r"https?://[^\s/?#]+[^\s]*", address, re.I):
        return None
    head, _, data = address.partition(",")
    if not re.fullmatch(r"data:image/[a-z0-9.+-]+;base64", head, re.I):
        return "is not an image; expected data:image/TYPE;base64,DATA, or an http(s) address"
    try:
        return None if binascii.a2b_base64(data.encode(), strict_mode=True) else "is an image without data"
    except (binascii.Error, UnicodeEncodeError):
        return "is not base64; expected data:image/TYPE;base64,DATA"


def _field(message: str) -> str:
    """The field that msgspec speaks of: in backquotes at the end of the path, or of the sentence."""
    path = re.search(r"at `\$\.?([^`]*)`", message)
    named = re.search(r"field `([^`]*)`", message)
    return ".".join(part[1] for part in (path, named) if part and part[1]) or "body"


def _invalid(message: str, field: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {message}", status=422, code=42200)


class ChatMessage(msgspec.Struct, frozen=True):
    """A message of ``/v1/chat/completions``; what else it says is for the model server to judge."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None


class StreamOptions(msgspec.Struct, frozen=True):
    """How chunks are wanted."""

    include_usage: bool | None = None


class ChatCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway itself reads of a body of ``/v1/chat/completions``; all else goes on as it is."""

    messages: Annotated[list[ChatMessage], msgspec.Meta(min_length=1)]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    reasoning_effort: str | None = None


def read_with_fields(raw: bytes, kind: type[Body]) -> tuple[Body, dict[str, Any]]:
    """Read a request body as `kind`, and all of its fields as they were sent."""
    fields = read(raw, dict[str, Any])
    return as_body(fields, kind), fields
