from collections.abc import Sequence

import numpy as np
import pytest

from jaxserve.engine.pooling.buckets import Buckets
from jaxserve.engine.pooling.request import PooledDelta, PooledRequest, PooledResult
from jaxserve.engine.pooling.scheduler import PoolingScheduler
from jaxserve.engine.request import EngineLimits, FinishReason
from jaxserve.engine.step import Step
from jaxserve.errors import ContextLengthExceeded, EngineBusy, InvalidRequest

LIMITS = EngineLimits(
    max_model_len=100,
    vocab_size=50,
    eos_token_ids=frozenset(),
    max_logprobs=0,
    max_queued_requests=20,
)


@pytest.fixture
def scheduler() -> PoolingScheduler:
    """Buckets of 1, 4 and 8 rows of 16 and of 32 tokens, 1 and 4 of 64, 1 and 2 of 128."""
    buckets = Buckets.build(max_rows=8, max_model_len=100, token_budget=256)
    return PoolingScheduler(buckets, limits=LIMITS, max_batch_size=8, token_budget=256)


def add(scheduler: PoolingScheduler, name: str, length: int) -> None:
    scheduler.add(PooledRequest(id=name, prompt_ids=(1,) * length))


def names(step: Step | None) -> list[str]:
    assert step is not None
    return [row.request.id for row in step.rows]


def vectors(*values: float) -> PooledResult:
    return PooledResult(np.asarray(values, np.float32)[:, None])


def test_texts_of_one_length_run_together_in_the_order_of_arrival(
    scheduler: PoolingScheduler,
) -> None:
    for index in range(10):
        add(scheduler, str(index), 5 + index)
    assert names(scheduler.schedule()) == [str(index) for index in range(8)]
    assert names(scheduler.schedule()) == ["8", "9"]
    assert scheduler.schedule() is None


def test_the_oldest_decides_the_length_and_shorter_ones_only_fill_padding(
    scheduler: PoolingScheduler,
) -> None:
    for name, length in [("a", 40), ("b", 5), ("c", 50), ("d", 90), ("e", 6), ("f", 7)]:
        add(scheduler, name, length)
    assert names(scheduler.schedule()) == ["a", "c", "b", "e"]  # 4 rows of 64
    assert names(scheduler.schedule()) == ["d"]  # a row of 128 is not widened for the short one
    assert names(scheduler.schedule()) == ["f"]


def test_everyone_gets_a_turn(scheduler: PoolingScheduler) -> None:
    add(scheduler, "long", 90)
    for index in range(9):
        add(scheduler, str(index), 5)
    assert names(scheduler.schedule()) == ["long"]


def test_vectors_come_back_to_whom_they_belong(scheduler: PoolingScheduler) -> None:
    for name in "ab":
        add(scheduler, name, 5)
    step = scheduler.schedule()
    assert step is not None
    assert (scheduler.stats().running, scheduler.stats().waiting) == (2, 0)
    one, other = scheduler.commit(step, vectors(1.5, 2.5))
    assert isinstance(one, PooledDelta) and isinstance(other, PooledDelta)
    assert (one.request_id, float(one.vector[0]), one.finish_reason) == ("a", 1.5, "stop")
    assert (other.request_id, float(other.vector[0])) == ("b", 2.5)
    assert scheduler.num_unfinished == 0
    totals = scheduler.stats().totals
    assert (totals.steps, totals.prompt_tokens, totals.finished[FinishReason.STOP]) == (1, 10, 2)


def test_numbers_that_are_not_finite_end_that_request_alone(scheduler: PoolingScheduler) -> None:
    for name in "ab":
        add(scheduler, name, 5)
    step = scheduler.schedule()
    assert step is not None
    broken, whole = scheduler.commit(step, vectors(np.nan, 1.0))
    assert broken.finish_reason is FinishReason.ERROR
    assert "not all finite" in (broken.error or "")
    assert whole.finish_reason is FinishReason.STOP
    assert scheduler.stats().totals.not_finite == 1


def test_an_aborted_text_leaves_the_queue_or_its_vector_is_dropped(
    scheduler: PoolingScheduler,
) -> None:
    for name in "abc":
        add(scheduler, name, 5)
    assert scheduler.abort("a", FinishReason.ABORT) is not None
    step = scheduler.schedule()
    assert names(step) == ["b", "c"]
    assert step is not None
    assert scheduler.abort("b", FinishReason.ABORT) is not None
    assert [delta.request_id for delta in scheduler.commit(step, vectors(1, 2))] == ["c"]
    assert scheduler.abort("c", FinishReason.ABORT) is None
    assert scheduler.abort("never", FinishReason.ABORT) is None
    assert scheduler.stats().totals.discarded_tokens == 5
    assert (scheduler.num_unfinished, scheduler.stats().running) == (0, 0)


@pytest.mark.parametrize(
    ("token_ids", "error", "told"),
    [
        ((), InvalidRequest, "empty"),
        ((1, 50), InvalidRequest, "50 is outside"),
        ((1,) * 101, ContextLengthExceeded, "at most 100 tokens at once and the input has 101"),
    ],
)
def test_what_can_never_be_read_is_refused(
    scheduler: PoolingScheduler, token_ids: Sequence[int], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        scheduler.add(PooledRequest(id="a", prompt_ids=tuple(token_ids)))


def test_the_queue_is_bounded(scheduler: PoolingScheduler) -> None:
    for index in range(28):
        add(scheduler, str(index), 5)
    with pytest.raises(EngineBusy):
        add(scheduler, "one more", 5)
