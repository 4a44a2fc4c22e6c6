"""Who runs next, and what became of those who ran.

Knows no JAX, no clock and no text. A request has one progress number: `num_computed_tokens`
chases `num_tokens`; prefill, decode, a chunk and a resumed request are all the same to it.

Steps may be planned before the results of earlier ones are known. The device runs them in order
and `commit` is called in that order, so whatever a step in flight still writes is written before
anything planned later. Hence the pages of a request that ended or was preempted go to others at
once, although a step in flight may write one more token to them. The prefix index stays clean of
that: a page enters it only in `commit`, full, still its request's own, with committed tokens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from jaxserve.engine.admission import Admission
from jaxserve.engine.backlog import Backlog
from jaxserve.engine.constraint import Constraint, ConstraintFailed
from jaxserve.engine.deltas import GOES_ON, End, delta_of, last_delta
from jaxserve.engine.metrics import EngineStats, EngineTotals, FixedSizes
from jaxserve.engine.pages import PagePool
from jaxserve.engine.prefix import find_prefix, index_full_pages
from jaxserve.engine.request import EngineLimits, FinishReason, Request, TokenDelta, TokenLogprob
from jaxserve.engine.speculation import Speculator
from jaxserve.engine.step import Row, Sampled, Step, StepResult
from jaxserve.engine.stopping import reason_to_end
from jaxserve.errors import ConfigError

_NOT_FINITE = "the model's logits for output token {} are not finite numbers (NaN or infinity)"


class Scheduler:
    """Continuous batching over `max_batch_size` slots and the pages of `pool`."""

    def __init__(
        self,
        pool: PagePool,
        *,
        limits: EngineLimits,
        max_batch_size: int,
        token_budget: int,
        speculator: Speculator | None = None,
    ) -> None:
        if token_budget < max_batch_size:
            raise ConfigError(
                f"token_budget is {token_budget}, too little for one token of each of "
                f"max_batch_size = {max_batch_size} requests; raise the one or lower the other"
            )
        self.admission = Admission(
            limits=limits,
            max_batch_size=max_batch_size,
            num_pages=pool.num_pages,
            page_size=pool.page_size,
        )
        self._pool = pool
        self._token_budget = token_budget
        self._speculator = speculator
        self._totals = EngineTotals()
        self._free_slots = list(range(max_batch_size - 1, -1, -1))  # taken from the end
        self._unfinished = Backlog()  # waiting and running
        self._waiting: deque[Request] = deque()
        self._running: list[Request] = []  # in the order of admission
        self._in_flight: deque[Step] = deque()

    @property
    def num_unfinished(self) -> int:
        return len(self._unfinished)

    @property
    def num_constrained(self) -> int:
        """How many unfinished requests there are that may wait for a mask."""
        return sum(request.constraint is not None for request in self._unfinished)

    @property
    def sizes(self) -> FixedSizes:
        return FixedSizes(
            max_model_len=self.admission.limits.max_model_len,
            max_batch_size=self.admission.max_batch_size,
            max_step_tokens=self._token_budget,
            page_size=self._pool.page_size,
            num_pages=self._pool.num_pages,
            prefix_cache=self._pool.prefix_cache,
            num_draft_tokens=0 if self._speculator is None else self._speculator.num_tokens,
        )

    def add(self, request: Request) -> None:
        """Queue a request. Raises RequestError for what can never be served, and EngineBusy."""
        self.admission.check(request)
        self.admission.check_room(request, self._unfinished)
        self._unfinished.add(request)
        self._waiting.append(request)

    def abort(
        self,
        request_id: str,
        reason: FinishReason = FinishReason.ABORT,
        *,
        error: str | None = None,
    ) -> TokenDelta | None:
        """End a request and free its pages at once; None when it is unknown or has ended."""
        request = self._unfinished.get(request_id)
        if request is None:
            return None
        self._end(request, reason)
        return last_delta(request, error=error)

    def reset_prefix_cache(self) -> None:
        """Let no later request find what was computed so far."""
        self._pool.forget_all()

    def schedule(self) -> Step | None:
        """Plan the next step and count it as computed; None when there is nothing to compute.

        It can also be None for a moment because requests wait for their masks, or for the tokens
        in flight, to have drafts of those that come next.
        """
        if self._waits_for_company() or self._waits_for_draws():
            return None
        rows = self._rows_of_running()
        rows += self._rows_of_waiting(self._token_budget - sum(row.num_tokens for row in rows))
        if not rows:
            return None
        if self._speculator is not None and not self._in_flight:  # all tokens are known
            rows = self._speculator.with_drafts(rows, self._pool)
        step = Step(tuple(sorted(rows, key=lambda row: row.num_tokens != 1)))
        self._in_flight.append(step)
        return step

    def commit(self, step: Step, result: StepResult) -> list[TokenDelta]:
        """Take in what the oldest step in flight drew, as one delta per living row that drew."""
        assert self._in_flight.popleft() is step, "steps are committed in the order of planning"
        self._totals.steps += 1
        deltas = []
        for index, (row, sampled) in enumerate(zip(step.rows, result.sampled, strict=True)):
            assert row.samples is (sampled is not None), f"{sampled} does not answer {row}"
            if row.request.finish_reason is not None:  # it ended while the step was in flight
                self._totals.discarded_tokens += row.num_tokens
                continue
            if result.scores:
                _keep_scores(row, result.scores[index])
            if sampled is not None:
                further = result.further[index] if row.drafts else ()
                deltas.append(self._take_draws(row, (sampled, *further)))
            elif row.request.slot is not None:  # else it was preempted since
                index_full_pages(self._pool, row, row.num_tokens)
        return deltas

    def stats(self) -> EngineStats:
        return EngineStats(
            running=len(self._running),
            waiting=len(self._waiting),
            used_pages=self._pool.num_used,
            cached_pages=self._pool.num_cached,
            total_pages=self._pool.num_pages,
            totals=self._totals.copy(),
        )

    def check(self) -> None:
        """Assert that requests, slots and pages add up."""
        self._pool.check(held=[request.pages for request in self._unfinished])
        slots = [request.slot for request in self._running if request.slot is not None]
        assert len(slots) == len(self._running), "a running request has no slot"
        assert sorted(slots + self._free_slots) == list(range(self.admission.max_batch_size))
        assert {*self._unfinished} == {*self._running, *self._waiting}, "a request is lost"
        assert all(request.slot is None for request in self._waiting), "a waiting one has a slot"
        assert not any(request.pages for request in self._waiting), "a waiting one holds pages"

    def _rows_of_running(self) -> list[Row]:
        rows: list[Row] = []
        budget = self._token_budget
        for request in self._running[:]:
            num_tokens = min(_num_left_to_compute(request), budget)
            # Without a slot it was preempted just now, by one before it.
            if not num_tokens or request.slot is None:
                continue
            if request.constraint is not None and _awaits_mask(request, num_tokens):
                continue
            if self._make_room(request, request.num_computed_tokens + num_tokens):
                rows.append(_plan_row(request, num_tokens))
                budget -= num_tokens
        return rows

    def _waits_for_company(self) -> bool:
        """Whether all that runs is constrained, and some of it can not draw yet.

        Then the others wait too: the masks take less time than a step, and apart they would take
        two steps for what is one together.
        """
        if not self._running or (self._waiting and self._free_slots):
            return False
        if any(request.constraint is None for request in self._running):
            return False
        to_draw = [(request, _num_left_to_compute(request)) for request in self._running]
        decoding = all(num_tokens <= 1 for _, num_tokens in to_draw)
        return decoding and any(_awaits_mask(r, n) for r, n in to_draw if n)

    def _waits_for_draws(self) -> bool:
        """Whether the next step is better planned when the tokens in flight are known.

        How many a step that verifies gives is not known before. Otherwise they are waited for if
        drafts that pay are likely then, and the next step would compute no prompt: such a step
        verifies nothing.
        """
        if not self._in_flight or self._speculator is None:
            return False
        if self._in_flight[-1].verifies:
            return True
        if self._waiting and self._free_slots and self._has_pages_for(self._waiting[0]):
            return False
        going_on = [(r, n) for r in self._running if (n := _num_left_to_compute(r))]
        if any(num_tokens > 1 for _, num_tokens in going_on):
            return False
        return self._speculator.promises([request for request, _ in going_on])

    def _make_room(self, request: Request, num_tokens: int) -> bool:
        """Get pages for so many tokens, at the expense of the last admitted, even of itself."""
        if num_tokens <= len(request.pages) * self._pool.page_size:
            return True
        num_new = self._pool.num_pages_for(num_tokens) - len(request.pages)
        while (pages := self._pool.try_take(num_new)) is None:
            victim = self._running.pop()
            self._preempt(victim)
            if victim is request:
                return False
        request.pages += pages
        return True

    def _preempt(self, request: Request) -> None:
        self._free_place(request)
        request.num_computed_tokens = 0
        request.num_preemptions += 1
        self._waiting.appendleft(request)
        self._totals.preemptions += 1

    def _rows_of_waiting(self, budget: int) -> list[Row]:
        rows: list[Row] = []
        while budget and self._waiting and self._free_slots and self._try_admit(self._waiting[0]):
            request = self._waiting.popleft()
            self._running.append(request)
            num_tokens = min(_num_left_to_compute(request), budget)
            rows.append(_plan_row(request, num_tokens, takes_slot=True))
            budget -= num_tokens
        return rows

    def _try_admit(self, request: Request) -> bool:
        """Give it a slot and pages for all its known tokens, but never at another's expense."""
        # A preempted one comes back only when the rows of its former life are committed: its last
        # token must be known, and such a row must not be taken for one of its new life.
        if any(row.request is request for step in self._in_flight for row in step.rows):
            return False
        if request.constraint is not None and request.mask is None:
            return False
        shared = find_prefix(self._pool, request)
        num_new = self._pool.num_pages_for(request.num_tokens) - len(shared)
        pages = self._pool.try_take(num_new, shared=shared, spare=self._num_to_spare(request))
        if pages is None:
            return False
        request.pages = pages
        request.slot = self._free_slots.pop()
        request.num_computed_tokens = len(shared) * self._pool.page_size
        if request.num_cached_tokens is None:
            request.num_cached_tokens = request.num_computed_tokens
            self._totals.prompt_tokens += len(request.prompt_ids)
            self._totals.prefix_hit_tokens += request.num_cached_tokens
        return True

    def _num_to_spare(self, request: Request) -> int:
        """A preempted one wants a page for each that runs besides, else it is soon out again."""
        return len(self._running) if request.num_preemptions else 0

    def _has_pages_for(self, request: Request) -> bool:
        """Whether there are pages for all its known tokens; it may need fewer."""
        num_pages = self._pool.num_pages_for(request.num_tokens) + self._num_to_spare(request)
        return num_pages <= self._pool.num_free + self._pool.num_cached

    def _take_draws(self, row: Row, draws: Sequence[Sampled]) -> TokenDelta:
        """Take in what a row drew, up to what ends its request, as one delta."""
        request = row.request
        request.num_pending -= 1
        if row.drafts:  # what was computed of refused ones is overwritten before it is read
            request.num_computed_tokens = row.start + len(draws)
            self._totals.count_draft(len(row.drafts), num_right=len(draws) - 1)
        taken, end = 0, GOES_ON
        for sampled in draws:
            end = self._take_token(request, sampled)
            taken += sampled.finite
            if end is not GOES_ON:
                break
        # Without a slot it was preempted since: the pages of this row are others' now.
        if request.slot is not None and taken:
            num_computed = row.num_tokens - len(row.drafts) + taken - 1
            index_full_pages(self._pool, row, num_computed)
        if end.reason is not None:
            self._end(request, end.reason)
        elif self._speculator is not None:
            self._speculator.note_tokens(request)
        if end.error is not None:
            return last_delta(request, error=end.error)
        return delta_of(request, draws if taken == len(draws) else draws[:taken], end)

    def _take_token(self, request: Request, sampled: Sampled) -> End:
        if not sampled.finite:
            # What its pages hold may be as broken as the logits; nobody must find it again, not
            # even in pages that it had before it was preempted.
            self._pool.forget(request.page_hashes)
            self._totals.not_finite += 1
            told = _NOT_FINITE.format(len(request.output_ids))
            return End(FinishReason.ERROR, error=told)
        request.output_ids.append(sampled.token_id)
        self._totals.generation_tokens += 1
        try:
            if request.constraint is not None:
                _advance(request, request.constraint)
        except ConstraintFailed as failed:
            return End(FinishReason.ERROR, error=str(failed))
        eos_token_ids = self.admission.limits.eos_token_ids
        reason, stop_token_id = reason_to_end(request, eos_token_ids)
        if reason is None:
            return GOES_ON  # for most tokens; making one takes longer than all the rest here
        return End(reason, stop_token_id, by_eos=sampled.token_id in eos_token_ids)

    def _end(self, request: Request, reason: FinishReason) -> None:
        if request.slot is None:
            self._waiting.remove(request)
        else:
            self._running.remove(request)
            self._free_place(request)
        self._unfinished.remove([request.id])
        if self._speculator is not None:
            self._speculator.forget(request.id)
        request.finish_reason = reason
        self._totals.finished[reason] += 1

    def _free_place(self, request: Request) -> None:
        assert request.slot is not None, f"request {request.id} has no slot to give up"
        self._free_slots.append(request.slot)
        self._pool.release(request.pages)
        request.slot, request.pages = None, []


