"""What do the real programs of a model need on devices that may not be here?

Lowers the runner's own programs from shapes alone and asks the compiler.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh

from jaxserve.engine.buckets import Bucket
from jaxserve.engine.device_state import DeviceState
from jaxserve.engine.request import EngineLimits
from jaxserve.engine.runner import Runner
from jaxserve.engine.sizes import EngineSizes
from jaxserve.models.attention.interface import PagedBackend
from jaxserve.models.loading import LoadedModel
from jaxserve.plan.question import Question

MAX_LOGPROBS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What the compiler says of a program, for one device."""

    name: str
    num_tokens: int
    argument_bytes: int
    temp_bytes: int
    code_bytes: int
    flops: float  # loops are counted once: attention over a long context is more
    seconds: float  # that compiling took

    @property
    def extra_bytes(self) -> int:
        """What a device needs beside the arguments while it runs."""
        return self.temp_bytes + self.code_bytes


class TooLarge(Exception):
    """The compiler refused a program since the device's memory does not hold it."""


class LoweringRunner(Runner):
    """A runner that only lowers programs: its devices need not exist, and its model and state are
    described."""

    def make_state(self, build: Callable[[], DeviceState], shardings: Any) -> Any:
        """The state's shapes, types and places."""

        def described(leaf: jax.ShapeDtypeStruct, sharding: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

        return jax.tree.map(described, jax.eval_shape(build), shardings)


def compile_largest(
    question: Question, model: LoadedModel, attention: PagedBackend, mesh: Mesh, *, num_pages: int
) -> list[Program]:
    """The largest program of each kind, decode and mixed: smaller ones need less.

    Raises TooLarge.
    """
    runner = _runner(question, model, attention, mesh, num_pages=num_pages)
    return [_compiled(runner, bucket) for bucket in _largest(runner)]


def _largest(runner: Runner) -> tuple[Bucket, Bucket]:
    return runner.buckets.decode[-1], runner.buckets.mixed[-1]


def state_bytes(
    question: Question, model: LoadedModel, attention: PagedBackend, mesh: Mesh, *, num_pages: int
) -> int:
    """What the engine keeps on each device from step to step, pages included."""
    runner = _runner(question, model, attention, mesh, num_pages=num_pages)
    return device_bytes(jax.tree.leaves(runner.state))


def device_bytes(leaves: Sequence[jax.ShapeDtypeStruct | jax.Array]) -> int:
    """Bytes of arrays on one device, which need only be described."""
    total = 0
    for leaf in leaves:
        assert leaf.sharding is not None
        size = 1
        for dimension in leaf.sharding.shard_shape(leaf.shape):
            size *= dimension
        total += size * leaf.dtype.itemsize
    return total


def _runner(
    question: Question, model: LoadedModel, attention: PagedBackend, mesh: Mesh, *, num_pages: int
) -> LoweringRunner:
    context = question.context or model.config.max_model_len
    sizes = EngineSizes(
        page_size=question.page_size,
        num_pages=num_pages,
        max_batch_size=question.concurrency,
        token_budget=max(question.token_budget, question.concurrency),
        max_model_len=context,
    )
    limits = EngineLimits(
        max_model_len=context,
        vocab_size=model.config.vocab_size,
        eos_token_ids=frozenset(),
        max_logprobs=MAX_LOGPROBS,
        max_queued_requests=1,
    )
    return LoweringRunner(
        model,
        attention=attention,
        mesh=mesh,
        sizes=sizes,
        limits=limits,
        dtype=question.dtype,
        kv_dtype=question.kv_dtype,
    )


def _compiled(runner: Runner, bucket: Bucket) -> Program:
    lowered = runner.lower(bucket)
    started = time.perf_counter()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            raise TooLarge(str(error).partition("\n")[0]) from None
        raise
    memory, costs = compiled.memory_analysis(), compiled.cost_analysis() or {}
    assert memory is not None, "every platform's compiler tells what memory a program needs"
    return Program(
        name=str(bucket),
        num_tokens=bucket.num_tokens,
        argument_bytes=memory.argument_size_in_bytes,
        temp_bytes=memory.temp_size_in_bytes,
        code_bytes=memory.generated_code_size_in_bytes,
        flops=max(float(costs.get("flops", 0.0)), 0.0),
        seconds=time.perf_counter() - started,
    )
