from __future__ import annotations

from collections.abc import Callable

import pytest

from jaxserve.engine.pages import PagePool
from jaxserve.engine.request import FinishReason, Request, SamplingParams
from jaxserve.engine.scheduler import Scheduler
from jaxserve.engine.step import Sampled, Step, StepResult
from jaxserve.errors import ConfigError, ContextLengthExceeded, EngineBusy, InvalidRequest
from tests.engine.fake_driver import EOS, VOCAB_SIZE, Driver, limits, request, tokens_alone
from tests.fakes import FakeConstraint, token_after

NewDriver = Callable[..., Driver]


def sizes(step: Step | None) -> dict[str, int]:
    """Tokens computed per request, in the order of the rows."""
    return {row.request.id: row.num_tokens for row in step.rows} if step else {}


def long(request_id: str, num_prompt: int = 10, *, max_tokens: int = 20) -> Request:
    """A request that ends only at max_tokens, with a prompt unlike any other's."""
    salt = sum(request_id.encode())
    prompt = [(salt * 31 + index * 7) % VOCAB_SIZE for index in range(num_prompt)]
    return request(request_id, prompt, SamplingParams(max_tokens=max_tokens, ignore_eos=True))


# Planning


def test_nothing_to_do_is_no_step(new_driver: NewDriver) -> None:
    assert new_driver().scheduler.schedule() is None


def test_prompt_within_the_budget_is_one_row_that_samples(new_driver: NewDriver) -> None:
    driver = new_driver(token_budget=32)
    driver.add(long("a", 20))
    planned = driver.step()
    assert planned is not None
    (row,) = planned.rows
    assert (row.start, row.num_tokens, row.samples, row.takes_slot) == (0, 20, True, True)


def test_long_prompt_is_chunked_by_the_budget_while_others_decode(new_driver: NewDriver) -> None:
    driver = new_driver(token_budget=8)
    driver.add(long("a", 4))
    driver.step()
    driver.add(long("b", 19))
    steps = [driver.step() for _ in range(4)]
    assert [sizes(step) for step in steps] == [
        {"a": 1, "b": 7},
        {"a": 1, "b": 7},
        {"a": 1, "b": 5},
        {"a": 1, "b": 1},
    ]
    samples = [row.samples for step in steps[:3] if step for row in step.rows if row.start]
    assert samples == [True, True, False, True, True]


def test_rows_of_one_token_come_first(new_driver: NewDriver) -> None:
    driver = new_driver()
    driver.add(long("a", 9), long("b", 1), long("c", 9), long("d", 1))
    assert list(sizes(driver.step())) == ["b", "d", "a", "c"]


def test_no_more_run_than_there_are_slots(new_driver: NewDriver) -> None:
    driver = new_driver(max_batch_size=2)
    driver.add(*(long(name, 2) for name in "abc"))
    assert list(sizes(driver.step())) == ["a", "b"]
    assert (driver.scheduler.stats().running, driver.scheduler.stats().waiting) == (2, 1)


def test_freed_slot_goes_to_the_next_in_line(new_driver: NewDriver) -> None:
    driver = new_driver(max_batch_size=1)
    driver.run(long("a"), long("b"), long("c"))
    assert list(driver.last) == ["a", "b", "c"]
    driver.assert_as_alone()


def test_slot_is_taken_once_per_admission(new_driver: NewDriver) -> None:
    driver = new_driver()
    driver.run(long("a", max_tokens=5))
    assert [row.takes_slot for step in driver.runner.steps for row in step.rows] == [
        True,
        *[False] * 4,
    ]


def test_waiting_request_never_preempts(new_driver: NewDriver) -> None:
    driver = new_driver(num_pages=6)
    driver.add(long("a", 15, max_tokens=6))
    driver.step()
    driver.add(long("b", 15, max_tokens=6))
    while "a" not in driver.last:
        driver.step()
        if "a" not in driver.last:
            assert driver.scheduler.stats().waiting == 1
    assert driver.scheduler.stats().totals.preemptions == 0
    driver.run()
    driver.assert_as_alone()


def test_budget_below_the_batch_is_refused() -> None:
    pool = PagePool(4, 4, prefix_cache=True)
    with pytest.raises(ConfigError, match=r"token_budget is 3.*max_batch_size = 4"):
        Scheduler(pool, limits=limits(), max_batch_size=4, token_budget=3)


# Adding


def test_request_that_can_never_fit_is_refused_and_leaves_nothing(new_driver: NewDriver) -> None:
    driver = new_driver(num_pages=4)
    with pytest.raises(ContextLengthExceeded):
        driver.scheduler.add(long("a", 10, max_tokens=8))
    assert driver.scheduler.num_unfinished == 0


