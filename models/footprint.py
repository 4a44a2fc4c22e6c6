"""How much memory does a model take, by its config alone?

Counts the parameters of an abstract decoder: nothing is read, nothing is allocated.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from jaxserve.models.config import DecoderConfig
from jaxserve.models.decoder import Decoder


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a model takes over all devices together, replicas not counted."""

    num_params: int
    weights_bytes: int
    kv_bytes_per_token: int


def footprint(config: DecoderConfig, dtype: jnp.dtype) -> Footprint:
    """The memory of a decoder whose weights and KV cache are of `dtype`."""
    state = nnx.state(nnx.eval_shape(lambda: Decoder(config, dtype=dtype)))
    leaves = jax.tree.leaves(state)
    return Footprint(
        num_params=sum(leaf.size for leaf in leaves),
        weights_bytes=sum(leaf.size * leaf.dtype.itemsize for leaf in leaves),
        kv_bytes_per_token=kv_bytes_per_token(config, dtype, num_kv_heads=config.num_kv_heads),
    )


def kv_bytes_per_token(config: DecoderConfig, dtype: jnp.dtype, *, num_kv_heads: int) -> int:
    """Bytes of keys and values that a token has in all layers, with `num_kv_heads` on a device."""
    return 2 * config.num_layers * num_kv_heads * config.head_dim * dtype.itemsize
