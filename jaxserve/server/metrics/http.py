"""How many responses of which kind, and how long did they take? Counts by route, never by path."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jaxserve.server.metrics.exposition import Exposition
from jaxserve.server.metrics.measures import Measured, ServerMeasures

NO_ROUTE = "none"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SECONDS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 240.0)


class MeasureHTTP:
    """Outermost, so that what other layers refuse is counted too; a stream counts to its end."""

    def __init__(self, app: ASGIApp, measures: ServerMeasures) -> None:
        self.app = app
        self.measures = measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        status, began_s = 500, time.monotonic()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            method = scope["method"] if scope["method"] in METHODS else "other"
            seconds = time.monotonic() - began_s
            self.measures.respond(_template(scope), method, status=status, seconds=seconds)


def write_http(page: Exposition, measured: Measured) -> None:
    server = measured.server
    page.labels = {}
    page.counter(
        "http_requests_total",
        "Responses by route, method and class of status.",
        [
            ({"handler": handler, "method": method, "status": status}, count)
            for (handler, method, status), count in server.responses.items()
        ],
    )
    page.histogram(
        "http_request_duration_seconds",
        "From the head of a request to the end of its response.",
        SECONDS,
        [
            ({"handler": handler, "method": method}, histogram)
            for (handler, method), histogram in server.response_s.items()
        ],
    )


def _template(scope: Scope) -> str:
    """The path of the route that took the request, as it is declared."""
    endpoint = scope.get("endpoint")
    if endpoint is None:
        return NO_ROUTE
    if not scope.get("path_params"):
        path: str = scope["path"]
        return path  # nothing in it can vary
    routes = scope["app"].routes
    paths = (route.path for route in routes if getattr(route, "endpoint", None) is endpoint)
    return next((path for path in paths if "{" in path), NO_ROUTE)