def test_request_that_exactly_fills_the_pool_is_served(new_driver: NewDriver) -> None:
    driver = new_driver(num_pages=4)
    driver.run(long("a", 10, max_tokens=7))
    driver.assert_as_alone()
    assert driver.scheduler.stats().totals.preemptions == 0


def test_full_queue_is_busy_until_one_ends(new_driver: NewDriver) -> None:
    driver = new_driver(max_batch_size=1, engine_limits=limits(max_queued_requests=1))
    driver.add(long("a"), long("b"))
    with pytest.raises(EngineBusy):
        driver.scheduler.add(long("c"))
    driver.abort("a")
    driver.add(long("c"))


def test_id_in_use_is_refused(new_driver: NewDriver) -> None:
    driver = new_driver()
    driver.add(long("a"))
    with pytest.raises(InvalidRequest):
        driver.scheduler.add(long("a"))


# Ending


def test_one_token_is_one_step(new_driver: NewDriver) -> None:
    driver = new_driver()
    driver.run(long("a", max_tokens=1))
    driver.assert_as_alone()
    assert [sizes(step) for step in driver.runner.steps] == [{"a": 10}]


def test_no_step_is_wasted_at_max_tokens(new_driver: NewDriver) -> None:
    driver = new_driver()
    driver.run(long("a", max_tokens=6))
    assert len(driver.runner.steps) == 6
    assert driver.scheduler.stats().totals.discarded_tokens == 0


def test_end_of_sequence_with_a_step_in_flight_drops_the_extra_token(new_driver: NewDriver) -> None:
    driver = new_driver()
    driver.runner.next_token = lambda history: EOS if len(history) == 12 else 5
    driver.run(request("a", [1] * 10, SamplingParams(max_tokens=9)))
    assert driver.outputs["a"] == [5, 5, EOS]
    assert driver.reason("a") == FinishReason.STOP
    assert len(driver.runner.steps) == 4
    assert driver.scheduler.stats().totals.discarded_tokens == 1


def test_stop_token_ends_a_request_and_is_named(new_driver: NewDriver) -> None:
    driver = new_driver()
    driver.runner.next_token = lambda history: len(history)
    params = SamplingParams(max_tokens=9, stop_token_ids=frozenset({12}))
    driver.run(request("a", [1] * 10, params))
    assert driver.outputs["a"] == [10, 11, 12]
    assert (driver.reason("a"), driver.last["a"].stop_token_id) == (FinishReason.STOP, 12)


def test_end_of_sequence_at_max_tokens_is_stop(new_driver: NewDriver) -> None:
    driver = new_driver()
    driver.runner.next_token = lambda history: EOS
    driver.run(request("a", [1] * 10, SamplingParams(max_tokens=1)))
    assert driver.reason("a") == FinishReason.STOP


def test_min_tokens_keeps_a_request_going(new_driver: NewDriver) -> None:
    driver = new_driver()
    driver.runner.next_token = lambda history: EOS
    driver.run(request("a", [1] * 10, SamplingParams(max_tokens=9, min_tokens=3)))
    assert driver.outputs["a"] == [1, 1, 1, EOS]


def test_output_may_fill_the_context(new_driver: NewDriver) -> None:
    driver = new_driver(engine_limits=limits(max_model_len=20))
    driver.run(long("a", 10, max_tokens=10))
    assert driver.reason("a") == FinishReason.LENGTH
    driver.assert_as_alone()


def test_only_the_request_whose_logits_are_not_finite_ends(new_driver: NewDriver) -> None:
    driver = new_driver()
    driver.runner.broken_ids = {"bad"}
    driver.run(long("a"), long("bad"), long("b"))
    assert driver.reason("bad") == FinishReason.ERROR
    assert "not finite" in (driver.last["bad"].error or "")
    del driver.requests["bad"]
    driver.assert_as_alone()


def test_pages_of_broken_logits_are_not_found_again(new_driver: NewDriver) -> None:
    driver = new_driver(token_budget=8)
    driver.runner.broken_ids = {"bad"}
    prompt = list(range(30))
    driver.run(request("bad", prompt))
    driver.run(request("good", prompt))
    assert driver.requests["good"].num_cached_tokens == 0


def test_broken_logits_of_a_preempted_request_taint_its_former_pages(
    new_driver: NewDriver,
) -> None:
    driver = crowded(new_driver)
    young = driver.requests["young"]
    while not young.num_preemptions:
        if young.num_computed_tokens == 16:  # the next step preempts it; this one is in flight
            driver.runner.broken_ids = {"young"}
        driver.step()
    assert driver.reason("young") == FinishReason.ERROR
    driver.run(request("again", young.prompt_ids))
    assert driver.requests["again"].num_cached_tokens == 0


