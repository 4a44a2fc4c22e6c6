"""How much memory does a model take, by its config alone?

Counts the parameters of an abstract decoder: nothing is read, nothing is allocated.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from jaxserve.models.cache import state_bytes_per_slot
from jaxserve.models.config import DecoderConfig
from jaxserve.models.decoder import Decoder
from jaxserve.models.kv_cache import bytes_per_token
from jaxserve.models.pooled import PooledModel
from jaxserve.models.pooled_config import PooledConfig


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a model takes over all devices together, replicas not counted."""

    num_params: int
    weights_bytes: int
    kv_bytes_per_token: int
    state_bytes_per_slot: int  # of a request, however long it is


def pooled_footprint(config: PooledConfig, dtype: jnp.dtype) -> Footprint:
    """The memory of a model that embeds or classifies; it keeps nothing of a token."""
    leaves = jax.tree.leaves(nnx.state(nnx.eval_shape(lambda: PooledModel(config, dtype=dtype))))
    return Footprint(
        num_params=sum(leaf.size for leaf in leaves),
        weights_bytes=sum(leaf.size * leaf.dtype.itemsize for leaf in leaves),
        kv_bytes_per_token=0,
        state_bytes_per_slot=0,
    )


def footprint(config: DecoderConfig, dtype: jnp.dtype) -> Footprint:
    """The memory of a decoder whose weights and KV cache are of `dtype`."""
    state = nnx.state(nnx.eval_shape(lambda: Decoder(config, dtype=dtype)))
    leaves = jax.tree.leaves(state)
    return Footprint(
        num_params=sum(leaf.size for leaf in leaves),
        weights_bytes=sum(leaf.size * leaf.dtype.itemsize for leaf in leaves),
        kv_bytes_per_token=bytes_per_token(config, dtype),
        state_bytes_per_slot=state_bytes_per_slot(config, dtype),
    )
