"""How long do steps take, without HTTP and text? Drives a scheduler and a runner by hand.

Two ways, because two things are asked. `run_ahead` plans a step ahead as the engine's loop does:
how long from step to step, and for how long the host was busy with each. `run_again` starts a step
several times over before it reads any: the device is never kept waiting, so that is its time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from jax.profiler import TraceAnnotation

from jaxserve.engine.request import Request, SamplingParams
from jaxserve.engine.scheduler import Scheduler
from jaxserve.engine.step import Step, StepResult

AGAIN = 8  # times that a step is started over


class Runner(Protocol):
    """What computes steps."""

    def dispatch(self, step: Step) -> Any: ...
    def collect(self, in_flight: Any) -> StepResult: ...


@dataclass(frozen=True, slots=True)
class Timing:
    """A step, and the seconds it took: in all, or of the host alone."""

    step: Step
    step_s: float
    host_s: float


@dataclass(slots=True)
class _Flight:
    step: Step
    handle: Any
    host_s: float


def requests(
    count: int, *, num_prompt_tokens: int, num_output_tokens: int, vocab_size: int
) -> Iterator[Request]:
    """Requests whose prompts do not begin alike."""
    params = SamplingParams(max_tokens=num_output_tokens, temperature=0.0, ignore_eos=True)
    for number in range(count):
        prompt = tuple((number + 7 * place) % vocab_size for place in range(num_prompt_tokens))
        yield Request(id=str(number), prompt_ids=prompt, params=params)


def run_ahead(scheduler: Scheduler, runner: Runner) -> list[Timing]:
    """Run to the end, a step ahead; the time of a step is from the end of the one before it."""
    timings: list[Timing] = []
    flying: _Flight | None = None
    ended_s = time.perf_counter()
    while scheduler.num_unfinished or flying:
        before, flying = flying, _launch(scheduler, runner)
        if before is None:
            continue
        with TraceAnnotation("read"):
            result = runner.collect(before.handle)
        collected_s = time.perf_counter()
        with TraceAnnotation("commit"):
            scheduler.commit(before.step, result)
        committed_s = time.perf_counter()
        host_s = before.host_s + committed_s - collected_s
        timings.append(Timing(before.step, collected_s - ended_s, host_s))
        ended_s = collected_s
    return timings


def run_again(
    scheduler: Scheduler, runner: Runner, *, wanted: Callable[[Step], bool], most: int
) -> list[Timing]:
    """Run to the end, each of the first `most` wanted steps AGAIN times over."""
    timings: list[Timing] = []
    while scheduler.num_unfinished:
        step = scheduler.schedule()
        assert step is not None, "no request can run"
        is_wanted = wanted(step) and len(timings) < most
        if is_wanted:
            runner.collect(runner.dispatch(step))  # once, to fill caches
        started_s = time.perf_counter()
        count = AGAIN if is_wanted else 1
        handles = [runner.dispatch(step) for _ in range(count)]
        dispatched_s = time.perf_counter()
        results = [runner.collect(handle) for handle in handles]
        ended_s = time.perf_counter()
        if is_wanted:
            host_s = (dispatched_s - started_s) / count
            timings.append(Timing(step, (ended_s - started_s) / count, host_s))
        scheduler.commit(step, results[-1])
    return timings


def _launch(scheduler: Scheduler, runner: Runner) -> _Flight | None:
    began_s = time.perf_counter()
    with TraceAnnotation("schedule"):
        step = scheduler.schedule()
    if step is None:
        return None
    with TraceAnnotation("dispatch"):
        handle = runner.dispatch(step)
    return _Flight(step, handle, time.perf_counter() - began_s)
