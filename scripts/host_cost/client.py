"""How fast do streams come in? A load generator that does next to nothing per event.

    python -m scripts.host_cost.client PORT NUM_STREAMS PATH BODY

Opens the connections, sends the same request on each, counts the events (what ends in a brace and
an empty line) and writes one JSON object: events, seconds from the first to the last of them, and
its own CPU time in that time.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast

import uvloop

END = b"}\n\n"  # of an event with an object
DONE = b"data: [DONE]\n\n"


class Counts:
    """What all connections saw together."""

    def __init__(self, num_streams: int) -> None:
        self.num_open = num_streams
        self.num_events = 0
        self.first_s: float | None = None
        self.first_cpu_s = 0.0
        self.all_done = asyncio.Event()

    def begin(self) -> None:
        if self.first_s is None:
            self.first_s, self.first_cpu_s = time.perf_counter(), time.process_time()

    def end(self) -> None:
        self.num_open -= 1
        if self.num_open == 0:
            self.all_done.set()


class Stream(asyncio.Protocol):
    """One request and its answer."""

    def __init__(self, request: bytes, counts: Counts) -> None:
        self._request = request
        self._counts = counts
        self._recent = b""
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.WriteTransport, transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        self._counts.begin()
        self._counts.num_events += (self._recent[1 - len(END) :] + data).count(END)
        self._recent = (self._recent + data)[-64:]
        if DONE in self._recent:
            self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ended:
            self._ended = True
            self._counts.end()


async def load(port: int, num_streams: int, path: str, body: str) -> dict[str, float]:
    counts, loop = Counts(num_streams), asyncio.get_running_loop()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    request = f"{head}content-length: {len(body)}\r\n\r\n{body}".encode()
    for _ in range(num_streams):
        await loop.create_connection(lambda: Stream(request, counts), "127.0.0.1", port)
    await counts.all_done.wait()
    assert counts.first_s is not None, "nothing came"
    return {
        "events": counts.num_events,
        "seconds": time.perf_counter() - counts.first_s,
        "cpu_s": time.process_time() - counts.first_cpu_s,
    }


def main() -> None:
    port, num_streams, path, body = sys.argv[1:]
    print(json.dumps(uvloop.run(load(int(port), int(num_streams), path, body))))


if __name__ == "__main__":
    main()
