"""How does a Ministral 3 checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, NormConfig
from jaxserve.models.families.common import MODULES, equal_layers, read_model_rope, read_sizes
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import RopeKind

DEFAULTS = {
    "vocab_size": 131072,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 34,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hidden_act": "silu",
    "max_position_embeddings": 262144,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 1000000.0,
        "factor": 16.0,
        "original_max_position_embeddings": 16384,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "llama_4_scaling_beta": 0.1,
    },
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A Ministral 3 config.json in our words."""
    sizes = read_sizes(raw)
    rope = read_model_rope(raw, sizes, RopeKind(grows_queries=True))
    return DecoderConfig(
        **sizes,
        layers=equal_layers(raw, rope, window=raw.optional_integer("sliding_window")),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
    )


FAMILY = Family(
    models="Ministral 3 (text)",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=MODULES,
)
