"""How does a Gemma 3 text checkpoint describe itself?"""

from __future__ import annotations

import math

from jaxserve.models.config import DecoderConfig, LayerConfig, NormConfig, QKNormConfig
from jaxserve.models.families.beside_vision import beside_vision
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
from jaxserve.models.families.gemma2 import NORMS
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import read_rope_by_kind

DEFAULTS = {
    "vocab_size": 262208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": True,
    "sliding_window": 4096,
    "query_pre_attn_scalar": 256,
    "rope_theta": 1000000.0,
    "rope_local_base_freq": 10000.0,
}

IGNORED = {
    "_sliding_window_pattern": "layer_types says it",
    "cache_implementation": "how transformers keeps keys and values",
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """The config.json of a Gemma 3 that reads text only, in our words."""
    sizes = read_sizes(raw, activation="hidden_activation")
    attention_bias = raw.flag("attention_bias", False)
    raw.require("use_bidirectional_attention", False)
    return DecoderConfig(
        **sizes,
        layers=_read_layers(raw, sizes),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), weight="plus_one"),
        block="sandwich_norm",
        qk_norm=QKNormConfig(over="head"),
        qkv_bias=attention_bias,
        o_bias=attention_bias,
        attention_multiplier=raw.number("query_pre_attn_scalar") ** -0.5,
        attention_softcap=raw.optional_number("attn_logit_softcapping"),
        logit_softcap=raw.optional_number("final_logit_softcapping"),
        embedding_multiplier=math.sqrt(sizes["embed_dim"]),
    )


def _read_layers(raw: ConfigReader, sizes: Sizes) -> tuple[LayerConfig, ...]:
    ropes = read_rope_by_kind(
        raw,
        {FULL: "rope_theta", SLIDING: "rope_local_base_freq"},
        head_dim=sizes["head_dim"],
        max_model_len=sizes["max_model_len"],
    )
    return layers_of_kinds(
        read_kinds(raw, every=raw.integer("sliding_window_pattern", 6)),
        full=LayerConfig(rope=ropes[FULL]),
        sliding=LayerConfig(rope=ropes[SLIDING], window=raw.optional_integer("sliding_window")),
    )


FAMILY = Family(
    models="Gemma 3 270M and 1B (text only)",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**ENDS, **NORMS, **ATTENTION, **QK_NORMS, **GATED_MLP},
    ignored=IGNORED,
)

BESIDE_VISION = beside_vision(
    {"gemma3_text": FAMILY},
    models="Gemma 3 4B to 27B, MedGemma (text)",
    of_others=(
        "boi_token_index",
        "eoi_token_index",
        "image_token_index",
        "mm_tokens_per_image",
    ),
    tied_embeddings=True,
)
