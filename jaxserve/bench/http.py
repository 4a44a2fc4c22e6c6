"""How does a request travel to a server and its answer back, at the least cost to both?

HTTP/1.1 over asyncio and httptools: the load generator shares the machine with the server often
enough, and a general client costs more for each token than the server that made it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import httptools

from jaxserve.errors import ConfigError

Receive = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and the path that all of its routes begin with."""

    host: str
    port: int
    is_tls: bool
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """http://host:port, with or without /v1 at its end; raises ConfigError."""
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{url!r} is not the address of a server; write http://HOST:PORT")
        is_tls = parts.scheme == "https"
        prefix = parts.path.rstrip("/").removesuffix("/v1")
        return cls(parts.hostname, parts.port or (443 if is_tls else 80), is_tls, prefix)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.is_tls else 'http'}://{host}:{self.port}{self.prefix}"

    def request(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        """The bytes of a whole request."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = [f"{method} {self.prefix}{path} HTTP/1.1", f"host: {host}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class Connections:
    """Connections to one server. Those that may be used again are kept until `close`."""

    def __init__(self, address: Address, *, keep: bool = True) -> None:
        self._address = address
        self._keep = keep
        self._idle: list[_Connection] = []
        self._tls = ssl.create_default_context() if address.is_tls else None

    async def exchange(self, request: bytes, receive: Receive) -> int:
        """Send a request and hand over its answer's body as it comes; the status.

        Raises OSError when there is no connection, or when it ends before the answer does.
        """
        connection = await self._connection()
        try:
            status = await connection.exchange(request, receive)
        except BaseException:
            connection.close()
            raise
        if self._keep and connection.is_usable:
            self._idle.append(connection)
        else:
            connection.close()
        return status

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _connection(self) -> _Connection:
        while self._idle:
            kept = self._idle.pop()
            if kept.is_usable:
                return kept
            kept.close()
        where = self._address
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(_Connection, where.host, where.port, ssl=self._tls)
        return made


class _Connection(asyncio.Protocol):
    """One connection, with one exchange at a time. The `on_` methods are called by the parser."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None
        self._receive: Receive = _ignore
        self._is_ended = False
        self.is_usable = True

    async def exchange(self, request: bytes, receive: Receive) -> int:
        assert self._transport is not None, "it is not connected"
        self._parser = httptools.HttpResponseParser(self)
        self._is_ended = False
        self._receive = receive
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        self.is_usable = False
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        if self._answer is None:  # said without being asked
            return self.close()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"the answer is not HTTP: {error}"))
        if self._is_ended and not self._answer.done():
            self.is_usable = self.is_usable and self._parser.should_keep_alive()
            self._answer.set_result(self._parser.get_status_code())

    def eof_received(self) -> None:
        self.is_usable = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionError("the server closed the connection"))

    def on_body(self, body: bytes) -> None:
        self._receive(body)

    def on_message_complete(self) -> None:
        self._is_ended = True

    def _fail(self, error: Exception) -> None:
        self.is_usable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


def _ignore(body: bytes) -> None:
    return None
