"""Drives a loaded decoder through its cache as an engine would, without an engine."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxserve.models.attention.interface import AttentionBackend, AttentionMetadata
from jaxserve.models.cache import Cache, cache_shardings, init_cache
from jaxserve.models.loading import LoadedModel

PAGE_SIZE = 4
PAGES_PER_SEQ = 8
BUCKET = 32  # tokens in a step that is not one token per row


class PagedRun:
    """Rows of one model under way. `step` computes the next tokens of every row."""

    def __init__(self, model: LoadedModel, attention: AttentionBackend, mesh: Mesh, *, rows: int):
        self._model, self._attention = model, attention
        num_pages = rows * PAGES_PER_SEQ + 1
        shuffled = np.random.default_rng(0).permutation(num_pages)[1:]
        self._page_indices = shuffled.reshape(rows, PAGES_PER_SEQ)
        config = model.config
        empty = init_cache(
            config,
            attention,
            num_pages=num_pages,
            page_size=PAGE_SIZE,
            num_slots=rows + 1,
            dtype=model.params[0].dtype,
        )
        # Garbage that nobody wrote must not reach any output.
        garbage = jax.tree.map(lambda array: jnp.full_like(array, 7.0), empty)
        placed = cache_shardings(config, attention, empty, mesh)
        self._cache_at_start = jax.device_put(garbage, placed)
        self._compiled = jax.jit(self._compute, static_argnames="one_token_per_row")
        self.restart()

    def restart(self) -> None:
        """Forget all rows, but not the compiled programs."""
        self.kv_lens = [0] * len(self._page_indices)
        self.cache = self._cache_at_start

    def step(self, tokens: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Logits f32[n, V] per row, for the n next tokens that each row is given."""
        counts = [len(row) for row in tokens]
        decode = all(count == 1 for count in counts)
        bounds = np.cumsum([0, *counts])
        flat = np.zeros(len(counts) if decode else BUCKET, np.int32)
        positions = np.zeros_like(flat)
        for row, (start, end) in enumerate(itertools.pairwise(bounds)):
            flat[start:end] = tokens[row]
            positions[start:end] = self.kv_lens[row] + np.arange(end - start)
            self.kv_lens[row] += int(end - start)
        slots = range(len(counts), 0, -1)
        parts = (positions, self._page_indices, self.kv_lens, bounds, [len(counts)], slots)
        metadata = AttentionMetadata(*(jnp.asarray(part, jnp.int32) for part in parts))
        logits, self.cache = self._compiled(
            self._model.params, self.cache, jnp.asarray(flat), metadata, one_token_per_row=decode
        )
        # More than a hundred steps in flight on virtual devices would deadlock.
        jax.block_until_ready(self.cache)
        return np.split(np.asarray(logits)[: bounds[-1]], bounds[1:-1])

    def _compute(
        self,
        params: tuple[jax.Array, ...],
        cache: Cache,
        tokens: jax.Array,
        metadata: AttentionMetadata,
        *,
        one_token_per_row: bool,
    ) -> tuple[jax.Array, Cache]:
        decoder = self._model.merge(params)
        hidden, cache = decoder(
            tokens,
            cache,
            metadata,
            attention=self._attention,
            one_token_per_row=one_token_per_row,
        )
        return decoder.logits(hidden), cache
