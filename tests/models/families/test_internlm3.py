from typing import Any

from jaxserve.models.config import DecoderConfig
from jaxserve.models.families.registry import read_model_config

# Laid out as in the released 8B model.
RELEASED = {
    "architectures": ["InternLM3ForCausalLM"],
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_internlm3.InternLM3Config",
        "AutoModelForCausalLM": "modeling_internlm3.InternLM3ForCausalLM",
    },
    "bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 10240,
    "max_position_embeddings": 32768,
    "model_type": "internlm3",
    "num_attention_heads": 32,
    "num_hidden_layers": 48,
    "num_key_value_heads": 2,
    "pad_token_id": 2,
    "qkv_bias": False,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {"factor": 6.0, "rope_type": "dynamic"},
    "rope_theta": 50000000,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": 128512,
}


def read(**changes: Any) -> DecoderConfig:
    return read_model_config({**RELEASED, **changes}, "config.json")[1]


def test_a_released_config_reads() -> None:
    config = read()
    assert (config.num_layers, config.num_kv_heads, config.head_dim) == (48, 2, 128)
    assert config.layers[0].rope is not None
    assert config.layers[0].rope.theta == 5e7


def test_released_biases_and_those_of_transformers_are_read() -> None:
    released, ours = read(bias=True, qkv_bias=True), read(mlp_bias=True, attention_bias=True)
    assert (released.qkv_bias, released.o_bias, released.mlp_bias) == (True, True, True)
    assert (ours.qkv_bias, ours.o_bias, ours.mlp_bias) == (False, False, False)  # theirs go first
    without = {k: v for k, v in RELEASED.items() if k not in ("bias", "qkv_bias")}
    spelled = read_model_config({**without, "mlp_bias": True, "attention_bias": True}, "c")[1]
    assert spelled == released
