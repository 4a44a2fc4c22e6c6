"""An attention backend that is plainly right: write each token, gather everything, mask."""

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from jaxserve.models.attention.interface import AttentionMetadata, AttentionSpec
from jaxserve.models.attention.kv_row import KVRow
from jaxserve.sharding import axes
from jaxserve.sharding.rules import sharding


class DenseAttention:
    """Pages are [P, page_size, 1 or 2, K, H]: another layout than the product's, on purpose."""

    def init_pages(
        self, *, num_pages: int, page_size: int, row: KVRow, dtype: jnp.dtype
    ) -> jax.Array:
        return jnp.zeros((num_pages, page_size, row.num_parts, row.num_heads, row.head_dim), dtype)

    def page_sharding(self, shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
        return sharding((axes.PAGES, None, None, axes.KV_HEADS, axes.HEAD_DIM), shape, mesh)

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
        num_pages, page_size = pages.shape[:2]
        tokens = jnp.arange(q.shape[0])
        rows = (tokens[:, None] >= metadata.cu_q_lens[None, 1:]).sum(1)
        rows = rows.clip(0, metadata.page_indices.shape[0] - 1)
        page = metadata.page_indices[rows, metadata.positions // page_size]
        live = tokens < metadata.cu_q_lens[metadata.num_seqs[0]]
        page = jnp.where(live, page, num_pages)
        if k is not None:
            parts = jnp.stack([k] if v is None else [k, v], 1)
            pages = pages.at[page, metadata.positions % page_size].set(parts, mode="drop")
        kv = pages[metadata.page_indices[rows]]  # [T, C, p, 2, K, H]
        kv = kv.reshape(q.shape[0], -1, *kv.shape[3:])
        keys, values = (
            jnp.repeat(part, q.shape[1] // kv.shape[3], axis=2)
            for part in (kv[:, :, 0], kv[:, :, -1, :, : spec.value_dim])
        )
        scores = jnp.einsum("tnh,tsnh->tns", q, keys) * spec.scale
        if spec.softcap is not None:
            scores = spec.softcap * jnp.tanh(scores / spec.softcap)
        ahead = jnp.arange(keys.shape[1])[None] - metadata.positions[:, None]
        visible = ahead <= 0 if spec.window is None else (ahead <= 0) & (ahead > -spec.window)
        if spec.chunk is not None:
            first = metadata.positions[:, None] // spec.chunk * spec.chunk
            visible &= jnp.arange(keys.shape[1])[None] >= first
        scores = jnp.where(visible[:, None], scores, -jnp.inf)
        if sinks is not None:
            at_sink = jnp.broadcast_to(sinks[None, :, None], (*scores.shape[:2], 1))
            scores = jnp.concatenate([scores, at_sink], axis=-1)
            values = jnp.pad(values, ((0, 0), (0, 1), (0, 0), (0, 0)))
        weights = jax.nn.softmax(scores, axis=-1)
        return jnp.einsum("tns,tsnh->tnh", weights, values), pages
