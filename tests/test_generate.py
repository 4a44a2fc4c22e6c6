"""Text requests over a scripted engine: what is submitted, streamed, cut, cancelled and failed."""

from __future__ import annotations

import asyncio
import gc
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from jaxserve.engine.request import FinishReason, SamplingParams, TokenDelta, TokenLogprob
from jaxserve.errors import ContextLengthExceeded, EngineBusy, EngineFailed, InvalidRequest
from jaxserve.generate import TextDelta, TextGenerator, TextRequest, TextStream
from tests.text_fakes import BOS, EOS, ByteTokenizer, ScriptedEngine, limits

T = TypeVar("T")

PROMPT = (BOS, *b"hi")
TEXT = "The family 👨‍👩‍👧 says สวัสดี and 你好."


def request(text_params: dict[str, Any] | None = None, **sampling: Any) -> TextRequest:
    params = SamplingParams(**{"max_tokens": 200, **sampling})
    return TextRequest(id="r", prompt_ids=PROMPT, params=params, **(text_params or {}))


def run(engine: ScriptedEngine, work: Callable[[TextGenerator], Awaitable[T]]) -> T:
    async def main() -> T:
        generator = TextGenerator(engine, ByteTokenizer())
        generator.start()
        try:
            return await asyncio.wait_for(work(generator), 30)
        finally:
            generator.close()
            engine.stop()

    return asyncio.run(main())


def whole(engine: ScriptedEngine, text_request: TextRequest) -> TextDelta:
    async def work(generator: TextGenerator) -> TextDelta:
        return await generator.submit(text_request)[0].read_all()

    return run(engine, work)


def pieces(engine: ScriptedEngine, text_request: TextRequest) -> list[TextDelta]:
    async def work(generator: TextGenerator) -> list[TextDelta]:
        return [delta async for delta in generator.submit(text_request)[0]]

    return run(engine, work)


@pytest.mark.parametrize("chunks", [(1,), (3,), (2, 0, 5), (500,)])
def test_text_is_the_same_however_tokens_arrive(chunks: tuple[int, ...]) -> None:
    deltas = pieces(ScriptedEngine(TEXT.encode(), chunks=chunks), request({}, logprobs=2))
    assert "".join(delta.text for delta in deltas) == TEXT
    assert all("\ufffd" not in delta.text for delta in deltas)
    assert [i for delta in deltas for i in delta.token_ids] == [*TEXT.encode(), EOS]
    assert b"".join(e.token_bytes for d in deltas for e in d.logprobs) == TEXT.encode() + b"</s>"
    assert [delta.finish_reason for delta in deltas if delta.finish_reason] == [FinishReason.STOP]
    assert deltas[-1].finish_reason and deltas[-1].stop_reason is None


def test_joined_deltas_equal_the_whole_answer() -> None:
    text_request = request({"stop": ("says",)}, logprobs=1)
    deltas = pieces(ScriptedEngine(TEXT.encode(), chunks=(2,)), text_request)
    at_once = whole(ScriptedEngine(TEXT.encode(), chunks=(7,)), text_request)
    assert "".join(delta.text for delta in deltas) == at_once.text == "The family 👨‍👩‍👧 "
    assert tuple(i for delta in deltas for i in delta.token_ids) == at_once.token_ids
    assert tuple(e for delta in deltas for e in delta.logprobs) == at_once.logprobs
    assert deltas[-1].stop_reason == at_once.stop_reason == "says"


def test_a_reader_who_comes_late_gets_everything_merged() -> None:
    engine = ScriptedEngine(TEXT.encode(), paused=True, num_cached_tokens=2)

    async def work(generator: TextGenerator) -> list[TextDelta]:
        stream = generator.submit(request())[0]
        await asyncio.to_thread(engine.step, len(TEXT.encode()) + 1)
        return [delta async for delta in stream]

    deltas = run(engine, work)
    assert len(deltas) == 1
    assert deltas[0].text == TEXT and deltas[0].finish_reason is FinishReason.STOP
    assert deltas[0].num_cached_tokens == 2


