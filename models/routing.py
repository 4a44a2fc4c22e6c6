"""Which experts does a token go to, and how much does each of them count?

In float32 whatever the hidden states are: a rounded score sends a token to another expert.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxserve.models.config import ExpertGroups, RoutingConfig
from jaxserve.models.layers import param, product
from jaxserve.sharding.axes import EMBED

_FLOAT32 = jnp.dtype("float32")


class Router(nnx.Module):
    """Scores every expert for every token. Its parameters are float32, on every device."""

    def __init__(self, config: RoutingConfig, embed_dim: int):
        num_experts = config.num_experts
        self.config = config
        self.weight = param((num_experts, embed_dim), (None, EMBED), dtype=_FLOAT32)
        self.bias = param((num_experts,), (None,), dtype=_FLOAT32) if config.bias else None
        self.e_score_correction_bias = (
            param((num_experts,), (None,), dtype=_FLOAT32) if config.correction else None
        )

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The chosen experts i32[T, k] of [T, D], and what each counts, f32[T, k]."""
        logits = product(x.astype(_FLOAT32), self.weight[...])
        if self.bias is not None:
            logits = logits + self.bias[...]
        correction = self.e_score_correction_bias
        return choose(logits, self.config, None if correction is None else correction[...])


def choose(
    logits: jax.Array, config: RoutingConfig, correction: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Experts i32[T, k] and their weights f32[T, k] for logits f32[T, E], as `config` says.

    `correction` f32[E] is added to the scores that are compared, not to those that are returned.
    """
    if config.margin is not None:
        return _choose_one_by_one(logits, config.num_chosen, config.margin)
    scores = jax.nn.sigmoid(logits) if config.scores == "sigmoid" else jax.nn.softmax(logits)
    # Scores are ranked as logits are, but large ones are rounded to the same number.
    ranks = logits if correction is None and config.groups is None else scores
    if correction is not None:
        ranks = ranks + correction
    if config.groups is not None:
        ranks = _within_best_groups(ranks, config.groups)
    chosen = lax.top_k(ranks, config.num_chosen)[1]
    weights = jnp.take_along_axis(scores, chosen, axis=-1)
    if config.normalised:
        weights = weights / (weights.sum(-1, keepdims=True) + 1e-20)
    return chosen, weights * config.multiplier


def _within_best_groups(ranks: jax.Array, groups: ExpertGroups) -> jax.Array:
    """f32[T, E], with the experts of all but the best groups out of question."""
    grouped = ranks.reshape(len(ranks), groups.num_groups, -1)
    judged = lax.top_k(grouped, groups.num_judged_by)[0].sum(-1)
    best = lax.top_k(judged, groups.num_chosen)[1]
    is_best = (best[:, :, None] == jnp.arange(groups.num_groups)).any(1)
    return jnp.where(is_best[:, :, None], grouped, -jnp.inf).reshape(ranks.shape)


def _choose_one_by_one(
    logits: jax.Array, num_chosen: int, margin: float
) -> tuple[jax.Array, jax.Array]:
    """Each is the best of those left, weighed by a softmax over those of them that come close."""
    left, chosen, weights = logits, [], []
    for _ in range(num_chosen):
        best, index = left.max(-1, keepdims=True), left.argmax(-1, keepdims=True)
        is_far = (best - logits) / jnp.maximum(jnp.abs(logits), best) > margin
        close = jax.nn.softmax(jnp.where(is_far, -jnp.inf, left))
        chosen.append(index)
        weights.append(jnp.take_along_axis(close, index, axis=-1))
        left = jnp.where(jnp.arange(logits.shape[-1]) == index, -jnp.inf, left)
    return jnp.concatenate(chosen, axis=-1).astype(jnp.int32), jnp.concatenate(weights, axis=-1)
