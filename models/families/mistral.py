"""How does a Mistral checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, NormConfig
from jaxserve.models.families.common import MODULES, equal_layers, read_model_rope, read_sizes
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
    """A Mistral config.json in our words."""
    sizes = read_sizes(raw)
    window = raw.optional_integer("sliding_window")
    return DecoderConfig(
        **sizes,
        layers=equal_layers(raw, read_model_rope(raw, sizes), window=window),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
    )


FAMILY = Family(
    models="Mistral 7B, Nemo, Small 2409 and 2501, Large, Codestral",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=MODULES,
)
