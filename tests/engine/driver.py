"""Drives a scheduler over a real runner without the loop's thread, a step ahead or step by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxserve.engine.constraint import Constraint
from jaxserve.engine.pages import PagePool
from jaxserve.engine.request import (
    EngineLimits,
    FinishReason,
    Request,
    SamplingParams,
    TokenLogprob,
)
from jaxserve.engine.runner import Runner
from jaxserve.engine.scheduler import Scheduler
from jaxserve.engine.sizes import EngineSizes
from jaxserve.engine.step import Step
from jaxserve.models.attention.xla import XlaAttention
from jaxserve.models.loading import load_model
from jaxserve.models.making import Option
from jaxserve.sharding.mesh import make_mesh
from tests.fakes import eager_speculator, make_masks
from tests.tiny_models import TINY_LLAMA

EOS = 61
FLOAT32 = jnp.dtype("float32")
LIMITS = EngineLimits(
    max_model_len=128,
    vocab_size=TINY_LLAMA["vocab_size"] - 2,  # the embedding has rows to spare
    eos_token_ids=frozenset({EOS}),
    max_logprobs=5,
    max_queued_requests=100,
)
SIZES = EngineSizes(
    page_size=4, num_pages=160, max_batch_size=8, token_budget=64, max_model_len=128
)


def make_runner(
    folder: Path,
    *,
    tensor_parallel: int = 1,
    expert_parallel: int = 1,
    sizes: EngineSizes = SIZES,
    quantize: Option | None = None,
    kv_dtype: jnp.dtype | None = None,
) -> Runner:
    mesh = make_mesh(tensor_parallel=tensor_parallel, expert_parallel=expert_parallel)
    model = load_model(folder, dtype=FLOAT32, mesh=mesh, quantize=quantize)
    runner = Runner(
        model,
        attention=XlaAttention(),
        mesh=mesh,
        sizes=sizes,
        limits=LIMITS,
        dtype=FLOAT32,
        kv_dtype=kv_dtype,
    )
    runner.warm_up()
    return runner


@dataclass
class Answer:
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    num_cached_tokens: int = 0
    error: str | None = None


def assert_same(left: list[Answer], right: list[Answer], *, atol: float = 1e-4) -> None:
    """Tokens and ends alike, log-probabilities but for rounding."""
    for what in ("token_ids", "finish_reason", "error"):
        assert [getattr(a, what) for a in left] == [getattr(a, what) for a in right]
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=atol)


@dataclass
class Driver:
    """A fresh scheduler over `runner`; smaller pools and budgets than it was compiled for."""

    runner: Runner
    num_pages: int = SIZES.num_pages
    max_batch_size: int = SIZES.max_batch_size
    token_budget: int = SIZES.token_budget
    prefix_cache: bool = True
    ahead: bool = True
    num_draft_tokens: int = 0  # with some, they are verified wherever there are drafts

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(
            PagePool(self.num_pages, SIZES.page_size, prefix_cache=self.prefix_cache),
            limits=LIMITS,
            max_batch_size=self.max_batch_size,
            token_budget=self.token_budget,
            speculator=eager_speculator(self.runner.buckets, self.num_draft_tokens),
        )

    def run(self, *requests: Request) -> list[Answer]:
        """Run the requests to their end, all added at once; answers in their order."""
        answers = {request.id: Answer() for request in requests}
        for request in requests:
            self.scheduler.add(request)
        make_masks(requests, EOS)
        flying: tuple[Step, Any] | None = None
        while self.scheduler.num_unfinished or flying:
            step = self.scheduler.schedule() if self.ahead or flying is None else None
            before, flying = flying, None
            if step is not None:
                flying = step, self.runner.dispatch(step)
            if before is not None:
                self._commit(before, answers)
            self.scheduler.check()
        return list(answers.values())

    def _commit(self, flying: tuple[Step, Any], answers: dict[str, Answer]) -> None:
        for delta in self.scheduler.commit(flying[0], self.runner.collect(flying[1])):
            answer = answers[delta.request_id]
            answer.token_ids += delta.token_ids
            answer.logprobs += [entry.logprob for entry in delta.logprobs]
            answer.prompt_logprobs += delta.prompt_logprobs
            answer.finish_reason = delta.finish_reason
            answer.num_cached_tokens = delta.num_cached_tokens
            answer.error = delta.error
        make_masks([row.request for row in flying[0].rows if row.samples], EOS)


def make_request(
    name: str, prompt_ids: list[int], *, constraint: Constraint | None = None, **params: Any
) -> Request:
    defaults: dict[str, Any] = {"max_tokens": 12, "temperature": 0.0, "logprobs": 0}
    return Request(
        id=name,
        prompt_ids=tuple(prompt_ids),
        params=SamplingParams(**{**defaults, **params}),
        constraint=constraint,
    )
