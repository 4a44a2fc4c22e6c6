from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from jaxserve.errors import CheckpointError, UnsupportedModel
from jaxserve.models.config import LinearScaling, Llama3Scaling, RopeConfig
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope import read_rope, rotate, rotation
from tests.models.tolerance import assert_agrees

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def read(raw: Mapping[str, Any]) -> RopeConfig:
    return read_rope(ConfigReader(raw, "config.json"), max_model_len=2048)


@pytest.mark.parametrize(
    "parameters",
    [{"rope_type": "default"}, {"rope_type": "linear", "factor": 2.5}, LLAMA3],
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
    ours = rotation(jnp.asarray(positions), read({"rope_parameters": parameters}), 64)
    assert_agrees(rotate(jnp.asarray(heads), ours), reference[0].transpose(0, 1).numpy())


def test_rotation_keeps_the_dtype() -> None:
    turn = rotation(jnp.arange(2), RopeConfig(theta=1e4), 8)
    assert rotate(jnp.ones((2, 1, 8), jnp.bfloat16), turn).dtype == jnp.bfloat16


def test_without_parameters_theta_is_the_default() -> None:
    assert read({}) == RopeConfig(theta=10000.0)


def test_older_files_spell_theta_and_scaling_apart() -> None:
    raw = {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2}}
    assert read(raw) == RopeConfig(theta=5e5, scaling=LinearScaling(factor=2.0))


def test_newer_files_hold_both_in_one_object() -> None:
    raw = {"rope_parameters": {"rope_theta": 5e5, **LLAMA3}}
    scaling = Llama3Scaling(
        factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_len=8192
    )
    assert read(raw) == RopeConfig(theta=5e5, scaling=scaling)


def test_a_null_scaling_is_none() -> None:
    assert read({"rope_scaling": None, "rope_theta": 1e5}) == RopeConfig(theta=1e5)


@pytest.mark.parametrize("kind", ["dynamic", "yarn", "longrope", "su"])
@pytest.mark.parametrize("spelling", ["type", "rope_type"])
def test_other_scalings_are_refused_by_name(kind: str, spelling: str) -> None:
    with pytest.raises(UnsupportedModel) as refusal:
        read({"rope_scaling": {spelling: kind, "factor": 2.0}})
    assert f"{spelling} = '{kind}' is not supported" in str(refusal.value)
    assert "default, linear, llama3" in str(refusal.value)


@pytest.mark.parametrize(
    ("scaling", "names"),
    [
        ({"rope_type": "linear"}, "factor = absent"),
        ({"rope_type": "linear", "factor": "2"}, "factor = '2'"),
        ({**LLAMA3, "high_freq_factor": 1.0}, "high_freq_factor = 1.0"),
        ({**LLAMA3, "original_max_position_embeddings": 0.5}, "original_max_position_embeddings"),
    ],
)
def test_bad_values_are_named(scaling: dict[str, Any], names: str) -> None:
    with pytest.raises(CheckpointError, match=f"rope_scaling in config.json: {names}"):
        read({"rope_scaling": scaling})


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="attention_factor = 2"):
        read({"rope_scaling": {"rope_type": "linear", "factor": 2.0, "attention_factor": 2}})


def test_rotating_a_part_of_the_head_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match=r"partial_rotary_factor = 0\.5"):
        read({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}})


def test_both_spellings_at_once_are_refused() -> None:
    with pytest.raises(CheckpointError, match="rope_scaling"):
        read({"rope_scaling": {"type": "default"}, "rope_parameters": {"rope_type": "default"}})
