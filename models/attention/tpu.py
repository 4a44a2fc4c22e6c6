"""Attention on TPUs: JAX's ragged paged attention kernel over pages in its layout.

A layer's pages are [P, page_size, 2 K, H]: a head's key, then its value, H padded to whole lanes.
All of it runs under `shard_map`, a share of the heads on each device, since a kernel is opaque to
the partitioner. Where there are fewer KV heads than devices each is kept on several.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.ragged_paged_attention import ragged_paged_attention
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxserve.models.attention.interface import (
    AttentionMetadata,
    AttentionSpec,
    Demands,
    LayerDemand,
    row_of_token,
)
from jaxserve.models.attention.kv_row import KVRow
from jaxserve.sharding import axes
from jaxserve.sharding.rules import sharding

FP8 = jnp.dtype("float8_e4m3fn")
_LARGEST_FP8 = 448.0
_LANES = 128
_LEAST_PAGE_TOKENS = 16
# By reading of the kernel, not by measurement: it multiplies a whole block of queries for every row
# in it, so that blocks are short where each row has one query.
_QUERIES_PER_BLOCK, _QUERIES_PER_DECODE_BLOCK = 32, 8
_KV_TOKENS_PER_BLOCK = 512
_VMEM_BYTES = 64 << 20
_HEADS = P(None, axes.TENSOR, None)
_PAGES = P(None, None, axes.TENSOR, None)


class TpuAttention:
    """Blocks are explicit, so that programs compile for TPUs that are not there."""

    name = "tpu"

    def __init__(self, mesh: Mesh):
        self._mesh = mesh
        self._num_shards = mesh.shape[axes.TENSOR]

    def refusal(self, demands: Demands) -> str | None:
        if demands.platform != "tpu":
            return f"any platform but TPUs (this is a {demands.platform})"
        if demands.page_size % _LEAST_PAGE_TOKENS:
            return f"pages of {demands.page_size} tokens (multiples of {_LEAST_PAGE_TOKENS} alone)"
        if demands.kv_dtype not in (demands.dtype, FP8):
            return f"{demands.kv_dtype} pages"
        for layer in demands.layers:
            refusal = self._layer_refusal(layer, demands.kv_dtype)
            if refusal is not None:
                return refusal
        return None

    def _layer_refusal(self, layer: LayerDemand, kv_dtype: jnp.dtype) -> str | None:
        row, spec = layer.row, layer.spec
        stored = self._stored_heads(row)
        if row.value_dim is not None:
            return "latent attention"
        if layer.sinks:
            return "attention sinks"
        if spec.chunk is not None:
            return f"attention within chunks ({spec.chunk} tokens)"
        if row.head_dim > _LANES:
            return f"heads of {row.head_dim} numbers ({_LANES} at most)"
        if stored % self._num_shards:
            return f"{row.num_heads} KV heads over {self._num_shards} devices"
        if not _fills_tiles(stored // self._num_shards, kv_dtype):
            return f"{stored // self._num_shards} KV heads of {kv_dtype} on a device"
        return None

    def init_pages(
        self, *, num_pages: int, page_size: int, row: KVRow, dtype: jnp.dtype
    ) -> jax.Array:
        shape = (num_pages, page_size, 2 * self._stored_heads(row), _padded(row.head_dim))
        return jnp.zeros(shape, dtype)

    def page_sharding(self, shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
        heads = (*shape[:2], shape[2] // 2, shape[3])
        return sharding((axes.PAGES, None, axes.KV_HEADS, axes.HEAD_DIM), heads, mesh)

    def write(
        self, pages: jax.Array, k: jax.Array, v: jax.Array | None, metadata: AttentionMetadata
    ) -> jax.Array:
        assert v is not None, "values in keys are refused"
        write = jax.shard_map(
            _write,
            mesh=self._mesh,
            in_specs=(_PAGES, _HEADS, _HEADS, P()),
            out_specs=_PAGES,
            check_vma=False,
        )
        num_heads = pages.shape[2] // 2
        k, v = (jnp.repeat(part, num_heads // part.shape[1], axis=1) for part in (k, v))
        return write(pages, k, v, metadata._replace(slots=None))

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
        if k is not None:
            with jax.named_scope("write_pages"):
                pages = self.write(pages, k, v, metadata)
        with jax.named_scope("attend"):
            attend = jax.shard_map(
                partial(_attend, spec=spec, one_token_per_row=one_token_per_row),
                mesh=self._mesh,
                in_specs=(_HEADS, _PAGES, P()),
                out_specs=_HEADS,
                check_vma=False,
            )
            return attend(q, pages, metadata._replace(slots=None)), pages

    def _stored_heads(self, row: KVRow) -> int:
        """KV heads over all devices: each as often as there are devices for it."""
        copies = max(self._num_shards // row.num_heads, 1)
        return row.num_heads * copies


def _write(pages: jax.Array, k: jax.Array, v: jax.Array, metadata: AttentionMetadata) -> jax.Array:
    num_pages, page_size, num_parts, head_dim = pages.shape
    row = row_of_token(metadata.cu_q_lens, len(k))
    page = metadata.page_indices[row, metadata.positions // page_size]
    live = jnp.arange(len(k)) < metadata.cu_q_lens[metadata.num_seqs[0]]
    page = jnp.where(live, page, num_pages)  # out of range: dropped
    kv = jnp.stack([k, v], axis=2).reshape(len(k), num_parts, -1)
    if pages.dtype == FP8:  # what is too large would be NaN
        kv = kv.clip(-_LARGEST_FP8, _LARGEST_FP8)
    kv = jnp.pad(kv.astype(pages.dtype), ((0, 0), (0, 0), (0, head_dim - kv.shape[2])))
    return pages.at[page, metadata.positions % page_size].set(kv, mode="drop")


def _attend(
    q: jax.Array,
    pages: jax.Array,
    metadata: AttentionMetadata,
    *,
    spec: AttentionSpec,
    one_token_per_row: bool,
) -> jax.Array:
    page_size, head_dim = pages.shape[1], q.shape[2]
    queries = _QUERIES_PER_DECODE_BLOCK if one_token_per_row else _QUERIES_PER_BLOCK
    kv_pages = max(_KV_TOKENS_PER_BLOCK // page_size, 1)
    scale = 1.0 if pages.dtype == FP8 else None
    # The kernel starts to fetch its first row before it looks whether there is one, and would never
    # wait for it: a step without rows computes one of one token.
    cu_q_lens = metadata.cu_q_lens.at[1:].max(1)
    out = ragged_paged_attention(
        jnp.pad(q, ((0, 0), (0, 0), (0, pages.shape[3] - head_dim))),
        pages,
        jnp.maximum(metadata.kv_lens, 1),
        metadata.page_indices,
        cu_q_lens,
        jnp.maximum(metadata.num_seqs, 1),
        sm_scale=spec.scale,
        sliding_window=spec.window,
        soft_cap=spec.softcap,
        k_scale=scale,
        v_scale=scale,
        num_kv_pages_per_block=min(kv_pages, metadata.page_indices.shape[1]),
        num_queries_per_block=min(queries, len(q)),
        vmem_limit_bytes=_VMEM_BYTES,
    )
    return out[..., :head_dim]


def _padded(head_dim: int) -> int:
    return -(-head_dim // _LANES) * _LANES


def _fills_tiles(num_heads: int, dtype: jnp.dtype) -> bool:
    """Whether so many keys and values side by side are whole tiles of the kernel's."""
    packed, odd = divmod(2 * num_heads * dtype.itemsize, 4)
    return not odd and (packed in (1, 2, 4) or packed % 8 == 0)
