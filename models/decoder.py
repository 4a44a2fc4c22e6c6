"""How do tokens become hidden states and logits?

A decoder of the parts its config declares, for any family. Knows neither how attention is
computed nor what pages look like: a backend is handed in, and the cache goes in and comes back.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxserve.models.attention.interface import AttentionBackend, AttentionMetadata
from jaxserve.models.attention.softcap import softcapped
from jaxserve.models.cache import Cache
from jaxserve.models.config import DecoderConfig, LayerConfig, RopeConfig
from jaxserve.models.latent_attention import LatentAttention
from jaxserve.models.layers import Embedding, FeedForward, Linear, product, scaled
from jaxserve.models.moe import MixtureOfExperts
from jaxserve.models.norms import Norm, normed
from jaxserve.models.recurrent.layer import recurrent_layer
from jaxserve.models.recurrent.rows import Rows
from jaxserve.models.rope import Rotation, rotation
from jaxserve.models.self_attention import Attend, Attention
from jaxserve.sharding.axes import EMBED, VOCAB


def _norm(config: DecoderConfig, dtype: jnp.dtype) -> Norm:
    return Norm(config.norm, (config.embed_dim,), (EMBED,), dtype=dtype)


def _attention(config: DecoderConfig, layer: LayerConfig, dtype: jnp.dtype) -> Any:
    if layer.recurrent is not None:
        return None
    if config.latent is not None:
        return LatentAttention(config, layer, config.latent, dtype=dtype)
    return Attention(config, layer, dtype=dtype)


class DecoderLayer(nnx.Module):
    """Attention, or what carries a state in its place, and an MLP: normalised as the config's
    `block` says and added to what came in.

    `input_layernorm` and `post_attention_layernorm` are the norms before attention and MLP, as
    Llama calls them; `post_self_attn_layernorm` and `post_mlp_layernorm` those after, as GLM does.
    """

    def __init__(self, config: DecoderConfig, layer: LayerConfig, *, dtype: jnp.dtype):
        def norm(wanted: bool) -> Norm | None:
            return _norm(config, dtype) if wanted else None

        block = config.block
        before, after = block != "post_norm", block in ("post_norm", "sandwich_norm")
        self.config = config
        self.rope = layer.rope
        self.input_layernorm = norm(before)
        self.recurrent = recurrent_layer(config, layer, dtype=dtype)
        self.self_attn = _attention(config, layer, dtype)
        self.post_self_attn_layernorm = norm(after)
        self.post_attention_layernorm = norm(before and block != "parallel_shared_norm")
        self.mlp = (
            FeedForward(config, dtype=dtype)
            if layer.moe is None
            else MixtureOfExperts(config, layer.moe, dtype=dtype)
        )
        self.post_mlp_layernorm = norm(after)

    def __call__(
        self,
        x: jax.Array,
        kept: Any,
        *,
        turn: Rotation | None,
        attend: Attend,
        rows: Rows | None,
    ) -> tuple[jax.Array, Any]:
        """[T, D] from [T, D], and this layer's pages with the new KV, or its state after these."""
        before = normed(self.input_layernorm, x)
        if self.self_attn is not None:
            with jax.named_scope("attention"):
                mixed, kept = self.self_attn(before, kept, turn=turn, attend=attend)
        else:
            with jax.named_scope("recurrence"):
                mixed, kept = self.recurrent(before, kept, rows)
        after = x + self._weighed(normed(self.post_self_attn_layernorm, mixed))
        with jax.named_scope("mlp"):
            match self.config.block:
                case "parallel_shared_norm":
                    into = before
                case "parallel":
                    into = normed(self.post_attention_layernorm, x)
                case _:
                    into = normed(self.post_attention_layernorm, after)
            return after + self._weighed(normed(self.post_mlp_layernorm, self.mlp(into))), kept

    def _weighed(self, added: jax.Array) -> jax.Array:
        return scaled(added, self.config.residual_multiplier)


class Decoder(nnx.Module):
    """A decoder-only language model."""

    def __init__(self, config: DecoderConfig, *, dtype: jnp.dtype):
        self.config = config
        size = (config.vocab_size, config.embed_dim)
        self.embed_tokens = Embedding(*size, (VOCAB, EMBED), dtype=dtype)
        positions = config.num_learned_positions
        self.embed_positions = (
            Embedding(positions, config.embed_dim, (None, EMBED), dtype=dtype)
            if positions
            else None
        )
        self.layers = nnx.List(DecoderLayer(config, layer, dtype=dtype) for layer in config.layers)
        self.norm = _norm(config, dtype)
        self.lm_head = (
            None
            if config.tied_embeddings
            else Linear(size, (VOCAB, EMBED), bias=config.output_bias, dtype=dtype)
        )

    def __call__(
        self,
        tokens: jax.Array,  # i32[T]
        cache: Cache,
        metadata: AttentionMetadata,
        *,
        attention: AttentionBackend,
        one_token_per_row: bool,
    ) -> tuple[jax.Array, Cache]:
        """The last hidden states [T, D], normalised, and the cache after these tokens.

        The caller gives `cache` away. Idle tokens have garbage in their hidden state.
        """
        with jax.named_scope("embed"):
            x = self._embed(tokens, metadata.positions)
        num_kept = len(cache.pages) + len(cache.states)
        assert num_kept == len(self.layers), f"{num_kept} layers keep something"
        turns = self._turns(metadata.positions)
        attend = partial(attention, metadata=metadata, one_token_per_row=one_token_per_row)
        rows = Rows.of(metadata) if cache.states else None
        pages, states = iter(cache.pages), iter(cache.states)
        written: tuple[list[Any], list[Any]] = [], []
        for index, layer in enumerate(self.layers):
            attends = layer.recurrent is None
            with jax.named_scope(f"layer_{index}"):
                kept = next(pages if attends else states)
                x, kept = layer(x, kept, turn=turns[layer.rope], attend=attend, rows=rows)
            written[0 if attends else 1].append(kept)
        return self.norm(x), Cache(tuple(written[0]), tuple(written[1]))

    def _embed(self, tokens: jax.Array, positions: jax.Array) -> jax.Array:
        x = scaled(self.embed_tokens(tokens), self.config.embedding_multiplier)
        return x if self.embed_positions is None else x + self.embed_positions(positions)

    def _turns(self, positions: jax.Array) -> dict[RopeConfig | None, Rotation | None]:
        """The rotation of each kind of layer, computed once a step."""
        turns: dict[RopeConfig | None, Rotation | None] = {None: None}
        for rope in dict.fromkeys(layer.rope for layer in self.config.layers):
            if rope is not None:
                limit = self.config.max_model_len
                turns[rope] = rotation(positions, rope, self.config.rope_dim, max_model_len=limit)
        return turns

    def logits(self, hidden: jax.Array) -> jax.Array:
        """f32[R, V] from the hidden states [R, D] of the tokens to draw after."""
        output = self.embed_tokens if self.lm_head is None else self.lm_head
        with jax.named_scope("logits"):
            logits = product(hidden, output.weight)
            if self.lm_head is not None and self.lm_head.bias is not None:
                logits = logits + self.lm_head.bias[...].astype(jnp.float32)
            logits = scaled(logits, self.config.logit_multiplier)
            return softcapped(logits, self.config.logit_softcap)
