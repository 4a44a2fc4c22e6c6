"""How does a Hopper GPU attend over pages, whose KV is read once for a block of queries?

A kernel in Pallas Mosaic GPU. A program has one block of queries of one row, one KV head and one of
the parts that the KV is split into; the query heads of that KV head, for each query of the block,
fill the tile of the tensor cores. It walks its part in tiles, several on their way at once, through
an online softmax (arXiv:1805.02867). Where there are several parts they are joined by their maxima
(arXiv:2311.01282).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.experimental.pallas as pl
import jax.experimental.pallas.mosaic_gpu as plgpu
import jax.numpy as jnp
from jax import lax

TILE_TOKENS = 64
TILE_ROWS = 64  # of wgmma; those that no query has compute what nobody reads
ROW_ALIGNMENT = 8  # rows that memory is laid out in
DTYPES = (jnp.dtype("bfloat16"), jnp.dtype("float16"))
_PROGRAMS = 2 * 132  # two for each multiprocessor of an H100 or H200
_LEAST_TILES = 4  # of a part that is worth a program and a sum to join
_MASKED = -1e30
_LEAST_TOTAL = 1e-30  # the total is zero for idle blocks and empty parts alone
_LOG2_E = math.log2(math.e)


class Blocks(NamedTuple):
    """Blocks of queries at consecutive positions, each of one row; an idle one has no queries."""

    row: jax.Array  # i32[B]
    first: jax.Array  # i32[B]; position of the first query
    num_queries: jax.Array  # i32[B]


@dataclass(frozen=True, slots=True, kw_only=True)
class TileShape:
    """What a kernel is compiled for."""

    num_blocks: int
    queries: int  # of a block, at most
    num_kv_heads: int
    group: int  # query heads a KV head
    head_dim: int
    dtype: jnp.dtype
    page_size: int
    pages_per_seq: int
    scale: float
    softcap: float | None
    window: int | None

    @property
    def live(self) -> int:
        """Rows of the tile that somebody reads: each query's heads, query by query."""
        return self.queries * self.group

    @property
    def padded(self) -> int:
        return -(-self.live // ROW_ALIGNMENT) * ROW_ALIGNMENT

    @property
    def tiles_in_flight(self) -> int:
        """Enough to wait for memory; with many queries fewer, so that two programs share a
        multiprocessor and one computes while the other waits."""
        return 3 if self.head_dim <= 128 and self.queries == 1 else 2

    @property
    def out_dtype(self) -> jnp.dtype:
        """Of parts; those of large heads would leave no room for tiles in float32."""
        if self.num_splits > 1 and self.head_dim <= 128:
            return jnp.dtype("float32")
        return self.dtype

    @property
    def num_splits(self) -> int:
        """Parts of the KV: so many that the device is busy, and none too short."""
        wanted = -(-_PROGRAMS // (self.num_blocks * self.num_kv_heads))
        reach = self.pages_per_seq * self.page_size
        if self.window is not None:
            reach = min(reach, self.window + self.queries - 1 + TILE_TOKENS)
        return max(min(wanted, reach // (_LEAST_TILES * TILE_TOKENS)), 1)


class Parts(NamedTuple):
    """Softmax-weighted means over the parts; the softmax's maxima and totals, in powers of two."""

    means: jax.Array  # [B, K, parts, M, H]
    maximum: jax.Array  # f32[B, K, parts, M]
    total: jax.Array  # f32[B, K, parts, M]


@partial(jax.jit, static_argnames="shape")  # lowered once for all layers that are alike
def attend_split(
    q: jax.Array, pages: jax.Array, page_indices: jax.Array, blocks: Blocks, shape: TileShape
) -> Parts:
    """From q [B, K, M, H], where row i of the M is a head of query i // group, and pages
    [P, 2, K, page_size, H]."""
    padding = shape.padded - shape.live
    q = jnp.pad(q, ((0, 0), (0, 0), (0, padding), (0, 0)))
    parts = (shape.num_blocks, shape.num_kv_heads, shape.num_splits, shape.padded)
    means, maximum, total = plgpu.kernel(
        _Program(shape),
        out_type=[
            jax.ShapeDtypeStruct((*parts, shape.head_dim), shape.out_dtype),
            jax.ShapeDtypeStruct(parts, jnp.float32),
            jax.ShapeDtypeStruct(parts, jnp.float32),
        ],
        grid=parts[:3],
        grid_names=("block", "head", "part"),
        scratch_types=_scratch(shape, pages.dtype),
        compiler_params=plgpu.CompilerParams(approx_math=True),
        kernel_name="split_attention",
    )(q, pages.reshape(-1, shape.head_dim), page_indices, *blocks)
    live = slice(0, shape.live)
    return Parts(means[..., live, :], maximum[..., live], total[..., live])


def joined(parts: Parts, sinks: jax.Array | None) -> jax.Array:
    """[B, K, M, H]: all parts together, with sinks f32[K, M] if there are any."""
    if sinks is None and parts.means.shape[2] == 1:
        return parts.means[:, :, 0]
    maximum = parts.maximum.max(axis=2)
    if sinks is not None:
        at_sink = sinks * _LOG2_E
        maximum = jnp.maximum(maximum, at_sink)
    weight = jnp.exp2(parts.maximum - maximum[:, :, None]) * parts.total
    total = weight.sum(axis=2)
    if sinks is not None:
        total += jnp.exp2(at_sink - maximum)
    summed = (weight[..., None] * parts.means.astype(jnp.float32)).sum(axis=2)
    return summed / jnp.maximum(total, _LEAST_TOTAL)[..., None]


def _scratch(shape: TileShape, dtype: jnp.dtype) -> dict[str, Any]:
    tiled = (plgpu.TilingTransform((8, 64)), plgpu.SwizzleTransform(128))
    tiles = (shape.tiles_in_flight, TILE_TOKENS, shape.head_dim)
    return {
        "q_tile": plgpu.SMEM((TILE_ROWS, shape.head_dim), dtype, transforms=tiled),
        "k_tiles": plgpu.SMEM(tiles, dtype, transforms=tiled),
        "v_tiles": plgpu.SMEM(tiles, dtype, transforms=tiled),
        "weights": plgpu.SMEM((TILE_ROWS, TILE_TOKENS), dtype, transforms=tiled),
        "mean_tile": plgpu.SMEM((TILE_ROWS, shape.head_dim), shape.out_dtype),
        "maximum_tile": plgpu.SMEM((TILE_ROWS,), jnp.float32),
        "total_tile": plgpu.SMEM((TILE_ROWS,), jnp.float32),
        "q_came": plgpu.Barrier(),
        "kv_came": plgpu.Barrier(num_arrivals=2, num_barriers=shape.tiles_in_flight),
    }


class _Program:
    """The kernel's body."""

    __name__ = "split_attention"

    def __init__(self, shape: TileShape):
        self._shape = shape

    def __call__(
        self,
        q: Any,  # [B, K, M, H]
        pages: Any,  # [P * 2 * K * page_size, H]
        page_indices: Any,
        *refs: Any,  # of Blocks, then of Parts
        **scratch: Any,
    ) -> None:
        shape = self._shape
        block, head, part = (lax.axis_index(name) for name in ("block", "head", "part"))
        blocks: Any = Blocks(*refs[:3])
        parts: Any = Parts(*refs[3:])
        row, position = blocks.row[block], blocks.first[block]
        kv_len = position + blocks.num_queries[block]  # that the block's last query sees
        first, end = self._tiles_of(position, kv_len, part)
        live = pl.ds(0, shape.padded)
        q_tile, q_came = scratch["q_tile"], scratch["q_came"]
        plgpu.copy_gmem_to_smem(q.at[block, head], q_tile.at[live], q_came)

        def fetch(tile: jax.Array) -> None:
            """Start to copy a tile's keys and values."""
            slot = lax.rem(tile - first, jnp.int32(self._shape.tiles_in_flight))
            at = tile * TILE_TOKENS
            page = page_indices[row, lax.div(at, jnp.int32(shape.page_size))]
            within = lax.rem(at, jnp.int32(shape.page_size))
            key = ((page * 2) * shape.num_kv_heads + head) * shape.page_size + within
            value = key + shape.num_kv_heads * shape.page_size
            came = scratch["kv_came"].at[slot]
            for tiles, source in ((scratch["k_tiles"], key), (scratch["v_tiles"], value)):
                source = pl.multiple_of(source, TILE_TOKENS)
                plgpu.copy_gmem_to_smem(pages.at[pl.ds(source, TILE_TOKENS)], tiles.at[slot], came)

        for ahead in range(self._shape.tiles_in_flight):
            pl.when(first + ahead < end)(partial(fetch, first + ahead))
        plgpu.barrier_wait(q_came)

        def fold(tile: jax.Array, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            slot = lax.rem(tile - first, jnp.int32(self._shape.tiles_in_flight))
            plgpu.barrier_wait(scratch["kv_came"].at[slot])
            self._clear_past_end(scratch["v_tiles"].at[slot], kv_len - tile * TILE_TOKENS)
            visible = self._visible(tile, position, kv_len)
            sums = self._fold(slot, visible, sums, scratch)
            plgpu.commit_smem()  # every thread has read the tile that is overwritten now
            following = tile + self._shape.tiles_in_flight
            pl.when(following < end)(lambda: fetch(following))
            return sums

        largest, summed, weighted = lax.fori_loop(first, end, fold, self._nothing())
        divisor = jnp.maximum(summed, _LEAST_TOTAL)
        mean = weighted / lax.broadcast_in_dim(divisor, weighted.shape, [0])
        names = ("maximum_tile", "total_tile", "mean_tile")
        for name, value in zip(names, (largest, summed, mean), strict=True):
            scratch[name][...] = value.astype(scratch[name].dtype)
        plgpu.commit_smem()
        for name, out in zip(names, (parts.maximum, parts.total, parts.means), strict=True):
            plgpu.copy_smem_to_gmem(scratch[name].at[live], out.at[block, head, part])
        plgpu.wait_smem_to_gmem(0)

    def _nothing(self) -> tuple[jax.Array, ...]:
        shape = self._shape
        vector = plgpu.Layout.WGMMA.reduce(1)
        return (
            plgpu.layout_cast(jnp.full((TILE_ROWS,), _MASKED, jnp.float32), vector),
            plgpu.layout_cast(jnp.zeros((TILE_ROWS,), jnp.float32), vector),
            plgpu.layout_cast(
                jnp.zeros((TILE_ROWS, shape.head_dim), jnp.float32), plgpu.Layout.WGMMA
            ),
        )

    def _tiles_of(
        self, position: jax.Array, kv_len: jax.Array, part: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """The tiles of a part, [first, end) of those that a query of the block sees."""
        begin = jnp.int32(0)
        if self._shape.window is not None:
            seen_from = lax.max(position - (self._shape.window - 1), jnp.int32(0))
            begin = lax.div(seen_from, jnp.int32(TILE_TOKENS))
        last = lax.div(kv_len + (TILE_TOKENS - 1), jnp.int32(TILE_TOKENS))
        num_splits = jnp.int32(self._shape.num_splits)
        share = lax.div(last - begin + (num_splits - 1), num_splits)
        first = begin + part * share
        return first, lax.min(first + share, last)

    def _clear_past_end(self, values: Any, num_live: jax.Array) -> None:
        """What is past a row's end weighs nothing, but a NaN that is left there would be one."""

        @pl.when(num_live < TILE_TOKENS)
        def _() -> None:
            tile = (TILE_TOKENS, self._shape.head_dim)
            token = plgpu.broadcasted_iota(jnp.int32, tile, 0, layout=plgpu.Layout.WGMMA)
            kept = values[...]
            values[...] = jnp.where(token < num_live, kept, jnp.zeros_like(kept))
            plgpu.commit_smem()

    def _fold(
        self,
        slot: jax.Array,
        visible: jax.Array,
        sums: tuple[jax.Array, ...],
        scratch: dict[str, Any],
    ) -> tuple[jax.Array, ...]:
        maximum, total, weighted = sums
        keys, values = scratch["k_tiles"].at[slot], scratch["v_tiles"].at[slot]

        def products(left: Any, right: Any, width: int) -> jax.Array:
            def multiply(accumulator: Any) -> jax.Array:
                plgpu.wgmma(accumulator, left, right)
                return accumulator[...]

            kind: Any = plgpu.ACC  # type: ignore[attr-defined]
            return pl.run_scoped(multiply, kind((TILE_ROWS, width), jnp.float32))

        scores = products(scratch["q_tile"], plgpu.transpose_ref(keys, (1, 0)), TILE_TOKENS)
        scores = self._in_powers_of_two(scores)
        scores = jnp.where(visible, scores, _MASKED)
        larger = jnp.maximum(maximum, scores.max(axis=1))
        decay = jnp.exp2(maximum - larger)
        weights = jnp.exp2(scores - lax.broadcast_in_dim(larger, scores.shape, [0]))
        scratch["weights"][...] = weights.astype(keys.dtype)
        plgpu.commit_smem()
        added = products(scratch["weights"], values, self._shape.head_dim)
        weighted = weighted * lax.broadcast_in_dim(decay, weighted.shape, [0]) + added
        return larger, total * decay + weights.sum(axis=1), weighted

    def _visible(self, tile: jax.Array, position: jax.Array, kv_len: jax.Array) -> jax.Array:
        """Which keys of a tile each of its rows sees, bool[TILE_ROWS, TILE_TOKENS]."""
        shape = self._shape

        def iota(dimension: int) -> jax.Array:
            size = (TILE_ROWS, TILE_TOKENS)
            return plgpu.broadcasted_iota(jnp.int32, size, dimension, layout=plgpu.Layout.WGMMA)

        key_at = iota(1) + tile * TILE_TOKENS
        last: jax.Array = kv_len - 1
        if shape.queries > 1:
            # Rows past the block's last query see what it sees; nobody reads them.
            query = lax.div(iota(0), jnp.full_like(key_at, shape.group))
            last = jnp.minimum(query + position, last)
        visible = key_at <= last
        return visible if shape.window is None else visible & (key_at > last - shape.window)

    def _in_powers_of_two(self, scores: jax.Array) -> jax.Array:
        shape = self._shape
        if shape.softcap is None:
            return scores * (shape.scale * _LOG2_E)
        return jnp.tanh(scores * (shape.scale / shape.softcap)) * (shape.softcap * _LOG2_E)
