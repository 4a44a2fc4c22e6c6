"""Drive a scheduler and a FakeRunner one step ahead of the results, as the engine's thread does.

After each step the books are checked, and at the end each request's tokens can be compared with
what it would have got alone, computed whole: `tokens_alone`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from jaxserve.engine.buckets import Buckets
from jaxserve.engine.constraint import Constraint
from jaxserve.engine.pages import PagePool
from jaxserve.engine.request import (
    EngineLimits,
    FinishReason,
    Request,
    SamplingParams,
    TokenDelta,
)
from jaxserve.engine.scheduler import Scheduler
from jaxserve.engine.step import Step
from tests.fakes import FakeConstraint, FakeRunner, eager_speculator, make_masks, token_after

EOS = 0
VOCAB_SIZE = 97


def limits(*, max_model_len: int = 256, max_queued_requests: int = 1000) -> EngineLimits:
    return EngineLimits(
        max_model_len=max_model_len,
        vocab_size=VOCAB_SIZE,
        eos_token_ids=frozenset({EOS}),
        max_logprobs=5,
        max_queued_requests=max_queued_requests,
    )


def request(
    request_id: str,
    prompt_ids: Sequence[int],
    params: SamplingParams | None = None,
    *,
    cache_salt: str = "",
    constraint: Constraint | None = None,
) -> Request:
    return Request(
        id=request_id,
        prompt_ids=tuple(prompt_ids),
        params=params or SamplingParams(max_tokens=8),
        cache_salt=cache_salt,
        constraint=constraint,
    )


def tokens_alone(asked: Request) -> tuple[list[int], FinishReason]:
    """What a request gets when nothing else exists, drawn from whole histories."""
    params, output = asked.params, list[int]()
    constraint = asked.constraint
    assert constraint is None or isinstance(constraint, FakeConstraint)
    while True:
        token_id = token_after([*asked.prompt_ids, *output], VOCAB_SIZE)
        ends = set(params.stop_token_ids) | {EOS}
        while len(output) < params.min_tokens and token_id in ends:
            token_id = (token_id + 1) % VOCAB_SIZE
        if constraint is not None:
            token_id = _first_allowed(token_id, constraint.allowed(tuple(output)), asked, output)
        output.append(token_id)
        may_end = len(output) > params.min_tokens
        if may_end and token_id in params.stop_token_ids | (set() if params.ignore_eos else {EOS}):
            return output, FinishReason.STOP
        if constraint and (token_id == EOS or constraint.allowed(tuple(output)) <= {EOS}):
            return output, FinishReason.STOP
        if len(output) == params.max_tokens:
            return output, FinishReason.LENGTH


def _first_allowed(
    token_id: int, allowed: AbstractSet[int], asked: Request, output: list[int]
) -> int:
    """The next id that may be, at or after `token_id` in a circle; bans give way to need."""
    params = asked.params
    banned = {EOS} - params.stop_token_ids if params.ignore_eos else set()
    if len(output) < params.min_tokens:
        banned |= {EOS, *params.stop_token_ids}
    wanted = allowed - banned or allowed
    return min(wanted, key=lambda i: (i - token_id) % VOCAB_SIZE)


class Driver:
    """A scheduler, its pool, a FakeRunner, and what came out of them."""

    def __init__(
        self,
        *,
        num_pages: int = 64,
        page_size: int = 4,
        max_batch_size: int = 4,
        token_budget: int = 32,
        prefix_cache: bool = True,
        engine_limits: EngineLimits | None = None,
        num_draft_tokens: int = 0,
    ) -> None:
        """With `num_draft_tokens` drafts are verified wherever there are some."""
        buckets = Buckets.build(
            max_rows=max_batch_size, token_budget=token_budget, num_draft_tokens=num_draft_tokens
        )
        self.pool = PagePool(num_pages, page_size, prefix_cache=prefix_cache)
        self.scheduler = Scheduler(
            self.pool,
            limits=engine_limits or limits(),
            max_batch_size=max_batch_size,
            token_budget=token_budget,
            speculator=eager_speculator(buckets, num_draft_tokens),
        )
        self.runner = FakeRunner(page_size, vocab_size=VOCAB_SIZE, eos_token_id=EOS)
        self.requests: dict[str, Request] = {}
        self.outputs: dict[str, list[int]] = defaultdict(list)
        self.last: dict[str, TokenDelta] = {}
        self._flying: Step | None = None

    def add(self, *requests: Request) -> None:
        for asked in requests:
            self.scheduler.add(asked)
            self.requests[asked.id] = asked
        make_masks(requests, EOS)

    def abort(self, request_id: str) -> None:
        delta = self.scheduler.abort(request_id)
        if delta is not None:
            self._take(delta)

    def step(self) -> Step | None:
        """Plan and start the next step, then take in the one before. Returns the planned one."""
        step = self.scheduler.schedule()
        if step is not None:
            self.runner.dispatch(step)
        before, self._flying = self._flying, step
        if before is not None:
            for delta in self.scheduler.commit(before, self.runner.collect(before)):
                self._take(delta)
            make_masks([row.request for row in before.rows if row.samples], EOS)
        self.scheduler.check()
        return step

    def settle(self) -> None:
        """Take in what is in flight without planning more."""
        if self._flying is not None:
            step, self._flying = self._flying, None
            for delta in self.scheduler.commit(step, self.runner.collect(step)):
                self._take(delta)

    def run(self, *requests: Request, max_steps: int = 5000) -> None:
        """Add and step until nothing is left."""
        self.add(*requests)
        for _ in range(max_steps):
            if self.step() is None and self._flying is None and not self.scheduler.num_unfinished:
                return
        raise AssertionError(f"not done after {max_steps} steps")

    def reason(self, request_id: str) -> FinishReason | None:
        return self.last[request_id].finish_reason

    def assert_as_alone(self) -> None:
        """Each request got exactly the tokens it gets alone; an aborted one, the first of them."""
        for request_id, asked in self.requests.items():
            expected, reason = tokens_alone(asked)
            got = self.outputs[request_id]
            if self.reason(request_id) == FinishReason.ABORT:
                assert got == expected[: len(got)]
            else:
                assert (got, self.reason(request_id)) == (expected, reason)

    def _take(self, delta: TokenDelta) -> None:
        assert delta.request_id not in self.last, "a delta after the last one"
        self.outputs[delta.request_id] += delta.token_ids
        if delta.finish_reason is not None:
            self.last[delta.request_id] = delta
