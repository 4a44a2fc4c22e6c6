"""How does a Ministral checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, LayerConfig, NormConfig
from jaxserve.models.families.common import (
    FULL,
    MODULES,
    SLIDING,
    layers_of_kinds,
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader

DEFAULTS = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_act": "silu",
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
    "sliding_window": 4096,
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A Ministral config.json in our words."""
    sizes = read_sizes(raw)
    num_layers = raw.integer("num_hidden_layers")
    full = LayerConfig(rope=read_model_rope(raw, sizes))
    sliding = LayerConfig(rope=full.rope, window=raw.optional_integer("sliding_window"))
    kinds = raw.choices("layer_types", (FULL, SLIDING), length=num_layers)
    return DecoderConfig(
        **sizes,
        layers=layers_of_kinds(kinds or (SLIDING,) * num_layers, full=full, sliding=sliding),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
    )


FAMILY = Family(
    models="Ministral",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=MODULES,
)
