"""From what happened when to distributions: every request is in those it belongs to, once."""

from __future__ import annotations

import pytest

from jaxserve.engine.meter import Meter
from jaxserve.engine.metrics import StepKind
from jaxserve.engine.request import FinishReason, Request, TokenDelta
from jaxserve.engine.step import Row, Step
from tests.engine.fake_driver import request


def row(asked: Request, *, num_tokens: int = 1, takes_slot: bool = False) -> Row:
    return Row(asked, 0, 0, num_tokens, True, takes_slot)


def token(asked: Request, reason: FinishReason | None = None) -> TokenDelta:
    return TokenDelta(
        request_id=asked.id, token_ids=(7,), finish_reason=reason, num_cached_tokens=2
    )


def end(asked: Request, reason: FinishReason = FinishReason.ABORT) -> TokenDelta:
    return TokenDelta(request_id=asked.id, finish_reason=reason)


@pytest.fixture
def meter() -> Meter:
    return Meter(max_model_len=100, max_step_tokens=64)


def test_a_request_is_timed_from_stage_to_stage(meter: Meter) -> None:
    asked, own = request("a", [1] * 5), meter.histograms
    meter.accept(asked, 100.0)
    meter.plan(Step((row(asked, num_tokens=5, takes_slot=True),)), 101.0)
    first, second = token(asked), token(asked)
    meter.deliver([first], 103.0)
    meter.deliver([second], 104.0)
    assert (first.queued_s, second.queued_s) == (1.0, 0.0)
    meter.deliver([token(asked, FinishReason.STOP)], 107.0)
    assert {
        name: (getattr(own, name).count, getattr(own, name).sum)
        for name in ("queue_s", "prefill_s", "first_token_s", "inter_token_s", "decode_s")
    } == {
        "queue_s": (1, 1.0),
        "prefill_s": (1, 2.0),
        "first_token_s": (1, 3.0),
        "inter_token_s": (2, 4.0),
        "decode_s": (1, 4.0),
    }
    assert (own.inference_s.sum, own.total_s.sum) == (6.0, 7.0)
    assert (own.time_per_token_s.sum, own.time_per_next_token_s.sum) == (2.0, 2.0)
    assert (own.prompt_tokens.sum, own.output_tokens.sum, own.max_tokens.sum) == (5, 3, 8)
    assert (own.cached_tokens.sum, own.computed_tokens.sum) == (2, 3)


def test_one_that_ends_in_the_queue_has_a_total_and_no_stages(meter: Meter) -> None:
    asked, own = request("a", [1] * 5), meter.histograms
    meter.accept(asked, 100.0)
    meter.deliver([end(asked)], 102.0)
    assert (own.total_s.count, own.total_s.sum, own.output_tokens.sum) == (1, 2.0, 0)
    assert own.computed_tokens.sum == 0
    stages = own.queue_s, own.prefill_s, own.first_token_s, own.decode_s, own.inference_s
    assert [stage.count for stage in stages] == [0] * 5


def test_one_token_has_no_time_to_the_next(meter: Meter) -> None:
    asked = request("a", [1])
    meter.accept(asked, 0.0)
    meter.plan(Step((row(asked, takes_slot=True),)), 0.0)
    meter.deliver([token(asked, FinishReason.LENGTH)], 1.0)
    assert meter.histograms.time_per_next_token_s.count == 0
    assert meter.histograms.time_per_token_s.count == 1


def test_a_resumed_request_queues_once(meter: Meter) -> None:
    asked, own = request("a", [1]), meter.histograms
    meter.accept(asked, 0.0)
    for planned_s in (1.0, 5.0):
        meter.plan(Step((row(asked, takes_slot=True),)), planned_s)
    assert (own.queue_s.count, own.queue_s.sum, own.step_admitted.count) == (1, 1.0, 2)


def test_steps_are_told_apart_by_kind(meter: Meter) -> None:
    one, many = request("a", [1]), request("b", [1] * 9)
    meter.end_step(Step((row(one), row(many, num_tokens=9))), step_s=2.0, commit_s=0.5)
    meter.end_step(Step((row(one),)), step_s=1.0, commit_s=0.25)
    own = meter.histograms
    assert {kind: h.sum for kind, h in own.step_s.items()} == {"prefill": 2.0, "decode": 1.0}
    assert {kind: h.sum for kind, h in own.commit_s.items()} == {"prefill": 0.5, "decode": 0.25}
    assert {kind: h.sum for kind, h in own.step_rows.items()} == {"prefill": 2, "decode": 1}
    assert (own.step_tokens.count, own.step_tokens.sum) == (2, 11)


def test_the_newest_step_says_how_long_its_requests_may_get(meter: Meter) -> None:
    asked = request("a", [1] * 5)
    assert meter.batch_max_tokens == 0
    meter.plan(Step((row(asked),)), 0.0)
    assert meter.batch_max_tokens == 5 + 8
    meter.rest()
    assert meter.batch_max_tokens == 0


def test_a_failure_is_that_of_the_newest_step(meter: Meter) -> None:
    meter.plan(Step((row(request("a", [1])),)), 0.0)
    meter.fail()
    assert meter.failed_steps == {StepKind.PREFILL: 0, StepKind.DECODE: 1}
    assert meter.batch_max_tokens == 0


# Predicting


def finish(meter: Meter, *ended_s: float) -> None:
    """One request that stays, and others that end at these times."""
    meter.accept(request("stays", [1]), 0.0)
    for index, now_s in enumerate(ended_s):
        asked = request(f"r{index}", [1])
        meter.accept(asked, now_s)
        meter.deliver([end(asked)], now_s)


def test_the_wait_follows_from_the_pace_of_late(meter: Meter) -> None:
    finish(meter, 1.0, 2.0, 3.0, 4.0)
    assert meter.predicted_wait_s(10, 4.0) == 10.0
    assert meter.predicted_wait_s(10, 8.0) == 20.0  # nothing has ended since
    assert meter.predicted_wait_s(0, 8.0) == 0.0


def test_only_the_newest_ends_count(meter: Meter) -> None:
    finish(meter, *(10.0 * index for index in range(1, 100)), *(990 + i / 4 for i in range(1, 66)))
    assert meter.predicted_wait_s(8, 990 + 65 / 4) == 2.0


def test_the_wait_is_a_minute_at_most_and_a_guess_before_anything_ended(meter: Meter) -> None:
    finish(meter)
    assert meter.predicted_wait_s(1000, 30.0) == 1.0
    meter.deliver([end(request("stays", [1]))], 30.0)
    assert meter.predicted_wait_s(1000, 30.0) == 60.0


def test_a_time_without_work_says_nothing_of_the_pace(meter: Meter) -> None:
    finish(meter, 1.0)
    meter.deliver([end(request("stays", [1]))], 2.0)
    finish_at_s = 10_000.0
    meter.accept(request("b", [1]), finish_at_s)
    assert meter.predicted_wait_s(5, finish_at_s + 1) == 1.0
    meter.deliver([end(request("b", [1]))], finish_at_s + 1)
    assert meter.predicted_wait_s(5, finish_at_s + 1) == 5.0
