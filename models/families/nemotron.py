"""How does a Nemotron or Minitron checkpoint describe itself?"""

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
from jaxserve.models.rope_config import RopeKind

DEFAULTS = {
    "vocab_size": 256000,
    "hidden_size": 6144,
    "intermediate_size": 24576,
    "num_hidden_layers": 32,
    "num_attention_heads": 48,
    "hidden_act": "relu2",
    "max_position_embeddings": 4096,
    "norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "partial_rotary_factor": 0.5,
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A Nemotron config.json in our words."""
    sizes = read_sizes(raw)
    attention_bias = raw.flag("attention_bias", False)
    rope = read_model_rope(raw, sizes, RopeKind(fraction="partial_rotary_factor"))
    return DecoderConfig(
        **sizes,
        layers=equal_layers(raw, rope),
        norm=NormConfig(eps=raw.number("norm_eps"), centered=True, weight="plus_one", bias=True),
        gated_mlp=False,
        qkv_bias=attention_bias,
        o_bias=attention_bias,
        mlp_bias=raw.flag("mlp_bias", False),
    )


FAMILY = Family(
    models="Nemotron 4, Minitron",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**ENDS, **PRE_NORMS, **ATTENTION, **PLAIN_MLP},
)
