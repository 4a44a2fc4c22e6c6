"""What does a layer get of a token besides the hidden state, and what does it make of it?

Gemma 3n's per-layer embeddings: a vector for each token and layer, half looked up and half made of
the token's embedding, that the layer lets through by a gate after its MLP.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from jaxserve.models.config import DecoderConfig, LayerInputsConfig
from jaxserve.models.layers import ACTIVATIONS, Embedding, Linear, scaled
from jaxserve.models.norms import Norm
from jaxserve.sharding.axes import EMBED, VOCAB


class LayerInputs(nnx.Module):
    """The vectors of all layers."""

    def __init__(self, config: DecoderConfig, inputs: LayerInputsConfig, *, dtype: jnp.dtype):
        width = config.num_layers * inputs.size
        self.size = inputs.size
        self.embed_tokens = Embedding(inputs.vocab_size, width, (VOCAB, None), dtype=dtype)
        self.projection = Linear((width, config.embed_dim), (None, EMBED), bias=False, dtype=dtype)
        self.norm = Norm(config.norm, (inputs.size,), (None,), dtype=dtype)

    def __call__(self, tokens: jax.Array, x: jax.Array) -> jax.Array:
        """[T, L, size] from i32[T] and the embeddings [T, D] of these tokens."""
        shape = (len(tokens), -1, self.size)
        looked_up = scaled(self.embed_tokens(tokens), math.sqrt(self.size)).reshape(shape)
        made = scaled(self.projection(x), x.shape[1] ** -0.5).reshape(shape)
        return scaled(self.norm(made) + looked_up, math.sqrt(0.5))


class LayerInputGate(nnx.Module):
    """How one layer takes its vectors in."""

    def __init__(self, config: DecoderConfig, inputs: LayerInputsConfig, *, dtype: jnp.dtype):
        size, outer = inputs.size, config.embed_dim
        self.activation = config.activation
        self.gate = Linear((size, outer), (None, EMBED), bias=False, dtype=dtype)
        self.projection = Linear((outer, size), (EMBED, None), bias=False, dtype=dtype)
        self.norm = Norm(config.norm, (outer,), (EMBED,), dtype=dtype)

    def __call__(self, x: jax.Array, own: jax.Array) -> jax.Array:
        """[T, D] from hidden states [T, D] and the layer's vectors [T, size]."""
        let_through = ACTIVATIONS[self.activation](self.gate(x)) * own
        return x + self.norm(self.projection(let_through))
