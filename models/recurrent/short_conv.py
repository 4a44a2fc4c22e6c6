"""How does a token depend on the few before it?

A causal convolution, each channel by itself, over the tokens of many sequences that lie one after
another, and the layer that LFM2 makes of it.
"""

from __future__ import annotations

from functools import reduce
from operator import add

import jax
import jax.numpy as jnp
from flax import nnx

from jaxserve.models.layers import Linear, param
from jaxserve.models.recurrent.config import ShortConvConfig
from jaxserve.models.recurrent.rows import Rows
from jaxserve.sharding.axes import CHANNELS, EMBED


def convolve(
    x: jax.Array, weight: jax.Array, before: jax.Array, rows: Rows
) -> tuple[jax.Array, jax.Array]:
    """Token t's sum over i of weight[..., i] times the input of i - (width - 1) tokens later.

    From inputs [T, ...], `weight` [..., width] and the last width - 1 inputs [R, width - 1, ...] of
    each row before this step: f32[T, ...], and each row's last inputs after it.
    """
    width = weight.shape[-1]
    inputs = jnp.concatenate([before.reshape(-1, *x.shape[1:]).astype(x.dtype), x])

    def place(token: jax.Array, row: jax.Array) -> jax.Array:
        """Where in `inputs` a row's input is: tokens before the row's first are in `before`."""
        ago = token - rows.starts[row]
        kept = (row + 1) * (width - 1) + ago
        return jnp.where(ago < 0, kept, before.shape[0] * (width - 1) + token)

    tokens = jnp.arange(len(x))
    weighed = [
        inputs[place(tokens - (width - 1 - i), rows.of_token)].astype(jnp.float32)
        * weight[..., i].astype(jnp.float32)
        for i in range(width)
    ]
    each, last = jnp.arange(len(rows.ends))[:, None], jnp.arange(1 - width, 0)
    return reduce(add, weighed), inputs[place(rows.ends[:, None] + last, each)]


class ConvWeight(nnx.Module):
    """A weight for each channel and token, as PyTorch stores it: [channels, 1, width]."""

    def __init__(
        self,
        width: int,
        channels: int,
        axis: str,
        *,
        bias: bool,
        dtype: jnp.dtype,
        parts: int | None = None,
    ):
        shape, whole = (channels, 1, width), parts or channels
        self.weight = param(shape, (axis, None, None), dtype=dtype, parts=(whole, 1, width))
        self.bias = param(shape[:1], (axis,), dtype=dtype, parts=(whole,)) if bias else None


class ShortConv(nnx.Module):
    """`out(c * conv(b * x))`, where b, c and x are projections of what comes in."""

    def __init__(self, config: ShortConvConfig, embed_dim: int, *, dtype: jnp.dtype):
        def projection(sizes: tuple[int, int], axes: tuple[str, str]) -> Linear:
            return Linear(sizes, axes, bias=config.bias, dtype=dtype)

        inward = (config.channels, embed_dim), (CHANNELS, EMBED)
        self.b_proj = projection(*inward)
        self.c_proj = projection(*inward)
        self.x_proj = projection(*inward)
        self.conv = ConvWeight(
            config.width, config.channels, CHANNELS, bias=config.bias, dtype=dtype
        )
        self.out_proj = projection((embed_dim, config.channels), (EMBED, CHANNELS))

    def __call__(
        self, x: jax.Array, state: tuple[jax.Array, ...], rows: Rows
    ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """[T, D] from [T, D], and the state after these tokens; the caller gives `state` away."""
        (last_inputs,) = state
        inputs = self.b_proj(x) * self.x_proj(x)
        mixed, last = convolve(inputs, self.conv.weight[...][:, 0], rows.read(last_inputs), rows)
        if self.conv.bias is not None:
            mixed = mixed + self.conv.bias[...].astype(jnp.float32)
        out = self.out_proj(self.c_proj(x) * mixed.astype(x.dtype))
        return out, (rows.write(last_inputs, last),)
