"""Which texts are read together next, and what became of those that were?

Knows no JAX, no clock and no text. The oldest one decides how long the rows are; others of that
length join it in the order of arrival, and shorter ones fill rows that would be padding.
"""

from __future__ import annotations

from collections import deque
from itertools import islice

import numpy as np

from jaxserve.engine.backlog import Backlog
from jaxserve.engine.metrics import EngineStats, EngineTotals, FixedSizes
from jaxserve.engine.pooling.admission import PoolingAdmission
from jaxserve.engine.pooling.buckets import Buckets
from jaxserve.engine.pooling.request import PooledDelta, PooledResult
from jaxserve.engine.request import EngineLimits, FinishReason, Request, TokenDelta
from jaxserve.engine.step import Row, Step

_NOT_FINITE = "the model's numbers for this input are not all finite (NaN or infinity)"


class PoolingScheduler:
    """Batches of whole texts; what the engine loop wants of a scheduler."""

    def __init__(
        self, buckets: Buckets, *, limits: EngineLimits, max_batch_size: int, token_budget: int
    ) -> None:
        self.admission = PoolingAdmission(limits=limits, max_batch_size=max_batch_size)
        self._buckets = buckets
        self._token_budget = token_budget
        self._totals = EngineTotals()
        self._unfinished = Backlog()  # waiting and running
        self._waiting: dict[str, Request] = {}  # in the order of arrival
        self._in_flight: deque[Step] = deque()

    @property
    def num_unfinished(self) -> int:
        return len(self._unfinished)

    @property
    def num_constrained(self) -> int:
        return 0  # nothing is drawn

    @property
    def sizes(self) -> FixedSizes:
        limits = self.admission.limits
        return FixedSizes(
            max_model_len=limits.max_model_len,
            max_batch_size=self.admission.max_batch_size,
            max_step_tokens=max(self._token_budget, limits.max_model_len),
            page_size=0,
            num_pages=0,
            prefix_cache=False,
        )

    def add(self, request: Request) -> None:
        """Queue a request. Raises RequestError for what can never be read, and EngineBusy."""
        self.admission.check(request)
        self.admission.check_room(request, self._unfinished)
        self._unfinished.add(request)
        self._waiting[request.id] = request

    def abort(
        self,
        request_id: str,
        reason: FinishReason = FinishReason.ABORT,
        *,
        error: str | None = None,
    ) -> TokenDelta | None:
        """End a request at once; None when it is unknown or has ended."""
        request = self._unfinished.get(request_id)
        if request is None:
            return None
        self._end(request, reason)
        return TokenDelta(request_id=request.id, finish_reason=reason, error=error)

    def reset_prefix_cache(self) -> None:
        """Nothing is kept from one text to the next."""

    def schedule(self) -> Step | None:
        """Plan the next batch; None when nobody waits."""
        chosen = self._choose()
        if not chosen:
            return None
        rows = []
        for slot, request in enumerate(chosen):
            del self._waiting[request.id]
            num_tokens = request.num_computed_tokens = len(request.prompt_ids)
            self._totals.prompt_tokens += num_tokens
            rows.append(Row(request, slot, 0, num_tokens, samples=True, takes_slot=True))
        step = Step(tuple(rows))
        self._in_flight.append(step)
        return step

    def commit(self, step: Step, result: PooledResult) -> list[TokenDelta]:
        """Take in what the oldest step in flight computed, as one delta per living row."""
        assert self._in_flight.popleft() is step, "steps are committed in the order of planning"
        assert len(result.vectors) == len(step.rows), "there is a vector for each row"
        self._totals.steps += 1
        deltas = []
        for row, vector in zip(step.rows, result.vectors, strict=True):
            if row.request.finish_reason is not None:  # it ended while the step was in flight
                self._totals.discarded_tokens += row.num_tokens
            else:
                deltas.append(self._take(row.request, vector))
        return deltas

    def stats(self) -> EngineStats:
        return EngineStats(
            running=len(self._unfinished) - len(self._waiting),
            waiting=len(self._waiting),
            used_pages=0,
            cached_pages=0,
            total_pages=0,
            totals=self._totals.copy(),
        )

    def _choose(self) -> list[Request]:
        lengths = {
            request: self._buckets.length_for(len(request.prompt_ids))
            for request in self._waiting.values()
        }
        if not lengths:
            return []
        length = next(iter(lengths.values()))
        chosen = [request for request, own in lengths.items() if own == length]
        chosen = chosen[: self._buckets.most_rows(length)]
        num_spare = self._buckets.smallest(len(chosen), length).num_rows - len(chosen)
        shorter = (request for request, own in lengths.items() if own < length)
        return [*chosen, *islice(shorter, num_spare)]

    def _take(self, request: Request, vector: np.ndarray) -> TokenDelta:
        if not np.isfinite(vector).all():
            self._totals.not_finite += 1
            self._end(request, FinishReason.ERROR)
            reason = FinishReason.ERROR
            return TokenDelta(request_id=request.id, finish_reason=reason, error=_NOT_FINITE)
        self._end(request, FinishReason.STOP)
        return PooledDelta(request_id=request.id, finish_reason=FinishReason.STOP, vector=vector)

    def _end(self, request: Request, reason: FinishReason) -> None:
        self._unfinished.remove([request.id])
        self._waiting.pop(request.id, None)
        request.finish_reason = reason
        self._totals.finished[reason] += 1
