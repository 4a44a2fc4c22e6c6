"""How does a SmolLM3 checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, LayerConfig, NormConfig
from jaxserve.models.families.common import (
    FULL,
    MODULES,
    SLIDING,
    Sizes,
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader

DEFAULTS = {
    "vocab_size": 128256,
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": True,
    "rope_theta": 2000000.0,
}

IGNORED = {
    "max_window_layers": "no_rope_layers says which layers may have a window",
    "pretraining_tp": "sums products in slices, as pretraining did; the result is the same",
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A SmolLM3 config.json in our words."""
    sizes = read_sizes(raw)
    attention_bias = raw.flag("attention_bias", False)
    return DecoderConfig(
        **sizes,
        layers=_read_layers(raw, sizes),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        qkv_bias=attention_bias,
        o_bias=attention_bias,
        mlp_bias=raw.flag("mlp_bias", False),
    )


def _read_layers(raw: ConfigReader, sizes: Sizes) -> tuple[LayerConfig, ...]:
    """Every fourth layer knows no positions; where windows are used, it is those that have one."""
    num_layers = raw.integer("num_hidden_layers")
    every = raw.integer("no_rope_layer_interval", 4)
    turned = raw.switches("no_rope_layers", length=num_layers)  # 1 for the layers with a rope
    if turned is None:
        turned = tuple((index + 1) % every != 0 for index in range(num_layers))
    kinds = raw.choices("layer_types", (FULL, SLIDING), length=num_layers)
    if kinds is None:
        kinds = tuple(FULL if has_rope else SLIDING for has_rope in turned)
    size = raw.optional_integer("sliding_window")
    window = size if raw.flag("use_sliding_window", False) else None
    rope = read_model_rope(raw, sizes)
    return tuple(
        LayerConfig(rope=rope if has_rope else None, window=window if kind == SLIDING else None)
        for has_rope, kind in zip(turned, kinds, strict=True)
    )


FAMILY = Family(
    models="SmolLM3 3B",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=MODULES,
    ignored=IGNORED,
)
