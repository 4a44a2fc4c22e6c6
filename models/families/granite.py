"""How does a Granite checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, NormConfig
from jaxserve.models.families.common import MODULES, equal_layers, read_model_rope, read_sizes
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
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A Granite config.json in our words."""
    sizes = read_sizes(raw)
    attention_bias = raw.flag("attention_bias", False)
    return DecoderConfig(
        **sizes,
        layers=equal_layers(raw, read_model_rope(raw, sizes)),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        qkv_bias=attention_bias,
        o_bias=attention_bias,
        mlp_bias=raw.flag("mlp_bias", False),
        attention_multiplier=raw.number("attention_multiplier", 1.0),
        embedding_multiplier=raw.number("embedding_multiplier", 1.0),
        residual_multiplier=raw.number("residual_multiplier", 1.0),
        logit_multiplier=1 / raw.number("logits_scaling", 1.0),
    )


FAMILY = Family(
    models="Granite 3.0 to 3.3 (dense)",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=MODULES,
)
