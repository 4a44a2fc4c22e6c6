"""How much memory does a model take, by its config alone?

Counts the parameters of an abstract decoder: nothing is read, nothing is allocated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxserve.models.cache import state_bytes_per_slot
from jaxserve.models.config import DecoderConfig
from jaxserve.models.decoder import Decoder
from jaxserve.models.kv_cache import bytes_per_token
from jaxserve.models.pooled import PooledModel
from jaxserve.models.pooled_config import PooledConfig
from jaxserve.models.quantized import Choice, quantize_modules


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


def footprint(config: DecoderConfig, dtype: jnp.dtype, held: Choice | None = None) -> Footprint:
    """The memory of a decoder whose weights and KV cache are of `dtype`.

    `held` says which weights are quantised, and how.
    """

    def decoder(choice: Choice) -> Decoder:
        whole = Decoder(config, dtype=dtype)
        quantize_modules(whole, choice, is_made=False)
        return whole

    def leaves(choice: Choice) -> list[Any]:
        return jax.tree.leaves(nnx.state(nnx.eval_shape(lambda: decoder(choice))))

    floats = leaves(lambda *_: None)
    stored = leaves(held) if held else floats
    return Footprint(
        num_params=sum(leaf.size for leaf in floats),
        weights_bytes=sum(leaf.size * leaf.dtype.itemsize for leaf in stored),
        kv_bytes_per_token=bytes_per_token(config, dtype),
        state_bytes_per_slot=state_bytes_per_slot(config, dtype),
    )
