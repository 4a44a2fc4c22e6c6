"""What does a model ask of an attention backend?

Read from what its layers declare; knows no backend.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxserve.models.attention.interface import AttentionSpec, Demands, LayerDemand
from jaxserve.models.config import DecoderConfig, LayerConfig


def spec_of(config: DecoderConfig, layer: LayerConfig) -> AttentionSpec:
    """What the attention of `layer` computes."""
    return AttentionSpec(
        scale=config.attention_scale,
        window=layer.window,
        chunk=layer.chunk,
        softcap=config.attention_softcap,
        value_dim=None if config.latent is None else config.latent.kv_rank,
    )


def demands_of(
    config: DecoderConfig,
    *,
    dtype: jnp.dtype,
    kv_dtype: jnp.dtype,
    page_size: int,
    device: jax.Device,
    tensor_parallel: int = 1,
) -> Demands:
    """What the layers that attend ask for on devices like `device`, each kind of layer once."""
    asked = {
        LayerDemand(
            row=config.kv_row(layer),
            num_q_heads=config.num_q_heads,
            spec=spec_of(config, layer),
            sinks=config.attention_sinks,
        ): None
        for layer in config.layers
        if layer.recurrent is None
    }
    return Demands(
        layers=tuple(asked),
        dtype=dtype,
        kv_dtype=kv_dtype,
        page_size=page_size,
        platform=device.platform,
        compute_capability=getattr(device, "compute_capability", None),
        tensor_parallel=tensor_parallel,
    )
