"""How does a Helium checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, NormConfig
from jaxserve.models.families.common import MODULES, equal_layers, read_model_rope, read_sizes
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import RopeKind

DEFAULTS = {
    "vocab_size": 48000,
    "hidden_size": 2560,
    "intermediate_size": 7040,
    "num_hidden_layers": 24,
    "num_attention_heads": 20,
    "num_key_value_heads": 20,
    "head_dim": 128,
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-08,
    "tie_word_embeddings": False,
    "rope_theta": 100000.0,
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A Helium config.json in our words."""
    sizes = read_sizes(raw)
    return DecoderConfig(
        **sizes,
        layers=equal_layers(raw, read_model_rope(raw, sizes, RopeKind(interleaved=True))),
        norm=NormConfig(eps=raw.number("rms_norm_eps")),
        qkv_bias=raw.flag("attention_bias", False),
        mlp_bias=raw.flag("mlp_bias", False),
    )


FAMILY = Family(
    models="Helium 1",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=MODULES,
)
