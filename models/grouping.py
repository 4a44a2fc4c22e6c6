"""How is each row multiplied with the matrix of its own expert, in a program of fixed shape?

Rows come sorted by expert. Where there is a grouped product it does them all; on a CPU, where XLA
computes that product for every expert and every row, blocks of rows of one expert are walked
through, as many as there are.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

MAX_BLOCK_ROWS = 64
_BY_EXPERT = lax.RaggedDotDimensionNumbers(
    dot_dimension_numbers=(((1,), (2,)), ((), ())),
    lhs_ragged_dimensions=[0],
    rhs_group_dimensions=[0],
)


def grouped_product(rows: jax.Array, weights: jax.Array, counts: jax.Array) -> jax.Array:
    """f32[N, out] from rows [N, in], the first counts[0] of them with weights[0] and so on.

    `weights` are [E, out, in] and `counts` i32[E].
    """
    exact = lax.Precision.HIGHEST if weights.dtype == jnp.float32 else lax.Precision.DEFAULT
    return lax.ragged_dot_general(
        rows,
        weights,
        counts,
        _BY_EXPERT,
        precision=exact,
        preferred_element_type=jnp.float32,
    )


def block_rows(num_rows: int, num_experts: int) -> int:
    """How many rows to walk at a time: a power of two near those of an expert, if all have some.

    A block costs one copy of its expert's matrices, and its idle rows cost as much as the others.
    """
    size = 1
    while size < min(MAX_BLOCK_ROWS, num_rows / num_experts):
        size *= 2
    return size


def in_blocks(
    rows: jax.Array,
    counts: jax.Array,
    apply: Callable[[jax.Array, jax.Array], jax.Array],
    *,
    size: int,
) -> jax.Array:
    """f32[N, D] from rows [N, D]: `apply` gets [size, D] rows and their expert's number.

    Blocks are written in order of their rows, so what a block writes past the end of its expert's
    rows is overwritten by the next expert's.
    """
    last_row, blocks = jnp.cumsum(counts), -(-counts // size)
    last_block = jnp.cumsum(blocks)  # [E]; expert e owns blocks [last_block[e] - blocks[e], ..)
    padded = jnp.pad(rows, ((0, size), (0, 0)))

    def compute(index: jax.Array, out: jax.Array) -> jax.Array:
        expert = jnp.searchsorted(last_block, index, side="right", method="compare_all")
        within = index - (last_block[expert] - blocks[expert])
        start = last_row[expert] - counts[expert] + within * size
        block = apply(lax.dynamic_slice_in_dim(padded, start, size), expert)
        return lax.dynamic_update_slice_in_dim(out, block, start, 0)

    out = jnp.zeros(padded.shape, jnp.float32)
    return lax.fori_loop(0, last_block[-1], compute, out)[: len(rows)]
