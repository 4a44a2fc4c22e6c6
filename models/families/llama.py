"""How does a Llama checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, NormConfig
from jaxserve.models.families.common import (
    MODULES,
    ROTARY_TABLES,
    equal_layers,
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader

DEFAULTS = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}

IGNORED = {
    "is_llama_config": "a record of how the file was made",
    "pretraining_tp": "sums products in slices, as pretraining did; the result is the same",
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A Llama config.json in our words."""
    sizes = read_sizes(raw)
    attention_bias = raw.flag("attention_bias", False)
    raw.require("rope_interleaved", False)
    return DecoderConfig(
        **sizes,
        layers=equal_layers(raw, read_model_rope(raw, sizes)),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        qkv_bias=attention_bias,
        o_bias=attention_bias,
        mlp_bias=raw.flag("mlp_bias", False),
    )


FAMILY = Family(
    models="Llama 1 to 3.3, SmolLM 1 and 2, TinyLlama, Yi, DeepSeek-R1-Distill-Llama",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=MODULES,
    ignored_keys=ROTARY_TABLES,
    ignored=IGNORED,
)
