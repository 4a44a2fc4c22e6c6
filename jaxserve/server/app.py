"""What is the HTTP front made of? Puts the paths and what stands before them together."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketClose

from jaxserve.config import ServeConfig, ServerConfig
from jaxserve.errors import JaxserveError
from jaxserve.generate import TextGenerator
from jaxserve.pooling import TextPooler
from jaxserve.server import request_id
from jaxserve.server.auth import BearerAuth, api_keys
from jaxserve.server.bodies import PayloadLimit
from jaxserve.server.error_styles import StyleByPath
from jaxserve.server.errors import CatchUnexpected, answer_error
from jaxserve.server.ignored import HEADER as IGNORED_HEADER
from jaxserve.server.metrics.http import MeasureHTTP
from jaxserve.server.metrics.measures import ServerMeasures
from jaxserve.server.metrics.page import MetricsPage
from jaxserve.server.models import ModelInfo
from jaxserve.server.routes import rows_for
from jaxserve.server.row import Endpoint, Row
from jaxserve.server.sampling import sampling_defaults
from jaxserve.server.state import EngineView, Profiler, ServerState
from jaxserve.text.calls.reader import AnswerFormats
from jaxserve.text.formats.table import Formats


def create_app(
    text: TextGenerator | TextPooler,
    *,
    model: ModelInfo,
    config: ServeConfig,
    engine: EngineView,
    generation_config: Mapping[str, Any],
    formats: Formats,
    profiler: Profiler | None = None,
) -> Starlette:
    """The ASGI app; its start-up starts `text` on the event loop that serves.

    `engine` is the one below `text`. `generation_config` sets the defaults of sampling params;
    empty means the API's own. `formats` are those the model writes tool calls and reasoning in.
    Setting `app.state.server.draining` makes it refuse new work and report itself not healthy.
    """
    rows = rows_for(config.server)
    measures = ServerMeasures()
    app = Starlette(
        routes=list(_routes(rows)),
        middleware=_middleware(config.server, rows, measures),
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
        text=text,
        model=replace(model, accepts_any=config.api.accept_any_model),
        defaults=sampling_defaults(generation_config),
        config=config,
        engine=engine,
        profiler=profiler,
        rows=rows,
        measures=measures,
        metrics_page=MetricsPage(
            config.server.metrics_family,
            model_name=model.names[0],
            engine_metrics=engine.metrics,
            server=measures,
        ),
        formats=AnswerFormats(formats.tools, formats.reasoning, text.tokenizer),
    )
    return app


def _routes(rows: Sequence[Row]) -> Iterator[Route]:
    """One per path, so that `Allow` names every method the path takes; the first row is asked."""
    paths: dict[str, dict[str, Endpoint]] = {}
    for row in rows:
        for method in row.methods:
            paths.setdefault(row.path, {}).setdefault(method, row.endpoint)
    for path, endpoints in paths.items():
        yield Route(path, _by_method(endpoints), methods=list(endpoints))


def _by_method(endpoints: Mapping[str, Endpoint]) -> Endpoint:
    if len(set(endpoints.values())) == 1:
        return next(iter(endpoints.values()))

    async def answer(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await endpoints[method](request)

    return answer


async def unknown_route(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        return await WebSocketClose()(scope, receive, send)
    raise HTTPException(404, f"there is no {scope['method']} {scope['path'][:200]} here")


def _middleware(
    config: ServerConfig, rows: Sequence[Row], measures: ServerMeasures
) -> list[Middleware]:
    """Outermost first: every answer is counted, has a request id, and browsers may read it."""
    stack = [Middleware(MeasureHTTP, measures=measures), Middleware(request_id.RequestId)]
    if config.cors_allow_origin:
        stack.append(_cors(config))
    stack.append(Middleware(StyleByPath, styles={row.path: row.style for row in rows}))
    stack.append(Middleware(CatchUnexpected))
    keys = api_keys(config)
    if keys:
        open_to_all = frozenset((m, row.path) for row in rows if row.open for m in row.methods)
        stack.append(Middleware(BearerAuth, keys=keys, open_to_all=open_to_all))
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
    text: TextGenerator | TextPooler = app.state.server.text
    text.start()
    try:
        yield
    finally:
        text.close()


async def _answer_nobody(request: Request, error: Exception) -> Response:
    return Response(status_code=499)
