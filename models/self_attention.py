"""How does a layer's attention turn hidden states into queries, keys and values, and back?

Projections, norms over heads and rotation. How scores become sums is the backend's business: it is
handed in, with an `AttentionSpec` of what this layer needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from jaxserve.models.attention_demands import spec_of
from jaxserve.models.config import DecoderConfig, LayerConfig
from jaxserve.models.layers import Linear, param
from jaxserve.models.norms import Norm, normed
from jaxserve.models.rope import Rotation, grown, rotate
from jaxserve.sharding.axes import EMBED, HEAD_DIM, KV_HEADS, Q_HEADS

Attend = Callable[..., tuple[jax.Array, jax.Array]]
"""An AttentionBackend that was told the step's metadata: takes q, k, v, pages and `spec`."""


class Attention(nnx.Module):
    """Grouped-query attention (arXiv:2305.13245) through a backend."""

    def __init__(self, config: DecoderConfig, layer: LayerConfig, *, dtype: jnp.dtype):
        row, heads = config.kv_row(layer), config.num_q_heads
        into_heads = partial(_into_heads, config, row.head_dim, dtype)
        norm = partial(_norm, config, layer, row.head_dim, dtype)
        has_kv = layer.kv_from is None
        has_values = has_kv and not layer.values_are_keys
        self.config = config
        self.head_dim = row.head_dim
        self.spec = spec_of(config, layer)
        self.q_proj = into_heads(heads, Q_HEADS)
        self.gate_proj = into_heads(heads, Q_HEADS) if config.attention_gate else None
        self.k_proj = into_heads(row.num_heads, KV_HEADS) if has_kv else None
        self.v_proj = into_heads(row.num_heads, KV_HEADS) if has_values else None
        self.o_proj = Linear(
            (config.embed_dim, heads * row.head_dim),
            (EMBED, Q_HEADS),
            bias=config.o_bias,
            dtype=dtype,
            parts=(config.embed_dim, heads),
        )
        self.q_norm = norm(heads, Q_HEADS)
        self.k_norm = norm(row.num_heads, KV_HEADS) if has_kv else None
        self.v_norm = _value_norm(config, row.head_dim, dtype) if has_kv else None
        self.sinks = param((heads,), (Q_HEADS,), dtype=dtype) if config.attention_sinks else None

    def __call__(
        self, x: jax.Array, pages: jax.Array, *, turn: Rotation | None, attend: Attend
    ) -> tuple[jax.Array, jax.Array]:
        """[T, D] from [T, D], and the pages with the new KV, if it is this layer's."""
        q = self._placed(self._heads(self.q_proj, x), self.q_norm, turn)
        if turn is not None:
            q = grown(q, turn)
        k, v = self._keys_and_values(x, turn)
        sinks = None if self.sinks is None else self.sinks[...].astype(jnp.float32)
        attended, pages = attend(q, k, v, pages, spec=self.spec, sinks=sinks)
        attended = attended.reshape(x.shape[0], -1)
        if self.gate_proj is not None:
            attended = attended * jax.nn.sigmoid(self.gate_proj(x))
        return self.o_proj(attended), pages

    def _keys_and_values(
        self, x: jax.Array, turn: Rotation | None
    ) -> tuple[jax.Array | None, jax.Array | None]:
        if self.k_proj is None:
            return None, None
        keys = self._heads(self.k_proj, x)
        values = keys if self.v_proj is None else self._heads(self.v_proj, x)
        return self._placed(keys, self.k_norm, turn), normed(self.v_norm, values)

    def _heads(self, project: Linear, x: jax.Array) -> jax.Array:
        y, clip = project(x), self.config.qkv_clip
        if clip is not None:
            y = jnp.clip(y, -clip, clip)
        return y.reshape(x.shape[0], -1, self.head_dim)

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


def _into_heads(
    config: DecoderConfig, head_dim: int, dtype: jnp.dtype, heads: int, axis: str
) -> Linear:
    return Linear(
        (heads * head_dim, config.embed_dim),
        (axis, EMBED),
        bias=config.qkv_bias,
        dtype=dtype,
        parts=(heads, config.embed_dim),
    )


def _norm(
    config: DecoderConfig,
    layer: LayerConfig,
    head_dim: int,
    dtype: jnp.dtype,
    heads: int,
    axis: str,
) -> Norm | None:
    qk_norm, norm = config.qk_norm, config.norm
    turns = layer.rope is not None and layer.rope.fraction > 0
    if qk_norm is None or (qk_norm.where_turned and not turns):
        return None
    if not qk_norm.weighted:
        norm = replace(norm, weight="none", bias=False)
    match qk_norm.over:
        case "head":
            return Norm(norm, (head_dim,), (HEAD_DIM,), dtype=dtype)
        case "each_head":
            return Norm(norm, (heads, head_dim), (axis, HEAD_DIM), dtype=dtype)
        case "all_heads":
            return Norm(norm, (heads * head_dim,), (axis,), dtype=dtype, parts=(heads,))


def _value_norm(config: DecoderConfig, head_dim: int, dtype: jnp.dtype) -> Norm | None:
    if config.qk_norm is None or not config.qk_norm.values:
        return None
    return Norm(replace(config.norm, weight="none"), (head_dim,), (HEAD_DIM,), dtype=dtype)
