"""Which drafts come before each token of a step, and which draws will count? On the device.

A row's tokens are the last known one and its drafts; a token is drawn after each. Pure JAX.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxserve.models.attention.interface import row_of_token


def drafts_until(tokens: jax.Array, cu_q_lens: jax.Array, most: int) -> jax.Array:
    """The drafts of its row up to each of the tokens i32[T], at most so many: i32[T, most].

    What is no draft is -1.
    """
    place = _place_in_row(tokens, cu_q_lens)
    back = jnp.arange(most)
    before = tokens[(jnp.arange(len(tokens))[:, None] - back).clip(0)]
    return jnp.where(back < place[:, None], before, -1)


def reached(
    tokens: jax.Array, cu_q_lens: jax.Array, drawn: jax.Array, finite: jax.Array
) -> jax.Array:
    """Whether all drafts of its row up to each of the tokens are right, bool[T].

    `drawn` i32[T] are drawn after the tokens, from logits that were numbers where `finite`.
    """
    place = _place_in_row(tokens, cu_q_lens)
    right = jnp.roll((drawn == jnp.roll(tokens, -1)) & finite, 1)  # of the draft at each place
    wrong = jnp.cumsum((place > 0) & ~right)
    first = jnp.arange(len(tokens)) - place
    return wrong == wrong[first]  # the row's first token is no draft


def _place_in_row(tokens: jax.Array, cu_q_lens: jax.Array) -> jax.Array:
    row = row_of_token(cu_q_lens, len(tokens))
    return jnp.arange(len(tokens)) - cu_q_lens[row]
