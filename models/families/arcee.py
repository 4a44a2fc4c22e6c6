"""How does a AFM checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, NormConfig
from jaxserve.models.families.common import (
    ATTENTION,
    ENDS,
    PLAIN_MLP,
    PRE_NORMS,
    equal_layers,
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader

DEFAULTS = {
    "vocab_size": 32000,
    "hidden_size": 2560,
    "intermediate_size": 18432,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_act": "relu2",
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """An AFM config.json in our words."""
    sizes = read_sizes(raw)
    attention_bias = raw.flag("attention_bias", False)
    return DecoderConfig(
        **sizes,
        layers=equal_layers(raw, read_model_rope(raw, sizes)),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        gated_mlp=False,
        qkv_bias=attention_bias,
        o_bias=attention_bias,
        mlp_bias=raw.flag("mlp_bias", False),
    )


FAMILY = Family(
    models="AFM 4.5B",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**ENDS, **PRE_NORMS, **ATTENTION, **PLAIN_MLP},
)
