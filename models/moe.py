"""What stands in an MLP's place where every token goes to experts of its own?

A router, the experts it chooses from, and an MLP for all tokens where the config has one. Rows
are independent of one another: an idle token's garbage stays its own.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from jaxserve.errors import ConfigError
from jaxserve.models.config import DecoderConfig, MoEConfig
from jaxserve.models.grouping import block_rows, grouped_product, in_blocks
from jaxserve.models.layers import ACTIVATIONS, FeedForward, Linear, is_dense, param, product, slab
from jaxserve.models.routing import Router
from jaxserve.sharding.axes import EMBED, EXPERT, EXPERTS, MLP


class ExpertLinear(nnx.Module):
    """`x W^T + b` with a W and b for each expert. `sizes` and `axes` are (experts, out, in)."""

    def __init__(
        self,
        sizes: tuple[int, int, int],
        axes: tuple[str, str, str],
        *,
        bias: bool,
        dtype: jnp.dtype,
    ):
        self.weight = param(sizes, axes, dtype=dtype)
        self.bias = param(sizes[:2], axes[:2], dtype=dtype) if bias else None

    def of_one(self, rows: jax.Array, expert: jax.Array) -> jax.Array:
        """f32[N, out] from rows [N, in], all of one expert."""
        y = product(rows, slab(self.weight, expert))
        return y if self.bias is None else y + self.bias[...][expert].astype(jnp.float32)

    def of_all(self, rows: jax.Array, counts: jax.Array) -> jax.Array:
        """f32[N, out] from rows [N, in], the first counts[0] of them of expert 0 and so on."""
        if is_dense(self.weight):
            y = grouped_product(rows, self.weight[...], counts)
        else:
            y = self.weight.grouped_product(rows, counts)
        if self.bias is None:
            return y
        biases = self.bias[...].astype(jnp.float32)
        return y + jnp.repeat(biases, counts, axis=0, total_repeat_length=len(rows))


class RoutedExperts(nnx.Module):
    """Gated MLPs, of which a token goes through those chosen for it."""

    def __init__(self, config: DecoderConfig, moe: MoEConfig, *, dtype: jnp.dtype):
        num_experts, inner, outer = moe.routing.num_experts, moe.mlp_dim, config.embed_dim
        into, out_of = (num_experts, inner, outer), (num_experts, outer, inner)
        self.moe = moe
        self.mesh: Mesh | None = None  # whose devices share the experts; `share_experts` sets it
        self.activation = config.activation
        self.gate_proj = ExpertLinear(into, (EXPERTS, MLP, EMBED), bias=moe.bias, dtype=dtype)
        self.up_proj = ExpertLinear(into, (EXPERTS, MLP, EMBED), bias=moe.bias, dtype=dtype)
        self.down_proj = ExpertLinear(out_of, (EXPERTS, EMBED, MLP), bias=moe.bias, dtype=dtype)

    def __call__(self, x: jax.Array, chosen: jax.Array, weights: jax.Array) -> jax.Array:
        """[T, D] from [T, D], the experts i32[T, k] of each token and their weights f32[T, k]."""
        if self.mesh is None:
            return self._summed(x, chosen, weights).astype(x.dtype)
        graph, state = nnx.split(self)
        num_own = self.moe.routing.num_experts // self.mesh.shape[EXPERT]

        def of_device(
            state: nnx.State, x: jax.Array, chosen: jax.Array, weights: jax.Array
        ) -> jax.Array:
            own = chosen - lax.axis_index(EXPERT) * num_own
            # What others compute is sorted behind, where no expert of this device begins.
            is_own = (own >= 0) & (own < num_own)
            part = nnx.merge(graph, state)._summed(
                x, jnp.where(is_own, own, num_own), jnp.where(is_own, weights, 0)
            )
            return lax.psum(part, EXPERT)

        shared = jax.shard_map(
            of_device,
            mesh=self.mesh,
            in_specs=(PartitionSpec(EXPERT), PartitionSpec(), PartitionSpec(), PartitionSpec()),
            out_specs=PartitionSpec(),
            axis_names={EXPERT},
            check_vma=False,
        )
        summed: jax.Array = shared(state, x, chosen, weights)
        return summed.astype(x.dtype)

    def _summed(self, x: jax.Array, chosen: jax.Array, weights: jax.Array) -> jax.Array:
        """f32[T, D]: what `chosen` give, weighed and added up; numbers past the last give zero."""
        num_experts = self.moe.routing.num_experts // self._num_shares
        experts = chosen.reshape(-1)
        order = jnp.argsort(experts)
        rows = x[order // chosen.shape[1]]
        if self.moe.weighs_inputs:
            rows = rows * weights.reshape(-1)[order][:, None].astype(x.dtype)
        counts = jnp.bincount(experts, length=num_experts + 1)[:num_experts]
        y = lax.platform_dependent(rows, counts, cpu=self._in_blocks, default=self._at_once)
        y = y[jnp.argsort(order)].reshape(*chosen.shape, -1)
        y = jnp.where(chosen[:, :, None] < num_experts, y, 0.0)
        if not self.moe.weighs_inputs:
            y = y * weights[:, :, None]
        return y.sum(1)

    @property
    def _num_shares(self) -> int:
        return 1 if self.mesh is None else int(self.mesh.shape[EXPERT])

    def _in_blocks(self, rows: jax.Array, counts: jax.Array) -> jax.Array:
        def apply(block: jax.Array, expert: jax.Array) -> jax.Array:
            return self._mlp(block, lambda linear, x: linear.of_one(x, expert))

        size = block_rows(len(rows), self.moe.routing.num_experts)
        return in_blocks(rows, counts, apply, size=size)

    def _at_once(self, rows: jax.Array, counts: jax.Array) -> jax.Array:
        return self._mlp(rows, lambda linear, x: linear.of_all(x, counts))

    def _mlp(
        self, rows: jax.Array, project: Callable[[ExpertLinear, jax.Array], jax.Array]
    ) -> jax.Array:
        gate, up = project(self.gate_proj, rows), project(self.up_proj, rows)
        return project(self.down_proj, self._bent(gate, up).astype(rows.dtype))

    def _bent(self, gate: jax.Array, up: jax.Array) -> jax.Array:
        clamped = self.moe.clamped
        if clamped is None:
            return ACTIVATIONS[self.activation](gate) * up
        gate, up = jnp.minimum(gate, clamped.limit), jnp.clip(up, -clamped.limit, clamped.limit)
        return (up + 1) * gate * jax.nn.sigmoid(clamped.alpha * gate)


def share_experts(module: nnx.Module, mesh: Mesh) -> None:
    """Let each device along the mesh's expert axis compute its own of the experts in `module`.

    Raises ConfigError where there are no experts to share.
    """
    if mesh.shape[EXPERT] == 1:
        return
    found = [part for _, part in nnx.iter_modules(module) if isinstance(part, RoutedExperts)]
    if not found:
        raise ConfigError(
            f"expert_parallel = {mesh.shape[EXPERT]}, but this model has no experts; leave it out, "
            "or split layers with tensor_parallel"
        )
    for part in found:
        part.mesh = mesh


class MixtureOfExperts(nnx.Module):
    """Experts by a router's choice, and beside them an MLP that all tokens share."""

    def __init__(self, config: DecoderConfig, moe: MoEConfig, *, dtype: jnp.dtype):
        self.router = Router(moe.routing, config.embed_dim)
        self.experts = RoutedExperts(config, moe, dtype=dtype)
        self.shared_expert = (
            FeedForward(config, dtype=dtype, mlp_dim=moe.shared_mlp_dim)
            if moe.shared_mlp_dim
            else None
        )
        gate = (1, config.embed_dim)
        self.shared_gate = (
            Linear(gate, (None, EMBED), bias=False, dtype=dtype) if moe.shared_gate else None
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """[T, D] from [T, D]."""
        y = self.experts(x, *self.router(x))
        if self.shared_expert is None:
            return y
        shared = self.shared_expert(x)
        if self.shared_gate is not None:
            shared = shared * jax.nn.sigmoid(self.shared_gate(x))
        return y + shared
