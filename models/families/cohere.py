"""How does a Command R or Aya checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, NormConfig, QKNormConfig
from jaxserve.models.families.common import (
    ATTENTION,
    ENDS,
    GATED_MLP,
    QK_NORMS,
    equal_layers,
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import RopeKind

DEFAULTS = {
    "vocab_size": 256000,
    "hidden_size": 8192,
    "intermediate_size": 22528,
    "num_hidden_layers": 40,
    "num_attention_heads": 64,
    "hidden_act": "silu",
    "max_position_embeddings": 8192,
    "layer_norm_eps": 1e-05,
    "tie_word_embeddings": True,
    "logit_scale": 0.0625,
    "rope_theta": 500000.0,
}

IGNORED = {
    "model_max_length": "belongs to the tokenizer; max_position_embeddings is the context",
    "pretraining_tp": "sums products in slices, as pretraining did; the result is the same",
}

SHARED_NORM = {"model.layers.*.input_layernorm": "layers.*.input_layernorm"}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A Cohere config.json in our words."""
    sizes = read_sizes(raw)
    attention_bias = raw.flag("attention_bias", False)
    has_qk_norm = raw.flag("use_qk_norm", False)
    return DecoderConfig(
        **sizes,
        layers=equal_layers(raw, read_model_rope(raw, sizes, RopeKind(interleaved=True))),
        norm=NormConfig(eps=raw.number("layer_norm_eps"), centered=True),
        block="parallel_shared_norm",
        qk_norm=QKNormConfig(over="each_head") if has_qk_norm else None,
        qkv_bias=attention_bias,
        o_bias=attention_bias,
        logit_multiplier=raw.number("logit_scale"),
    )


FAMILY = Family(
    models="Command R and R+, Aya 23, Aya Expanse",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**ENDS, **SHARED_NORM, **ATTENTION, **QK_NORMS, **GATED_MLP},
    ignored=IGNORED,
)
