"""How does a StarCoder2 checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, NormConfig
from jaxserve.models.families.common import (
    ATTENTION,
    ENDS,
    PRE_NORMS,
    equal_layers,
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader

DEFAULTS = {
    "vocab_size": 49152,
    "hidden_size": 3072,
    "intermediate_size": 12288,
    "num_hidden_layers": 30,
    "num_attention_heads": 24,
    "num_key_value_heads": 2,
    "hidden_act": "gelu_pytorch_tanh",
    "max_position_embeddings": 4096,
    "norm_epsilon": 1e-05,
    "tie_word_embeddings": True,
}

IGNORED = {
    "embedding_dropout": "only training uses it",
    "residual_dropout": "only training uses it",
}

MLP = {
    "model.layers.*.mlp.c_fc": "layers.*.mlp.up_proj",
    "model.layers.*.mlp.c_proj": "layers.*.mlp.down_proj",
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A StarCoder2 config.json in our words."""
    sizes = read_sizes(raw)
    bias = raw.flag("use_bias", True)
    window = raw.optional_integer("sliding_window")
    raw.require("mlp_type", "default")
    raw.require("norm_type", "layer_norm")
    return DecoderConfig(
        **sizes,
        layers=equal_layers(raw, read_model_rope(raw, sizes), window=window),
        norm=NormConfig(eps=raw.number("norm_epsilon"), centered=True, bias=True),
        gated_mlp=False,
        qkv_bias=bias,
        o_bias=bias,
        mlp_bias=bias,
    )


FAMILY = Family(
    models="StarCoder2",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**ENDS, **PRE_NORMS, **ATTENTION, **MLP},
    ignored=IGNORED,
)
