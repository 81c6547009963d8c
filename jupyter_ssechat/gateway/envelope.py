"""Answers and errors → the ``code/msg/data`` envelope (protocols sections 1 and 6).

Below ``/v1`` a refusal carries the error object of OpenAI beside it, which is what the clients there show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from starlette.responses import Response

from ..errors import GatewayError
from ..wire_json import dumps
from .openai_error import INVALID, Fault


def envelope(
    biz_data: object = None, *, code: int = 0, biz_code: int = 0, message: str = ""
) -> dict[str, object]:
    """The object around every answer that is no stream."""
    return {
        "code": code,
        "msg": message if code else "",
        "data": {"biz_code": biz_code, "biz_msg": message if biz_code else "", "biz_data": biz_data},
    }


def envelope_response(
    status: int = 200, biz_data: object = None, *, code: int = 0, biz_code: int = 0, message: str = ""
) -> Response:
    """The envelope as an HTTP answer."""
    return _answer(status, envelope(biz_data, code=code, biz_code=biz_code, message=message))


def refuse(
    path: str,
    status: int,
    message: str,
    *,
    code: int = 0,
    biz_code: int = 0,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Say no to a call of `path`, in the words of those who call there."""
    content = envelope(code=code, biz_code=biz_code, message=message)
    if path.startswith("/v1/"):
        kind = "internal_error" if status >= 500 else INVALID
        content |= Fault(status=status, type=kind, message=message).to_wire()
    return _answer(status, content, headers)


def refusal(error: GatewayError, path: str = "") -> Response:
    """An error of ours as the answer to a call of `path`."""
    wait = error.retry_after
    headers = {} if wait is None else {"retry-after": str(math.ceil(wait))}
    return refuse(path, error.status, str(error), code=error.code, biz_code=error.biz_code, headers=headers)


def _answer(status: int, content: object, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        dumps(content), status, {"cache-control": "no-store", **(headers or {})}, "application/json"
    )
