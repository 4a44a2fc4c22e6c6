"""How does a Seed-OSS checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, NormConfig
from jaxserve.models.families.common import MODULES, equal_layers, read_model_rope, read_sizes
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader

DEFAULTS = {
    "vocab_size": 155136,
    "hidden_size": 4096,
    "intermediate_size": 27648,
    "num_hidden_layers": 64,
    "num_attention_heads": 80,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hidden_act": "silu",
    "max_position_embeddings": 524288,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
}

IGNORED = {
    "pretraining_tp": "sums products in slices, as pretraining did; the result is the same",
    "residual_dropout": "only training uses it",
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A Seed-OSS config.json in our words."""
    sizes = read_sizes(raw)
    return DecoderConfig(
        **sizes,
        layers=equal_layers(raw, read_model_rope(raw, sizes)),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        qkv_bias=raw.flag("attention_bias", True),
        o_bias=raw.flag("attention_out_bias", False),
        mlp_bias=raw.flag("mlp_bias", False),
    )


FAMILY = Family(
    models="Seed-OSS 36B",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=MODULES,
    ignored=IGNORED,
)
