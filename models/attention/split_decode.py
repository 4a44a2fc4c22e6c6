"""How does a Hopper GPU attend with one query a row, reading every key and value once?

A kernel in Pallas Mosaic GPU. A program has one row, one KV head and one of the parts that a row's
KV is split into; the query heads of that KV head fill the tile of the tensor cores. It walks its
part in tiles, several on their way at once, through an online softmax (arXiv:1805.02867), and
leaves sums that are joined by their maxima (arXiv:2311.01282).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.experimental.pallas as pl
import jax.experimental.pallas.mosaic_gpu as plgpu
import jax.numpy as jnp
from jax import lax

TILE_TOKENS = 64
GROUP_TILE = 64  # query heads in a tile of wgmma; those there are not compute what nobody reads
GROUP_ALIGNMENT = 8  # rows that memory is laid out in
DTYPES = (jnp.dtype("bfloat16"), jnp.dtype("float16"))
_PROGRAMS = 2 * 132  # two for each multiprocessor of an H100 or H200
_LEAST_TILES = 4  # of a part that is worth a program and a sum to join
_MASKED = -1e30
_LOG2_E = math.log2(math.e)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeShape:
    """What a kernel is compiled for."""

    num_rows: int
    num_kv_heads: int
    group: int  # query heads a KV head
    head_dim: int
    page_size: int
    pages_per_seq: int
    scale: float
    softcap: float | None
    window: int | None

    @property
    def padded_group(self) -> int:
        return -(-self.group // GROUP_ALIGNMENT) * GROUP_ALIGNMENT

    @property
    def tiles_in_flight(self) -> int:
        return 3 if self.head_dim <= 128 else 2

    @property
    def sum_dtype(self) -> jnp.dtype:
        """Of the parts' sums; those of large heads would leave no room for tiles in float32."""
        return jnp.dtype("float32" if self.head_dim <= 128 else "bfloat16")

    @property
    def num_splits(self) -> int:
        """Parts of a row's KV: so many that the device is busy, and none too short."""
        wanted = -(-_PROGRAMS // (self.num_rows * self.num_kv_heads))
        reach = self.pages_per_seq * self.page_size
        if self.window is not None:
            reach = min(reach, self.window + TILE_TOKENS)
        return max(min(wanted, reach // (_LEAST_TILES * TILE_TOKENS)), 1)


@dataclass(frozen=True, slots=True)
class Sums:
    """Softmax-weighted sums of the parts, in powers of two."""

    weighted: jax.Array  # [R, K, parts, G, H]
    maximum: jax.Array  # f32[R, K, parts, G]
    total: jax.Array  # f32[R, K, parts, G]


def attend_split(
    q: jax.Array, pages: jax.Array, page_indices: jax.Array, kv_lens: jax.Array, shape: DecodeShape
) -> Sums:
    """Sums over the KV of each row, from q [R, N, H] and pages [P, 2, K, page_size, H]."""
    rows, heads, group = shape.num_rows, shape.num_kv_heads, shape.group
    q = q.reshape(rows, heads, group, shape.head_dim)
    padding = shape.padded_group - group
    q = jnp.pad(q, ((0, 0), (0, 0), (0, padding), (0, 0)))
    sums = (rows, heads, shape.num_splits, shape.padded_group)
    weighted, maximum, total = plgpu.kernel(
        _Program(shape),
        out_type=[
            jax.ShapeDtypeStruct((*sums, shape.head_dim), shape.sum_dtype),
            jax.ShapeDtypeStruct(sums, jnp.float32),
            jax.ShapeDtypeStruct(sums, jnp.float32),
        ],
        grid=(rows, heads, shape.num_splits),
        grid_names=("row", "head", "part"),
        scratch_types=_scratch(shape, pages.dtype),
        compiler_params=plgpu.CompilerParams(approx_math=True),
        kernel_name="split_decode",
    )(q, pages.reshape(-1, shape.head_dim), page_indices, kv_lens)
    return Sums(weighted[..., :group, :], maximum[..., :group], total[..., :group])


def joined(sums: Sums, sinks: jax.Array | None) -> jax.Array:
    """f32[R, N, H]: all parts together, with sinks f32[N] if there are any."""
    rows, heads, _, group, head_dim = sums.weighted.shape
    maximum = sums.maximum.max(axis=2)
    if sinks is not None:
        at_sink = sinks.reshape(heads, group) * _LOG2_E
        maximum = jnp.maximum(maximum, at_sink)
    weight = jnp.exp2(sums.maximum - maximum[:, :, None])
    total = (weight * sums.total).sum(axis=2)
    if sinks is not None:
        total += jnp.exp2(at_sink - maximum)
    weighted = (weight[..., None] * sums.weighted.astype(jnp.float32)).sum(axis=2)
    # The total is zero only for idle rows, whose output is not read.
    return (weighted / jnp.maximum(total, 1e-30)[..., None]).reshape(rows, heads * group, head_dim)


def _scratch(shape: DecodeShape, dtype: jnp.dtype) -> dict[str, Any]:
    tiled = (plgpu.TilingTransform((8, 64)), plgpu.SwizzleTransform(128))
    tiles = (shape.tiles_in_flight, TILE_TOKENS, shape.head_dim)
    return {
        "q_tile": plgpu.SMEM((GROUP_TILE, shape.head_dim), dtype, transforms=tiled),
        "k_tiles": plgpu.SMEM(tiles, dtype, transforms=tiled),
        "v_tiles": plgpu.SMEM(tiles, dtype, transforms=tiled),
        "weights": plgpu.SMEM((GROUP_TILE, TILE_TOKENS), dtype, transforms=tiled),
        "sum_tile": plgpu.SMEM((GROUP_TILE, shape.head_dim), shape.sum_dtype),
        "maximum_tile": plgpu.SMEM((GROUP_TILE,), jnp.float32),
        "total_tile": plgpu.SMEM((GROUP_TILE,), jnp.float32),
        "q_came": plgpu.Barrier(),
        "kv_came": plgpu.Barrier(num_arrivals=2, num_barriers=shape.tiles_in_flight),
    }


class _Program:
    """The kernel's body."""

    __name__ = "split_decode"

    def __init__(self, shape: DecodeShape):
        self._shape = shape

    def __call__(
        self,
        q: Any,  # [R, K, G, H]
        pages: Any,  # [P * 2 * K * page_size, H]
        page_indices: Any,
        kv_lens: Any,
        weighted: Any,
        maximum: Any,
        total: Any,
        **scratch: Any,
    ) -> None:
        shape = self._shape
        row, head, part = (lax.axis_index(name) for name in ("row", "head", "part"))
        kv_len = kv_lens[row]
        first, end = self._tiles_of(kv_len, part)
        live = pl.ds(0, shape.padded_group)
        q_tile, q_came = scratch["q_tile"], scratch["q_came"]
        plgpu.copy_gmem_to_smem(q.at[row, head], q_tile.at[live], q_came)

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
            sums = self._fold(tile, kv_len, slot, sums, scratch)
            plgpu.commit_smem()  # every thread has read the tile that is overwritten now
            following = tile + self._shape.tiles_in_flight
            pl.when(following < end)(lambda: fetch(following))
            return sums

        sums = lax.fori_loop(first, end, fold, self._nothing())
        names = ("maximum_tile", "total_tile", "sum_tile")
        for name, value in zip(names, sums, strict=True):
            scratch[name][...] = value.astype(scratch[name].dtype)
        plgpu.commit_smem()
        for name, out in zip(names, (maximum, total, weighted), strict=True):
            plgpu.copy_smem_to_gmem(scratch[name].at[live], out.at[row, head, part])
        plgpu.wait_smem_to_gmem(0)

    def _nothing(self) -> tuple[jax.Array, ...]:
        shape = self._shape
        vector = plgpu.Layout.WGMMA.reduce(1)
        return (
            plgpu.layout_cast(jnp.full((GROUP_TILE,), _MASKED, jnp.float32), vector),
            plgpu.layout_cast(jnp.zeros((GROUP_TILE,), jnp.float32), vector),
            plgpu.layout_cast(
                jnp.zeros((GROUP_TILE, shape.head_dim), jnp.float32), plgpu.Layout.WGMMA
            ),
        )

    def _tiles_of(self, kv_len: jax.Array, part: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The tiles of a part, [first, end) of those that the query sees."""
        begin = jnp.int32(0)
        if self._shape.window is not None:
            seen_from = lax.max(kv_len - self._shape.window, jnp.int32(0))
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
        tile: jax.Array,
        kv_len: jax.Array,
        slot: jax.Array,
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
            return pl.run_scoped(multiply, kind((GROUP_TILE, width), jnp.float32))

        scores = products(scratch["q_tile"], plgpu.transpose_ref(keys, (1, 0)), TILE_TOKENS)
        scores = self._in_powers_of_two(scores)
        position = plgpu.broadcasted_iota(
            jnp.int32, (GROUP_TILE, TILE_TOKENS), 1, layout=plgpu.Layout.WGMMA
        )
        position += tile * TILE_TOKENS
        visible = position < kv_len
        if self._shape.window is not None:
            visible &= position >= kv_len - self._shape.window
        scores = jnp.where(visible, scores, _MASKED)
        larger = jnp.maximum(maximum, scores.max(axis=1))
        decay = jnp.exp2(maximum - larger)
        weights = jnp.exp2(scores - lax.broadcast_in_dim(larger, scores.shape, [0]))
        scratch["weights"][...] = weights.astype(keys.dtype)
        plgpu.commit_smem()
        added = products(scratch["weights"], values, self._shape.head_dim)
        weighted = weighted * lax.broadcast_in_dim(decay, weighted.shape, [0]) + added
        return larger, total * decay + weights.sum(axis=1), weighted

    def _in_powers_of_two(self, scores: jax.Array) -> jax.Array:
        shape = self._shape
        if shape.softcap is None:
            return scores * (shape.scale * _LOG2_E)
        return jnp.tanh(scores * (shape.scale / shape.softcap)) * (shape.softcap * _LOG2_E)
