"""Which request is this? Gives every response an `x-request-id`, errors and streams included.

An inbound id is kept when it is at most 128 visible ASCII characters.
"""

from __future__ import annotations

import re
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "x-request-id"

SANE_ID = re.compile(r"[\x21-\x7e]{1,128}")


class RequestId:
    """Chooses the id, leaves it in the scope, and adds it to the response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        inbound = Headers(scope=scope).get(HEADER, "")
        request_id = inbound if SANE_ID.fullmatch(inbound) else secrets.token_hex(16)
        scope["jaxserve.request_id"] = request_id

        async def with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        await self.app(scope, receive, with_id)


def request_id_of(scope: Scope) -> str:
    request_id: str = scope["jaxserve.request_id"]
    return request_id
