"""Steps are planned a step ahead, or started over and over; each is timed once."""

from __future__ import annotations

from jaxserve.bench.steps import AGAIN, requests, run_again, run_ahead
from jaxserve.engine.pages import PagePool
from jaxserve.engine.request import EngineLimits
from jaxserve.engine.scheduler import Scheduler
from jaxserve.engine.step import Sampled, Step, StepResult

LIMITS = EngineLimits(
    max_model_len=64,
    vocab_size=50,
    eos_token_ids=frozenset({0}),
    max_logprobs=0,
    max_queued_requests=8,
)


class CountingRunner:
    """Draws zeros, the end of a sequence; knows how many steps were in flight at most."""

    def __init__(self) -> None:
        self.dispatched: list[Step] = []
        self.flying = self.most = 0

    def dispatch(self, step: Step) -> Step:
        self.dispatched.append(step)
        self.flying += 1
        self.most = max(self.most, self.flying)
        return step

    def collect(self, in_flight: Step) -> StepResult:
        self.flying -= 1
        return StepResult(tuple(Sampled(0) if row.samples else None for row in in_flight.rows))


def scheduler(*, count: int = 3, num_prompt_tokens: int = 20) -> Scheduler:
    made = Scheduler(
        PagePool(16, 16, prefix_cache=False), limits=LIMITS, max_batch_size=4, token_budget=32
    )
    for request in requests(
        count, num_prompt_tokens=num_prompt_tokens, num_output_tokens=6, vocab_size=50
    ):
        made.add(request)
    return made


def test_prompts_begin_differently_and_stay_in_the_vocabulary() -> None:
    made = list(requests(4, num_prompt_tokens=30, num_output_tokens=1, vocab_size=11))
    assert len({request.prompt_ids[0] for request in made}) == 4
    assert {token for request in made for token in request.prompt_ids} == set(range(11))


def is_decode(step: Step) -> bool:
    return step.decode_only


def test_running_ahead_has_two_steps_in_flight_and_times_every_one() -> None:
    runner = CountingRunner()
    timings = run_ahead(scheduler(), runner, wanted=lambda step: True, most=100)
    assert [timing.step for timing in timings] == runner.dispatched
    assert runner.most == 2
    assert all(timing.step_s > 0 and timing.host_s > 0 for timing in timings)
    # Past the end of a sequence: 60 tokens of prompts, and 6 of each output.
    assert sum(timing.step.num_tokens for timing in timings) == 60 + 3 * 5


def test_it_stops_when_it_has_enough_and_leaves_nothing_in_flight() -> None:
    runner = CountingRunner()
    timings = run_ahead(scheduler(), runner, wanted=is_decode, most=2)
    assert [timing.step.decode_only for timing in timings] == [True, True]
    assert runner.flying == 0


def test_wanted_steps_are_started_over_and_the_rest_once() -> None:
    runner = CountingRunner()
    timings = run_again(scheduler(), runner, wanted=is_decode, most=2)
    assert len(timings) == 2
    counts = [runner.dispatched.count(timing.step) for timing in timings]
    assert counts == [AGAIN + 1] * 2
    others = [s for s in runner.dispatched if s not in [timing.step for timing in timings]]
    assert len(others) == len(set(map(id, others)))
    assert runner.flying == 0
