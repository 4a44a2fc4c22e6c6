"""How does a text become one vector, or the logits of its labels?

A backbone, an encoder or a decoder, with what its PooledConfig declares after it. Texts are rows of
one padded length; whatever is past a row's end reaches no output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxserve.models import layers
from jaxserve.models.attention.interface import AttentionMetadata
from jaxserve.models.attention.unpaged import UnpagedAttention
from jaxserve.models.cache import init_cache
from jaxserve.models.decoder import Decoder
from jaxserve.models.encoder import Encoder
from jaxserve.models.encoder_config import EncoderConfig
from jaxserve.models.layers import Linear
from jaxserve.models.norms import Norm, normed
from jaxserve.models.pooled_config import DenseConfig, HeadConfig, PooledConfig, Pooling
from jaxserve.sharding.axes import EMBED

ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    **layers.ACTIVATIONS,
    "identity": lambda x: x,
    "tanh": jnp.tanh,
}
_LEAST_LENGTH = 1e-12  # a vector of zeros stays one


class Dense(nnx.Module):
    """A linear layer and its activation. Small beside the backbone, so that it is not sharded."""

    def __init__(self, config: DenseConfig, *, dtype: jnp.dtype):
        sizes = (config.out_dim, config.in_dim)
        self.linear = Linear(sizes, (EMBED, EMBED), bias=config.bias, dtype=dtype)
        self.activation = config.activation

    def __call__(self, x: jax.Array) -> jax.Array:
        return ACTIVATIONS[self.activation](self.linear(x))


class Head(nnx.Module):
    """A classifier."""

    def __init__(self, config: HeadConfig, size: int, *, dtype: jnp.dtype):
        self.hidden = None if config.hidden is None else Dense(config.hidden, dtype=dtype)
        self.norm = (
            None if config.norm is None else Norm(config.norm, (size,), (EMBED,), dtype=dtype)
        )
        sizes = (config.num_labels, size)
        self.output = Linear(sizes, (EMBED, EMBED), bias=config.bias, dtype=dtype)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.output(normed(self.norm, x if self.hidden is None else self.hidden(x)))


class PooledModel(nnx.Module):
    """A backbone and what follows it."""

    def __init__(self, config: PooledConfig, *, dtype: jnp.dtype):
        backbone = config.backbone
        self.config = config
        self.backbone: Any = (
            Encoder(backbone, dtype=dtype)
            if isinstance(backbone, EncoderConfig)
            else Decoder(backbone, dtype=dtype)
        )
        self.projections = nnx.List(Dense(dense, dtype=dtype) for dense in config.projections)
        size = backbone.embed_dim * len(config.pooling)
        self.head = None if config.head is None else Head(config.head, size, dtype=dtype)

    def __call__(self, tokens: jax.Array, token_types: jax.Array, lens: jax.Array) -> jax.Array:
        """f32[R, output_dim] from i32[R, L], i32[R, L] and how many tokens each row has, i32[R]."""
        hidden = self.hidden_states(tokens, token_types, lens)
        with jax.named_scope("pool"):
            modes = [pooled(hidden, lens, mode) for mode in self.config.pooling]
            vector = jnp.concatenate(modes, axis=-1).astype(hidden.dtype)
        for projection in self.projections:
            vector = projection(vector)
        if self.head is not None:
            vector = self.head(vector)
        vector = vector.astype(jnp.float32)
        if self.config.normalized:
            length = jnp.linalg.norm(vector, axis=-1, keepdims=True)
            vector = vector / jnp.maximum(length, _LEAST_LENGTH)
        return vector

    def hidden_states(
        self, tokens: jax.Array, token_types: jax.Array, lens: jax.Array
    ) -> jax.Array:
        """The backbone's last hidden states, [R, L, D]."""
        num_rows, length = tokens.shape
        metadata = _metadata(num_rows, length, lens)
        config = self.config.backbone
        if isinstance(config, EncoderConfig):
            hidden = self.backbone(
                tokens.ravel(),
                token_types.ravel(),
                metadata,
                attention=UnpagedAttention(causal=False),
            )
        else:
            attention = UnpagedAttention(causal=True)
            nothing = init_cache(
                config,
                attention,
                num_pages=0,
                page_size=1,
                num_slots=num_rows,
                dtype=jnp.dtype(jnp.float32),
            )
            hidden, _ = self.backbone(
                tokens.ravel(), nothing, metadata, attention=attention, one_token_per_row=False
            )
        return hidden.reshape(num_rows, length, -1)


def _metadata(num_rows: int, length: int, lens: jax.Array) -> AttentionMetadata:
    return AttentionMetadata(
        positions=jnp.tile(jnp.arange(length, dtype=jnp.int32), num_rows),
        page_indices=jnp.zeros((num_rows, 1), jnp.int32),
        kv_lens=lens,
        cu_q_lens=jnp.arange(num_rows + 1, dtype=jnp.int32) * length,
        num_seqs=jnp.full((1,), num_rows, jnp.int32),
        slots=jnp.arange(num_rows, dtype=jnp.int32),
    )


def pooled(hidden: jax.Array, lens: jax.Array, mode: Pooling) -> jax.Array:
    """f32[R, D] from the hidden states [R, L, D] of rows of `lens` tokens; a row of none is idle
    and has garbage."""
    wide = hidden.astype(jnp.float32)
    positions = jnp.arange(hidden.shape[1])
    live = (positions < lens[:, None])[:, :, None]
    count = jnp.maximum(lens, 1).astype(jnp.float32)[:, None]
    # Not a product with 0: what is past the end may be no number.
    total = jnp.where(live, wide, 0.0).sum(axis=1)
    match mode:
        case "cls":
            return wide[:, 0]
        case "last":
            return wide[jnp.arange(len(lens)), jnp.maximum(lens - 1, 0)]
        case "max":
            return jnp.where(live, wide, -jnp.inf).max(axis=1)
        case "mean":
            return total / count
        case "mean_sqrt_len":
            return total / jnp.sqrt(count)
        case "weighted_mean":
            weighted = jnp.where(live, wide * (positions + 1.0)[:, None], 0.0).sum(axis=1)
            return weighted / (count * (count + 1) / 2)
