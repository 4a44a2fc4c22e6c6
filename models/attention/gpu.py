"""Attention on NVIDIA GPUs of Hopper's kind: our own kernel, in decode and mixed steps alike.

Pages are those of `xla`, a page's keys of a head in one run. All runs under `shard_map`, a share of
the heads on each device: kernels are opaque to the partitioner.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxserve.models.attention.interface import (
    AttentionMetadata,
    AttentionSpec,
    Demands,
    LayerDemand,
)
from jaxserve.models.attention.kv_row import KVRow
from jaxserve.models.attention.query_blocks import cut, one_query_each, packed, unpacked
from jaxserve.models.attention.split_attention import (
    DTYPES,
    TILE_ROWS,
    TILE_TOKENS,
    Blocks,
    TileShape,
    attend_split,
    joined,
)
from jaxserve.models.attention.xla import XlaAttention
from jaxserve.sharding import axes

_HEADS = P(None, axes.TENSOR, None)
_PAGES = P(None, None, axes.TENSOR, None, None)
_HEAD_ALIGNMENT, _MOST_HEAD_DIM = 64, 256
_XLA = XlaAttention()


class GpuAttention:
    """What it does not do it refuses; nothing that it took is left to `xla`."""

    name = "gpu"

    def __init__(self, mesh: Mesh):
        self._mesh = mesh

    def refusal(self, demands: Demands) -> str | None:
        capability = demands.compute_capability
        if demands.platform != "gpu" or capability is None:
            return f"any platform but NVIDIA GPUs (this is a {demands.platform})"
        if capability.split(".")[0] != "9":
            return f"GPUs of compute capability {capability} (Hopper alone, 9.0)"
        if demands.dtype not in DTYPES:
            return f"{demands.dtype}"
        if demands.kv_dtype != demands.dtype:
            return f"{demands.kv_dtype} pages"
        if demands.page_size % TILE_TOKENS:
            return f"pages of {demands.page_size} tokens (multiples of {TILE_TOKENS} alone)"
        refusals = (_layer_refusal(each, demands.tensor_parallel) for each in demands.layers)
        return next((refusal for refusal in refusals if refusal is not None), None)

    def init_pages(
        self, *, num_pages: int, page_size: int, row: KVRow, dtype: jnp.dtype
    ) -> jax.Array:
        # As `xla`'s, but bfloat16 as itself and not as its bits: the kernel reads them.
        return jnp.zeros((num_pages, row.num_parts, row.num_heads, page_size, row.head_dim), dtype)

    def page_sharding(self, shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
        return _XLA.page_sharding(shape, mesh)

    def write(
        self, pages: jax.Array, k: jax.Array, v: jax.Array | None, metadata: AttentionMetadata
    ) -> jax.Array:
        return _XLA.write(pages, k, v, metadata)

    def __call__(
        self,
        q: jax.Array,
        k: jax.Array | None,
        v: jax.Array | None,
        pages: jax.Array,
        metadata: AttentionMetadata,
        *,
        spec: AttentionSpec,
        one_token_per_row: bool,
        sinks: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        sharded = jax.shard_map(
            partial(_write_and_attend, spec=spec, one_token_per_row=one_token_per_row),
            mesh=self._mesh,
            in_specs=(_HEADS, _HEADS, _HEADS, _PAGES, P(), P(axes.TENSOR)),
            out_specs=(_HEADS, _PAGES),
            check_vma=False,
        )
        return sharded(q, k, v, pages, metadata._replace(slots=None), sinks)


def _layer_refusal(layer: LayerDemand, tensor_parallel: int) -> str | None:
    row, spec = layer.row, layer.spec
    if row.value_dim is not None:
        return "latent attention"
    if spec.chunk is not None:
        return f"attention within chunks ({spec.chunk} tokens)"
    if row.head_dim % _HEAD_ALIGNMENT or row.head_dim > _MOST_HEAD_DIM:
        return f"heads of {row.head_dim} numbers (64, 128, 192 and 256 alone)"
    if row.num_heads % tensor_parallel:
        return f"{row.num_heads} KV heads over {tensor_parallel} devices"
    group = layer.num_q_heads // row.num_heads
    return f"{group} query heads a KV head ({TILE_ROWS} at most)" if group > TILE_ROWS else None


def _write_and_attend(
    q: jax.Array,
    k: jax.Array | None,
    v: jax.Array | None,
    pages: jax.Array,
    metadata: AttentionMetadata,
    sinks: jax.Array | None,
    *,
    spec: AttentionSpec,
    one_token_per_row: bool,
) -> tuple[jax.Array, jax.Array]:
    if k is not None:
        with jax.named_scope("write_pages"):
            pages = _XLA.write(pages, k, v, metadata)
    num_kv_heads = pages.shape[2]
    group = q.shape[1] // num_kv_heads
    attend = partial(
        _attend,
        pages=pages,
        page_indices=metadata.page_indices,
        sinks=sinks,
        spec=spec,
        group=group,
    )
    with jax.named_scope("attend"):
        if one_token_per_row:
            tiles = q.reshape(len(q), num_kv_heads, group, -1)
            out = attend(tiles, one_query_each(metadata)).reshape(q.shape)
        else:
            how = cut(metadata, num_tokens=len(q), queries=TILE_ROWS // group)
            out = unpacked(attend(packed(q, how, num_kv_heads), how.blocks), how, group)
    return out.astype(q.dtype), pages


def _attend(
    tiles: jax.Array,  # [B, K, W * G, H]
    blocks: Blocks,
    *,
    pages: jax.Array,
    page_indices: jax.Array,
    sinks: jax.Array | None,  # f32[K * G]
    spec: AttentionSpec,
    group: int,
) -> jax.Array:
    num_blocks, num_kv_heads, live, head_dim = tiles.shape
    shape = TileShape(
        num_blocks=num_blocks,
        queries=live // group,
        num_kv_heads=num_kv_heads,
        group=group,
        head_dim=head_dim,
        dtype=tiles.dtype,
        page_size=pages.shape[3],
        pages_per_seq=page_indices.shape[1],
        scale=spec.scale,
        softcap=spec.softcap,
        window=spec.window,
    )
    if sinks is not None:
        sinks = jnp.tile(sinks.reshape(num_kv_heads, group), (1, shape.queries))
    return joined(attend_split(tiles, pages, page_indices, blocks, shape), sinks)
