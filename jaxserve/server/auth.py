"""May this client come in? Checks bearer keys; everything but probes and metrics is guarded."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

OPEN_PATHS = frozenset({"/", "/health", "/metrics"})


class BearerAuth:
    """Refuses requests that carry none of the keys with 401.

    The scheme's case does not matter, the key's does. Probes and scrapes (GET and HEAD of `/`,
    `/health` and `/metrics`) and CORS preflights pass.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self.app = app
        self.digests = [_digest(key) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_open(scope):
            self._check(Headers(scope=scope).get("authorization", ""))
        await self.app(scope, receive, send)

    def _check(self, header: str) -> None:
        scheme, _, given = header.partition(" ")
        digest = _digest(given.strip())
        known = [hmac.compare_digest(digest, key) for key in self.digests]  # no early way out
        if scheme.lower() != "bearer" or not any(known):
            raise HTTPException(
                401,
                "a valid API key is needed: send it as 'Authorization: Bearer <key>'",
                headers={"WWW-Authenticate": "Bearer"},
            )


def _is_open(scope: Scope) -> bool:
    if scope["method"] == "OPTIONS":
        return True
    return scope["method"] in ("GET", "HEAD") and scope["path"] in OPEN_PATHS


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
