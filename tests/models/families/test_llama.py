import json
from typing import Any

import pytest
from transformers import LlamaConfig

from jaxserve.errors import CheckpointError, UnsupportedModel
from jaxserve.models.config import DecoderConfig, LayerConfig, NormConfig, RopeConfig
from jaxserve.models.families.registry import read_model_config

# Laid out as in a released 135M model.
RELEASED = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "hidden_act": "silu",
    "hidden_size": 576,
    "initializer_range": 0.04,
    "intermediate_size": 1536,
    "is_llama_config": True,
    "max_position_embeddings": 8192,
    "model_type": "llama",
    "num_attention_heads": 9,
    "num_hidden_layers": 30,
    "num_key_value_heads": 3,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_interleaved": False,
    "rope_scaling": None,
    "rope_theta": 100000,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers.js_config": {"dtype": "q4"},
    "transformers_version": "4.40.1",
    "use_cache": True,
    "vocab_size": 49152,
}


def read(**changes: Any) -> DecoderConfig:
    return read_model_config({**RELEASED, **changes}, "config.json")[1]


def test_a_released_config_reads() -> None:
    assert read() == DecoderConfig(
        vocab_size=49152,
        embed_dim=576,
        mlp_dim=1536,
        num_q_heads=9,
        num_kv_heads=3,
        head_dim=64,
        layers=(LayerConfig(rope=RopeConfig(theta=100000.0)),) * 30,
        norm=NormConfig(eps=1e-5, rounds_first=True),
        activation="silu",
        tied_embeddings=True,
        max_model_len=8192,
    )


def test_absent_attributes_are_those_of_transformers() -> None:
    _, ours = read_model_config({"architectures": ["LlamaForCausalLM"]}, "config.json")
    spelled_out = json.loads(LlamaConfig().to_json_string(use_diff=False))
    ignorable = {key: value for key, value in spelled_out.items() if key in RELEASED}
    rope = spelled_out["rope_parameters"]
    whole = {**ignorable, "architectures": ["LlamaForCausalLM"], "rope_parameters": rope}
    assert read_model_config(whole, "config.json")[1] == ours


def test_without_kv_heads_every_query_head_has_its_own() -> None:
    assert read(num_key_value_heads=None).num_kv_heads == 9


def test_head_dim_may_be_its_own() -> None:
    assert read(head_dim=128).head_dim == 128
    assert read(head_dim=128).attention_scale == pytest.approx(128**-0.5)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"hidden_size": "abc"}, "hidden_size = 'abc'"),
        ({"hidden_size": 100}, "hidden_size = 100: it must be a multiple of num_attention_heads"),
        ({"num_key_value_heads": 2}, "num_key_value_heads = 2: it must be a divisor of"),
        ({"head_dim": 63}, "head_dim = 63: it must be even"),
        ({"num_hidden_layers": 0}, "num_hidden_layers = 0"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings = 'yes'"),
    ],
)
def test_values_that_make_no_model_are_named(changes: dict[str, Any], names: str) -> None:
    with pytest.raises(CheckpointError, match=f"config.json: {names}"):
        read(**changes)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"hidden_act": "tanh"}, "hidden_act = 'tanh'"),
        ({"rope_interleaved": True}, "rope_interleaved = True"),
        ({"sliding_window": 4096}, "sliding_window = 4096"),
        ({"auto_map": {"AutoModel": "m.M"}}, "code that comes with a checkpoint is never run"),
    ],
)
def test_what_is_not_handled_is_refused_by_name(changes: dict[str, Any], names: str) -> None:
    with pytest.raises(UnsupportedModel, match=names):
        read(**changes)