def test_a_stop_string_ends_the_text_and_aborts_in_the_engine() -> None:
    engine = ScriptedEngine(b"one two three", chunks=(4,))
    answer = whole(engine, request({"stop": ("two",)}))
    assert (answer.text, answer.finish_reason, answer.stop_reason) == ("one ", "stop", "two")
    assert answer.token_ids == tuple(b"one two")
    assert engine.aborted == [engine.submitted[0].id]
    assert engine.counted_as == [FinishReason.STOP]


def test_a_stop_string_in_the_last_delta_needs_no_abort() -> None:
    engine = ScriptedEngine(b"one two", chunks=(20,))
    answer = whole(engine, request({"stop": ("two",)}))
    assert (answer.text, answer.stop_reason, engine.aborted) == ("one ", "two", [])


def test_the_stop_string_is_kept_when_asked_for() -> None:
    text_params = {"stop": ("two",), "include_stop_str_in_output": True}
    assert whole(ScriptedEngine(b"one two three"), request(text_params)).text == "one two"


def test_text_withheld_for_a_stop_string_comes_at_the_length_limit() -> None:
    answer = whole(ScriptedEngine(b"one tw"), request({"stop": ("two",)}, max_tokens=6))
    assert (answer.text, answer.finish_reason) == ("one tw", FinishReason.LENGTH)


def test_a_character_cut_by_the_length_limit_is_replaced_once() -> None:
    answer = whole(ScriptedEngine("a👍".encode()), request({}, max_tokens=3, logprobs=0))
    assert answer.text == "a\ufffd"
    assert [entry.token for entry in answer.logprobs] == ["a", "bytes:\\xf0", "bytes:\\x9f"]


def test_stop_strings_wait_for_min_tokens() -> None:
    script = b"ab.cdefg.h"
    answer = whole(ScriptedEngine(script), request({"stop": (".",)}, min_tokens=5))
    assert answer.text == "ab.cdefg"


def test_a_stop_string_begun_before_min_tokens_can_complete_after() -> None:
    answer = whole(ScriptedEngine(b"abcdefgh"), request({"stop": ("cdef",)}, min_tokens=5))
    assert answer.text == "ab"


def test_a_stop_token_is_named_counted_and_not_shown() -> None:
    answer = whole(ScriptedEngine(b"abc"), request({}, stop_token_ids=frozenset(b"c")))
    assert (answer.text, answer.stop_reason, answer.token_ids) == ("ab", ord("c"), tuple(b"abc"))


def test_special_tokens_show_only_when_asked_for_and_the_last_never() -> None:
    script = (*b"a", BOS, *b"b")
    assert whole(ScriptedEngine(script), request()).text == "ab"
    assert whole(ScriptedEngine(script), request({"skip_special_tokens": False})).text == "a<s>b"


def test_samples_get_consecutive_seeds_and_their_own_streams() -> None:
    engine = ScriptedEngine(lambda r: str(r.params.seed).encode())

    async def work(generator: TextGenerator) -> list[str]:
        streams = generator.submit(request({"n": 3}, seed=2**64 - 2))
        assert [stream.index for stream in streams] == [0, 1, 2]
        return [answer.text for answer in await asyncio.gather(*(s.read_all() for s in streams))]

    assert run(engine, work) == [str(2**64 - 2), str(2**64 - 1), "0"]
    assert len({r.id for r in engine.submitted}) == 3


def test_a_seed_is_drawn_when_none_is_given() -> None:
    engine = ScriptedEngine(b"x")

    async def work(generator: TextGenerator) -> None:
        for _ in range(2):
            await generator.submit(request())[0].read_all()

    run(engine, work)
    first, second = (r.params.seed for r in engine.submitted)
    assert first is not None and second is not None and first != second


def test_equal_request_ids_do_not_meet_in_the_engine() -> None:
    engine = ScriptedEngine(b"x")

    async def work(generator: TextGenerator) -> list[str]:
        streams = [generator.submit(request())[0] for _ in range(2)]
        return [(await stream.read_all()).text for stream in streams]

    assert run(engine, work) == ["x", "x"]


