"""How does a layer's attention turn hidden states into queries, keys and values, and back?

Projections, norms over heads and rotation. How scores become sums is the backend's business: it is
handed in, with an `AttentionSpec` of what this layer needs.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from jaxserve.models.attention.interface import AttentionSpec
from jaxserve.models.config import DecoderConfig, LayerConfig
from jaxserve.models.layers import Linear
from jaxserve.models.norms import Norm, normed
from jaxserve.models.rope import Rotation, grown, rotate
from jaxserve.sharding.axes import EMBED, HEAD_DIM, KV_HEADS, Q_HEADS

Attend = Callable[..., tuple[jax.Array, jax.Array]]
"""An AttentionBackend that was told the step's metadata: takes q, k, v, pages and `spec`."""


class Attention(nnx.Module):
    """Grouped-query attention (arXiv:2305.13245) through a backend."""

    def __init__(self, config: DecoderConfig, layer: LayerConfig, *, dtype: jnp.dtype):
        self.config = config
        self.spec = AttentionSpec(
            scale=config.attention_scale, window=layer.window, softcap=config.attention_softcap
        )
        self.q_proj = _into_heads(config, config.num_q_heads, Q_HEADS, dtype)
        self.k_proj = _into_heads(config, config.num_kv_heads, KV_HEADS, dtype)
        self.v_proj = _into_heads(config, config.num_kv_heads, KV_HEADS, dtype)
        self.o_proj = Linear(
            (config.embed_dim, config.num_q_heads * config.head_dim),
            (EMBED, Q_HEADS),
            bias=config.o_bias,
            dtype=dtype,
            parts=(config.embed_dim, config.num_q_heads),
        )
        self.q_norm = _norm(config, config.num_q_heads, Q_HEADS, dtype)
        self.k_norm = _norm(config, config.num_kv_heads, KV_HEADS, dtype)

    def __call__(
        self, x: jax.Array, pages: jax.Array, *, turn: Rotation | None, attend: Attend
    ) -> tuple[jax.Array, jax.Array]:
        """[T, D] from [T, D], and this layer's pages with the new KV."""
        q = self._placed(self._heads(self.q_proj, x), self.q_norm, turn)
        k = self._placed(self._heads(self.k_proj, x), self.k_norm, turn)
        if turn is not None:
            q = grown(q, turn)
        v = self._heads(self.v_proj, x)
        attended, pages = attend(q, k, v, pages, spec=self.spec)
        return self.o_proj(attended.reshape(x.shape[0], -1)), pages

    def _heads(self, project: Linear, x: jax.Array) -> jax.Array:
        y, clip = project(x), self.config.qkv_clip
        if clip is not None:
            y = jnp.clip(y, -clip, clip)
        return y.reshape(x.shape[0], -1, self.config.head_dim)

    def _placed(self, heads: jax.Array, norm: Norm | None, turn: Rotation | None) -> jax.Array:
        """`heads`, normalised and turned to their positions."""
        qk_norm = self.config.qk_norm
        norm_comes_last = qk_norm is not None and qk_norm.after_rope
        if not norm_comes_last:
            heads = self._normalised(heads, norm)
        if turn is not None:
            heads = rotate(heads, turn)
        return self._normalised(heads, norm) if norm_comes_last else heads

    def _normalised(self, heads: jax.Array, norm: Norm | None) -> jax.Array:
        qk_norm = self.config.qk_norm
        if qk_norm is not None and qk_norm.over == "all_heads":
            return normed(norm, heads.reshape(heads.shape[0], -1)).reshape(heads.shape)
        return normed(norm, heads)


def _into_heads(config: DecoderConfig, heads: int, axis: str, dtype: jnp.dtype) -> Linear:
    return Linear(
        (heads * config.head_dim, config.embed_dim),
        (axis, EMBED),
        bias=config.qkv_bias,
        dtype=dtype,
        parts=(heads, config.embed_dim),
    )


def _norm(config: DecoderConfig, heads: int, axis: str, dtype: jnp.dtype) -> Norm | None:
    head_dim = config.head_dim
    match config.qk_norm and config.qk_norm.over:
        case "head":
            return Norm(config.norm, (head_dim,), (HEAD_DIM,), dtype=dtype)
        case "each_head":
            return Norm(config.norm, (heads, head_dim), (axis, HEAD_DIM), dtype=dtype)
        case "all_heads":
            return Norm(config.norm, (heads * head_dim,), (axis,), dtype=dtype, parts=(heads,))
        case _:
            return None
