"""How does a Gemma 2 checkpoint describe itself?"""

from __future__ import annotations

import math

from jaxserve.models.config import DecoderConfig, LayerConfig, NormConfig
from jaxserve.models.families.common import (
    ATTENTION,
    ENDS,
    GATED_MLP,
    layers_of_kinds,
    read_kinds,
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader

DEFAULTS = {
    "vocab_size": 256000,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": True,
    "sliding_window": 4096,
    "query_pre_attn_scalar": 256,
    "final_logit_softcapping": 30.0,
    "attn_logit_softcapping": 50.0,
}

IGNORED = {
    "cache_implementation": "how transformers keeps keys and values",
    "hidden_act": "hidden_activation goes first",
}

NORMS = {
    "model.layers.*.input_layernorm": "layers.*.input_layernorm",
    "model.layers.*.post_attention_layernorm": "layers.*.post_self_attn_layernorm",
    "model.layers.*.pre_feedforward_layernorm": "layers.*.post_attention_layernorm",
    "model.layers.*.post_feedforward_layernorm": "layers.*.post_mlp_layernorm",
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A Gemma 2 config.json in our words."""
    sizes = read_sizes(raw, activation="hidden_activation")
    attention_bias = raw.flag("attention_bias", False)
    raw.require("use_bidirectional_attention", False)
    full = LayerConfig(rope=read_model_rope(raw, sizes))
    sliding = LayerConfig(rope=full.rope, window=raw.optional_integer("sliding_window"))
    return DecoderConfig(
        **sizes,
        layers=layers_of_kinds(read_kinds(raw, every=2), full=full, sliding=sliding),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), weight="plus_one"),
        block="sandwich_norm",
        qkv_bias=attention_bias,
        o_bias=attention_bias,
        attention_multiplier=raw.number("query_pre_attn_scalar") ** -0.5,
        attention_softcap=raw.optional_number("attn_logit_softcapping"),
        logit_softcap=raw.optional_number("final_logit_softcapping"),
        embedding_multiplier=math.sqrt(sizes["embed_dim"]),
    )


FAMILY = Family(
    models="Gemma 2",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**ENDS, **NORMS, **ATTENTION, **GATED_MLP},
    ignored=IGNORED,
)
