"""Attention in plain XLA: the reference every other backend is checked against, and the CPU path.

Keys and values are gathered from their pages a chunk at a time and folded into a running softmax
(Milakov and Gimelshein, arXiv:1805.02867), so that the work follows the KV that is read and no
more than a chunk is ever materialised; chunks before a layer's window are not read. Arithmetic is
float32 whatever the pages hold: batched bfloat16 products are up to 40 times slower on a CPU.
Scores have the queries last, so that a softmax is vectors of queries folded along the keys: XLA
does not use a CPU's vectors to reduce along the last axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from jaxserve.models.attention import kept
from jaxserve.models.attention.interface import (
    AttentionMetadata,
    AttentionSpec,
    Demands,
    row_of_token,
)
from jaxserve.models.attention.kv_row import KVRow
from jaxserve.models.attention.softcap import softcapped
from jaxserve.sharding import axes
from jaxserve.sharding.rules import sharding

KV_CHUNK_TOKENS = 128
QUERY_BLOCK_TOKENS = 64
ROW_BLOCK_BYTES = 2 << 20  # of keys and values at once, which a CPU's core can keep near it
_MASKED = -1e30  # not -inf: a chunk that is masked altogether must not make a NaN


class _Softmax(NamedTuple):
    """A softmax-weighted sum under way, for B rows, K KV heads and Q queries per KV head."""

    maximum: jax.Array  # f32[B, K, Q]
    total: jax.Array  # f32[B, K, Q]
    weighted: jax.Array  # f32[B, K, Q, H]

    @classmethod
    def begin(cls, shape: tuple[int, ...], head_dim: int, *, sinks: jax.Array | None) -> _Softmax:
        """With nothing in it but sinks, f32[K, Q], where there are some."""
        zeros = jnp.zeros(shape, jnp.float32)
        weighted = jnp.zeros((*shape, head_dim), jnp.float32)
        if sinks is None:
            return cls(zeros + _MASKED, zeros, weighted)
        return cls(zeros + sinks, zeros + 1, weighted)

    def fold(self, scores: jax.Array, values: jax.Array) -> _Softmax:
        """Take in a chunk: scores [B, K, S, Q] and values [B, K, S, H]."""
        maximum = jnp.maximum(self.maximum, scores.max(2))
        weights = jnp.exp(scores - maximum[:, :, None])
        decay = jnp.exp(self.maximum - maximum)
        summed = jnp.einsum("bksq,bksh->bkqh", weights, values)
        return _Softmax(
            maximum,
            self.total * decay + weights.sum(2),
            self.weighted * decay[..., None] + summed,
        )

    def result(self) -> jax.Array:
        # The total is zero only for idle rows, whose output is not read.
        return self.weighted / jnp.maximum(self.total, 1e-30)[..., None]


class XlaAttention:
    """Pages are [P, 2, K, page_size, H], keys first, or [P, 1, K, page_size, H] where keys hold the
    values. Of int8 and fp8 there is a scale at the end of H (`kept.py`)."""

    name = "xla"

    def refusal(self, demands: Demands) -> str | None:
        return None

    def init_pages(
        self, *, num_pages: int, page_size: int, row: KVRow, dtype: jnp.dtype
    ) -> jax.Array:
        length = kept.length(row.head_dim, dtype)
        shape = (num_pages, row.num_parts, row.num_heads, page_size, length)
        return jnp.zeros(shape, kept.stored_as(dtype))

    def page_sharding(self, shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
        return sharding((axes.PAGES, None, axes.KV_HEADS, None, axes.HEAD_DIM), shape, mesh)

    def write(
        self, pages: jax.Array, k: jax.Array, v: jax.Array | None, metadata: AttentionMetadata
    ) -> jax.Array:
        return _write(pages, k, v, metadata)

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
                pages = _write(pages, k, v, metadata)
        # GPU and TPU round float32 factors to fewer bits unless told not to.
        precision = "highest" if q.dtype == jnp.float32 else None
        with jax.named_scope("attend"), jax.default_matmul_precision(precision):
            attend = _attend_decode if one_token_per_row else _attend_ragged
            out = attend(q.astype(jnp.float32) * spec.scale, pages, metadata, spec, sinks)
        return out.astype(q.dtype), pages


def _write(
    pages: jax.Array, k: jax.Array, v: jax.Array | None, metadata: AttentionMetadata
) -> jax.Array:
    num_pages, page_size = pages.shape[0], pages.shape[3]
    row = row_of_token(metadata.cu_q_lens, len(k))
    page = metadata.page_indices[row, metadata.positions // page_size]
    live = jnp.arange(len(k)) < metadata.cu_q_lens[metadata.num_seqs[0]]
    page = jnp.where(live, page, num_pages)  # out of range: dropped
    parts = [k] if v is None else [k, v]
    kv = kept.keep(jnp.stack(parts, axis=1), pages.dtype)  # [T, 1 or 2, K, H]
    return pages.at[page, :, :, metadata.positions % page_size].set(kv, mode="drop")


def _attend_decode(
    q: jax.Array,
    pages: jax.Array,
    metadata: AttentionMetadata,
    spec: AttentionSpec,
    sinks: jax.Array | None,
) -> jax.Array:
    """One query a row. On a CPU a few rows at a time, so that their chunks stay in its caches."""
    num_rows, num_heads, key_dim = q.shape
    num_kv_heads = pages.shape[2]
    q = q.reshape(num_rows, num_kv_heads, num_heads // num_kv_heads, key_dim)
    sinks = None if sinks is None else sinks.reshape(q.shape[1:3])
    attend = partial(_attend_rows, pages=pages, spec=spec, sinks=sinks)
    block = _rows_at_once(num_rows, pages)
    arrays = (q, metadata.page_indices, metadata.kv_lens)
    if block == num_rows:
        out = attend(*arrays)
    else:
        out = jax.lax.platform_dependent(
            *arrays, cpu=partial(_in_blocks, attend, block), default=attend
        )
    return out.reshape(num_rows, num_heads, -1)


def _rows_at_once(num_rows: int, pages: jax.Array) -> int:
    """How many rows have chunks of about ROW_BLOCK_BYTES together; divides `num_rows`."""
    _, num_parts, num_kv_heads, _, length = pages.shape
    chunk_bytes = KV_CHUNK_TOKENS * num_parts * num_kv_heads * length * 4
    return math.gcd(num_rows, 1 << (max(ROW_BLOCK_BYTES // chunk_bytes, 1).bit_length() - 1))


def _in_blocks(attend: Callable[..., jax.Array], size: int, *arrays: jax.Array) -> jax.Array:
    """`attend` of `size` rows of the arrays after another."""
    blocks = [array.reshape(-1, size, *array.shape[1:]) for array in arrays]
    out = jax.lax.map(lambda block: attend(*block), tuple(blocks))
    return out.reshape(-1, *out.shape[2:])


def _attend_rows(
    q: jax.Array,
    page_indices: jax.Array,
    kv_lens: jax.Array,
    *,
    pages: jax.Array,
    spec: AttentionSpec,
    sinks: jax.Array | None,
) -> jax.Array:
    """[B, K, G, value_dim] of queries [B, K, G, H], one position a row: as many chunks as the row
    that reads most needs."""
    last = kv_lens - 1
    chunks = _Chunks(pages, page_indices, _first_visible(last, spec), spec)

    def fold(index: jax.Array, softmax: _Softmax) -> _Softmax:
        keys, values, positions = chunks.read(index, kv_lens)
        scores = softcapped(jnp.einsum("bksh,bkqh->bksq", keys, q), spec.softcap)
        visible = _visible(positions, last[:, None], spec)[:, None, :, None]
        return softmax.fold(jnp.where(visible, scores, _MASKED), values)

    softmax = _Softmax.begin(q.shape[:3], chunks.value_dim, sinks=sinks)
    return jax.lax.fori_loop(0, chunks.needed(kv_lens), fold, softmax).result()


def _first_visible(last: jax.Array, spec: AttentionSpec) -> jax.Array:
    """The first position that a query at position `last` sees."""
    first = jnp.zeros_like(last)
    if spec.window is not None:
        first = jnp.maximum(first, last - (spec.window - 1))
    if spec.chunk is not None:
        first = jnp.maximum(first, last // spec.chunk * spec.chunk)
    return first


def _visible(positions: jax.Array, last: jax.Array, spec: AttentionSpec) -> jax.Array:
    """Whether a query at position `last` sees `positions`: causal, in its window and chunk."""
    if spec.window is None and spec.chunk is None:
        return positions <= last
    return (positions <= last) & (positions >= _first_visible(last, spec))


def _attend_ragged(
    q: jax.Array,
    pages: jax.Array,
    metadata: AttentionMetadata,
    spec: AttentionSpec,
    sinks: jax.Array | None,
) -> jax.Array:
    """Any number of queries a row: a loop over blocks of queries, each of one row.

    Blocks are written in order of their tokens, so what a block writes past the end of its row
    is overwritten by the next row's.
    """
    num_tokens, num_heads, key_dim = q.shape
    block = min(num_tokens, QUERY_BLOCK_TOKENS)
    starts = metadata.cu_q_lens[:-1]
    blocks_per_row = -(-(metadata.cu_q_lens[1:] - starts) // block)
    last_block = jnp.cumsum(blocks_per_row)  # [R]; row r owns blocks [.., last_block[r])
    q = jnp.pad(q, ((0, block), (0, 0), (0, 0)))
    positions = jnp.pad(metadata.positions, (0, block))

    def attend_block(index: jax.Array, out: jax.Array) -> jax.Array:
        row = jnp.searchsorted(last_block, index, side="right", method="compare_all")
        start = starts[row] + (index - (last_block[row] - blocks_per_row[row])) * block
        at = jax.lax.dynamic_slice_in_dim(positions, start, block)
        attended = _attend_block(
            jax.lax.dynamic_slice_in_dim(q, start, block),
            at,
            _Chunks(pages, metadata.page_indices[row][None], _first_visible(at[:1], spec), spec),
            metadata.kv_lens[row],
            spec,
            sinks,
        )
        return jax.lax.dynamic_update_slice_in_dim(out, attended, start, 0)

    out = jnp.zeros((num_tokens + block, num_heads, spec.value_dim or key_dim), q.dtype)
    out = jax.lax.fori_loop(0, last_block[-1], attend_block, out)
    return out[:num_tokens]


def _attend_block(
    q: jax.Array,
    positions: jax.Array,
    chunks: _Chunks,
    kv_len: jax.Array,
    spec: AttentionSpec,
    sinks: jax.Array | None,
) -> jax.Array:
    """Queries [W, N, H] of one row at consecutive positions [W]; those past its end are idle."""
    width, num_heads, key_dim = q.shape
    num_kv_heads = chunks.pages.shape[2]
    group = num_heads // num_kv_heads
    q = q.reshape(width, num_kv_heads, group, key_dim).transpose(1, 2, 0, 3)
    q = q.reshape(1, num_kv_heads, group * width, key_dim)
    at = jnp.tile(positions, group)

    def fold(index: jax.Array, softmax: _Softmax) -> _Softmax:
        keys, values, kv_positions = chunks.read(index, kv_len[None])
        scores = softcapped(jnp.einsum("bksh,bkqh->bksq", keys, q), spec.softcap)
        visible = _visible(kv_positions[0, :, None], at, spec)
        return softmax.fold(jnp.where(visible, scores, _MASKED), values)

    count = chunks.needed(jnp.minimum(kv_len, positions[0] + width)[None])
    if sinks is not None:
        sinks = jnp.repeat(sinks.reshape(num_kv_heads, group), width, axis=1)
    softmax = _Softmax.begin(q.shape[:3], chunks.value_dim, sinks=sinks)
    softmax = jax.lax.fori_loop(0, count, fold, softmax)
    out = softmax.result().reshape(num_kv_heads, group, width, chunks.value_dim)
    return out.transpose(2, 0, 1, 3).reshape(width, num_heads, chunks.value_dim)


class _Chunks:
    """The KV of some rows, read from `pages` a whole number of pages at a time.

    Each row begins with the chunk that holds its `first` position, so that rows of any length read
    the same number of chunks where a window is all they need.
    """

    def __init__(
        self, pages: jax.Array, page_indices: jax.Array, first: jax.Array, spec: AttentionSpec
    ):
        page_size, pages_per_seq = pages.shape[3], page_indices.shape[1]
        self.pages = pages
        self.value_dim = spec.value_dim or kept.size(pages.shape[4], pages.dtype)
        self._page_indices = page_indices
        self._width = min(max(KV_CHUNK_TOKENS // page_size, 1), pages_per_seq)  # in pages
        self._begin = first // (self._width * page_size)  # i32[B], in chunks

    def needed(self, num_tokens: jax.Array) -> jax.Array:
        """How often to read until every row has the first `num_tokens` [B] of its KV."""
        end = -(-num_tokens // (self._width * self.pages.shape[3]))
        return jnp.max(end - self._begin)

    def read(self, index: jax.Array, kv_lens: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Keys and values f32[B, K, S, ...] of chunk `index`, and their positions [B, S].

        Values at or past kv_lens [B] are zero: a page may hold what another request left, and a
        NaN of its would come through a weight of zero.
        """
        page_size = self.pages.shape[3]
        place = (self._begin + index)[:, None] * self._width + jnp.arange(self._width)
        # Past the end of a row's table any page will do: its positions are past kv_lens.
        page = jnp.take_along_axis(self._page_indices, place, axis=1, mode="clip")
        positions = (place[:, :, None] * page_size + jnp.arange(page_size)).reshape(len(page), -1)
        keys = self._vectors(page, 0)
        are_apart = self.pages.shape[1] == 2
        values = (self._vectors(page, 1) if are_apart else keys)[..., : self.value_dim]
        live = positions < kv_lens[:, None]
        return keys, jnp.where(live[:, None, :, None], values, 0.0), positions

    def _vectors(self, page: jax.Array, part: int) -> jax.Array:
        """f32[B, K, S, ...] of pages [B, C]."""
        vectors = kept.recall(self.pages[page, part]).transpose(0, 2, 1, 3, 4)
        return vectors.reshape(*vectors.shape[:2], -1, vectors.shape[-1])