# Aborting


def test_abort_in_the_queue(new_driver: NewDriver) -> None:
    driver = new_driver(max_batch_size=1)
    driver.add(long("a"), long("b"))
    driver.abort("b")
    assert driver.last["b"].finish_reason == FinishReason.ABORT
    driver.run()
    driver.assert_as_alone()


@pytest.mark.parametrize("num_steps", [1, 2, 3, 4, 5, 6])
def test_abort_frees_pages_at_once_and_drops_what_is_in_flight(
    new_driver: NewDriver, num_steps: int
) -> None:
    driver = new_driver(token_budget=8)  # chunks of 8 of 20 tokens, then decode
    driver.add(long("a", 20))
    for _ in range(num_steps):
        driver.step()
    driver.abort("a")
    assert driver.pool.num_used == 0
    got = len(driver.outputs["a"])
    driver.run()
    assert len(driver.outputs["a"]) == got
    driver.assert_as_alone()


def test_abort_is_idempotent(new_driver: NewDriver) -> None:
    driver = new_driver()
    assert driver.scheduler.abort("never heard of") is None
    driver.add(long("a"))
    assert driver.scheduler.abort("a") is not None
    assert driver.scheduler.abort("a") is None


def test_slot_and_pages_of_an_aborted_request_serve_the_next_while_it_is_in_flight(
    new_driver: NewDriver,
) -> None:
    driver = new_driver(num_pages=6, max_batch_size=1)
    driver.add(long("a", 16, max_tokens=8))
    for _ in range(3):
        driver.step()
    driver.abort("a")
    driver.run(long("b", 16, max_tokens=8))
    driver.assert_as_alone()


# Prefix hits


def test_second_request_finds_the_pages_of_the_first(new_driver: NewDriver) -> None:
    driver = new_driver()
    prompt = list(range(18))
    driver.run(request("a", prompt))
    driver.run(request("b", prompt))
    assert (driver.requests["a"].num_cached_tokens, driver.last["a"].num_cached_tokens) == (0, 0)
    assert (driver.requests["b"].num_cached_tokens, driver.last["b"].num_cached_tokens) == (16, 16)
    totals = driver.scheduler.stats().totals
    assert (totals.prompt_tokens, totals.prefix_hit_tokens) == (36, 16)
    driver.assert_as_alone()


def test_conversation_finds_its_last_answer(new_driver: NewDriver) -> None:
    driver = new_driver()
    driver.run(long("a", 10, max_tokens=12))
    so_far = [*driver.requests["a"].prompt_ids, *driver.outputs["a"]]
    driver.run(request("b", [*so_far, 1, 2, 3]))
    assert driver.requests["b"].num_cached_tokens == 20  # of 21 whose KV is computed
    driver.assert_as_alone()


def test_prompt_that_is_cached_whole_computes_its_last_page(new_driver: NewDriver) -> None:
    driver = new_driver()
    prompt = list(range(16))
    driver.run(request("a", prompt))
    driver.run(request("b", prompt))
    assert driver.requests["b"].num_cached_tokens == 12
    driver.assert_as_alone()


def test_running_requests_share_pages(new_driver: NewDriver) -> None:
    driver = new_driver(num_pages=12)
    prompt = list(range(32))
    driver.add(request("a", prompt))
    driver.step()
    driver.step()
    driver.add(request("b", prompt), request("c", prompt))
    driver.step()
    assert driver.scheduler.stats().running == 3  # 8 + 1 pages each would not fit
    assert driver.requests["b"].pages[:7] == driver.requests["a"].pages[:7]
    driver.run()
    driver.assert_as_alone()


def test_prompt_still_in_flight_is_not_found(new_driver: NewDriver) -> None:
    driver = new_driver()
    prompt = list(range(16))
    driver.add(request("a", prompt), request("b", prompt))
    driver.run()
    assert driver.requests["b"].num_cached_tokens == 0
    driver.assert_as_alone()


def test_salts_do_not_share(new_driver: NewDriver) -> None:
    driver = new_driver()
    prompt = list(range(16))
    driver.run(request("a", prompt, cache_salt="x"))
    driver.run(request("b", prompt, cache_salt="y"))
    assert driver.requests["b"].num_cached_tokens == 0


# Preemption


