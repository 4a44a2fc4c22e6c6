"""What does the KV cache of a model hold?

The one reader of what layers declare to keep: pages, their sharding, their bytes and which layer
reads which all follow from it. Knows no scheduler and no layout: that is the backend's.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from jaxserve.models.attention.interface import AttentionBackend
from jaxserve.models.attention.kv_row import KVRow
from jaxserve.models.attention.xla import XlaAttention
from jaxserve.models.config import DecoderConfig

Pages = tuple[jax.Array, ...]
"""An array for each layer that keeps keys and values, in the attention backend's layout."""

PLAIN = XlaAttention()  # whose pages hold what a layer keeps and nothing else
_PAGE_SIZE = 128  # any will do: pages are as long as their tokens


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
    return tuple(attention.page_sharding(array.shape, mesh) for array in pages)


def bytes_per_token(
    config: DecoderConfig,
    dtype: jnp.dtype,
    *,
    attention: AttentionBackend = PLAIN,
    mesh: Mesh | None = None,
) -> int:
    """Bytes that are kept of a token, all layers together: on one device of `mesh`, or in all.

    `dtype` is what numbers are kept as; scales, and what `attention` pads heads with, are counted.
    """
    pages = jax.eval_shape(
        lambda: init_pages(config, attention, num_pages=1, page_size=_PAGE_SIZE, dtype=dtype)
    )
    shapes = [array.shape for array in pages]
    if mesh is not None:
        placed = zip(page_shardings(attention, pages, mesh), shapes, strict=True)
        shapes = [where.shard_shape(shape) for where, shape in placed]
    numbers = zip(map(math.prod, shapes), pages, strict=True)
    return sum(count * array.dtype.itemsize for count, array in numbers) // _PAGE_SIZE
