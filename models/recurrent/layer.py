"""Which module computes a layer that carries a state?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from jaxserve.models.config import DecoderConfig, LayerConfig
from jaxserve.models.recurrent.config import GatedDeltaConfig, ShortConvConfig
from jaxserve.models.recurrent.gated_delta import GatedDelta
from jaxserve.models.recurrent.short_conv import ShortConv


def recurrent_layer(config: DecoderConfig, layer: LayerConfig, *, dtype: jnp.dtype) -> Any:
    """The module in place of attention, or None where the layer attends.

    It is called with x [T, D], its state and the step's Rows, and returns [T, D] and the state
    after these tokens.
    """
    match layer.recurrent:
        case ShortConvConfig():
            return ShortConv(layer.recurrent, config.embed_dim, dtype=dtype)
        case GatedDeltaConfig():
            return GatedDelta(layer.recurrent, config, dtype=dtype)
        case _:
            return None