def crowded(new_driver: NewDriver, *, prefix_cache: bool = True) -> Driver:
    """Two requests that fit only at first: the younger one must go when both have grown."""
    driver = new_driver(num_pages=8, prefix_cache=prefix_cache)
    driver.add(long("old", 12, max_tokens=18), long("young", 12, max_tokens=18))
    return driver


@pytest.mark.parametrize("prefix_cache", [True, False])
def test_youngest_is_preempted_and_resumes_with_the_same_output(
    new_driver: NewDriver, prefix_cache: bool
) -> None:
    driver = crowded(new_driver, prefix_cache=prefix_cache)
    driver.run()
    assert driver.requests["old"].num_preemptions == 0
    assert driver.requests["young"].num_preemptions > 0
    driver.assert_as_alone()


def test_token_in_flight_of_a_preempted_request_is_kept(new_driver: NewDriver) -> None:
    driver = crowded(new_driver)
    young = driver.requests["young"]
    while not young.num_preemptions:
        in_flight, known = young.num_pending, len(young.output_ids)
        driver.step()
    assert in_flight == 1
    assert len(young.output_ids) == known + 1
    assert (young.slot, young.pages, young.num_computed_tokens) == (None, [], 0)


def test_preempted_request_may_end_by_its_token_in_flight(new_driver: NewDriver) -> None:
    """Preempted with 4 tokens known and the 5th in flight; the 5th turns out to be the end."""
    driver = new_driver(num_pages=8)
    driver.runner.next_token = lambda h: EOS if h[0] == 2 and len(h) == 16 else 5
    driver.add(request("old", [1] * 12, SamplingParams(max_tokens=18)))
    driver.add(request("young", [2] * 12, SamplingParams(max_tokens=18)))
    young = driver.requests["young"]
    while not young.num_preemptions:
        driver.step()
    assert driver.reason("young") == FinishReason.STOP
    assert driver.outputs["young"] == [5, 5, 5, 5, EOS]
    assert driver.scheduler.stats().waiting == 0


def test_preempted_request_goes_to_the_front_of_the_queue(new_driver: NewDriver) -> None:
    driver = crowded(new_driver)
    driver.step()
    driver.add(*(long(f"later{index}", 12, max_tokens=1) for index in range(3)))
    driver.run()
    rows = [row for step in driver.runner.steps for row in step.rows]
    admitted = [row.request.id for row in rows if row.takes_slot]
    assert admitted == ["old", "young", "young", "later0", "later1", "later2"]
    driver.assert_as_alone()


def test_preempted_request_stays_out_until_there_is_a_page_to_spare(new_driver: NewDriver) -> None:
    """When b ends, c would just fit beside a, and be out again as soon as a needs a page."""
    driver = new_driver(num_pages=8)
    driver.run(
        long("a", 12, max_tokens=18), long("b", 4, max_tokens=4), long("c", 15, max_tokens=9)
    )
    assert driver.requests["c"].num_preemptions == 1
    driver.assert_as_alone()


def test_cached_tokens_are_those_of_the_first_admission(new_driver: NewDriver) -> None:
    driver = crowded(new_driver)
    driver.run()
    assert driver.requests["young"].num_cached_tokens == 0
    assert driver.scheduler.stats().totals.prompt_tokens == 24


def test_abort_while_preempted(new_driver: NewDriver) -> None:
    driver = crowded(new_driver)
    while not driver.requests["young"].num_preemptions:
        driver.step()
    driver.abort("young")
    driver.run()
    driver.assert_as_alone()


def test_twenty_long_requests_in_a_tiny_pool_all_end(new_driver: NewDriver) -> None:
    driver = new_driver(num_pages=12, max_batch_size=8)
    driver.run(*(long(f"r{index}", 16, max_tokens=30) for index in range(20)))
    assert driver.scheduler.stats().totals.preemptions > 0
    driver.assert_as_alone()


# Counting


def test_totals_add_up(new_driver: NewDriver) -> None:
    driver = new_driver()
    driver.runner.broken_ids = {"bad"}
    driver.add(long("a", max_tokens=7), long("bad"), long("gone"))
    driver.step()
    driver.abort("gone")
    driver.run()
    totals = driver.scheduler.stats().totals
    assert totals.finished == {
        FinishReason.STOP: 0,
        FinishReason.LENGTH: 1,
        FinishReason.ABORT: 1,
        FinishReason.ERROR: 1,
    }
    assert totals.generation_tokens == 7
    assert totals.steps == len(driver.runner.steps)


def test_stats_are_a_picture(new_driver: NewDriver) -> None:
    driver = new_driver()
    before = driver.scheduler.stats()
    driver.run(long("a"))
    assert before.totals.steps == 0
    assert sum(before.totals.finished.values()) == 0


