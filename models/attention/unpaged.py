"""Attention of texts that are read once: what is attended to is what is computed, nothing is kept.

Rows have one padded length. Queries go in blocks, so that the scores of a long text are never all
there at once, and a layer with a window reads only the keys that the block's windows reach.
Arithmetic is float32, as in `xla.py` and for its reasons.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from jaxserve.models.attention.interface import AttentionMetadata, AttentionSpec
from jaxserve.models.attention.kv_row import KVRow
from jaxserve.models.attention.softcap import softcapped
from jaxserve.sharding import axes
from jaxserve.sharding.rules import sharding

QUERY_BLOCK_TOKENS = 512
_MASKED = -1e30  # not -inf: a row of no tokens must not make a NaN


class UnpagedAttention:
    """An AttentionBackend whose pages are the keys and values of one program, [T, 1 or 2, K, H].

    Rows of the metadata are of equal length L, and `kv_lens` says how many tokens of each are its
    own; L above a block is a multiple of it.
    """

    def __init__(self, *, causal: bool):
        self._causal = causal

    def init_pages(
        self, *, num_pages: int, page_size: int, row: KVRow, dtype: jnp.dtype
    ) -> jax.Array:
        shape = (num_pages * page_size, row.num_parts, row.num_heads, row.head_dim)
        return jnp.zeros(shape, dtype)

    def page_sharding(self, shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
        return sharding((None, None, axes.KV_HEADS, axes.HEAD_DIM), shape, mesh)

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
            pages = jnp.stack([k] if v is None else [k, v], axis=1)
        num_rows, (num_tokens, _, num_kv_heads, _) = metadata.kv_lens.shape[0], pages.shape
        rows = (num_rows, num_tokens // num_rows, num_kv_heads)
        wide = pages.astype(jnp.float32)
        keys = wide[:, 0].reshape(*rows, -1)
        values = wide[:, -1, :, : spec.value_dim].reshape(*rows, -1)
        grouped = (q.astype(jnp.float32) * spec.scale).reshape(*rows, -1, q.shape[-1])
        with jax.named_scope("attend"):
            sinks = None if sinks is None else sinks.reshape(grouped.shape[2:4])
            out = self._attend(grouped, (keys, values), metadata.kv_lens, spec, sinks)
        return out.reshape(*q.shape[:2], -1).astype(q.dtype), pages

    def _attend(
        self,
        q: jax.Array,
        kv: tuple[jax.Array, jax.Array],
        lens: jax.Array,
        spec: AttentionSpec,
        sinks: jax.Array | None,
    ) -> jax.Array:
        """[R, L, K, G, value] from queries [R, L, K, G, H], keys [R, L, K, H] and values, and
        sinks [K, G]."""
        length = q.shape[1]
        block = min(length, QUERY_BLOCK_TOKENS)
        assert length % block == 0, f"{length} tokens are no whole number of blocks"
        reach = length if spec.window is None else spec.window - 1
        width = min(length, block + 2 * reach)

        def of_block(start: jax.Array) -> jax.Array:
            first = jnp.clip(start - reach, 0, length - width)
            keys, values = (jax.lax.dynamic_slice_in_dim(x, first, width, 1) for x in kv)
            queries = jax.lax.dynamic_slice_in_dim(q, start, block, 1)
            visible = self._visible(
                start + jnp.arange(block), first + jnp.arange(width), lens, spec
            )
            scores = _scores(queries, keys, visible, softcap=spec.softcap)
            return _softmax_sum(scores, values, sinks)

        if block == length:
            return of_block(jnp.int32(0))
        blocks = jax.lax.map(of_block, jnp.arange(0, length, block))
        return jnp.moveaxis(blocks, 0, 1).reshape(*q.shape[:-1], kv[1].shape[-1])

    def _visible(
        self, queries: jax.Array, keys: jax.Array, lens: jax.Array, spec: AttentionSpec
    ) -> jax.Array:
        """bool[R, queries, keys]: whether a token at one position sees the one at another."""
        distance = queries[:, None] - keys
        seen = distance >= 0 if self._causal else jnp.ones_like(distance, bool)
        if spec.window is not None:
            seen &= jnp.abs(distance) < spec.window
        if spec.chunk is not None:
            seen &= queries[:, None] // spec.chunk == keys // spec.chunk
        return seen & (keys < lens[:, None, None])


def _scores(q: jax.Array, k: jax.Array, visible: jax.Array, *, softcap: float | None) -> jax.Array:
    """f32[R, K, G, queries, keys]."""
    scores = softcapped(jnp.einsum("rqkgh,rskh->rkgqs", q, k), softcap)
    return jnp.where(visible[:, None, None], scores, _MASKED)


def _softmax_sum(scores: jax.Array, v: jax.Array, sinks: jax.Array | None) -> jax.Array:
    if sinks is not None:
        at_sink = jnp.broadcast_to(sinks[:, :, None, None], (*scores.shape[:-1], 1))
        scores = jnp.concatenate([scores, at_sink], axis=-1)
    weights = jax.nn.softmax(scores, axis=-1)[..., : v.shape[1]]
    return jnp.einsum("rkgqs,rskh->rqkgh", weights, v)
