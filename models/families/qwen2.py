"""How does a Qwen2, Qwen2.5 or QwQ checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, LayerConfig, NormConfig
from jaxserve.models.families.common import (
    FULL,
    MODULES,
    SLIDING,
    Sizes,
    layers_of_kinds,
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader

DEFAULTS = {
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
    "sliding_window": 4096,
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A Qwen2 config.json in our words."""
    sizes = read_sizes(raw)
    raw.require("use_mrope", False)
    return DecoderConfig(
        **sizes,
        layers=read_upper_windows(raw, sizes),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        qkv_bias=True,
    )


def read_upper_windows(raw: ConfigReader, sizes: Sizes) -> tuple[LayerConfig, ...]:
    """Layers of number `max_window_layers` and above have a window, if any has."""
    num_layers = raw.integer("num_hidden_layers")
    num_full = raw.integer("max_window_layers", 28)
    size = raw.optional_integer("sliding_window")
    window = size if raw.flag("use_sliding_window", False) else None
    kinds = raw.choices("layer_types", (FULL, SLIDING), length=num_layers)
    if kinds is None:
        kinds = (FULL,) * min(num_full, num_layers) + (SLIDING,) * max(num_layers - num_full, 0)
    full = LayerConfig(rope=read_model_rope(raw, sizes))
    return layers_of_kinds(kinds, full=full, sliding=LayerConfig(rope=full.rope, window=window))


FAMILY = Family(
    models="Qwen2, Qwen2.5, QwQ, DeepSeek-R1-Distill-Qwen",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=MODULES,
)