# The contract with whoever runs steps


def test_steps_must_be_committed_in_order(new_driver: NewDriver) -> None:
    scheduler = new_driver().scheduler
    scheduler.add(long("a"))
    scheduler.schedule()
    second = scheduler.schedule()
    assert second is not None
    with pytest.raises(AssertionError, match="order of planning"):
        scheduler.commit(second, StepResult((Sampled(1),)))


def test_results_may_come_several_steps_late(new_driver: NewDriver) -> None:
    driver = new_driver()
    asked = long("a", 3, max_tokens=4)
    driver.scheduler.add(asked)
    planned = [driver.scheduler.schedule() for _ in range(5)]
    assert planned[4] is None  # four tokens are all it may draw
    tokens = tokens_alone(asked)[0]
    assert tokens[0] == token_after(asked.prompt_ids, VOCAB_SIZE)
    for step, token_id in zip(planned[:4], tokens, strict=True):
        assert step is not None
        driver.scheduler.commit(step, StepResult((Sampled(token_id),)))
    assert asked.finish_reason == FinishReason.LENGTH


# Constraints


def constrained(request_id: str, *, max_tokens: int = 20, length: int = 100) -> Request:
    """Draws tokens 1 to 9 until it has `length` of them."""
    constraint = FakeConstraint(lambda output: {*range(1, 10)} if len(output) < length else {EOS})
    params = SamplingParams(max_tokens=max_tokens)
    return request(request_id, [sum(request_id.encode()) % 97], params, constraint=constraint)


def test_a_constrained_row_sits_out_the_step_in_flight_and_its_neighbours_do_not(
    new_driver: NewDriver,
) -> None:
    driver = new_driver()
    driver.add(long("a", 4), constrained("b"))
    steps = [sizes(driver.step()) for _ in range(6)]
    assert steps[0] == {"a": 4, "b": 1}
    assert steps[1::2] == [{"a": 1}] * 3
    assert steps[2::2] == [{"a": 1, "b": 1}] * 2


def test_constrained_rows_without_others_stay_together(new_driver: NewDriver) -> None:
    driver = new_driver()
    driver.add(constrained("a"))
    driver.step()
    driver.add(constrained("b"))
    steps = [sizes(driver.step()) for _ in range(7)]
    assert steps[0] == {"b": 1}
    assert steps.count({"a": 1, "b": 1}) == 3
    assert {} in steps


def test_a_row_waits_for_its_mask_and_nobody_waits_for_the_row(new_driver: NewDriver) -> None:
    driver = new_driver()
    slow = constrained("slow")
    driver.add(slow, long("a", 4))
    driver.step()
    driver.step()
    made, slow.mask = slow.mask, None
    assert driver.scheduler.num_constrained == 1
    assert [sizes(driver.step()) for _ in range(3)] == [{"a": 1}] * 3
    slow.mask = made
    assert sizes(driver.step()) == {"slow": 1, "a": 1}


def test_chunks_of_a_prompt_need_no_mask(new_driver: NewDriver) -> None:
    driver = new_driver(token_budget=4)
    asked = request("a", range(1, 11), constraint=FakeConstraint(lambda output: {1}))
    driver.add(asked)
    driver.step()
    asked.mask = None
    assert [sizes(driver.step()) for _ in range(2)] == [{"a": 4}, {}]


def test_a_request_ends_with_its_constraint(new_driver: NewDriver) -> None:
    driver = new_driver()
    driver.run(constrained("a", length=3), constrained("b", length=5, max_tokens=5))
    for request_id, length in (("a", 3), ("b", 5)):
        assert driver.reason(request_id) is FinishReason.STOP
        assert driver.last[request_id].last_is_output
        assert len(driver.outputs[request_id]) == length


def test_a_cut_constrained_request_ended_by_length(new_driver: NewDriver) -> None:
    driver = new_driver()
    driver.run(constrained("a", length=9, max_tokens=4))
    assert driver.reason("a") is FinishReason.LENGTH
    assert not driver.last["a"].last_is_output


def test_a_token_that_the_constraint_refuses_ends_its_request_only(new_driver: NewDriver) -> None:
    driver = new_driver()
    bad = constrained("bad")
    driver.add(bad, long("a", 4))
    driver.step()
    bad.constraint = FakeConstraint(lambda output: {50})
    driver.run()
    assert driver.reason("bad") is FinishReason.ERROR
    assert "is not allowed" in (driver.last["bad"].error or "")
    assert driver.reason("a") is FinishReason.LENGTH
