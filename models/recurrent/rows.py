"""Whose state do a step's tokens carry on, and where does it lie?

Read from the metadata once a step. A state is an array [S, ...] with a row per slot. A sequence
that begins in this step finds zeros whatever its slot holds; idle rows change nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxserve.models.attention.interface import AttentionMetadata, row_of_token


class Rows(NamedTuple):
    """The rows of a step. Row r owns the tokens [starts[r], ends[r]); idle ones own none."""

    starts: jax.Array  # i32[R]
    ends: jax.Array  # i32[R]
    slots: jax.Array  # i32[R]; an idle row's is not its own
    begin: jax.Array  # bool[R]; the row's first token is the first of its sequence
    of_token: jax.Array  # i32[T]; idle tokens give the last row
    one_token_each: bool  # static: token r is row r's

    @classmethod
    def of(cls, metadata: AttentionMetadata, *, one_token_each: bool) -> Rows:
        positions, bounds = metadata.positions, metadata.cu_q_lens
        assert metadata.slots is not None, "layers with a state need the slots of a step's rows"
        return cls(
            starts=bounds[:-1],
            ends=bounds[1:],
            slots=metadata.slots,
            begin=jnp.take(positions, bounds[:-1], mode="clip") == 0,
            of_token=row_of_token(bounds, len(positions)),
            one_token_each=one_token_each,
        )

    def read(self, state: jax.Array) -> jax.Array:
        """Each row's state before this step, [R, ...]."""
        own = state[self.slots]
        return jnp.where(_beside(self.begin, own), 0, own)

    def write(self, state: jax.Array, own: jax.Array) -> jax.Array:
        """`state` with each live row's `own` [R, ...]; the caller gives `state` away."""
        slots = jnp.where(self.ends > self.starts, self.slots, len(state))  # out of range: dropped
        return state.at[slots].set(own.astype(state.dtype), mode="drop")


def _beside(of_row: jax.Array, array: jax.Array) -> jax.Array:
    return of_row.reshape(-1, *(1,) * (array.ndim - 1))
