"""Drafts are verified where steps with them give more tokens a second, as measured."""

from __future__ import annotations

from jaxserve.engine.buckets import Buckets
from jaxserve.engine.pace import Pace
from jaxserve.engine.request import Request, SamplingParams
from jaxserve.engine.step import Row, Step

BUCKETS = Buckets.build(max_rows=4, token_budget=32, num_draft_tokens=3)


def step(num_rows: int = 1, *, num_tokens: int = 1, drafts: tuple[int, ...] = ()) -> Step:
    request = Request(id="r", prompt_ids=(1, 2, 3), params=SamplingParams(max_tokens=5))
    row = Row(request, 0, 0, num_tokens + len(drafts), True, False, drafts)
    return Step((row,) * num_rows)


def pays(pace: Pace, num_rows: int, num_gained: float) -> bool:
    """Whether it does in the largest bucket."""
    return pace.best(num_rows, {BUCKETS.verifying(num_rows)[-1]: num_gained}) is not None


def measured(*, decode_s: float, verify_s: float | None = None) -> Pace:
    pace = Pace(BUCKETS)
    note(pace, step(), decode_s)
    if verify_s is not None:
        note(pace, step(drafts=(7,)), verify_s)
    return pace


def note(pace: Pace, ran: Step, seconds: float) -> None:
    """Note a slow first run, and as many more as are gone by."""
    for taken_s in (100.0, seconds, seconds, seconds):
        pace.note(ran, taken_s)


def test_nothing_is_verified_before_a_plain_step_was_measured() -> None:
    assert not pays(Pace(BUCKETS), 1, 2.0)
    pace = Pace(BUCKETS)
    for _ in range(9):
        pace.note(step(num_tokens=3), 1.0)
        pace.note(step(), 1.0)  # began when the prompt's step had ended
    assert not pays(pace, 1, 2.0)
    assert pays(measured(decode_s=1.0), 1, 2.0)


def test_it_pays_when_tokens_outweigh_the_time() -> None:
    pace = measured(decode_s=1.0, verify_s=2.0)
    assert pays(pace, 1, 1.1)
    assert not pays(pace, 1, 1.0)
    assert not pays(pace, 1, 0.0)


def test_one_slow_step_decides_nothing() -> None:
    pace = measured(decode_s=1.0, verify_s=1.5)
    for verify_s in (1.5, 30.0):
        pace.note(step(drafts=(7,)), verify_s)
    assert pays(pace, 1, 1.0)


def test_sizes_are_measured_apart() -> None:
    pace = measured(decode_s=1.0, verify_s=9.0)
    assert not pays(pace, 1, 2.0)
    note(pace, step(3), 1.0)
    assert pays(pace, 3, 2.0)


def test_what_did_not_pay_is_tried_again_at_times() -> None:
    pace = measured(decode_s=1.0, verify_s=9.0)
    tried = [pays(pace, 1, 1.0) for _ in range(1320)]
    assert 0 < sum(tried) <= 1320 * 4 / 128
    assert not any(tried[:127])


def test_plain_steps_are_measured_again_at_times() -> None:
    pace = measured(decode_s=9.0)
    pace.note(step(drafts=(7,)), 1.0)  # the first run
    for _ in range(256):
        assert pays(pace, 1, 1.0)
        pace.note(step(drafts=(7,)), 1.0)
    assert not pays(pace, 1, 1.0)
    for _ in range(2):
        pace.note(step(), 9.0)
    assert pays(pace, 1, 1.0)


def test_the_bucket_with_most_tokens_a_second_is_taken() -> None:
    small, large = BUCKETS.verifying(4)
    pace = Pace(BUCKETS)
    note(pace, step(4), 1.0)
    assert pace.best(4, {small: 2.0, large: 3.0}) == small  # neither was tried
    row = step(drafts=(1, 2, 3)).rows[0]
    note(pace, Step((row, *step(3).rows)), 1.2)
    assert pace.best(4, {small: 2.0, large: 3.0}) == large  # which was not tried
    note(pace, Step((row,) * 4), 2.0)
    assert pace.best(4, {small: 2.0, large: 3.0}) == small
    assert pace.best(4, {small: 2.0, large: 8.0}) == large
    assert pace.best(4, {small: 0.5, large: 2.0}) is None
