"""What went wrong → its HTTP status and OpenAI's error object (protocols section 6)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from ..errors import BadInput, ConnectionFailed, GatewayError, StreamError, TimedOut, UpstreamError
from ..message import Failure

INVALID = "invalid_request_error"
STOPPED = "the answer was stopped at the model server before it was complete"

# What an upstream says inside a stream that it had accepted; what is not here is a bad gateway's.
_STATUSES = {
    INVALID: 400,
    "context_length_exceeded": 400,
    "input_exceeds_limit": 400,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "rate_limit_reached": 429,
    "overloaded_error": 503,
    "timeout": 504,
}
_STATUS = re.compile("[45][0-9]{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why there is no answer, or no more of it; `retry_after` is in seconds."""

    status: int
    type: str
    message: str
    param: str | None = None
    retry_after: float | None = None

    def to_wire(self) -> dict[str, Any]:
        """The object of every refusal on /v1; `code` is the status, also where none can be sent any more."""
        said = {"message": self.message, "type": self.type, "param": self.param, "code": str(self.status)}
        return {"error": said}

    def headers(self) -> dict[str, str]:
        """What the HTTP answer says besides; the seconds are whole ones (RFC 9110, section 10.2.3)."""
        wait = {} if self.retry_after is None else {"retry-after": str(math.ceil(self.retry_after))}
        return {"cache-control": "no-store", **wait}

    @property
    def timed_out(self) -> bool:
        """Whether it was a deadline that was missed."""
        return self.type == "timeout"


def invalid(param: str, message: str) -> Fault:
    """A field of the request that cannot be."""
    return Fault(status=400, type=INVALID, message=message, param=param)


def not_whole(failure: Failure | None) -> Fault:
    """An answer whose terminal status is that of a failure, or None for one that was stopped."""
    if failure is None:
        return Fault(status=502, type="upstream_stopped", message=STOPPED)
    told = int(failure.type) if _STATUS.fullmatch(failure.type) else 0  # some name an error by its status
    status = _STATUSES.get(failure.type) or _passed_on(told)
    return Fault(status=status, type=failure.type, message=failure.message)


def fault_of(error: Exception, *, begun: bool = False) -> Fault:
    """What was raised in place of an answer; `begun` tells that a part of it was there."""
    match error:
        case GatewayError():
            return _refused(error)
        case UpstreamError():
            return _upstream(error)
        case TimedOut():
            return Fault(status=504, type=error.type, message=f"the model server took too long: {error}")
        case ConnectionFailed():
            kind = "upstream_interrupted" if begun else error.type
            said = "broke off in mid-answer" if begun else "cannot be reached"
            return Fault(status=502, type=kind, message=f"the model server {said}: {error}")
        case StreamError():
            return Fault(status=502, type=error.type, message=str(error))
        case BadInput():
            return Fault(status=400, type=INVALID, message=str(error))
        case _:
            said = f"the gateway failed: {type(error).__name__}"
            return Fault(status=500, type="internal_error", message=said)


def _refused(error: GatewayError) -> Fault:
    """A body that was not taken: the sentence begins with the field, where it speaks of one."""
    field, _, _ = str(error).partition(": ")
    status = 400 if error.status in (0, 422) else error.status
    return Fault(
        status=status,
        type=INVALID,
        message=str(error),
        param=field if " " not in field else None,
        retry_after=error.retry_after,
    )


def _upstream(error: UpstreamError) -> Fault:
    """The upstream's own status; nobody shall doubt their own token for what is wrong with its key."""
    if error.type == "no_model":
        return invalid("model", str(error))
    return Fault(
        status=_passed_on(error.status or 0),
        type=error.type,
        message=str(error),
        retry_after=error.retry_after,
    )


def _passed_on(status: int) -> int:
    """A status of the model server as ours: what is about its key, or is none of HTTP's, is a bad gateway's."""
    return status if 400 <= status < 600 and status not in (401, 403, 407) else 502


__all__ = ["INVALID", "Fault", "fault_of", "invalid", "not_whole"]
