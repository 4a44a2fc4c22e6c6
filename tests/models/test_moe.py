"""A mixture of experts against the plain sum it stands for, in each way it is computed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from jaxserve.models.config import (
    DecoderConfig,
    LayerConfig,
    MoEConfig,
    NormConfig,
    RoutingConfig,
)
from jaxserve.models.layers import FeedForward
from jaxserve.models.moe import MixtureOfExperts, share_experts
from jaxserve.sharding.mesh import make_mesh
from jaxserve.sharding.rules import sharding

FLOAT32 = jnp.dtype("float32")
ROUTING = RoutingConfig(num_experts=5, num_chosen=2, normalised=True)
X = np.random.default_rng(1).normal(size=(6, 8)).astype(np.float32)


def make(dtype: str = "float32", **changes: Any) -> MixtureOfExperts:
    """A mixture with random parameters."""
    moe = MoEConfig(routing=ROUTING, mlp_dim=12, **changes)
    config = DecoderConfig(
        vocab_size=3,
        embed_dim=8,
        mlp_dim=16,
        num_q_heads=1,
        num_kv_heads=1,
        head_dim=8,
        layers=(LayerConfig(rope=None, moe=moe),),
        norm=NormConfig(eps=1e-6),
        activation="silu",
        tied_embeddings=True,
        max_model_len=8,
    )
    graph, state = nnx.split(MixtureOfExperts(config, moe, dtype=jnp.dtype(dtype)))
    draw = np.random.default_rng(0)
    drawn = jax.tree.map(lambda x: jnp.asarray(draw.normal(size=x.shape), x.dtype), state)
    mixture: MixtureOfExperts = nnx.merge(graph, drawn)
    return mixture


def expected(mixture: MixtureOfExperts, x: np.ndarray) -> np.ndarray:
    """Every expert of every token by itself."""
    experts, weights = mixture.router(jnp.asarray(x))
    out = np.zeros_like(x)
    for token, place in np.ndindex(experts.shape):
        expert, weight = int(experts[token, place]), float(weights[token, place])
        scales_in = mixture.experts.moe.weighs_inputs
        into = jnp.asarray(x[token] * (weight if scales_in else 1.0))

        def through(name: str, y: jax.Array, expert: int = expert) -> jax.Array:
            linear = getattr(mixture.experts, name)
            y = linear.weight[...][expert] @ y
            return y if linear.bias is None else y + linear.bias[...][expert]

        inner = jax.nn.silu(through("gate_proj", into)) * through("up_proj", into)
        out[token] += through("down_proj", inner) * (1.0 if scales_in else weight)
    return out


@pytest.fixture(params=["cpu", "default"])
def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the two ways to compute, on this platform."""
    monkeypatch.setattr(lax, "platform_dependent", lambda *args, **by: by[request.param](*args))


@pytest.mark.parametrize("changes", [{}, {"bias": True}, {"weighs_inputs": True}], ids=str)
def test_it_is_the_weighed_sum_of_the_chosen(platform: None, changes: dict[str, Any]) -> None:
    mixture = make(**changes)
    np.testing.assert_allclose(mixture(jnp.asarray(X)), expected(mixture, X), atol=1e-4)


def test_a_shared_expert_is_added_as_its_gate_says() -> None:
    mixture = make(shared_mlp_dim=4, shared_gate=True)
    assert isinstance(mixture.shared_expert, FeedForward)
    assert mixture.shared_expert.up_proj.weight[...].shape == (4, 8)
    assert mixture.shared_gate is not None
    gate = jax.nn.sigmoid(X @ mixture.shared_gate.weight[...].T)
    shared = gate * mixture.shared_expert(jnp.asarray(X))
    np.testing.assert_allclose(mixture(jnp.asarray(X)), expected(mixture, X) + shared, atol=1e-4)


def test_rows_are_independent_of_one_another(platform: None) -> None:
    mixture = make()
    together = mixture(jnp.asarray(X).at[3].set(jnp.nan))
    for row in (0, 5):
        np.testing.assert_allclose(together[row], mixture(jnp.asarray(X[row : row + 1]))[0], 1e-5)
    assert np.isnan(together[3]).all()


def test_devices_that_share_experts_ask_for_a_sum_and_nothing_else() -> None:
    mesh = make_mesh(tensor_parallel=1, expert_parallel=5)
    mixture = make(bias=True)
    wanted = expected(mixture, X)
    share_experts(mixture, mesh)
    graph, state = nnx.split(mixture)
    placed = jax.tree.map(
        lambda p: p.replace(jax.device_put(p[...], sharding(p.axes, p.parts, mesh))),
        state,
        is_leaf=lambda p: isinstance(p, nnx.Variable),
    )
    program = jax.jit(lambda held, x: nnx.merge(graph, held)(x)).lower(placed, X).compile()
    np.testing.assert_allclose(program(placed, X), wanted, atol=1e-4)
    text = program.as_text()
    assert text is not None
    asked = {name for name in ("all-reduce", "all-gather", "all-to-all") if f" {name}(" in text}
    assert asked == {"all-reduce"}


def test_the_router_stays_float32() -> None:
    mixture = make(dtype="bfloat16")
    assert mixture.router.weight[...].dtype == FLOAT32
    assert mixture.experts.up_proj.weight[...].dtype == jnp.dtype("bfloat16")
