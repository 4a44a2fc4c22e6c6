"""Does a backend compute on this very device what the reference computes?

Both get the same few tokens, in the model's own sizes: rows that end on a page's end, past it and
in the first one, one token a row and several. Kernels have been wrong on one chip and right on
another, so it is looked at where it matters: at every start.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxserve.models.attention.interface import (
    AttentionMetadata,
    Demands,
    LayerDemand,
    PagedBackend,
)
from jaxserve.models.attention.xla import XlaAttention

# Root mean square of the difference over that of the values. A page or a length gone wrong makes
# about one; rounding makes less than this, and of numbers kept in a byte less than the second.
_MOST_DIFFERENCE, _MOST_DIFFERENCE_IN_BYTES = 0.02, 0.1
_PAGES_PER_SEQ = 4


def fault_of(backend: PagedBackend, demands: Demands) -> str | None:
    """How `backend` fails or differs from `xla`; None when it agrees."""
    in_bytes = demands.kv_dtype.itemsize == 1
    most = _MOST_DIFFERENCE_IN_BYTES if in_bytes else _MOST_DIFFERENCE
    try:
        difference = max(_differences(backend, demands))
    except Exception as error:  # a compiler's or a driver's: whatever it is, xla goes on
        return f"failed with {type(error).__name__}: {str(error).splitlines()[0][:200]}"
    if difference <= most:
        return None
    return f"differs from xla by {difference:.3g} of the result, where rounding makes {most}"


def _differences(backend: PagedBackend, demands: Demands) -> list[float]:
    page = demands.page_size
    decode = [(page - 1, 1), (page, 1), (0, 1), (2 * page + 3, 1)]
    mixed = [(page - 2, 5), (0, 1), (3, page + 9), (2 * page, 1)]
    return [
        _difference(backend, demands, layer, rows)
        for layer in demands.layers
        for rows in (decode, mixed)
    ]


def _difference(
    backend: PagedBackend, demands: Demands, layer: LayerDemand, rows: Sequence[tuple[int, int]]
) -> float:
    """`rows` have so many tokens in pages already, and so many to compute."""
    got, wanted = (
        np.asarray(_attended(each, demands, layer, rows), np.float32)
        for each in (backend, XlaAttention())
    )
    difference = float(np.sqrt(np.mean((got - wanted) ** 2) / np.mean(wanted**2)))
    return difference if np.isfinite(difference) else np.inf


def _attended(
    backend: PagedBackend, demands: Demands, layer: LayerDemand, rows: Sequence[tuple[int, int]]
) -> jax.Array:
    draw, row = np.random.default_rng(0), layer.row
    past = metadata_of([(0, before) for before, _ in rows], demands.page_size)
    now = metadata_of(rows, demands.page_size)

    def vectors(metadata: AttentionMetadata, num_heads: int) -> jax.Array:
        shape = (len(metadata.positions), num_heads, row.head_dim)
        return jnp.asarray(draw.normal(size=shape), demands.dtype)

    def keys_and_values(metadata: AttentionMetadata) -> tuple[jax.Array, jax.Array | None]:
        keys = vectors(metadata, row.num_heads)
        return keys, None if row.value_dim is not None else vectors(metadata, row.num_heads)

    earlier, kv, q = keys_and_values(past), keys_and_values(now), vectors(now, layer.num_q_heads)
    sinks = jnp.asarray(draw.normal(size=layer.num_q_heads), jnp.float32) if layer.sinks else None
    decode = all(count == 1 for _, count in rows)

    @jax.jit
    def attend() -> jax.Array:
        pages = backend.init_pages(
            num_pages=_PAGES_PER_SEQ * len(rows),
            page_size=demands.page_size,
            row=row,
            dtype=demands.kv_dtype,
        )
        pages = backend.write(pages, *earlier, past)
        out, _ = backend(q, *kv, pages, now, spec=layer.spec, one_token_per_row=decode, sinks=sinks)
        return out

    return attend()[: sum(count for _, count in rows)]


def metadata_of(rows: Sequence[tuple[int, int]], page_size: int) -> AttentionMetadata:
    """Of rows with so many tokens before and so many now, in shuffled pages; one row is idle, and
    so are tokens unless every row has one."""
    counts = [count for _, count in rows]
    num_rows = len(rows)
    num_tokens = num_rows if set(counts) == {1} else sum(counts) + 3
    positions = np.zeros(num_tokens, np.int32)
    positions[: sum(counts)] = np.concatenate([np.arange(at, at + count) for at, count in rows])
    shuffled = np.random.default_rng(1).permutation(_PAGES_PER_SEQ * num_rows)
    parts = (
        positions,
        shuffled.reshape(num_rows, _PAGES_PER_SEQ),
        [sum(row) for row in rows],
        np.cumsum([0, *counts]),
        [num_rows],
    )
    return AttentionMetadata(*(jnp.asarray(part, jnp.int32) for part in parts))
