"""How does a ERNIE 4.5 checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, NormConfig
from jaxserve.models.families.common import MODULES, equal_layers, read_model_rope, read_sizes
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import RopeKind

DEFAULTS = {
    "vocab_size": 103424,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 18,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "hidden_act": "silu",
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": True,
    "rope_theta": 500000.0,
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """An ERNIE 4.5 config.json in our words."""
    sizes = read_sizes(raw)
    bias = raw.flag("use_bias", False)
    return DecoderConfig(
        **sizes,
        layers=equal_layers(raw, read_model_rope(raw, sizes, RopeKind(interleaved=True))),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        qkv_bias=bias,
        o_bias=bias,
        mlp_bias=bias,
    )


FAMILY = Family(
    models="ERNIE 4.5 0.3B",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=MODULES,
)
