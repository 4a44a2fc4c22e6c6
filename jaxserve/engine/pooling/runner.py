"""How does a batch of texts run on the device?

One program per bucket, compiled ahead of time and called directly: backbone, pooling and head. A
batch is one array of integers to the device and one of float32 back; nothing stays there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxserve.engine.compilations import CompilationCounter
from jaxserve.engine.pooling.buckets import Bucket, Buckets
from jaxserve.engine.pooling.request import PooledRequest, PooledResult
from jaxserve.engine.program_facts import model_facts
from jaxserve.engine.programs import Programs
from jaxserve.engine.step import Step
from jaxserve.models.pooled_loading import LoadedPooledModel


@dataclass(frozen=True, slots=True)
class InFlight:
    """A step that was dispatched and not read yet."""

    step: Step
    vectors: jax.Array  # f32[rows of the bucket, K]


class PoolingRunner:
    """Owns the programs. Not thread-safe: the engine loop's alone."""

    def __init__(self, model: LoadedPooledModel, *, mesh: Mesh, buckets: Buckets):
        self._model = model
        self._buckets = buckets
        self._replicated = NamedSharding(mesh, PartitionSpec())
        self._programs: dict[Bucket, Any] = {}
        self._compilations = CompilationCounter()

    @property
    def num_compiled_after_ready(self) -> int:
        """Compilations since `warm_up` ended, by anything in the process; stays 0."""
        return self._compilations.count

    @property
    def num_programs(self) -> int:
        return len(self._buckets.all)

    def warm_up(
        self,
        *,
        threads: int = 2,
        on_compiled: Callable[[str, float], None] = lambda *_: None,
        programs: Programs | None = None,
    ) -> None:
        """Get every program, from `programs` if given, and run each once on idle rows.

        `on_compiled` is told a program's name and the seconds it took.
        """

        kept, facts = programs or Programs(), model_facts(self._model)

        def compile_bucket(bucket: Bucket) -> None:
            started = time.perf_counter()
            name, lower = f"pooled {bucket}", partial(self._lower, bucket)
            self._programs[bucket] = kept.get(name, facts, lower)
            on_compiled(str(bucket), time.perf_counter() - started)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(compile_bucket, self._buckets.all))
        for bucket in self._buckets.all:
            jax.block_until_ready(self._run(bucket, pack(Step(()), bucket)))
        self._compilations.start()

    def close(self) -> None:
        """Stop counting compilations."""
        self._compilations.stop()

    def dispatch(self, step: Step) -> InFlight:
        """Start a step and return without waiting for it."""
        longest = max(row.num_tokens for row in step.rows)
        bucket = self._buckets.smallest(len(step.rows), longest)
        vectors = self._run(bucket, pack(step, bucket))
        vectors.copy_to_host_async()
        return InFlight(step, vectors)

    def collect(self, in_flight: InFlight) -> PooledResult:
        """Wait for a step and read what it computed."""
        return PooledResult(np.asarray(in_flight.vectors)[: len(in_flight.step.rows)])

    def _run(self, bucket: Bucket, words: np.ndarray) -> jax.Array:
        on_device = jax.device_put(words, self._replicated)
        vectors: jax.Array = self._programs[bucket](self._model.params, on_device)
        return vectors

    def _lower(self, bucket: Bucket) -> jax.stages.Lowered:
        def step(params: tuple[jax.Array, ...], words: jax.Array) -> jax.Array:
            lens, tokens, types = words[:, 0], *jnp.split(words[:, 1:], 2, axis=1)
            return self._model.merge(params)(tokens, types, lens)

        shape = (bucket.num_rows, 1 + 2 * bucket.length)
        words = jax.ShapeDtypeStruct(shape, jnp.int32, sharding=self._replicated)
        jitted = jax.jit(step, out_shardings=self._replicated)
        return jitted.lower(self._model.params, words)


def pack(step: Step, bucket: Bucket) -> np.ndarray:
    """i32[rows, 1 + 2 length]: how many tokens a row has, the tokens, and their types."""
    words = np.zeros((bucket.num_rows, 1 + 2 * bucket.length), np.int32)
    for index, row in enumerate(step.rows):
        words[index, 0] = row.num_tokens
        words[index, 1 : 1 + row.num_tokens] = row.request.prompt_ids
        types = row.request.token_types if isinstance(row.request, PooledRequest) else ()
        words[index, 1 + bucket.length : 1 + bucket.length + len(types)] = types
    return words
