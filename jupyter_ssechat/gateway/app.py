"""The gateway's ASGI app: its addresses, who may call them, and what a refusal looks like."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..errors import GatewayError
from .access import FIGURES, HEALTH, Access, Guard
from .conversations import Conversations
from .envelope import envelope_response, refusal, refuse
from .metrics import Metrics
from .openai_api import OpenAIAPI
from .own_api import OwnAPI
from .patch_api import PatchAPI
from .plain_api import PlainAPI
from .settings import Settings


def create_app(
    conversations: Conversations,
    access: Access,
    metrics: Metrics,
    settings: Settings,
) -> Starlette:
    """Build the ASGI app of one gateway."""
    app = Starlette(
        routes=[
            Route("/", _greet, methods=["GET"]),
            Route(HEALTH, _health, methods=["GET"]),
            Route(FIGURES, _figures_of(metrics), methods=["GET"]),
            *PatchAPI(conversations, settings.keep_alive).routes(),
            *OwnAPI(conversations, access, assignable=settings.assignable).routes(),
            *PlainAPI(conversations, settings.keep_alive).routes(),
            *OpenAIAPI(conversations, settings).routes(),
        ],
        middleware=[Middleware(Guard, access, conversations.admission.call)],
        exception_handlers={
            GatewayError: _refuse,
            HTTPException: _refuse_http,
            ClientDisconnect: _nobody,
            Exception: _fail,
        },
    )
    app.router.redirect_slashes = False
    return app


def route_of(app: Starlette) -> Callable[[str], str]:
    """What tells the template of a path; ``other`` for one that is not served."""
    routes = [route for route in app.routes if isinstance(route, Route)]

    def template(path: str) -> str:
        return next(
            (route.path.replace(":path", "") for route in routes if route.path_regex.match(path)), "other"
        )

    return template


async def _greet(_: Request) -> Response:
    return envelope_response(biz_data={"name": "jupyter_ssechat gateway"})


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"}, headers={"cache-control": "no-store"})


def _figures_of(metrics: Metrics) -> Callable[[Request], Awaitable[Response]]:
    async def figures(_: Request) -> Response:
        headers = {"cache-control": "no-store", "content-type": metrics.content_type}
        return Response(metrics.text(), headers=headers)

    return figures


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)
    return refusal(error, request.url.path)


async def _refuse_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = error.status_code
    return refuse(request.url.path, status, str(error.detail), code=status * 100, headers=error.headers)


async def _nobody(_: Request, __: Exception) -> Response:
    return Response(status_code=400)


async def _fail(request: Request, error: Exception) -> Response:
    return refuse(request.url.path, 500, f"the gateway failed: {type(error).__name__}", code=50000)
