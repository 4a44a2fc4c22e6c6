"""Which status and body does an exception become? The one map from classes to HTTP.

The path decides the style of the body (`error_styles.py`). A message of ours never holds a path or
a traceback, and of an exception nobody expected only the request id is told.
"""

from __future__ import annotations

import logging
import math
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jaxserve.errors import AdapterNotFound, EngineBusy, EngineFailed, RequestError, UnknownModel
from jaxserve.server.bodies import JSONBody
from jaxserve.server.error_styles import Fault, Verdict, style_of
from jaxserve.server.request_id import request_id_of

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 5.0


class Draining(EngineFailed):
    """The server is shutting down and takes no new work."""


class BrokenOff(EngineFailed):
    """A request that the engine had accepted ended without an answer."""


VERDICTS: dict[type[Exception], Verdict] = {
    RequestError: Verdict(400, "invalid_request_error", None, "validation", tgi_status=422),
    UnknownModel: Verdict(404, "not_found_error", None, "validation"),
    AdapterNotFound: Verdict(404, "not_found_error", None, "validation"),
    EngineBusy: Verdict(429, "rate_limit_error", "overloaded", "overloaded", ollama_status=503),
    EngineFailed: Verdict(503, "service_unavailable", "engine_dead", "healthcheck"),
    Draining: Verdict(503, "service_unavailable", "draining", "healthcheck"),
    BrokenOff: Verdict(500, "server_error", "internal_error", "generation", tgi_status=424),
    Exception: Verdict(500, "server_error", "internal_error", "generation"),
}

HTTP_VERDICTS: dict[int, Verdict] = {
    401: Verdict(401, "authentication_error", "invalid_api_key", "validation"),
    403: Verdict(403, "permission_error", "feature_disabled", "validation"),
    404: Verdict(404, "not_found_error", "unknown_route", "validation"),
    405: Verdict(405, "invalid_request_error", "method_not_allowed", "validation"),
    413: Verdict(413, "invalid_request_error", "payload_too_large", "validation"),
}


def error_response(error: Exception, scope: Scope) -> Response:
    """The answer to a request that failed before its answer began."""
    body = logged_error_body(error, scope)
    status = style_of(scope).status(_fault(error, scope))
    return JSONBody(body, status_code=status, headers=_headers(error))


def logged_error_body(error: Exception, scope: Scope) -> dict[str, Any]:
    """The JSON that tells a client of `error`, in a response or in an event.

    What the client is not told goes to the log.
    """
    if _verdict(error).status == 500:
        logger.error("request %s failed", request_id_of(scope), exc_info=error)
    return style_of(scope).body(_fault(error, scope))


def _fault(error: Exception, scope: Scope) -> Fault:
    verdict = _verdict(error)
    return Fault(
        verdict=verdict,
        message=_message(error, verdict, request_id_of(scope)),
        param=getattr(error, "param", None),
        code=verdict.code or getattr(error, "code", None) or "",
    )


async def answer_error(request: Request, error: Exception) -> Response:
    """The exception handler of the app."""
    return error_response(error, request.scope)


class CatchUnexpected:
    """Answers what the layers inside it raised and no handler took."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except Exception as error:
            if started:
                raise
            await error_response(error, scope)(scope, receive, send)


def _verdict(error: Exception) -> Verdict:
    if isinstance(error, HTTPException) and error.status_code in HTTP_VERDICTS:
        return HTTP_VERDICTS[error.status_code]
    return next(VERDICTS[cls] for cls in type(error).__mro__ if cls in VERDICTS)


def _message(error: Exception, verdict: Verdict, request_id: str) -> str:
    if verdict.status == 405 and isinstance(error, HTTPException):
        return f"this path takes {(error.headers or {}).get('Allow')} only"
    if isinstance(error, HTTPException):
        return error.detail
    if verdict.status == 500:
        return f"internal error; the server's log has the details under request id {request_id}"
    return str(error)


def _headers(error: Exception) -> dict[str, str]:
    if isinstance(error, HTTPException):
        return dict(error.headers or {})
    if isinstance(error, EngineBusy):
        return {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}
    if isinstance(error, Draining):
        return {"Retry-After": str(math.ceil(RETRY_AFTER_S))}
    if _verdict(error).status == 503:
        # The engine does not come back by itself; the SDKs heed x-should-retry before the status.
        return {"Retry-After": str(math.ceil(RETRY_AFTER_S)), "x-should-retry": "false"}
    return {}
