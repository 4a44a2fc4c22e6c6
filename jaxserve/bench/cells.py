"""What is measured of one batch, once? Its steps planned ahead, and its steps over and over."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from jaxserve.bench.engine_parts import EngineParts
from jaxserve.bench.steps import requests, run_again, run_ahead
from jaxserve.bench.work import Work
from jaxserve.engine.scheduler import Scheduler
from jaxserve.engine.step import Step
from jaxserve.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Seconds of a decode step, or of a whole prompt; its tokens, and the least work in it."""

    num_tokens: int
    step_s: float
    host_s: float
    device_s: float
    work: Work


def decode(parts: EngineParts, num_rows: int, *, input_len: int, output_len: int) -> Sample:
    """A step in which `num_rows` requests decode, the median of those there were."""

    def is_decode(step: Step) -> bool:
        return step.decode_only and len(step.rows) == num_rows

    # Long enough that the first of them still runs when the last one's prompt is computed.
    num_output_tokens = parts.limits.max_model_len - input_len

    def scheduler() -> Scheduler:
        return _loaded(
            parts, num_rows, num_prompt_tokens=input_len, num_output_tokens=num_output_tokens
        )

    ahead = run_ahead(scheduler(), parts.runner, wanted=is_decode, most=output_len)
    again = run_again(scheduler(), parts.runner, wanted=is_decode, most=2)
    if not ahead:
        raise ConfigError(
            f"{num_rows} requests never decoded together: the first was over before the last had "
            f"begun; raise max_model_len ({parts.limits.max_model_len}) or token_budget "
            f"({parts.sizes.token_budget})"
        )
    return Sample(
        num_tokens=num_rows,
        step_s=statistics.median(timing.step_s for timing in ahead),
        host_s=statistics.median(timing.host_s for timing in ahead),
        device_s=statistics.median(timing.step_s for timing in again),
        work=parts.counter.of(again[0].step),
    )


def prefill(parts: EngineParts, num_tokens: int) -> Sample:
    """A prompt of so many tokens, to its first token: one step or several."""

    def scheduler() -> Scheduler:
        return _loaded(parts, 1, num_prompt_tokens=num_tokens, num_output_tokens=1)

    ahead = run_ahead(scheduler(), parts.runner, wanted=_any, most=num_tokens)
    again = run_again(scheduler(), parts.runner, wanted=_any, most=num_tokens)
    works = [parts.counter.of(timing.step) for timing in again]
    return Sample(
        num_tokens=num_tokens,
        step_s=sum(timing.step_s for timing in ahead),
        host_s=sum(timing.host_s for timing in ahead),
        device_s=sum(timing.step_s for timing in again),
        work=Work(
            num_bytes=sum(work.num_bytes for work in works),
            flops=sum(work.flops for work in works),
        ),
    )


def _any(step: Step) -> bool:
    return True


def _loaded(
    parts: EngineParts, count: int, *, num_prompt_tokens: int, num_output_tokens: int
) -> Scheduler:
    scheduler = parts.scheduler()
    for request in requests(
        count,
        num_prompt_tokens=num_prompt_tokens,
        num_output_tokens=num_output_tokens,
        vocab_size=parts.limits.vocab_size,
    ):
        scheduler.add(request)
    return scheduler
