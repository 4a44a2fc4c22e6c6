"""How does a Gemma checkpoint describe itself?"""

from __future__ import annotations

import math

from jaxserve.models.config import DecoderConfig, NormConfig
from jaxserve.models.families.common import MODULES, equal_layers, read_model_rope, read_sizes
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader

DEFAULTS = {
    "vocab_size": 256000,
    "hidden_size": 3072,
    "intermediate_size": 24576,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "head_dim": 256,
    "hidden_act": "gelu_pytorch_tanh",
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": True,
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A Gemma config.json in our words."""
    sizes = read_sizes(raw)
    if sizes["activation"] == "gelu":  # so say the first files, and mean the other
        sizes["activation"] = "gelu_pytorch_tanh"
    attention_bias = raw.flag("attention_bias", False)
    raw.require("hidden_activation", sizes["activation"])
    raw.require("use_bidirectional_attention", False)
    return DecoderConfig(
        **sizes,
        layers=equal_layers(raw, read_model_rope(raw, sizes)),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), weight="plus_one"),
        qkv_bias=attention_bias,
        o_bias=attention_bias,
        embedding_multiplier=math.sqrt(sizes["embed_dim"]),
    )


FAMILY = Family(
    models="Gemma 1 and 1.1, CodeGemma",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=MODULES,
)
