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

Wanted = Callable[[Step], bool]
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


def run_ahead(scheduler: Scheduler, runner: Runner, *, wanted: Wanted, most: int) -> list[Timing]:
    """Run a step ahead, to the end or until `most` wanted steps were timed; those.

    The time of a step is from the end of the one before it.
    """
    timings: list[Timing] = []
    flying: _Flight | None = None
    ended_s = time.perf_counter()
    while (scheduler.num_unfinished or flying) and len(timings) < most:
        before, flying = flying, _launch(scheduler, runner)
        if before is None:
            continue
        with TraceAnnotation("read"):
            result = runner.collect(before.handle)
        collected_s = time.perf_counter()
        with TraceAnnotation("commit"):
            scheduler.commit(before.step, result)
        host_s = before.host_s + time.perf_counter() - collected_s
        if wanted(before.step):
            timings.append(Timing(before.step, collected_s - ended_s, host_s))
        ended_s = collected_s
    if flying is not None:
        runner.collect(flying.handle)
    return timings


def run_again(scheduler: Scheduler, runner: Runner, *, wanted: Wanted, most: int) -> list[Timing]:
    """Run to the end or until `most` wanted steps were timed, each of them AGAIN times over."""
    timings: list[Timing] = []
    while scheduler.num_unfinished and len(timings) < most:
        step = scheduler.schedule()
        assert step is not None, "no request can run"
        result = runner.collect(runner.dispatch(step))
        if wanted(step):
            started_s = time.perf_counter()
            handles = [runner.dispatch(step) for _ in range(AGAIN)]
            dispatched_s = time.perf_counter()
            for handle in handles:
                result = runner.collect(handle)
            step_s = (time.perf_counter() - started_s) / AGAIN
            timings.append(Timing(step, step_s, (dispatched_s - started_s) / AGAIN))
        scheduler.commit(step, result)
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
