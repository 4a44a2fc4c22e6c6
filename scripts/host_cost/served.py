"""Which servers are measured? The whole app over an instant engine, and a bare event stream.

    python -m scripts.host_cost.served app|bare NUM_STREAMS NUM_TOKENS

Writes its port once it serves, and its CPU time for every line of its standard input; ends with
that.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from jaxserve.config import ServeConfig
from jaxserve.engine.loop import EngineLoop
from jaxserve.engine.request import FinishReason, TokenDelta
from jaxserve.engine.request import Request as EngineRequest
from jaxserve.generate import TextGenerator
from jaxserve.server.app import create_app
from jaxserve.server.models import ModelInfo
from jaxserve.text.formats.table import Formats
from scripts.host_cost.instant import MAX_MODEL_LEN, make_loop, tokenizer

TURNS = 3  # of the event loop, in which the streams that got a delta write it
MODEL = ModelInfo(
    names=("tiny-chat",),
    also=(),
    root="tiny-chat",
    created=1700000000,
    max_model_len=MAX_MODEL_LEN,
    fingerprint="fp_instant",
)
EVENT = (
    b'data: {"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion.chunk",'
    b'"created":1700000000,"model":"tiny-chat","system_fingerprint":"fp_instant","choices":['
    b'{"index":0,"delta":{"content":" river"},"logprobs":null,"finish_reason":null}]}\n\n'
)


class Pace:
    """Holds the engine's next step back until the event loop has written the last one's tokens.

    Without a device nothing else would, and the streams would merge what piles up, so that an
    event had more than one token.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._num_unwritten = 0

    def wait(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._num_unwritten == 0)

    def deliver(self) -> None:
        with self._changed:
            self._num_unwritten += 1

    def after_turns(self, loop: asyncio.AbstractEventLoop, turns: int = TURNS) -> None:
        if turns:
            loop.call_soon(self.after_turns, loop, turns - 1)
            return
        with self._changed:
            self._num_unwritten -= 1
            self._changed.notify()


class PacedEngine:
    """The engine loop; each step's deltas are followed by a mark that lets the next one go."""

    def __init__(self, loop: EngineLoop, pace: Pace) -> None:
        self.limits = loop.limits
        self._loop = loop
        self._pace = pace

    def start(self, deliver: Callable[[Sequence[TokenDelta]], None]) -> None:
        events = asyncio.get_running_loop()

        def delivered(deltas: Sequence[TokenDelta]) -> None:
            self._pace.deliver()
            deliver(deltas)
            events.call_soon_threadsafe(self._pace.after_turns, events)

        self._loop.start(delivered)

    def submit(self, request: EngineRequest) -> None:
        self._loop.submit(request)

    def abort(self, request_id: str, reason: FinishReason = FinishReason.ABORT) -> None:
        self._loop.abort(request_id, reason)


def whole_app(num_streams: int) -> Starlette:
    """The app as `jaxserve serve` makes it, over an engine that answers at once."""
    pace = Pace()
    loop = make_loop(num_streams, wait=pace.wait)
    return create_app(
        TextGenerator(PacedEngine(loop, pace), tokenizer()),
        model=MODEL,
        config=ServeConfig(),
        engine=loop,
        generation_config={},
        formats=Formats(),
    )


def bare_app(num_tokens: int) -> Starlette:
    """An event stream with nothing behind it: what Starlette and uvicorn cost alone."""

    async def events() -> AsyncIterator[bytes]:
        for _ in range(num_tokens):
            yield EVENT
            await asyncio.sleep(0)
        yield b"data: [DONE]\n\n"

    async def endpoint(request: Request) -> Response:
        await request.body()
        return StreamingResponse(events(), media_type="text/event-stream")

    return Starlette(routes=[Route("/v1/chat/completions", endpoint, methods=["POST"])])


class _Server(uvicorn.Server):
    """Talks to the process that started it."""

    def listen_to_parent(self) -> None:
        while not self.started:
            time.sleep(0.01)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)
        for _ in sys.stdin:  # a line asks for the CPU time so far
            print(time.process_time(), flush=True)
        os._exit(0)


def main() -> None:
    kind, num_streams, num_tokens = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    app = whole_app(num_streams) if kind == "app" else bare_app(num_tokens)
    server = _Server(uvicorn.Config(app, port=0, log_level="warning", access_log=False))
    threading.Thread(target=server.listen_to_parent, daemon=True).start()
    server.run()


if __name__ == "__main__":
    main()
