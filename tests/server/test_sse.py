"""Event streams against a hand-driven ASGI channel: framing, silence, errors, leaving."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from starlette.types import Message

from jaxserve.server.sse import JSON_LINES, TGI_EVENTS, EventStream


class Channel:
    """Both ends of an ASGI connection; the client leaves when `leave` is set."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.leave = asyncio.Event()
        self.num_closed = 0

    async def receive(self) -> Message:
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        await asyncio.sleep(0)

    def close(self) -> None:
        self.num_closed += 1

    @property
    def chunks(self) -> list[bytes]:
        return [message["body"] for message in self.sent[1:]]

    async def run(self, events: AsyncGenerator[dict[str, Any], None], **options: Any) -> None:
        stream = EventStream(
            events,
            describe=lambda error: {"error": str(error)},
            close=self.close,
            headers={"x-more": "1"},
            **options,
        )
        await asyncio.wait_for(stream({"type": "http"}, self.receive, self.send), 10)


async def numbers(count: int) -> AsyncGenerator[dict[str, Any], None]:
    for number in range(count):
        yield {"n": number, "text": "é\n"}


def test_each_event_is_one_write_and_done_is_the_last() -> None:
    async def main() -> Channel:
        channel = Channel()
        await channel.run(numbers(2))
        return channel

    channel = asyncio.run(main())
    assert channel.chunks == [
        'data: {"n":0,"text":"é\\n"}\n\n'.encode(),
        'data: {"n":1,"text":"é\\n"}\n\n'.encode(),
        b"data: [DONE]\n\n",
    ]
    assert [message["more_body"] for message in channel.sent[1:]] == [True, True, False]
    assert channel.num_closed == 1


def test_headers_keep_proxies_from_buffering() -> None:
    async def main() -> Channel:
        channel = Channel()
        await channel.run(numbers(0))
        return channel

    start = asyncio.run(main()).sent[0]
    assert start["status"] == 200
    assert dict(start["headers"]) == {
        b"content-type": b"text/event-stream",
        b"cache-control": b"no-cache",
        b"x-accel-buffering": b"no",
        b"x-more": b"1",
    }


def test_silence_is_filled_with_comments() -> None:
    async def main() -> Channel:
        channel = Channel()
        enough = asyncio.Event()

        async def slow() -> AsyncGenerator[dict[str, Any], None]:
            yield {"n": 0}
            while channel.chunks.count(b": keep-alive\n\n") < 3:
                await asyncio.sleep(0.001)
            enough.set()
            yield {"n": 1}

        await channel.run(slow(), keep_alive_s=0.005)
        assert enough.is_set()
        return channel

    chunks = asyncio.run(main()).chunks
    assert [chunk for chunk in chunks if not chunk.startswith(b":")] == [
        b'data: {"n":0}\n\n',
        b'data: {"n":1}\n\n',
        b"data: [DONE]\n\n",
    ]


def test_error_becomes_an_event_and_done_still_comes() -> None:
    async def failing() -> AsyncGenerator[dict[str, Any], None]:
        yield {"n": 0}
        raise ValueError("broke")

    async def main() -> Channel:
        channel = Channel()
        await channel.run(failing())
        return channel

    channel = asyncio.run(main())
    assert channel.chunks[1:] == [b'data: {"error":"broke"}\n\n', b"data: [DONE]\n\n"]
    assert channel.num_closed == 1


def test_leaving_client_closes_the_source_at_once() -> None:
    async def main() -> tuple[Channel, bool]:
        channel = Channel()
        unwound = False

        async def endless() -> AsyncGenerator[dict[str, Any], None]:
            nonlocal unwound
            try:
                yield {"n": 0}
                channel.leave.set()
                await asyncio.Event().wait()
            finally:
                unwound = True

        await channel.run(endless())
        return channel, unwound

    channel, unwound = asyncio.run(main())
    assert unwound and channel.num_closed == 1
    assert channel.chunks == [b'data: {"n":0}\n\n']


def test_source_is_closed_when_the_server_cancels_the_answer() -> None:
    async def main() -> Channel:
        channel = Channel()

        async def endless() -> AsyncGenerator[dict[str, Any], None]:
            yield {"n": 0}
            await asyncio.Event().wait()

        task = asyncio.create_task(channel.run(endless()))
        while not channel.chunks:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return channel

    assert asyncio.run(main()).num_closed == 1


def test_source_is_closed_when_the_first_write_fails() -> None:
    class Broken(Channel):
        async def send(self, message: Message) -> None:
            raise OSError("gone")

    async def main() -> Channel:
        channel = Broken()
        (result,) = await asyncio.gather(channel.run(numbers(1)), return_exceptions=True)
        assert isinstance(result, OSError)
        return channel

    assert asyncio.run(main()).num_closed == 1


def test_tgis_stream_has_no_end_mark_and_lines_have_no_frame() -> None:
    async def main() -> list[Channel]:
        channels = [Channel(), Channel()]
        for channel, framing in zip(channels, (TGI_EVENTS, JSON_LINES), strict=True):
            await channel.run(numbers(1), framing=framing)
        return channels

    tgi, lines = asyncio.run(main())
    assert tgi.chunks == ['data: {"n":0,"text":"é\\n"}\n\n'.encode(), b""]
    assert lines.chunks == ['{"n":0,"text":"é\\n"}\n'.encode(), b""]
    assert (b"content-type", b"application/x-ndjson") in lines.sent[0]["headers"]


def test_lines_have_no_comments_in_silence() -> None:
    async def slow() -> AsyncGenerator[dict[str, Any], None]:
        await asyncio.sleep(0.05)
        yield {"n": 1}

    async def main() -> Channel:
        channel = Channel()
        await channel.run(slow(), framing=JSON_LINES, keep_alive_s=0.01)
        return channel

    assert asyncio.run(main()).chunks == [b'{"n":1}\n', b""]


def test_characters_that_end_lines_for_some_clients_are_escaped() -> None:
    framed = TGI_EVENTS.framed({"text": "a\u2028b\u2029c\x85"})
    assert framed == b'data: {"text":"a\\u2028b\\u2029c\\u0085"}\n\n'
