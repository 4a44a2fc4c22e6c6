"""Drives a loaded decoder through pages as an engine would, without an engine."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxserve.models.attention.interface import AttentionBackend, AttentionMetadata
from jaxserve.models.kv_cache import Pages, init_pages, page_shardings
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
        empty = init_pages(
            config,
            attention,
            num_pages=num_pages,
            page_size=PAGE_SIZE,
            dtype=model.params[0].dtype,
        )
        # Garbage in pages that nobody wrote must not reach any output.
        garbage = jax.tree.map(lambda pages: jnp.full_like(pages, 7.0), empty)
        self._pages_at_start = jax.device_put(garbage, page_shardings(attention, empty, mesh))
        self._compiled = jax.jit(self._compute, static_argnames="one_token_per_row")
        self.restart()

    def restart(self) -> None:
        """Forget all rows, but not the compiled programs."""
        self.kv_lens = [0] * len(self._page_indices)
        self.pages = self._pages_at_start

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
        parts = (positions, self._page_indices, self.kv_lens, bounds, [len(counts)])
        metadata = AttentionMetadata(*(jnp.asarray(part, jnp.int32) for part in parts))
        logits, self.pages = self._compiled(
            self._model.params, self.pages, jnp.asarray(flat), metadata, one_token_per_row=decode
        )
        # More than a hundred steps in flight on virtual devices would deadlock.
        jax.block_until_ready(self.pages)
        return np.split(np.asarray(logits)[: bounds[-1]], bounds[1:-1])

    def _compute(
        self,
        params: tuple[jax.Array, ...],
        pages: Pages,
        tokens: jax.Array,
        metadata: AttentionMetadata,
        *,
        one_token_per_row: bool,
    ) -> tuple[jax.Array, Pages]:
        decoder = self._model.merge(params)
        hidden, pages = decoder(
            tokens,
            pages,
            metadata,
            attention=self._attention,
            one_token_per_row=one_token_per_row,
        )
        return decoder.logits(hidden), pages
