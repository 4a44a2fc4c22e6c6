import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from jaxserve.errors import ContextLengthExceeded, EngineBusy, InvalidRequest
from jaxserve.pooling import MAX_AT_ONCE, PooledTask, TextPooler, Unanswered
from jaxserve.text.sentence_folder import SentenceFacts
from jaxserve.text.sequences import Sequence
from tests.pooled_fakes import EMBEDS, FakePoolingEngine, tokenizer
from tests.server.apps import wait_until

A, B, C = 4, 5, 6


@pytest.fixture
def engine() -> Iterator[FakePoolingEngine]:
    engine = FakePoolingEngine()
    yield engine
    engine.stop()


def started(engine: FakePoolingEngine, task: PooledTask = EMBEDS) -> TextPooler:
    pooler = TextPooler(engine, tokenizer(), task)
    pooler.start()
    return pooler


def test_vectors_come_in_the_order_of_the_texts(engine: FakePoolingEngine) -> None:
    async def ask() -> list[np.ndarray]:
        pooler = started(engine)
        texts = [await pooler.encode(text) for text in ("a a", "b", [A, C])]
        return await pooler.run("x", texts)

    answers = asyncio.run(ask())
    assert [list(vector) for vector in answers] == [[2, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0]]


def test_a_call_of_many_texts_leaves_room_for_others(engine: FakePoolingEngine) -> None:
    async def ask() -> int:
        texts = [Sequence((A,))] * (3 * MAX_AT_ONCE)
        return len(await started(engine).run("x", texts))

    assert asyncio.run(ask()) == 3 * MAX_AT_ONCE
    assert engine.most_at_once <= MAX_AT_ONCE


def test_a_full_queue_refuses_the_first_text_and_only_delays_the_others() -> None:
    engine = FakePoolingEngine(room=2)

    async def ask() -> None:
        pooler = started(engine)
        assert len(await pooler.run("x", [Sequence((A,))] * 9)) == 9
        engine.gate.clear()
        first = asyncio.create_task(pooler.run("y", [Sequence((A,))] * 2))
        await asyncio.to_thread(wait_until, lambda: engine.num_unfinished == 2)
        with pytest.raises(EngineBusy):
            await pooler.run("z", [Sequence((B,))])
        engine.gate.set()
        assert len(await first) == 2

    asyncio.run(ask())
    engine.stop()


def test_a_call_that_is_cut_off_ends_all_of_its_texts(engine: FakePoolingEngine) -> None:
    async def ask() -> None:
        engine.gate.clear()
        pooler = started(engine)
        task = asyncio.create_task(pooler.run("x", [Sequence((A,))] * 5))
        await asyncio.to_thread(wait_until, lambda: engine.num_unfinished == 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(ask())
    assert len(engine.aborted) == 5
    assert engine.num_unfinished == 0


def test_a_text_that_fails_fails_its_call_alone(engine: FakePoolingEngine) -> None:
    async def ask() -> None:
        pooler = started(engine)
        good = asyncio.create_task(pooler.run("good", [Sequence((A,))] * 3))
        with pytest.raises(Unanswered, match="not finite"):
            await pooler.run("bad", [Sequence((A,)), Sequence((8,))])
        assert len(await good) == 3

    asyncio.run(ask())


def test_what_can_not_be_read_is_refused_by_name(engine: FakePoolingEngine) -> None:
    async def ask() -> None:
        pooler = started(engine)
        with pytest.raises(ContextLengthExceeded, match=r"at most 8 tokens.*input\[1\] has 9"):
            await pooler.encode("a b c d a b c", param="input[1]")
        with pytest.raises(InvalidRequest, match="no tokens"):
            await pooler.encode([])
        with pytest.raises(InvalidRequest, match="9"):
            await pooler.encode([9])
        with pytest.raises(InvalidRequest, match="knows no prompt 'query'; it has none"):
            await pooler.encode("a", prompt_name="query")

    asyncio.run(ask())


def test_prompts_are_put_before_texts_and_not_before_ids(engine: FakePoolingEngine) -> None:
    facts = SentenceFacts(prompts={"query": "b ", "other": "c "}, default_prompt="other")
    task = PooledTask(task="embed", num_outputs=4, normalized=False, facts=facts)

    async def ask() -> list[Sequence]:
        pooler = started(engine, task)
        return [
            await pooler.encode("a", prompt_name="query"),
            await pooler.encode("a"),
            await pooler.encode([A]),
        ]

    read = [sequence.token_ids for sequence in asyncio.run(ask())]
    assert read == [(0, B, A, 1), (0, C, A, 1), (A,)]


def test_ids_are_cut_from_the_side_that_was_asked_for(engine: FakePoolingEngine) -> None:
    async def ask() -> list[Sequence]:
        pooler = started(engine)
        ids = [A, B, C]
        return [await pooler.encode(ids, cut=pooler.cut_to(2, side)) for side in ("right", "left")]

    assert [sequence.token_ids for sequence in asyncio.run(ask())] == [(A, B), (B, C)]
