"""The sequences of one request: order, usage, and ending together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace

import pytest

from jaxserve.engine.request import FinishReason, SamplingParams
from jaxserve.errors import EngineBusy
from jaxserve.generate import TextGenerator, TextRequest
from jaxserve.server.errors import BrokenOff
from jaxserve.server.generation import Generation, start_generation
from tests.text_fakes import ByteTokenizer, ScriptedEngine

REQUEST = TextRequest(id="r", prompt_ids=tuple(b"hi"), params=SamplingParams(max_tokens=50), n=2)
REQUESTS = [REQUEST, replace(REQUEST, prompt_ids=tuple(b"you"))]


def run(engine: ScriptedEngine, work: Callable[[TextGenerator], Awaitable[None]]) -> None:
    async def main() -> None:
        generator = TextGenerator(engine, ByteTokenizer())
        generator.start()
        try:
            await asyncio.wait_for(work(generator), 30)
        finally:
            generator.close()
            engine.stop()

    asyncio.run(main())


def start(generator: TextGenerator) -> Generation:
    return start_generation(generator, REQUESTS, param="prompt")


def test_each_sequence_keeps_its_order_and_finishes_once() -> None:
    async def work(generator: TextGenerator) -> None:
        got = [indexed async for indexed in start(generator).deltas()]
        for index in range(4):
            mine = [delta for i, delta in got if i == index]
            assert "".join(delta.text for delta in mine) == "abc"
            assert [delta.finish_reason for delta in mine][-1] is FinishReason.STOP
            assert all(delta.finish_reason is None for delta in mine[:-1])

    run(ScriptedEngine(b"abc"), work)


def test_usage_counts_each_prompt_once_and_every_sample() -> None:
    async def work(generator: TextGenerator) -> None:
        generation = start(generator)
        async for _ in generation.deltas():
            pass
        assert generation.usage.as_json() == {
            "prompt_tokens": 5,
            "completion_tokens": 16,
            "total_tokens": 21,
            "prompt_tokens_details": {"cached_tokens": 2 * 2},
        }

    run(ScriptedEngine(b"abc", num_cached_tokens=2), work)


def test_slow_reader_gets_everything() -> None:
    async def work(generator: TextGenerator) -> None:
        texts = [""] * 4
        async for index, delta in start(generator).deltas():
            await asyncio.sleep(0.001)
            texts[index] += delta.text
        assert texts == ["abcdefgh" * 5] * 4

    run(ScriptedEngine(b"abcdefgh" * 5), work)


def test_reader_that_stops_ends_every_sequence() -> None:
    engine = ScriptedEngine(b"a" * 40, paused=True)

    async def work(generator: TextGenerator) -> None:
        async with aclosing(start(generator).deltas()) as deltas:
            engine.step()
            await anext(deltas)
            assert engine.num_running == 4
        assert engine.num_running == 0

    run(engine, work)


def test_sequence_that_fails_ends_every_other() -> None:
    engine = ScriptedEngine(b"abc", fail_at=1)

    async def work(generator: TextGenerator) -> None:
        with pytest.raises(BrokenOff):
            async for _ in start(generator).deltas():
                pass
        assert engine.num_running == 0

    run(engine, work)


def test_request_that_is_not_taken_takes_back_those_before_it() -> None:
    engine = ScriptedEngine(b"abc", paused=True, max_running=3)

    async def work(generator: TextGenerator) -> None:
        with pytest.raises(EngineBusy):
            start(generator)
        assert engine.num_running == 0

    run(engine, work)


def test_cancel_may_come_at_any_time_and_again() -> None:
    engine = ScriptedEngine(b"abc")

    async def work(generator: TextGenerator) -> None:
        generation = start(generator)
        generation.cancel()
        generation.cancel()
        assert engine.num_running == 0

    run(engine, work)
