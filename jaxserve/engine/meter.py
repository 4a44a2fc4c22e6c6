"""When did what happen to each request, and how long did it take?

Is told the time and told what happened, and keeps distributions; decides nothing. Not
thread-safe: the loop's lock guards it, taken once a step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from jaxserve.engine.metrics import EngineHistograms, StepKind
from jaxserve.engine.request import Request, TokenDelta
from jaxserve.engine.step import Step

_RATE_WINDOW = 64  # requests whose ends tell how fast the queue moves
_MAX_WAIT_S = 60.0  # SDKs give up at a Retry-After of more than two minutes
_UNKNOWN_WAIT_S = 1.0


@dataclass(slots=True)
class _Times:
    """When a request arrived, was first in a step, drew its first token, and its last so far."""

    request: Request
    arrived_s: float
    planned_s: float | None = None
    first_s: float | None = None
    last_s: float = 0.0
    num_output: int = 0
    num_deltas: int = 0  # with tokens


class Meter:
    """The distributions of an engine, and the times of the requests that are in it."""

    def __init__(self, *, max_model_len: int, max_step_tokens: int) -> None:
        self.histograms = EngineHistograms(
            max_model_len=max_model_len, max_step_tokens=max_step_tokens
        )
        self.num_accepted = 0
        self.failed_steps = dict.fromkeys(StepKind, 0)
        self._times: dict[str, _Times] = {}
        self._planned: Step | None = None
        self._rate = _Rate()

    @property
    def batch_max_tokens(self) -> int:
        """How many tokens the requests of the newest step may have in the end, together."""
        rows = self._planned.rows if self._planned else ()
        return sum(len(row.request.prompt_ids) + row.request.params.max_tokens for row in rows)

    def accept(self, request: Request, now_s: float) -> None:
        if not self._times:
            self._rate.start(now_s)
        self.num_accepted += 1
        self._times[request.id] = _Times(request, now_s)

    def plan(self, step: Step, planned_s: float) -> None:
        """Note the newest step, and who is in a step for the first time."""
        self._planned = step
        num_admitted = 0
        for row in step.rows:
            if row.takes_slot:
                num_admitted += 1
                times = self._times.get(row.request.id)
                if times is not None and times.planned_s is None:
                    times.planned_s = planned_s
                    self.histograms.queue_s.observe(planned_s - times.arrived_s)
        if num_admitted:
            self.histograms.step_admitted.observe(num_admitted)

    def rest(self) -> None:
        """Note that there was nothing to plan."""
        self._planned = None

    def end_step(self, step: Step, *, step_s: float, commit_s: float) -> None:
        """Note what a step took on the device, and its results on the host."""
        kind, histograms = kind_of(step), self.histograms
        histograms.step_s[kind].observe(step_s)
        histograms.commit_s[kind].observe(commit_s)
        histograms.step_rows[kind].observe(len(step.rows))
        histograms.step_tokens.observe(step.num_tokens)

    def fail(self) -> None:
        """Note that the newest step failed; the first one is a prefill."""
        self.failed_steps[kind_of(self._planned) if self._planned else StepKind.PREFILL] += 1
        self._planned = None

    def deliver(self, deltas: Iterable[TokenDelta], now_s: float) -> None:
        """Note what requests got, and in the first delta of each its time in the queue."""
        for delta in deltas:
            times = self._times.get(delta.request_id)
            assert times is not None, f"request {delta.request_id} was never accepted"
            if delta.token_ids:
                if times.first_s is None and times.planned_s is not None:
                    delta.queued_s = times.planned_s - times.arrived_s
                self._draw(times, now_s)
                times.num_output += len(delta.token_ids)
                times.num_deltas += 1
            if delta.finish_reason is not None:
                del self._times[delta.request_id]
                self._end(times, now_s)
                self._end_tokens(times, delta.num_cached_tokens)

    def predicted_wait_s(self, num_waiting: int, now_s: float) -> float:
        """How long one more would wait behind so many, at the pace of late; at most a minute."""
        if not num_waiting:
            return 0.0
        pace = self._rate.per_s(now_s)
        return min(_MAX_WAIT_S, num_waiting / pace) if pace else _UNKNOWN_WAIT_S

    def _draw(self, times: _Times, now_s: float) -> None:
        if times.first_s is not None:
            self.histograms.inter_token_s.observe(now_s - times.last_s)
        else:
            times.first_s = now_s
            self.histograms.first_token_s.observe(now_s - times.arrived_s)
            if times.planned_s is not None:
                self.histograms.prefill_s.observe(now_s - times.planned_s)
        times.last_s = now_s

    def _end(self, times: _Times, now_s: float) -> None:
        self._rate.note(now_s)
        histograms = self.histograms
        histograms.total_s.observe(now_s - times.arrived_s)
        if times.first_s is None or times.planned_s is None:
            return
        histograms.inference_s.observe(now_s - times.planned_s)
        histograms.decode_s.observe(now_s - times.first_s)
        histograms.time_per_token_s.observe((now_s - times.planned_s) / times.num_output)
        if times.num_output > 1:
            next_token_s = (times.last_s - times.first_s) / (times.num_output - 1)
            histograms.time_per_next_token_s.observe(next_token_s)

    def _end_tokens(self, times: _Times, num_cached: int) -> None:
        num_prompt, histograms = len(times.request.prompt_ids), self.histograms
        histograms.prompt_tokens.observe(num_prompt)
        histograms.output_tokens.observe(times.num_output)
        histograms.max_tokens.observe(times.request.params.max_tokens)
        histograms.cached_tokens.observe(num_cached)
        histograms.drafted_tokens.observe(times.num_output - times.num_deltas)
        num_computed = 0 if times.planned_s is None else num_prompt - num_cached
        histograms.computed_tokens.observe(num_computed)


class _Rate:
    """How many requests end per second of late, while there is work."""

    def __init__(self) -> None:
        self._ended_s: deque[float] = deque(maxlen=_RATE_WINDOW)
        self._since_s = 0.0

    def start(self, now_s: float) -> None:
        """Forget what was before a time without work."""
        self._ended_s.clear()
        self._since_s = now_s

    def note(self, now_s: float) -> None:
        if len(self._ended_s) == _RATE_WINDOW:
            self._since_s = self._ended_s[0]
        self._ended_s.append(now_s)

    def per_s(self, now_s: float) -> float | None:
        """None while nothing has ended."""
        passed_s = now_s - self._since_s
        return len(self._ended_s) / passed_s if self._ended_s and passed_s > 0 else None


def kind_of(step: Step) -> StepKind:
    return StepKind.DECODE if step.decode_only or step.verifies else StepKind.PREFILL
