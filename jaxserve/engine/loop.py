"""The engine's thread: take requests in, plan a step, start it, commit the one before, hand out.

Knows no JAX and no text. The device always has its next step before the host looks at the last
one's tokens. Other threads only touch what `_changed` guards, and it is never held while the
device is waited for; so `submit`, `abort`, `stats`, `health` and `metrics` answer at once, even if
it hangs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol

from jaxserve.engine.admission import Admission
from jaxserve.engine.backlog import Backlog
from jaxserve.engine.masks import MaskMakers
from jaxserve.engine.meter import Meter
from jaxserve.engine.metrics import (
    AttentionInUse,
    EngineHealth,
    EngineMetrics,
    EngineStats,
    FixedSizes,
)
from jaxserve.engine.request import EngineLimits, FinishReason, Request, TokenDelta
from jaxserve.engine.step import Step
from jaxserve.errors import EngineBusy, EngineFailed

logger = logging.getLogger(__name__)

# Masks may keep the next step waiting for this share of the one in flight, which the device is
# busy with: a constrained row that just misses a step would wait for the whole of it.
_MASK_GRACE = 0.25
Region = Callable[[str], AbstractContextManager[object]]
_ABORT_GRACE_S = 10.0  # for the steps in flight, once `stop` has aborted the rest


class Scheduler(Protocol):
    """Decides who runs next. The engine thread's alone but for `admission` and `sizes`, which are
    fixed."""

    @property
    def admission(self) -> Admission: ...
    @property
    def sizes(self) -> FixedSizes: ...
    @property
    def num_unfinished(self) -> int: ...
    @property
    def num_constrained(self) -> int:
        """Unfinished requests whose tokens are drawn through masks."""
        ...

    def add(self, request: Any) -> None:
        """Queue a request that `admission` has let in."""
        ...

    def abort(
        self, request_id: str, reason: FinishReason, *, error: str | None = None
    ) -> TokenDelta | None:
        """End a request; None when it is unknown or has ended."""
        ...

    def reset_prefix_cache(self) -> None:
        """Let no later request find what was computed so far."""
        ...

    def schedule(self) -> Step | None:
        """Plan the next step; None when there is nothing to compute."""
        ...

    def commit(self, step: Step, result: Any) -> list[TokenDelta]:
        """Take in what the oldest step that was planned and not committed gave."""
        ...

    def stats(self) -> EngineStats: ...


class Runner(Protocol):
    """Computes steps on the device, in the order they are dispatched."""

    @property
    def num_compiled_after_ready(self) -> int:
        """Compilations that should not have been; read from any thread."""
        ...

    def dispatch(self, step: Step) -> Any:
        """Start a step and return a handle without waiting for it.

        Everything needed of the step's requests is read before this returns: their pages and
        progress change right after.
        """
        ...

    def collect(self, in_flight: Any) -> Any:
        """Wait for the step of this handle. Handles come back in the order of dispatch."""
        ...


@dataclass(slots=True)
class _Flight:
    """A step that was dispatched and not collected yet."""

    step: Step
    handle: Any
    planned_s: float
    collected_s: float = 0.0


class EngineLoop:
    """The `Engine` that generate.py talks to."""

    def __init__(
        self,
        scheduler: Scheduler,
        runner: Runner,
        *,
        attention: AttentionInUse | None = None,
        clock: Callable[[], float] = time.monotonic,
        region: Region = lambda _: nullcontext(),
        note_time: Callable[[Step, float], None] = lambda *_: None,
    ) -> None:
        """`attention` is only told, with the rest of the metrics; `region` names in a trace what
        runs inside of it. `note_time` is told of every step, on the engine's thread, the seconds
        from the end of the one before to its own end."""
        self.limits: EngineLimits = scheduler.admission.limits
        self._admission = scheduler.admission
        self._scheduler = scheduler
        self._masks = MaskMakers(self.limits.eos_token_ids)
        self._runner = runner
        self._attention = attention
        self._clock = clock
        self._region = region
        self._note_time = note_time
        self._thread = threading.Thread(target=self._main, name="engine", daemon=True)
        self._changed = threading.Condition()
        self._submitted: list[Request] = []
        self._aborted: list[tuple[str, FinishReason]] = []
        self._resets_prefix_cache = False
        self._unfinished = Backlog()  # submitted, and no last delta yet
        self._failure: str | None = None
        self._stopping = False
        self._stats = scheduler.stats()
        self._meter = Meter(
            max_model_len=scheduler.sizes.max_model_len,
            max_step_tokens=scheduler.sizes.max_step_tokens,
        )
        self._progressed_at_s = self._clock()
        self._mask_grace_s = 0.0
        self._device_free_s = 0.0  # when it had run every step that was collected

    def start(self, deliver: Callable[[Sequence[TokenDelta]], None]) -> None:
        """Start the thread. `deliver` is called on it with all deltas of a step together."""
        self._deliver = deliver
        self._masks.start()
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Hand a request over; its deltas end with one that has a finish reason.

        Raises RequestError for what can never be served, EngineBusy, and EngineFailed.
        """
        self._admission.check(request)
        with self._changed:
            if self._failure is not None:
                raise EngineFailed("the engine has failed; its log says why; restart the server")
            if self._stopping:
                raise EngineFailed("the engine is shutting down; try another server, or later")
            self._check_room(request)
            now_s = self._clock()
            if not self._unfinished:
                self._progressed_at_s = now_s
            self._meter.accept(request, now_s)
            self._unfinished.add(request)
            self._submitted.append(request)
            self._notify()

    def abort(self, request_id: str, reason: FinishReason = FinishReason.ABORT) -> None:
        """End a request within one step. One that is unknown or has ended is left alone."""
        with self._changed:
            if request_id in self._unfinished:
                self._aborted.append((request_id, reason))
                self._notify()

    def reset_prefix_cache(self) -> None:
        """Let no request that comes after this find what was computed before."""
        with self._changed:
            self._resets_prefix_cache = True
            self._notify()

    def uses_adapter(self, adapter: int) -> bool:
        """Whether a request that has not ended uses it, counted from 1."""
        with self._changed:
            return any(request.adapter == adapter for request in self._unfinished)

    def stats(self) -> EngineStats:
        """The engine after its last step, with what has been submitted since as waiting."""
        with self._changed:
            return replace(self._stats, waiting=len(self._unfinished) - self._stats.running)

    def health(self) -> EngineHealth:
        with self._changed:
            waited_s = self._clock() - self._progressed_at_s if self._unfinished else 0.0
            alive = self._thread.is_alive() and self._failure is None
            return EngineHealth(alive=alive, failure=self._failure, stalled_s=waited_s)

    def metrics(self) -> EngineMetrics:
        """Everything measured, in the caller's own copy; its counts agree with each other."""
        with self._changed:
            return EngineMetrics(
                sizes=self._scheduler.sizes,
                stats=self.stats(),
                health=self.health(),
                histograms=self._meter.histograms.copy(),
                accepted=self._meter.num_accepted,
                batch_max_tokens=self._meter.batch_max_tokens,
                failed_steps=dict(self._meter.failed_steps),
                predicted_wait_s=self._predicted_wait_s(),
                compiled_after_ready=self._runner.num_compiled_after_ready,
                attention=self._attention,
            )

    def stop(self, timeout_s: float) -> bool:
        """Refuse new requests, let the others finish for `timeout_s`, then abort what is left.

        Returns whether the thread has ended; it has not when the device hangs.
        """
        with self._changed:
            self._stopping = True
            self._notify()
        if self._thread.ident is None:
            return True  # it was never started
        self._thread.join(timeout_s)
        with self._changed:
            self._aborted.extend((each.id, FinishReason.ABORT) for each in self._unfinished)
            self._notify()
        self._thread.join(_ABORT_GRACE_S)
        return not self._thread.is_alive()

    def _notify(self) -> None:
        self._changed.notify()
        self._masks.interrupt()

    def _main(self) -> None:
        try:
            self._serve()
        except Exception as error:
            logger.exception("the engine failed")
            self.fail(f"{type(error).__name__}: {error}")
        finally:
            self._masks.close()

    def _serve(self) -> None:
        flying: _Flight | None = None
        while self._wait_for_work(flying is not None):
            self._masks.begin()
            deltas = self._take_in()
            if flying is not None:
                self._masks.settle(self._mask_grace_s)
            before, flying = flying, self._launch()
            if before is not None:
                with self._region("read"):
                    result = self._runner.collect(before.handle)
                before.collected_s = self._clock()
                with self._region("commit"):
                    deltas += self._scheduler.commit(before.step, result)
                self._masks.ask(row.request for row in before.step.rows if row.samples)
            elif flying is None and self._scheduler.num_unfinished:
                # Which ones wait for a mask may have changed since they were not planned.
                assert self._scheduler.num_constrained, "no request can run"
                self._masks.wait()
            self._hand_out(deltas, landed=before, flying=flying)

    def _launch(self) -> _Flight | None:
        with self._region("schedule"):
            step = self._scheduler.schedule()
        if step is None:
            return None
        planned_s = self._clock()
        with self._region("dispatch"):
            return _Flight(step, self._runner.dispatch(step), planned_s)

    def _wait_for_work(self, is_flying: bool) -> bool:
        """Wait until there is something to do; False when all is done and it shall stop."""
        with self._changed:
            while not (is_flying or self._has_work or self._stopping):
                self._changed.wait()
            return is_flying or self._has_work

    @property
    def _has_work(self) -> bool:
        return bool(self._unfinished) or self._resets_prefix_cache

    def _take_in(self) -> list[TokenDelta]:
        with self._changed:
            submitted, self._submitted = self._submitted, []
            aborted, self._aborted = self._aborted, []
            resets, self._resets_prefix_cache = self._resets_prefix_cache, False
        if resets:
            self._scheduler.reset_prefix_cache()
        for request in submitted:
            self._scheduler.add(request)
        self._masks.ask(submitted)
        ended = [self._scheduler.abort(request_id, reason) for request_id, reason in aborted]
        for request_id, error in self._masks.failures():
            ended.append(self._scheduler.abort(request_id, FinishReason.ERROR, error=error))
        return [delta for delta in ended if delta is not None]

    def _hand_out(
        self, deltas: list[TokenDelta], *, landed: _Flight | None, flying: _Flight | None
    ) -> None:
        stats, now_s = self._scheduler.stats(), self._clock()
        with self._changed:
            self._stats = stats
            if landed is not None:
                self._progressed_at_s = now_s
                self._measure(landed, now_s)
            if flying is not None:
                self._meter.plan(flying.step, flying.planned_s)
            else:
                self._meter.rest()
            self._meter.deliver(deltas, now_s)
            self._unfinished.remove(d.request_id for d in deltas if d.finish_reason is not None)
        if deltas:
            with self._region("deliver"):
                self._deliver(deltas)

    def _measure(self, landed: _Flight, committed_s: float) -> None:
        # The device runs steps in order, so this one began when the one before it had ended.
        self._note_time(landed.step, landed.collected_s - self._device_free_s)
        began_s = max(landed.planned_s, self._device_free_s)
        self._device_free_s = landed.collected_s
        self._mask_grace_s = _MASK_GRACE * (landed.collected_s - began_s)
        self._meter.end_step(
            landed.step,
            step_s=landed.collected_s - began_s,
            commit_s=committed_s - landed.collected_s,
        )

    def _check_room(self, request: Request) -> None:
        try:
            self._admission.check_room(request, self._unfinished)
        except EngineBusy as busy:
            busy.retry_after_s = self._predicted_wait_s()
            raise

    def _predicted_wait_s(self) -> float:
        num_waiting = len(self._unfinished) - self._admission.max_batch_size
        return self._meter.predicted_wait_s(max(0, num_waiting), self._clock())

    def fail(self, failure: str) -> None:
        """End every request with an error, and take no more; for any thread, once."""
        error = "the engine failed while this request was running or waiting; it is lost"
        reason = FinishReason.ERROR
        with self._changed:
            if self._failure is not None:
                return
            self._failure = failure
            lost = [
                TokenDelta(request_id=i, finish_reason=reason, error=error)
                for i in sorted(request.id for request in self._unfinished)
            ]
            self._meter.fail()
            self._meter.deliver(lost, self._clock())
            self._unfinished.clear()
            self._submitted.clear()
            totals = self._stats.totals.copy()
            totals.finished[reason] += len(lost)
            self._stats = replace(self._stats, running=0, waiting=0, used_pages=0, totals=totals)
        if lost:
            self._deliver(lost)
