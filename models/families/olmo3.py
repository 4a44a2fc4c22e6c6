"""How does a OLMo 3 checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, LayerConfig, NormConfig, QKNormConfig
from jaxserve.models.families.common import (
    ATTENTION,
    ENDS,
    FULL,
    GATED_MLP,
    QK_NORMS,
    SLIDING,
    Sizes,
    layers_of_kinds,
    read_kinds,
    read_sizes,
)
from jaxserve.models.families.family import Family
from jaxserve.models.families.olmo2 import POST_NORMS
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import read_rope_by_kind

DEFAULTS = {
    "vocab_size": 50304,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "sliding_window": 4096,
    "rope_theta": 500000.0,
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """An OLMo 3 config.json in our words."""
    sizes = read_sizes(raw)
    attention_bias = raw.flag("attention_bias", False)
    return DecoderConfig(
        **sizes,
        layers=_read_layers(raw, sizes),
        norm=NormConfig(eps=raw.number("rms_norm_eps")),
        block="post_norm",
        qk_norm=QKNormConfig(over="all_heads"),
        qkv_bias=attention_bias,
        o_bias=attention_bias,
    )


def _read_layers(raw: ConfigReader, sizes: Sizes) -> tuple[LayerConfig, ...]:
    ropes = read_rope_by_kind(
        raw,
        {FULL: "rope_theta", SLIDING: "rope_theta"},
        head_dim=sizes["head_dim"],
        max_model_len=sizes["max_model_len"],
    )
    return layers_of_kinds(
        read_kinds(raw, every=4),
        full=LayerConfig(rope=ropes[FULL]),
        sliding=LayerConfig(rope=ropes[SLIDING], window=raw.optional_integer("sliding_window")),
    )


FAMILY = Family(
    models="OLMo 3",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**ENDS, **POST_NORMS, **ATTENTION, **QK_NORMS, **GATED_MLP},
)
