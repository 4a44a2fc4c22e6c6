"""Which queries of a step does a kernel's program have? Tokens of rows, cut into blocks of one row.

A row's last block may be short. There are as many blocks as the step could need at most, whatever
its rows: those that are not needed are idle.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxserve.models.attention.interface import AttentionMetadata, row_of_token
from jaxserve.models.attention.split_attention import Blocks


class Cut(NamedTuple):
    """Blocks of W queries at most, and where each token went."""

    blocks: Blocks
    tokens: jax.Array  # i32[B, W]; those of a block, any where it has fewer
    block: jax.Array  # i32[T]; that a token is in
    place: jax.Array  # i32[T]; of it there


def one_query_each(metadata: AttentionMetadata) -> Blocks:
    """A block for each row of a decode step."""
    kv_lens = metadata.kv_lens
    count = jnp.minimum(kv_lens, 1)
    return Blocks(jnp.arange(len(kv_lens), dtype=jnp.int32), kv_lens - count, count)


def cut(metadata: AttentionMetadata, *, num_tokens: int, queries: int) -> Cut:
    """Every row's tokens in blocks of `queries`."""
    starts, ends = metadata.cu_q_lens[:-1], metadata.cu_q_lens[1:]
    num_rows = len(starts)
    num_blocks = min(-(-num_tokens // queries) + num_rows, num_tokens)
    blocks_until = jnp.cumsum(-(-(ends - starts) // queries))  # i32[R]; this row's own included
    blocks_before = jnp.concatenate([jnp.zeros(1, jnp.int32), blocks_until[:-1]])
    index = jnp.arange(num_blocks, dtype=jnp.int32)
    row = jnp.searchsorted(blocks_until, index, side="right", method="compare_all")
    row = row.clip(0, num_rows - 1).astype(jnp.int32)
    start = starts[row] + (index - blocks_before[row]) * queries
    is_idle = index >= blocks_until[-1]
    count = jnp.where(is_idle, 0, (ends[row] - start).clip(0, queries))
    tokens = (start[:, None] + jnp.arange(queries)).clip(0, num_tokens - 1)
    first = jnp.where(is_idle, 0, metadata.positions[tokens[:, 0]])
    row_of = row_of_token(metadata.cu_q_lens, num_tokens)
    within = jnp.arange(num_tokens, dtype=jnp.int32) - starts[row_of]
    block = (blocks_before[row_of] + within // queries).clip(0, num_blocks - 1)
    return Cut(Blocks(row, first, count), tokens, block, within % queries)


def packed(q: jax.Array, how: Cut, num_kv_heads: int) -> jax.Array:
    """[B, K, W * G, H] of q [T, K * G, H]: a block's queries, each with its heads in a run."""
    num_blocks, width = how.tokens.shape
    tiles = q[how.tokens].reshape(num_blocks, width, num_kv_heads, -1, q.shape[-1])
    return tiles.transpose(0, 2, 1, 3, 4).reshape(num_blocks, num_kv_heads, -1, q.shape[-1])


def unpacked(tiles: jax.Array, how: Cut, group: int) -> jax.Array:
    """[T, K * G, H] of tiles [B, K, W * G, H]; idle tokens get anybody's."""
    num_blocks, num_kv_heads, _, head_dim = tiles.shape
    by_query = tiles.reshape(num_blocks, num_kv_heads, -1, group, head_dim)
    return by_query[how.block, :, how.place].reshape(len(how.block), -1, head_dim)
