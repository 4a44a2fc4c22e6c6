"""May this client come in? Checks bearer keys; everything but what is named open is guarded."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from jaxserve.config import ServerConfig
from jaxserve.errors import ConfigError


class BearerAuth:
    """Refuses requests that carry none of the keys with 401.

    The scheme's case does not matter, the key's does. CORS preflights pass, and the pairs of
    method and path in `open_to_all`.
    """

    def __init__(
        self, app: ASGIApp, keys: Sequence[str], open_to_all: frozenset[tuple[str, str]]
    ) -> None:
        self.app = app
        self.open_to_all = open_to_all
        self.digests = [_digest(key) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_open(scope):
            self._check(Headers(scope=scope).get("authorization", ""))
        await self.app(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        return method == "OPTIONS" or (method, scope["path"]) in self.open_to_all

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


def api_keys(config: ServerConfig) -> tuple[str, ...]:
    """All keys that may come in. Raises ConfigError for a file that can't be read or has none."""
    if config.api_key_file is None:
        return config.api_key
    try:
        lines = config.api_key_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read api_key_file {config.api_key_file}: {error}") from None
    keys = [line.partition("#")[0].strip() for line in lines]
    found = tuple(key for key in keys if key)
    if not found:
        raise ConfigError(f"api_key_file {config.api_key_file} holds no key; write one a line")
    return config.api_key + found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