def test_cancelling_aborts_once_and_ends_a_waiting_reader() -> None:
    engine = ScriptedEngine(b"never", paused=True)

    async def work(generator: TextGenerator) -> TextDelta:
        stream = generator.submit(request())[0]
        reader = asyncio.create_task(stream.read_all())
        await asyncio.sleep(0)
        stream.cancel()
        stream.cancel()
        await stream.aclose()
        return await reader

    assert run(engine, work).finish_reason is FinishReason.ABORT
    assert engine.aborted == [engine.submitted[0].id]


def test_cancelling_after_the_end_does_nothing() -> None:
    engine = ScriptedEngine(b"x")

    async def work(generator: TextGenerator) -> None:
        stream = generator.submit(request())[0]
        await stream.read_all()
        stream.cancel()

    run(engine, work)
    assert engine.aborted == []


def test_a_cancelled_reader_of_a_whole_answer_aborts() -> None:
    engine = ScriptedEngine(b"never", paused=True)

    async def work(generator: TextGenerator) -> None:
        reader = asyncio.create_task(generator.submit(request())[0].read_all())
        await asyncio.sleep(0)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        assert engine.num_running == 0

    run(engine, work)


def test_a_stream_nobody_holds_any_more_is_aborted() -> None:
    engine = ScriptedEngine(b"never", paused=True)

    async def work(generator: TextGenerator) -> None:
        stream: TextStream | None = generator.submit(request())[0]
        assert stream is not None and engine.num_running == 1
        stream = None
        gc.collect()
        await asyncio.sleep(0)
        assert engine.num_running == 0

    run(engine, work)


def test_deltas_that_come_after_a_cancel_are_dropped() -> None:
    async def work(generator: TextGenerator) -> TextDelta:
        stream = generator.submit(request())[0]
        stream.cancel()
        stream.take(TokenDelta(request_id="r:0", token_ids=(65,)))
        return await stream.read_all()

    assert run(ScriptedEngine(b"x", paused=True), work).text == ""


def test_an_engine_error_is_raised_after_the_text_before_it() -> None:
    engine = ScriptedEngine(b"abcdef", fail_at=3)

    async def work(generator: TextGenerator) -> str:
        text = ""
        with pytest.raises(EngineFailed, match="scripted failure"):
            async for delta in generator.submit(request())[0]:
                text += delta.text
        return text

    assert run(engine, work) == "abc"
    assert engine.aborted == []


def test_a_logprob_that_is_not_a_number_fails_only_its_own_request() -> None:
    async def work(generator: TextGenerator) -> str:
        broken, fine = (generator.submit(request({}, logprobs=0))[0] for _ in range(2))
        bad = TokenLogprob(token_id=65, logprob=float("nan"))
        broken.take(TokenDelta(request_id="", token_ids=(65,), logprobs=(bad,)))
        with pytest.raises(EngineFailed):
            await broken.read_all()
        await asyncio.to_thread(engine.step, 2)
        return (await fine.read_all()).text

    engine = ScriptedEngine(b"x", paused=True)
    assert run(engine, work) == "x"
    assert engine.aborted == [engine.submitted[0].id]


def test_minus_infinity_is_clamped() -> None:
    async def work(generator: TextGenerator) -> TextDelta:
        stream = generator.submit(request({}, logprobs=1))[0]
        low = TokenLogprob(token_id=65, logprob=-float("inf"), top=((66, -float("inf")),))
        stream.take(TokenDelta(request_id="", token_ids=(65,), logprobs=(low,)))
        return await anext(stream)

    entry = run(ScriptedEngine(b"x", paused=True), work).logprobs[0]
    assert (entry.logprob, entry.top[0].logprob, entry.top[0].token) == (-9999.0, -9999.0, "B")


