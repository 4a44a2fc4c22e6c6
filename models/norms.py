"""How are vectors normalised?

In float32 whatever the input is. Knows nothing of what is normalised: hidden states, heads.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxserve.models.config import NormConfig
from jaxserve.models.layers import param
from jaxserve.sharding.axes import LogicalAxes


class Norm(nnx.Module):
    """Normalise over the last axis, then apply a weight of `shape`, which may have a row a head."""

    def __init__(
        self,
        config: NormConfig,
        shape: tuple[int, ...],
        axes: LogicalAxes,
        *,
        dtype: jnp.dtype,
        parts: tuple[int, ...] | None = None,
    ):
        def vector(wanted: bool) -> Any:
            return param(shape, axes, dtype=dtype, parts=parts) if wanted else None

        self.config = config
        self.weight = vector(config.weight != "none")
        self.bias = vector(config.bias)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self._normalised(x.astype(jnp.float32))
        if self.config.rounds_first:
            y = y.astype(x.dtype)
        if self.weight is not None:
            weight = self.weight[...].astype(y.dtype)
            y = y * (1 + weight if self.config.weight == "plus_one" else weight)
        if self.bias is not None:
            y = y + self.bias[...].astype(y.dtype)
        return y.astype(x.dtype)

    def _normalised(self, x: jax.Array) -> jax.Array:
        if self.config.centered:
            x = x - jnp.mean(x, axis=-1, keepdims=True)
        return x * lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + self.config.eps)


def normed(norm: Norm | None, x: jax.Array) -> jax.Array:
    """`x`, normalised where there is a norm."""
    return x if norm is None else norm(x)
