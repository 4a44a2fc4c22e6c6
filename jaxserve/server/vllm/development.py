"""What does vLLM offer those who measure or develop? Traces, and an empty prefix cache."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from jaxserve.server.state import Profiler, state_of


async def start_profile(request: Request) -> Response:
    """Begin a trace of what the devices do."""
    await run_in_threadpool(_profiler(request).start)
    return Response()


async def stop_profile(request: Request) -> Response:
    """End the trace and write it to the server's folder for traces."""
    await run_in_threadpool(_profiler(request).stop)
    return Response()


async def reset_prefix_cache(request: Request) -> Response:
    """Let no later request find what was computed for those before."""
    state = state_of(request)
    if not state.config.server.dev_routes:
        raise HTTPException(403, "this slows others down; start with --dev-routes for it")
    state.engine.reset_prefix_cache()
    return Response()


def _profiler(request: Request) -> Profiler:
    profiler = state_of(request).profiler
    if profiler is None:
        raise HTTPException(404, "this server takes no traces; start it with --profile-dir")
    return profiler