def test_a_refusal_by_the_engine_is_raised_and_leaves_nothing_running() -> None:
    engine = ScriptedEngine(b"x", paused=True, max_running=2)

    async def work(generator: TextGenerator) -> None:
        with pytest.raises(EngineBusy):
            generator.submit(request({"n": 3}))
        assert engine.num_running == 0

    run(engine, work)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"logit_bias": ((259, 1.0),)}, "logit_bias"),
        ({"logit_bias": ((-1, 1.0),)}, "logit_bias"),
        ({"stop_token_ids": frozenset({2**31})}, "stop_token_ids"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"logprobs": 21}, "logprobs"),
    ],
)
def test_sampling_params_the_model_cannot_take_are_refused(
    changes: dict[str, Any], param: str
) -> None:
    assert refused(request({}, **changes)).param == param


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"prompt_ids": ()}, "prompt"),
        ({"prompt_ids": (1, 259)}, "prompt"),
        ({"prompt_ids": (-1,)}, "prompt"),
        ({"n": 0}, "n"),
        ({"stop": ("",)}, "stop"),
        ({"stop": ("x" * 5000,)}, "stop"),
    ],
)
def test_requests_the_model_cannot_take_are_refused(changes: dict[str, Any], param: str) -> None:
    given: dict[str, Any] = {"prompt_ids": PROMPT, "params": SamplingParams(max_tokens=5)}
    assert refused(TextRequest(id="r", **{**given, **changes})).param == param


def refused(text_request: TextRequest) -> InvalidRequest:
    engine = ScriptedEngine(b"x")

    async def work(generator: TextGenerator) -> InvalidRequest:
        with pytest.raises(InvalidRequest) as caught:
            generator.submit(text_request)
        return caught.value

    error = run(engine, work)
    assert engine.submitted == []
    return error


def test_a_conversation_becomes_a_prompt() -> None:
    async def work(generator: TextGenerator) -> None:
        ids = await generator.encode_chat([{"role": "user", "content": "hi"}])
        assert ids == [BOS, *b"user: hi\nassistant: "]

    run(ScriptedEngine(b"x"), work)


def test_what_does_not_fit_is_refused_by_submit_too() -> None:
    given: dict[str, Any] = {"prompt_ids": PROMPT, "params": SamplingParams(max_tokens=5000)}
    with_room = TextRequest(id="r", **given)
    engine = ScriptedEngine(b"x", limits=limits(max_model_len=5000))

    async def work(generator: TextGenerator) -> None:
        with pytest.raises(ContextLengthExceeded, match="maximum context length is 5000 tokens"):
            generator.submit(with_room)

    run(engine, work)
    assert engine.submitted == []


def test_importing_it_loads_neither_jax_nor_transformers() -> None:
    code = "import sys, jaxserve.generate; print({'jax', 'transformers'} & {*sys.modules})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "set()\n"


def test_random_cancels_leave_nothing_running_and_spare_the_others() -> None:
    engine = ScriptedEngine(TEXT.encode(), chunks=(3,), limits=limits(max_queued_requests=500))
    draw = random.Random(5)

    async def read_some(stream: TextStream, limit: int) -> str:
        text = ""
        async for delta in stream:
            text += delta.text
            limit -= 1
            if limit == 0:
                stream.cancel()
        return text

    async def work(generator: TextGenerator) -> list[str]:
        streams = [generator.submit(request())[0] for _ in range(300)]
        limits_each = [draw.randrange(1, 4) if i % 2 else -1 for i in range(300)]
        return await asyncio.gather(*map(read_some, streams, limits_each))

    texts = run(engine, work)
    assert engine.num_running == 0
    assert all(text == TEXT for text in texts[::2])
    assert all(TEXT.startswith(text) for text in texts)


def test_a_sequence_that_no_text_can_be_made_of_counts_as_an_error() -> None:
    class Broken(ByteTokenizer):
        def token_bytes(self, token_id: int) -> bytes:
            raise ZeroDivisionError

    engine = ScriptedEngine(b"one two three", paused=True)

    async def main() -> None:
        generator = TextGenerator(engine, Broken())
        generator.start()
        stream = generator.submit(request())[0]
        await asyncio.to_thread(engine.step)
        with pytest.raises(EngineFailed, match="cannot make text of the output"):
            await stream.read_all()
        generator.close()

    try:
        asyncio.run(asyncio.wait_for(main(), 30))
    finally:
        engine.stop()
    assert engine.counted_as == [FinishReason.ERROR]
