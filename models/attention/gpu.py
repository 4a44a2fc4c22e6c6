"""Attention on NVIDIA GPUs of Hopper's kind: our own kernel where each row has one query.

Pages are those of `xla`, a page's keys of a head in one run, so that both read the same: steps with
several tokens a row are left to it. All runs under `shard_map`, a share of the heads on each
device: kernels are opaque to the partitioner.
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
from jaxserve.models.attention.split_decode import (
    DTYPES,
    GROUP_TILE,
    TILE_TOKENS,
    DecodeShape,
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
    """What it does not do it refuses; nothing that it took is left to `xla` but prefill."""

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
            partial(_decode if one_token_per_row else _prefill, spec=spec),
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
    return f"{group} query heads a KV head ({GROUP_TILE} at most)" if group > GROUP_TILE else None


def _decode(
    q: jax.Array,
    k: jax.Array | None,
    v: jax.Array | None,
    pages: jax.Array,
    metadata: AttentionMetadata,
    sinks: jax.Array | None,
    *,
    spec: AttentionSpec,
) -> tuple[jax.Array, jax.Array]:
    if k is not None:
        with jax.named_scope("write_pages"):
            pages = _XLA.write(pages, k, v, metadata)
    _, _, num_kv_heads, page_size, head_dim = pages.shape
    shape = DecodeShape(
        num_rows=q.shape[0],
        num_kv_heads=num_kv_heads,
        group=q.shape[1] // num_kv_heads,
        head_dim=head_dim,
        page_size=page_size,
        pages_per_seq=metadata.page_indices.shape[1],
        scale=spec.scale,
        softcap=spec.softcap,
        window=spec.window,
    )
    with jax.named_scope("attend"):
        sums = attend_split(q, pages, metadata.page_indices, metadata.kv_lens, shape)
        return joined(sums, sinks).astype(q.dtype), pages


def _prefill(
    q: jax.Array,
    k: jax.Array | None,
    v: jax.Array | None,
    pages: jax.Array,
    metadata: AttentionMetadata,
    sinks: jax.Array | None,
    *,
    spec: AttentionSpec,
) -> tuple[jax.Array, jax.Array]:
    return _XLA(q, k, v, pages, metadata, spec=spec, one_token_per_row=False, sinks=sinks)
