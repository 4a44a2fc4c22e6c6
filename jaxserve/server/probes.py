"""Is the server there, can it serve, what has it measured, and which models are behind it?"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from jaxserve.server.bodies import JSONBody
from jaxserve.server.metrics.exposition import CONTENT_TYPE
from jaxserve.server.state import state_of
from jaxserve.version import __version__


async def root(request: Request) -> Response:
    """Say in a line whether the server can serve."""
    problem = state_of(request).problem()
    if problem is None:
        return PlainTextResponse("jaxserve is running\n")
    return PlainTextResponse(f"jaxserve is not serving: {problem}\n", status_code=503)


async def health(request: Request) -> Response:
    """Say whether the server can serve; 503 when it can not."""
    problem = state_of(request).problem()
    if problem is None:
        return JSONBody({"status": "ok"})
    return JSONBody({"error": problem, "error_type": "healthcheck"}, status_code=503)


async def metrics(request: Request) -> Response:
    """Everything measured, for Prometheus."""
    state = state_of(request)
    text = state.metrics_page.text(draining=state.draining)
    return Response(text, headers={"Content-Type": CONTENT_TYPE})


async def version(request: Request) -> Response:
    """The server's version."""
    return JSONBody({"version": __version__})


async def load(request: Request) -> Response:
    """How many requests are being answered, streams included."""
    return JSONBody({"server_load": len(state_of(request).in_flight)})


async def list_models(request: Request) -> Response:
    """The models that are served."""
    return JSONBody(state_of(request).model.cards())


async def show_model(request: Request) -> Response:
    """One of the models that are served."""
    model = state_of(request).model
    return JSONBody(model.card(model.resolve(request.path_params["name"])))
