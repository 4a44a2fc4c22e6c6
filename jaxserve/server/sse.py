"""How does a stream of objects reach the client? Framed, over ASGI, one object per write.

Knows no route and no engine. Silence is filled with comments so that proxies keep the connection;
an error after the first byte, the server's stop too, becomes an event; a client that leaves closes
the source.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from jaxserve.server.disconnect import unless_gone
from jaxserve.server.errors import BrokenOff

KEEP_ALIVE_S = 15.0

# JSON leaves these raw within strings, and clients that split the body into lines as Python's
# splitlines does would cut an object there.
LINE_ENDS = tuple((c.encode(), f"\\u{ord(c):04x}".encode()) for c in "\x85\u2028\u2029")

# An object, or the JSON of one.
Event = dict[str, Any] | orjson.Fragment


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """What stands around the objects of a stream; `comment` empty where silence stays silence."""

    media_type: str
    before: bytes
    after: bytes
    end: bytes
    comment: bytes
    named: bool = False  # an `event:` line with the object's type stands before it

    def framed(self, event: Event) -> bytes:
        encoded = orjson.dumps(event)
        for raw, escaped in LINE_ENDS:
            encoded = encoded.replace(raw, escaped)
        if self.named and isinstance(event, dict):
            name = f"event: {event.get('type', 'error')}\n".encode()
            return name + self.before + encoded + self.after
        return self.before + encoded + self.after


OPENAI_EVENTS = Framing(
    media_type="text/event-stream",
    before=b"data: ",
    after=b"\n\n",
    end=b"data: [DONE]\n\n",
    comment=b": keep-alive\n\n",
)
TGI_EVENTS = replace(OPENAI_EVENTS, end=b"")
RESPONSE_EVENTS = replace(TGI_EVENTS, named=True)
JSON_LINES = Framing(
    media_type="application/x-ndjson", before=b"", after=b"\n", end=b"", comment=b""
)


class EventStream(Response):
    """Sends every object of `events` in its frame, then the end mark.

    `describe` turns an exception of `events` into the object of a last event. `close` is called
    in every case: after the end, on an error, when the client has gone, when the server stops.
    """

    def __init__(
        self,
        events: AsyncGenerator[Event, None],
        *,
        describe: Callable[[Exception], dict[str, Any]],
        close: Callable[[], None],
        headers: Mapping[str, str],
        framing: Framing = OPENAI_EVENTS,
        keep_alive_s: float = KEEP_ALIVE_S,
    ) -> None:
        # Not through the base class: it would announce the length of an empty body.
        self.status_code = 200
        self.background = None
        fixed = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        self.init_headers({"Content-Type": framing.media_type, **fixed, **headers})
        self.framing = framing
        self.events = events
        self.describe = describe
        self.close = close
        self.keep_alive_s = keep_alive_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writer = _Writer(send)
        try:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            with contextlib.suppress(ClientDisconnect):
                await unless_gone(receive, self._write(writer))
        except asyncio.CancelledError:
            # The server stops and this stream's time is up: say so before the connection goes.
            await writer.write(self.framing.framed(self.describe(BrokenOff("the server stopped"))))
            await writer.write(self.framing.end, last=True)
            raise
        finally:
            self.close()

    async def _write(self, writer: _Writer) -> None:
        silence = asyncio.create_task(writer.fill_silence(self.framing.comment, self.keep_alive_s))
        try:
            await self._write_events(writer)
        finally:
            silence.cancel()
        await writer.write(self.framing.end, last=True)

    async def _write_events(self, writer: _Writer) -> None:
        try:
            async with aclosing(self.events):
                async for event in self.events:
                    await writer.write(self.framing.framed(event))
        except Exception as error:
            await writer.write(self.framing.framed(self.describe(error)))


class _Writer:
    """Writes whole events, never two at once."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._now_s = asyncio.get_running_loop().time
        self._last_s = self._now_s()
        self._is_writing = False
        self._comment = asyncio.Lock()  # held while one is written

    async def write(self, chunk: bytes, *, last: bool = False) -> None:
        if self._comment.locked():
            async with self._comment:
                pass
        self._is_writing = True
        await self._write(chunk, last=last)
        self._is_writing = False

    async def fill_silence(self, comment: bytes, period_s: float) -> None:
        while comment:
            due_s = self._last_s + period_s - self._now_s()
            if due_s > 0:
                await asyncio.sleep(due_s)
            elif self._is_writing:  # the client does not read what is there
                await asyncio.sleep(period_s)
            else:
                async with self._comment:
                    await self._write(comment)

    async def _write(self, chunk: bytes, *, last: bool = False) -> None:
        await self._send({"type": "http.response.body", "body": chunk, "more_body": not last})
        self._last_s = self._now_s()
