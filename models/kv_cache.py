"""What does the KV cache of a model hold?

The one reader of what layers declare to keep: pages, their sharding, their bytes and which layer
reads which all follow from it. Knows no scheduler and no layout: that is the backend's.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from jaxserve.models.attention.interface import AttentionBackend
from jaxserve.models.attention.kept import length
from jaxserve.models.attention.kv_row import KVRow
from jaxserve.models.config import DecoderConfig
from jaxserve.sharding.axes import KV_HEADS
from jaxserve.sharding.rules import sharding

Pages = tuple[jax.Array, ...]
"""An array for each layer that keeps keys and values, in the attention backend's layout."""


def kv_rows(config: DecoderConfig) -> tuple[KVRow, ...]:
    """What each array of pages holds."""
    return tuple(config.kv_row(layer) for layer in config.layers if layer.keeps_kv)


def init_pages(
    config: DecoderConfig,
    attention: AttentionBackend,
    *,
    num_pages: int,
    page_size: int,
    dtype: jnp.dtype,
) -> Pages:
    """Empty pages for all layers (trace it for the shapes alone)."""
    return tuple(
        attention.init_pages(num_pages=num_pages, page_size=page_size, row=row, dtype=dtype)
        for row in kv_rows(config)
    )


def page_shardings(
    attention: AttentionBackend, pages: tuple[jax.ShapeDtypeStruct, ...] | Pages, mesh: Mesh
) -> tuple[NamedSharding, ...]:
    """Where `pages` go: KV heads are split where the mesh divides them, and else replicated."""
    return tuple(sharding(attention.page_axes, array.shape, mesh) for array in pages)


def bytes_per_token(config: DecoderConfig, dtype: jnp.dtype, *, mesh: Mesh | None = None) -> int:
    """Bytes that are kept of a token, all layers together: on one device of `mesh`, or in all.

    `dtype` is what numbers are kept as; scales are counted.
    """

    def num_heads(row: KVRow) -> int:
        shape = (row.num_heads,)
        return (
            shape[0] if mesh is None else sharding((KV_HEADS,), shape, mesh).shard_shape(shape)[0]
        )

    numbers = (
        num_heads(row) * row.num_parts * length(row.head_dim, dtype) for row in kv_rows(config)
    )
    return sum(numbers) * dtype.itemsize
