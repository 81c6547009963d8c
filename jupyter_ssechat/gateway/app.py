"""The gateway's ASGI app: its addresses, who may call them, and what a refusal looks like."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ..errors import GatewayError
from .access import Access, Guard
from .conversations import Conversations
from .envelope import envelope_response, refusal
from .patch_api import PatchAPI

KEEP_ALIVE_SECONDS = 15.0


def create_app(
    conversations: Conversations, access: Access, *, keep_alive: float = KEEP_ALIVE_SECONDS
) -> Starlette:
    """Build the ASGI app of one gateway; `keep_alive` is in seconds."""
    app = Starlette(
        routes=[Route("/", _greet, methods=["GET"]), *PatchAPI(conversations, keep_alive).routes()],
        middleware=[Middleware(Guard, access)],
        exception_handlers={
            GatewayError: _refuse,
            HTTPException: _refuse_http,
            ClientDisconnect: _nobody,
            Exception: _fail,
        },
    )
    app.router.redirect_slashes = False
    return app


async def _greet(_: Request) -> Response:
    return envelope_response(biz_data={"name": "jupyter_ssechat gateway"})


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)
    return refusal(error)


async def _refuse_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return envelope_response(error.status_code, code=error.status_code * 100, message=str(error.detail))


async def _nobody(_: Request, __: Exception) -> Response:
    return Response(status_code=400)


async def _fail(_: Request, error: Exception) -> Response:
    return envelope_response(500, code=50000, message=f"the gateway failed: {type(error).__name__}")
