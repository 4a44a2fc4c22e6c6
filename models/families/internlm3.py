"""How does an InternLM3 checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, NormConfig
from jaxserve.models.families.common import (
    MODULES,
    OLDER_CODE,
    equal_layers,
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader

DEFAULTS = {
    "vocab_size": 128512,
    "hidden_size": 4096,
    "intermediate_size": 10240,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """An InternLM3 config.json in our words.

    Released files say `bias` and `qkv_bias`; transformers, which computes the family as Llama, says
    `mlp_bias` and `attention_bias`, and refuses one without the other.
    """
    sizes = read_sizes(raw)
    bias = raw.flag("bias", raw.flag("mlp_bias", False))
    return DecoderConfig(
        **sizes,
        layers=equal_layers(raw, read_model_rope(raw, sizes)),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        qkv_bias=raw.flag("qkv_bias", raw.flag("attention_bias", False)),
        o_bias=bias,
        mlp_bias=bias,
    )


FAMILY = Family(
    models="InternLM3 8B",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=MODULES,
    ignored=OLDER_CODE,
)