def _num_left_to_compute(request: Request) -> int:
    if len(request.output_ids) + request.num_pending == request.params.max_tokens:
        return 0  # all it may draw is drawn or in flight
    return request.num_tokens - request.num_computed_tokens


def _awaits_mask(request: Request, num_tokens: int) -> bool:
    """Whether computing so many tokens would draw one that no mask is there for."""
    if request.constraint is None or request.num_computed_tokens + num_tokens < request.num_tokens:
        return False
    return request.num_pending > 0 or request.mask is None


def _advance(request: Request, constraint: Constraint) -> None:
    """Take the newest token in, for which the mask was. Raises ConstraintFailed."""
    request.mask = None
    constraint.advance(request.output_ids[-1])


def _plan_row(request: Request, num_tokens: int, *, takes_slot: bool = False) -> Row:
    assert request.slot is not None, f"request {request.id} runs without a slot"
    start = request.num_computed_tokens
    samples = start + num_tokens == request.num_tokens
    request.num_computed_tokens += num_tokens
    request.num_pending += samples
    return Row(request, request.slot, start, num_tokens, samples, takes_slot)


def _keep_scores(row: Row, scores: Sequence[TokenLogprob]) -> None:
    """Add the scores of the tokens after the row's; those of a former life are there already."""
    kept = row.request.prompt_scores
    kept.extend(scores[max(0, len(kept) - row.start) :])
