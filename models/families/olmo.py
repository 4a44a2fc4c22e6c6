"""How does a OLMo checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, NormConfig
from jaxserve.models.families.common import (
    ATTENTION,
    ENDS,
    GATED_MLP,
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
    "tie_word_embeddings": False,
}

IGNORED = {
    "pretraining_tp": "sums products in slices, as pretraining did; the result is the same",
}

WITHOUT_NORM = {key: path for key, path in ENDS.items() if path != "norm"}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """An OLMo config.json in our words."""
    sizes = read_sizes(raw)
    attention_bias = raw.flag("attention_bias", False)
    return DecoderConfig(
        **sizes,
        layers=equal_layers(raw, read_model_rope(raw, sizes)),
        norm=NormConfig(eps=1e-5, centered=True, weight="none"),
        qkv_bias=attention_bias,
        o_bias=attention_bias,
        qkv_clip=raw.optional_number("clip_qkv"),
    )


FAMILY = Family(
    models="OLMo 1, as transformers stores it",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**WITHOUT_NORM, **ATTENTION, **GATED_MLP},
    ignored=IGNORED,
)
