"""How does a text that is read at once become hidden states?

An encoder of the parts its config declares, for any family; layers are built from the decoder's
parts. Knows neither how attention is computed nor what becomes of the hidden states.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from jaxserve.models.attention.interface import AttentionBackend, AttentionMetadata
from jaxserve.models.config import LayerConfig, RopeConfig
from jaxserve.models.encoder_config import EncoderConfig
from jaxserve.models.layers import Embedding, FeedForward
from jaxserve.models.norms import Norm, normed
from jaxserve.models.rope import Rotation, rotation
from jaxserve.models.self_attention import Attend, Attention
from jaxserve.sharding.axes import EMBED, VOCAB


class EncoderLayer(nnx.Module):
    """Attention and an MLP with their norms, called as in a decoder's layer."""

    def __init__(
        self, config: EncoderConfig, layer: LayerConfig, *, is_first: bool, dtype: jnp.dtype
    ):
        def norm(wanted: bool) -> Norm | None:
            return Norm(config.norm, (config.embed_dim,), (EMBED,), dtype=dtype) if wanted else None

        before = not config.norm_after_sum
        self.rope = layer.rope
        self.input_layernorm = norm(before and (config.first_layer_normed or not is_first))
        self.self_attn = Attention(config, layer, dtype=dtype)
        self.post_self_attn_layernorm = norm(config.norm_after_sum)
        self.post_attention_layernorm = norm(before)
        self.mlp = FeedForward(config, dtype=dtype)
        self.post_mlp_layernorm = norm(config.norm_after_sum)

    def __call__(self, x: jax.Array, *, turn: Rotation | None, attend: Attend) -> jax.Array:
        """[T, D] from [T, D]."""
        nothing = jnp.zeros((0,), x.dtype)  # in place of pages
        with jax.named_scope("attention"):
            into = normed(self.input_layernorm, x)
            attended, _ = self.self_attn(into, nothing, turn=turn, attend=attend)
            x = normed(self.post_self_attn_layernorm, x + attended)
        with jax.named_scope("mlp"):
            computed = self.mlp(normed(self.post_attention_layernorm, x))
            return normed(self.post_mlp_layernorm, x + computed)


class Encoder(nnx.Module):
    """A model in which every token sees the whole text."""

    def __init__(self, config: EncoderConfig, *, dtype: jnp.dtype):
        def rows(number: int | None) -> Embedding | None:
            return Embedding(number, size, (None, EMBED), dtype=dtype) if number else None

        size = config.embed_dim
        norm = partial(Norm, config.norm, (size,), (EMBED,), dtype=dtype)
        self.config = config
        self.embed_tokens = Embedding(config.vocab_size, size, (VOCAB, EMBED), dtype=dtype)
        self.embed_positions = rows(config.num_learned_positions)
        self.embed_token_types = rows(config.num_token_types)
        self.embed_norm = norm()
        self.layers = nnx.List(
            EncoderLayer(config, layer, is_first=index == 0, dtype=dtype)
            for index, layer in enumerate(config.layers)
        )
        self.norm = norm() if config.final_norm else None

    def __call__(
        self,
        tokens: jax.Array,  # i32[T]
        token_types: jax.Array,  # i32[T]; 1 in the second text of a pair
        metadata: AttentionMetadata,
        *,
        attention: AttentionBackend,
    ) -> jax.Array:
        """The last hidden states [T, D]. Idle tokens have garbage in theirs."""
        with jax.named_scope("embed"):
            x = self._embed(tokens, token_types, metadata.positions)
        turns = self._turns(metadata.positions)
        attend = partial(attention, metadata=metadata, one_token_per_row=False)
        for index, layer in enumerate(self.layers):
            with jax.named_scope(f"layer_{index}"):
                x = layer(x, turn=turns[layer.rope], attend=attend)
        return normed(self.norm, x)

    def _embed(self, tokens: jax.Array, token_types: jax.Array, positions: jax.Array) -> jax.Array:
        x = self.embed_tokens(tokens)
        if self.embed_token_types is not None:
            x = x + self.embed_token_types(token_types)
        if self.embed_positions is not None:
            x = x + self.embed_positions(positions + self.config.first_position)
        return self.embed_norm(x)

    def _turns(self, positions: jax.Array) -> dict[RopeConfig | None, Rotation | None]:
        turns: dict[RopeConfig | None, Rotation | None] = {None: None}
        for rope in {layer.rope for layer in self.config.layers if layer.rope is not None}:
            limit = self.config.max_model_len
            turns[rope] = rotation(positions, rope, self.config.head_dim, max_model_len=limit)
        return turns
