"""Which paths are there, and what stands before them? Puts the HTTP front together."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketClose

from jaxserve.config import ServerConfig
from jaxserve.engine.metrics import EngineHealth, EngineMetrics
from jaxserve.errors import JaxserveError
from jaxserve.generate import TextGenerator
from jaxserve.server import request_id
from jaxserve.server.auth import BearerAuth
from jaxserve.server.bodies import JSONBody, PayloadLimit
from jaxserve.server.errors import CatchUnexpected, answer_error
from jaxserve.server.ignored import HEADER as IGNORED_HEADER
from jaxserve.server.metrics.exposition import CONTENT_TYPE
from jaxserve.server.metrics.http import MeasureHTTP
from jaxserve.server.metrics.measures import ServerMeasures
from jaxserve.server.metrics.page import MetricsPage
from jaxserve.server.models import ModelInfo
from jaxserve.server.openai_chat import chat_completions
from jaxserve.server.openai_completions import completions
from jaxserve.server.sampling import sampling_defaults
from jaxserve.server.state import ServerState, state_of


def create_app(
    generator: TextGenerator,
    *,
    model: ModelInfo,
    config: ServerConfig,
    engine_health: Callable[[], EngineHealth],
    engine_metrics: Callable[[], EngineMetrics],
    generation_config: Mapping[str, Any],
) -> Starlette:
    """The ASGI app; its start-up starts the generator on the event loop that serves.

    `generation_config` sets the defaults of sampling params; empty means the API's own. Setting
    `app.state.server.draining` makes it refuse new work and report itself not healthy.
    """
    measures = ServerMeasures()
    app = Starlette(
        routes=[
            Route("/", root),
            Route("/health", health),
            Route("/metrics", metrics),
            Route("/v1/models", list_models),
            Route("/v1/models/{name:path}", show_model),
            Route("/v1/chat/completions", chat_completions, methods=["POST"]),
            Route("/v1/completions", completions, methods=["POST"]),
        ],
        middleware=_middleware(config, measures),
        exception_handlers={
            HTTPException: answer_error,
            JaxserveError: answer_error,
            ClientDisconnect: _answer_nobody,
        },
        lifespan=_lifespan,
    )
    app.router.redirect_slashes = False  # a redirected POST costs clients a round trip
    app.router.default = unknown_route
    app.state.server = ServerState(
        generator=generator,
        model=model,
        defaults=sampling_defaults(generation_config),
        engine_health=engine_health,
        measures=measures,
        metrics_page=MetricsPage(
            config.metrics_family,
            model_name=model.names[0],
            engine_metrics=engine_metrics,
            server=measures,
        ),
    )
    return app


async def root(request: Request) -> Response:
    problem = state_of(request).problem()
    if problem is None:
        return PlainTextResponse("jaxserve is running\n")
    return PlainTextResponse(f"jaxserve is not serving: {problem}\n", status_code=503)


async def health(request: Request) -> Response:
    problem = state_of(request).problem()
    if problem is None:
        return JSONBody({"status": "ok"})
    return JSONBody({"error": problem, "error_type": "healthcheck"}, status_code=503)


async def metrics(request: Request) -> Response:
    state = state_of(request)
    text = state.metrics_page.text(draining=state.draining)
    return Response(text, headers={"Content-Type": CONTENT_TYPE})


async def list_models(request: Request) -> Response:
    return JSONBody(state_of(request).model.cards())


async def show_model(request: Request) -> Response:
    model = state_of(request).model
    return JSONBody(model.card(model.resolve(request.path_params["name"])))


async def unknown_route(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        return await WebSocketClose()(scope, receive, send)
    raise HTTPException(404, f"there is no {scope['method']} {scope['path'][:200]} here")


def _middleware(config: ServerConfig, measures: ServerMeasures) -> list[Middleware]:
    """Outermost first: every answer is counted, has a request id, and browsers may read it."""
    stack = [Middleware(MeasureHTTP, measures=measures), Middleware(request_id.RequestId)]
    if config.cors_allow_origin:
        stack.append(_cors(config))
    stack.append(Middleware(CatchUnexpected))
    if config.api_key:
        stack.append(Middleware(BearerAuth, keys=config.api_key))
    stack.append(Middleware(PayloadLimit, limit_bytes=config.payload_limit))
    return stack


def _cors(config: ServerConfig) -> Middleware:
    return Middleware(
        CORSMiddleware,
        allow_origins=config.cors_allow_origin,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],  # SDKs in browsers send a dozen x-stainless-* headers
        expose_headers=[request_id.HEADER, IGNORED_HEADER, "retry-after"],
    )


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncGenerator[None, None]:
    generator: TextGenerator = app.state.server.generator
    generator.start()
    try:
        yield
    finally:
        generator.close()


async def _answer_nobody(request: Request, error: Exception) -> Response:
    return Response(status_code=499)
