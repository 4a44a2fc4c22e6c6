"""How do JSON bodies come in and go out? Reads an object within a size limit; writes with orjson.

Knows no route. The limit is counted on the bytes that arrive, so that a body sent without a
Content-Length is held to it too.
"""

from __future__ import annotations

from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jaxserve.errors import InvalidRequest


class JSONBody(Response):
    """A JSON response."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


async def read_object(request: Request) -> dict[str, Any]:
    """The request's body as a JSON object, whatever its content type says."""
    body = await request.body()
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        problem = "is empty" if not body else f"is not valid JSON: {error}"
        raise InvalidRequest(f"the request body {problem}", code="invalid_json") from None
    if not isinstance(value, dict):
        raise InvalidRequest("the request body must be a JSON object", code="invalid_json")
    return value


class PayloadLimit:
    """Refuses request bodies of more than `limit_bytes` with 413."""

    def __init__(self, app: ASGIApp, limit_bytes: int) -> None:
        self.app = app
        self.limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        self._refuse_over(_declared_length(scope))
        num_received = 0

        async def counted() -> Message:
            nonlocal num_received
            message = await receive()
            num_received += len(message.get("body", b""))
            self._refuse_over(num_received)
            return message

        await self.app(scope, counted, send)

    def _refuse_over(self, num_bytes: int) -> None:
        if num_bytes > self.limit_bytes:
            raise HTTPException(
                413, f"the request body is larger than the limit of {self.limit_bytes} bytes"
            )


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0
