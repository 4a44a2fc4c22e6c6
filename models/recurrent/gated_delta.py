"""How does a gated delta net turn hidden states into deltas, and what it reads back?

The layer of Qwen3-Next in place of attention. Everything in it is counted in groups of a key head
and the value heads that it serves, so that a mesh splits all of it alike.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from jaxserve.models.config import DecoderConfig, NormConfig
from jaxserve.models.layers import ACTIVATIONS, Linear, param
from jaxserve.models.norms import Norm
from jaxserve.models.recurrent.config import GatedDeltaConfig
from jaxserve.models.recurrent.delta_rule import Deltas, carry
from jaxserve.models.recurrent.rows import Rows
from jaxserve.models.recurrent.short_conv import ConvWeight, convolve
from jaxserve.sharding.axes import EMBED, HEAD_DIM, STATE_HEADS

_FLOAT32 = jnp.dtype("float32")
_EPS = 1e-6  # under the length of a query or a key


class GatedDelta(nnx.Module):
    """[T, D] from [T, D], and the state after these tokens."""

    def __init__(self, config: GatedDeltaConfig, model: DecoderConfig, *, dtype: jnp.dtype):
        groups, embed_dim = config.num_key_heads, model.embed_dim
        keys, values = groups * config.key_dim, config.num_value_heads * config.value_dim

        def into(size: int) -> Linear:
            sizes, parts = (size, embed_dim), (groups, embed_dim)
            return Linear(sizes, (STATE_HEADS, EMBED), bias=False, dtype=dtype, parts=parts)

        conv = partial(ConvWeight, config.width, bias=False, dtype=dtype, parts=groups)
        self.config = config
        self.activation = model.activation
        self.q_proj, self.k_proj = into(keys), into(keys)
        self.v_proj, self.z_proj = into(values), into(values)
        self.a_proj, self.b_proj = into(config.num_value_heads), into(config.num_value_heads)
        self.q_conv, self.k_conv = conv(keys, STATE_HEADS), conv(keys, STATE_HEADS)
        self.v_conv = conv(values, STATE_HEADS)
        of_head = partial(param, (config.num_value_heads,), (STATE_HEADS,), parts=(groups,))
        self.A_log, self.dt_bias = of_head(dtype=_FLOAT32), of_head(dtype=_FLOAT32)
        norm = NormConfig(eps=model.norm.eps, rounds_first=True)
        self.norm = Norm(norm, (config.value_dim,), (HEAD_DIM,), dtype=dtype)
        self.out_proj = Linear(
            (embed_dim, values),
            (EMBED, STATE_HEADS),
            bias=False,
            dtype=dtype,
            parts=(embed_dim, groups),
        )

    def __call__(
        self, x: jax.Array, state: tuple[jax.Array, ...], rows: Rows
    ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """The caller gives `state` away."""
        inputs, matrices = state
        mixed, last = convolve(self._inputs(x), self._conv_weight(), rows.read(inputs), rows)
        deltas = self._deltas(x, ACTIVATIONS[self.activation](mixed).astype(x.dtype))
        read, matrices = carry(deltas, matrices, rows)
        gate = jax.nn.silu(self.z_proj(x).astype(jnp.float32)).reshape(read.shape)
        out = (self.norm(read.astype(x.dtype)) * gate).astype(x.dtype)
        return self.out_proj(out.reshape(len(x), -1)), (rows.write(inputs, last), matrices)

    def _inputs(self, x: jax.Array) -> jax.Array:
        """What the convolution mixes, [T, G, ...]: a group's query, key and values."""
        projections = (self.q_proj, self.k_proj, self.v_proj)
        return self._by_group([project(x) for project in projections], leading=len(x))

    def _conv_weight(self) -> jax.Array:
        """[G, ..., width], in the order of `_inputs`."""
        weights = [conv.weight[...][:, 0].T for conv in (self.q_conv, self.k_conv, self.v_conv)]
        return jnp.moveaxis(self._by_group(weights, leading=self.config.width), 0, -1)

    def _by_group(self, parts: list[jax.Array], *, leading: int) -> jax.Array:
        grouped = [part.reshape(leading, self.config.num_key_heads, -1) for part in parts]
        return jnp.concatenate(grouped, axis=-1)

    def _deltas(self, x: jax.Array, mixed: jax.Array) -> Deltas:
        config = self.config
        of_heads = (len(x), config.num_key_heads, config.values_per_key)
        mixed = mixed.astype(jnp.float32)
        query, key, value = jnp.split(mixed, [config.key_dim, 2 * config.key_dim], axis=-1)
        pace = jax.nn.softplus(self.a_proj(x).astype(jnp.float32) + self.dt_bias[...])
        rate = jax.nn.sigmoid(self.b_proj(x).astype(jnp.float32))
        return Deltas(
            query=_unit(query) * config.key_dim**-0.5,
            key=_unit(key),
            value=value.reshape(*of_heads, config.value_dim),
            decay=(-jnp.exp(self.A_log[...]) * pace).reshape(of_heads),
            rate=rate.reshape(of_heads),
        )


def _unit(x: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + _EPS)
