"""How do tokens become hidden states and logits?

A decoder of the parts its config declares, for any family. Knows neither how attention is
computed nor what pages look like: a backend is handed in, and pages go in and come back.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from jaxserve.models.attention.interface import AttentionBackend, AttentionMetadata
from jaxserve.models.config import DecoderConfig
from jaxserve.models.layers import Embedding, GatedMLP, Linear, RMSNorm, product
from jaxserve.models.rope import Rotation, rotate, rotation
from jaxserve.sharding.axes import EMBED, KV_HEADS, Q_HEADS, VOCAB

Attend = Callable[..., tuple[jax.Array, jax.Array]]
"""An AttentionBackend that was told the step's metadata: takes q, k, v, pages and `scale`."""


class Attention(nnx.Module):
    """Grouped-query attention (arXiv:2305.13245) through a backend."""

    def __init__(self, config: DecoderConfig, *, dtype: jnp.dtype):
        self.config = config
        embed, q_heads, kv_heads = config.embed_dim, config.num_q_heads, config.num_kv_heads

        def into_heads(heads: int, axis: str) -> Linear:
            return Linear(
                (heads * config.head_dim, embed),
                (axis, EMBED),
                bias=config.qkv_bias,
                dtype=dtype,
                parts=(heads, embed),
            )

        self.q_proj = into_heads(q_heads, Q_HEADS)
        self.k_proj = into_heads(kv_heads, KV_HEADS)
        self.v_proj = into_heads(kv_heads, KV_HEADS)
        self.o_proj = Linear(
            (embed, q_heads * config.head_dim),
            (EMBED, Q_HEADS),
            bias=config.o_bias,
            dtype=dtype,
            parts=(embed, q_heads),
        )

    def __call__(
        self, x: jax.Array, pages: jax.Array, *, turn: Rotation, attend: Attend
    ) -> tuple[jax.Array, jax.Array]:
        """[T, D] from [T, D], and this layer's pages with the new KV."""
        num_tokens, head_dim = x.shape[0], self.config.head_dim
        q, k, v = (
            project(x).reshape(num_tokens, -1, head_dim)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        scale = self.config.attention_scale
        attended, pages = attend(rotate(q, turn), rotate(k, turn), v, pages, scale=scale)
        return self.o_proj(attended.reshape(num_tokens, -1)), pages


class DecoderLayer(nnx.Module):
    """Attention, then an MLP, each normalised before and added to what came in."""

    def __init__(self, config: DecoderConfig, *, dtype: jnp.dtype):
        self.input_layernorm = RMSNorm(config.embed_dim, eps=config.norm_eps, dtype=dtype)
        self.self_attn = Attention(config, dtype=dtype)
        self.post_attention_layernorm = RMSNorm(config.embed_dim, eps=config.norm_eps, dtype=dtype)
        self.mlp = GatedMLP(config, dtype=dtype)

    def __call__(
        self, x: jax.Array, pages: jax.Array, *, turn: Rotation, attend: Attend
    ) -> tuple[jax.Array, jax.Array]:
        """[T, D] from [T, D], and this layer's pages with the new KV."""
        with jax.named_scope("attention"):
            normed = self.input_layernorm(x)
            attended, pages = self.self_attn(normed, pages, turn=turn, attend=attend)
            x = x + attended
        with jax.named_scope("mlp"):
            return x + self.mlp(self.post_attention_layernorm(x)), pages


class Decoder(nnx.Module):
    """A decoder-only language model."""

    def __init__(self, config: DecoderConfig, *, dtype: jnp.dtype):
        self.config = config
        size = (config.vocab_size, config.embed_dim)
        self.embed_tokens = Embedding(*size, dtype=dtype)
        self.layers = nnx.List(DecoderLayer(config, dtype=dtype) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.embed_dim, eps=config.norm_eps, dtype=dtype)
        self.lm_head = (
            None
            if config.tied_embeddings
            else Linear(size, (VOCAB, EMBED), bias=False, dtype=dtype)
        )

    def __call__(
        self,
        tokens: jax.Array,  # i32[T]
        pages: tuple[jax.Array, ...],
        metadata: AttentionMetadata,
        *,
        attention: AttentionBackend,
        one_token_per_row: bool,
    ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """The last hidden states [T, D], normalised, and the pages with the new KV, one per layer.

        The caller gives `pages` away. Idle tokens have garbage in their hidden state.
        """
        with jax.named_scope("embed"):
            x = self.embed_tokens(tokens)
        turn = rotation(metadata.positions, self.config.rope, self.config.head_dim)
        attend = partial(attention, metadata=metadata, one_token_per_row=one_token_per_row)
        written = []
        for index, (layer, layer_pages) in enumerate(zip(self.layers, pages, strict=True)):
            with jax.named_scope(f"layer_{index}"):
                x, layer_pages = layer(x, layer_pages, turn=turn, attend=attend)
            written.append(layer_pages)
        return self.norm(x), tuple(written)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """f32[R, V] from the hidden states [R, D] of the tokens to draw after."""
        output = self.embed_tokens if self.lm_head is None else self.lm_head
        with jax.named_scope("logits"):
            return product(hidden, output.weight[...])
