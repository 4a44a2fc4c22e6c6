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
from jaxserve.models.beside import ExpertsBeside
from jaxserve.models.cache import Cache, cache_places
from jaxserve.models.config import DecoderConfig, LayerConfig, RopeConfig
from jaxserve.models.latent_attention import LatentAttention
from jaxserve.models.layer_inputs import LayerInputGate, LayerInputs
from jaxserve.models.layers import Embedding, FeedForward, Linear, param, product, scaled
from jaxserve.models.moe import MixtureOfExperts
from jaxserve.models.norms import Norm, normed
from jaxserve.models.recurrent.layer import recurrent_layer
from jaxserve.models.recurrent.rows import Rows
from jaxserve.models.rope import Rotation, rotation
from jaxserve.models.self_attention import Attend, Attention
from jaxserve.sharding.axes import EMBED, VOCAB

RopeUse = tuple[RopeConfig | None, int]
"""How a layer turns heads, and how many numbers of each that concerns."""


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
        self.rope_kind: RopeUse = (layer.rope, config.rope_dim(layer))
        self.input_layernorm = norm(before)
        self.recurrent = recurrent_layer(config, layer, dtype=dtype)
        self.self_attn = _attention(config, layer, dtype)
        self.post_self_attn_layernorm = norm(after)
        self.post_attention_layernorm = norm(before and block != "parallel_shared_norm")
        is_beside = layer.moe is not None and layer.moe.beside_mlp
        self.mlp = (
            FeedForward(config, dtype=dtype, mlp_dim=layer.mlp_dim)
            if layer.moe is None or is_beside
            else MixtureOfExperts(config, layer.moe, dtype=dtype)
        )
        self.beside = (
            ExpertsBeside(config, layer.moe, dtype=dtype) if layer.moe and is_beside else None
        )
        self.post_mlp_layernorm = norm(after)
        self.inputs_gate = (
            None
            if config.layer_inputs is None
            else LayerInputGate(config, config.layer_inputs, dtype=dtype)
        )
        self.multiplier = param((1,), (None,), dtype=dtype) if config.layer_multipliers else None

    def __call__(
        self,
        x: jax.Array,
        kept: Any,
        *,
        turn: Rotation | None,
        attend: Attend,
        rows: Rows | None,
        given: jax.Array | None,
    ) -> tuple[jax.Array, Any]:
        """[T, D] from [T, D], and this layer's pages with the new KV, or its state after these.

        `given` is what LayerInputs made for this layer.
        """
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
            made = self.mlp(into)
            if self.beside is not None:
                made = self.beside(after, made)
            x = after + self._weighed(normed(self.post_mlp_layernorm, made))
        if self.inputs_gate is not None and given is not None:
            with jax.named_scope("layer_inputs"):
                x = self.inputs_gate(x, given)
        return x if self.multiplier is None else x * self.multiplier[...], kept

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
        self.layer_inputs = (
            None
            if config.layer_inputs is None
            else LayerInputs(config, config.layer_inputs, dtype=dtype)
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
            given = None if self.layer_inputs is None else self.layer_inputs(tokens, x)
        turns = self._turns(metadata.positions)
        attend = partial(attention, metadata=metadata, one_token_per_row=one_token_per_row)
        rows = Rows.of(metadata, one_token_each=one_token_per_row) if cache.states else None
        kept: tuple[list[Any], list[Any]] = list(cache.pages), list(cache.states)
        places = cache_places(self.config)
        num_kept = sum(map(len, kept))
        assert num_kept == len(set(places)), f"{num_kept} layers keep something"
        for index, (layer, (field, place)) in enumerate(zip(self.layers, places, strict=True)):
            with jax.named_scope(f"layer_{index}"):
                x, kept[field][place] = layer(
                    x,
                    kept[field][place],
                    turn=turns[layer.rope_kind],
                    attend=attend,
                    rows=rows,
                    given=None if given is None else given[:, index],
                )
        return self.norm(x), Cache(tuple(kept[0]), tuple(kept[1]))

    def _embed(self, tokens: jax.Array, positions: jax.Array) -> jax.Array:
        x = scaled(self.embed_tokens(tokens), self.config.embedding_multiplier)
        return x if self.embed_positions is None else x + self.embed_positions(positions)

    def _turns(self, positions: jax.Array) -> dict[RopeUse, Rotation | None]:
        """The rotation of each kind of layer, computed once a step."""
        limit = self.config.max_model_len
        return {
            (rope, size): rope and rotation(positions, rope, size, max_model_len=limit)
            for rope, size in {layer.rope_kind for layer in self.layers}
        }

    def logits(self, hidden: jax.Array) -> jax.Array:
        """f32[R, V] from the hidden states [R, D] of the tokens to draw after."""
        output = self.embed_tokens if self.lm_head is None else self.lm_head
        with jax.named_scope("logits"):
            logits = product(hidden, output.weight)
            if self.lm_head is not None and self.lm_head.bias is not None:
                logits = logits + self.lm_head.bias[...].astype(jnp.float32)
            logits = scaled(logits, self.config.logit_multiplier)
            return softcapped(logits, self.config.logit_softcap)
