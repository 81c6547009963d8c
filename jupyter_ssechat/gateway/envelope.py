"""Answers and errors → the ``code/msg/data`` envelope (protocols sections 1 and 6)."""

from __future__ import annotations

from starlette.responses import Response

from ..errors import GatewayError
from ..wire_json import dumps


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
    content = dumps(envelope(biz_data, code=code, biz_code=biz_code, message=message))
    return Response(content, status, {"cache-control": "no-store"}, "application/json")


def refusal(error: GatewayError) -> Response:
    """An error of ours as an HTTP answer."""
    return envelope_response(error.status, code=error.code, biz_code=error.biz_code, message=str(error))
