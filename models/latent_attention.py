"""How does a layer attend when all it keeps of a token is one short vector?

Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434). Keys and values of all heads are linear
in a latent vector, so the matrices that would make them are applied to queries and results instead:
heads attend over latents themselves, as many query heads over one KV head whose key is the latent
and the shared, turned part, and whose value is the latent. Keys and values are never made, neither
in prefill nor in decode.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxserve.models.attention_demands import spec_of
from jaxserve.models.config import DecoderConfig, LatentConfig, LayerConfig, NormConfig
from jaxserve.models.layers import Linear, floats, param
from jaxserve.models.norms import Norm
from jaxserve.models.rope import Rotation, grown, rotate
from jaxserve.models.self_attention import Attend
from jaxserve.sharding.axes import EMBED, LATENT, Q_HEADS


class PerHead(nnx.Module):
    """For each head a matrix [size, rank], stored one below the other; applied from either side."""

    def __init__(self, num_heads: int, size: int, rank: int, *, dtype: jnp.dtype):
        self.num_heads = num_heads
        self.sizes, self.parts = (num_heads * size, rank), (num_heads, rank)
        self.axes = (Q_HEADS, LATENT)
        self.weight = param(self.sizes, self.axes, dtype=dtype, parts=self.parts)

    def into_latent(self, heads: jax.Array) -> jax.Array:
        """[T, N, rank] from [T, N, size]."""
        return per_head("tnh,nhr->tnr", heads, self._matrices)

    def out_of_latent(self, heads: jax.Array) -> jax.Array:
        """[T, N, size] from [T, N, rank]."""
        return per_head("tnr,nhr->tnh", heads, self._matrices)

    @property
    def _matrices(self) -> jax.Array:
        """[N, size, rank]."""
        weight = floats(self.weight)
        return weight.reshape(self.num_heads, -1, weight.shape[-1])


def per_head(letters: str, heads: jax.Array, weight: jax.Array) -> jax.Array:
    """`heads` times `weight` as einsum's `letters` say, summed in float32, in the type of heads."""
    exact = lax.Precision.HIGHEST if weight.dtype == jnp.float32 else lax.Precision.DEFAULT
    y = jnp.einsum(letters, heads, weight, precision=exact, preferred_element_type=jnp.float32)
    return y.astype(heads.dtype)


class LatentAttention(nnx.Module):
    """Latent attention through a backend."""

    def __init__(
        self, config: DecoderConfig, layer: LayerConfig, latent: LatentConfig, *, dtype: jnp.dtype
    ):
        heads, outer, rank = config.num_q_heads, config.embed_dim, latent.kv_rank
        self.latent = latent
        self.spec = spec_of(config, layer)
        self._init_queries(config, latent, dtype)
        self.kv_a_proj_with_mqa = Linear(
            (rank + latent.rope_dim, outer), (LATENT, EMBED), bias=latent.bias, dtype=dtype
        )
        self.kv_a_layernorm = _norm(latent, rank, dtype)
        self.key_up = PerHead(heads, latent.plain_dim, rank, dtype=dtype)
        self.value_up = PerHead(heads, latent.value_dim, rank, dtype=dtype)
        self.o_proj = Linear(
            (outer, heads * latent.value_dim),
            (EMBED, Q_HEADS),
            bias=latent.bias,
            dtype=dtype,
            parts=(outer, heads),
        )

    def _init_queries(self, config: DecoderConfig, latent: LatentConfig, dtype: jnp.dtype) -> None:
        heads, outer, rank = config.num_q_heads, config.embed_dim, latent.q_rank
        queries = partial(Linear, bias=False, dtype=dtype)
        size = heads * config.head_dim
        if rank is None:
            self.q_proj = queries((size, outer), (Q_HEADS, EMBED), parts=(heads, outer))
            return
        self.q_a_proj = Linear((rank, outer), (LATENT, EMBED), bias=latent.bias, dtype=dtype)
        self.q_a_layernorm = _norm(latent, rank, dtype)
        self.q_b_proj = queries((size, rank), (Q_HEADS, LATENT), parts=(heads, rank))

    def __call__(
        self, x: jax.Array, pages: jax.Array, *, turn: Rotation | None, attend: Attend
    ) -> tuple[jax.Array, jax.Array]:
        """[T, D] from [T, D], and this layer's pages with the new latents."""
        q, k = self._queries(x, turn), self._keys(x, turn)
        attended, pages = attend(q, k, None, pages, spec=self.spec)
        values = self.value_up.out_of_latent(attended)
        return self.o_proj(values.reshape(x.shape[0], -1)), pages

    def _queries(self, x: jax.Array, turn: Rotation | None) -> jax.Array:
        """[T, N, kv_rank + rope_dim]."""
        if self.latent.q_rank is None:
            q = self.q_proj(x)
        else:
            q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        q = q.reshape(x.shape[0], self.key_up.num_heads, -1)
        plain, turned = jnp.split(q, [self.latent.plain_dim], axis=-1)
        q = jnp.concatenate([self.key_up.into_latent(plain), _turned(turned, turn)], axis=-1)
        return q if turn is None else grown(q, turn)

    def _keys(self, x: jax.Array, turn: Rotation | None) -> jax.Array:
        """[T, 1, kv_rank + rope_dim]: what is kept."""
        latents, turned = jnp.split(self.kv_a_proj_with_mqa(x), [self.latent.kv_rank], axis=-1)
        turned = _turned(turned[:, None], turn)
        return jnp.concatenate([self.kv_a_layernorm(latents)[:, None], turned], axis=-1)


def _norm(latent: LatentConfig, size: int, dtype: jnp.dtype) -> Norm:
    return Norm(NormConfig(eps=latent.eps, rounds_first=True), (size,), (LATENT,), dtype=dtype)


def _turned(heads: jax.Array, turn: Rotation | None) -> jax.Array:
    return heads if turn is None else rotate(heads, turn)
