"""How does a gated delta rule carry a matrix from token to token?

Gated DeltaNet (arXiv:2412.06464): the matrix decays, then what it tells for a token's key is moved
towards the token's value, and a query reads it. One token a row is a step of that; more go in
blocks, each a handful of products and a triangular solve (arXiv:2406.06484). All in float32.

G are groups of a key head and the value heads v it serves; K and H are the sizes of keys and
values.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxserve.models.recurrent.rows import Rows

BLOCK_TOKENS = 64
_EXACT = lax.Precision.HIGHEST  # GPU and TPU round float32 factors to fewer bits unless told not to


class Deltas(NamedTuple):
    """What tokens do to the matrix, and what they ask of it."""

    query: jax.Array  # f32[T, G, K]
    key: jax.Array  # f32[T, G, K], of length 1 at most
    value: jax.Array  # f32[T, G, v, H]
    decay: jax.Array  # f32[T, G, v]; the logarithm, at most 0
    rate: jax.Array  # f32[T, G, v]; how far towards the value, 0 to 1


def step(deltas: Deltas, matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One token for each of T matrices [T, G, v, K, H]: f32[T, G, v, H] and the matrices after."""
    matrix = matrix * jnp.exp(deltas.decay)[..., None, None]
    told = _product("tgvkh,tgk->tgvh", matrix, deltas.key)
    change = (deltas.value - told) * deltas.rate[..., None]
    matrix = matrix + deltas.key[:, :, None, :, None] * change[..., None, :]
    return _product("tgvkh,tgk->tgvh", matrix, deltas.query), matrix


def block(deltas: Deltas, matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """T tokens one after another on one matrix [G, v, K, H]: f32[T, G, v, H] and it after them.

    A token with decay and rate 0 changes nothing.
    """
    query, key, value, decay, rate = deltas
    since = jnp.cumsum(decay, axis=0).transpose(1, 2, 0)  # [G, v, T], from the block's begin
    rate = rate.transpose(1, 2, 0)[..., None]
    apart = since[..., :, None] - since[..., None, :]  # decay from token j to token i
    is_past = jnp.tril(jnp.ones(apart.shape[-2:], bool))
    between = jnp.exp(jnp.where(is_past, apart, -jnp.inf))
    from_begin = jnp.exp(since)[..., None]
    keys, queries = key.transpose(1, 0, 2)[:, None], query.transpose(1, 0, 2)[:, None]
    # Each token's change depends on the changes before it in the block: a triangular system, with
    # two right sides, the values and what the matrix at the block's begin tells for the keys.
    alike = _product("tgk,sgk->gts", key, key)[:, None]
    sides = jnp.concatenate([value.transpose(1, 2, 0, 3), keys * from_begin], axis=-1) * rate
    solved = lax.linalg.triangular_solve(
        alike * between * rate, sides, left_side=True, lower=True, unit_diagonal=True
    )
    values, told_keys = jnp.split(solved, [value.shape[-1]], axis=-1)
    change = values - _product("gvtk,gvkh->gvth", told_keys, matrix)
    seen = _product("tgk,sgk->gts", query, key)[:, None] * between
    out = _product("gvtk,gvkh->gvth", queries * from_begin, matrix)
    out = out + _product("gvts,gvsh->gvth", seen, change)
    to_end = jnp.exp(since[..., -1:] - since)[..., None]
    added = _product("gvtk,gvth->gvkh", keys * to_end, change)
    return out.transpose(2, 0, 1, 3), matrix * from_begin[..., -1:, :] + added


def carry(deltas: Deltas, matrices: jax.Array, rows: Rows) -> tuple[jax.Array, jax.Array]:
    """Every row's tokens on its slot's matrix of [S, G, v, K, H], which the caller gives away.

    Returns f32[T, G, v, H] and the matrices after this step.
    """
    if rows.one_token_each:
        out, after = step(deltas, rows.read(matrices))
        return out, rows.write(matrices, after)
    return _carry_blocks(deltas, matrices, rows)


def _carry_blocks(deltas: Deltas, matrices: jax.Array, rows: Rows) -> tuple[jax.Array, jax.Array]:
    """A loop over blocks of tokens, each of one row and in order.

    What a block writes past the end of its row's tokens is overwritten by the next row's.
    """
    num_tokens = len(deltas.key)
    size = min(num_tokens, BLOCK_TOKENS)
    num_blocks = -(-(rows.ends - rows.starts) // size)
    last_block = jnp.cumsum(num_blocks)  # [R]; row r owns blocks [.., last_block[r])
    padded = Deltas(*(_pad(part, size) for part in deltas))

    def compute(
        index: jax.Array, carried: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        out, matrices = carried
        row = jnp.searchsorted(last_block, index, side="right", method="compare_all")
        nth = index - (last_block[row] - num_blocks[row])
        start = rows.starts[row] + nth * size
        is_own = start + jnp.arange(size) < rows.ends[row]
        own = Deltas(*(_cut(part, start, is_own) for part in padded))
        # Not a product with 0: the slot's last owner may have left a NaN.
        is_first = rows.begin[row] & (nth == 0)
        before = jnp.where(is_first, 0.0, matrices[rows.slots[row]])
        read, after = block(own, before)
        out = lax.dynamic_update_slice_in_dim(out, read, start, 0)
        return out, matrices.at[rows.slots[row]].set(after)

    out = jnp.zeros(padded.value.shape, jnp.float32)
    out, matrices = lax.fori_loop(0, last_block[-1], compute, (out, matrices))
    return out[:num_tokens], matrices


def _pad(tokens: jax.Array, size: int) -> jax.Array:
    return jnp.pad(tokens, ((0, size), *((0, 0),) * (tokens.ndim - 1)))


def _cut(tokens: jax.Array, start: jax.Array, is_own: jax.Array) -> jax.Array:
    """A block of `tokens` with zeros for those that are another row's."""
    cut = lax.dynamic_slice_in_dim(tokens, start, len(is_own))
    return jnp.where(is_own.reshape(-1, *(1,) * (cut.ndim - 1)), cut, 0.0)


def _product(subscripts: str, *factors: jax.Array) -> jax.Array:
    return jnp.einsum(subscripts, *factors, precision=_EXACT)
