"""How does a OLMo 2 checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, NormConfig, QKNormConfig
from jaxserve.models.families.common import (
    ATTENTION,
    ENDS,
    GATED_MLP,
    QK_NORMS,
    equal_layers,
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader

DEFAULTS = {
    "vocab_size": 50304,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
}

POST_NORMS = {
    "model.layers.*.post_attention_layernorm": "layers.*.post_self_attn_layernorm",
    "model.layers.*.post_feedforward_layernorm": "layers.*.post_mlp_layernorm",
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """An OLMo 2 config.json in our words."""
    sizes = read_sizes(raw)
    attention_bias = raw.flag("attention_bias", False)
    return DecoderConfig(
        **sizes,
        layers=equal_layers(raw, read_model_rope(raw, sizes)),
        norm=NormConfig(eps=raw.number("rms_norm_eps")),
        block="post_norm",
        qk_norm=QKNormConfig(over="all_heads"),
        qkv_bias=attention_bias,
        o_bias=attention_bias,
    )


FAMILY = Family(
    models="OLMo 2",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**ENDS, **POST_NORMS, **ATTENTION, **QK_NORMS, **GATED_MLP},
)
