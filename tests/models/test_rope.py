from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from jaxserve.models.config import QueryGrowth, RopeConfig
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope import grown, rotate, rotation
from jaxserve.models.rope_config import read_rope
from tests.models.tolerance import assert_agrees

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


YARN = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 8192}
LONG = {
    "rope_type": "longrope",
    "short_factor": [1.0 + 0.01 * i for i in range(32)],
    "long_factor": [1.0 + 0.5 * i for i in range(32)],
    "original_max_position_embeddings": 4096,
}


@pytest.mark.parametrize(
    "parameters",
    [
        {"rope_type": "default"},
        {"rope_type": "linear", "factor": 2.5},
        {"rope_type": "dynamic", "factor": 2.0},
        LLAMA3,
        YARN,
        {**YARN, "beta_fast": 16.0, "beta_slow": 2.0, "truncate": False},
        {**YARN, "mscale": 1.0, "mscale_all_dim": 0.8},
        {**YARN, "attention_factor": 1.5},
        LONG,
    ],
    ids=lambda parameters: parameters["rope_type"],
)
def test_rotation_agrees_far_into_the_context(parameters: dict[str, Any]) -> None:
    parameters = {"rope_theta": 500000.0, **parameters}
    positions = np.array([0, 1, 2, 63, 1000, 8191, 100_000])
    heads = np.random.default_rng(0).normal(size=(len(positions), 3, 64)).astype(np.float32)
    config = LlamaConfig(
        hidden_size=192,
        num_attention_heads=3,
        max_position_embeddings=131072,
        rope_parameters=dict(parameters),
    )
    queries = torch.tensor(heads)[None].transpose(1, 2)
    turn = LlamaRotaryEmbedding(config)(queries, torch.tensor(positions)[None])
    reference, _ = apply_rotary_pos_emb(queries, queries, *turn)
    raw = ConfigReader({"rope_parameters": parameters}, "config.json")
    rope = read_rope(raw, head_dim=64, max_model_len=131072)
    ours = rotation(jnp.asarray(positions), rope, 64, max_model_len=131072)
    assert_agrees(rotate(jnp.asarray(heads), ours), reference[0].transpose(0, 1).numpy())


def test_rotation_keeps_the_dtype() -> None:
    turn = rotation(jnp.arange(2), RopeConfig(theta=1e4), 8, max_model_len=2)
    assert rotate(jnp.ones((2, 1, 8), jnp.bfloat16), turn).dtype == jnp.bfloat16


def turned(rope: RopeConfig, heads: np.ndarray, *, position: int = 3) -> np.ndarray:
    turn = rotation(jnp.full(len(heads), position), rope, heads.shape[-1], max_model_len=64)
    return np.asarray(rotate(jnp.asarray(heads), turn))


HEADS = np.random.default_rng(1).normal(size=(2, 3, 16)).astype(np.float32)


def test_a_fraction_leaves_the_rest_of_the_head() -> None:
    part = turned(RopeConfig(theta=1e4, fraction=0.5), HEADS)
    np.testing.assert_array_equal(part[..., 8:], HEADS[..., 8:])
    np.testing.assert_array_equal(part[..., :8], turned(RopeConfig(theta=1e4), HEADS[..., :8]))


def test_interleaving_turns_neighbours() -> None:
    apart = np.concatenate([HEADS[..., 0::2], HEADS[..., 1::2]], axis=-1)
    expected = turned(RopeConfig(theta=1e4), apart)
    ours = turned(RopeConfig(theta=1e4, interleaved=True), HEADS)
    np.testing.assert_array_equal(np.concatenate([ours[..., 0::2], ours[..., 1::2]], -1), expected)


def test_only_queries_grow_and_only_past_the_first_context() -> None:
    rope = RopeConfig(theta=1e4, query_growth=QueryGrowth(beta=0.5, original_max_len=10))
    turn = rotation(jnp.array([9, 35]), rope, 16, max_model_len=64)
    keys = np.asarray(rotate(jnp.asarray(HEADS), turn))
    queries = np.asarray(grown(rotate(jnp.asarray(HEADS), turn), turn))
    np.testing.assert_array_equal(queries[0], keys[0])
    assert_agrees(queries[1], keys[1] * (1 + 0.5 * np.log(4)))
