"""What if a layer has experts and an MLP as well, each with norms of its own (Gemma 4)?

Both read the hidden state, and what they make is added before it goes through the layer's own norm.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jaxserve.models.config import DecoderConfig, MoEConfig
from jaxserve.models.layers import param, scaled
from jaxserve.models.moe import RoutedExperts
from jaxserve.models.norms import Norm
from jaxserve.models.routing import Router
from jaxserve.sharding.axes import EMBED


class ExpertsBeside(nnx.Module):
    """Experts whose router has a norm of its own and a stored multiplier for each of them."""

    def __init__(self, config: DecoderConfig, moe: MoEConfig, *, dtype: jnp.dtype):
        def norm() -> Norm:
            return Norm(config.norm, (config.embed_dim,), (EMBED,), dtype=dtype)

        self.mlp_norm = norm()  # of what the MLP made
        self.router_norm = norm()
        self.router = Router(moe.routing, config.embed_dim)
        self.expert_multipliers = param(
            (moe.routing.num_experts,), (None,), dtype=jnp.dtype("float32")
        )
        self.input_norm = norm()
        self.experts = RoutedExperts(config, moe, dtype=dtype)
        self.output_norm = norm()

    def __call__(self, x: jax.Array, made: jax.Array) -> jax.Array:
        """[T, D] from hidden states [T, D] and what the MLP made of them, [T, D]."""
        judged = scaled(self.router_norm(x), x.shape[1] ** -0.5)
        chosen, weights = self.router(judged)
        weights = weights * self.expert_multipliers[...][chosen]
        added = self.experts(self.input_norm(x), chosen, weights)
        return self.mlp_norm(made) + self.output_norm(added)
