"""How does a EXAONE 4 checkpoint describe itself?"""

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
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.family import Family
from jaxserve.models.families.olmo2 import POST_NORMS
from jaxserve.models.reader import ConfigReader

DEFAULTS = {
    "vocab_size": 102400,
    "hidden_size": 4096,
    "intermediate_size": 16384,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "sliding_window": 4096,
}

IGNORED = {"sliding_window_pattern": "layer_types goes first"}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """An EXAONE 4 config.json in our words."""
    sizes = read_sizes(raw)
    return DecoderConfig(
        **sizes,
        layers=_read_layers(raw, sizes),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        block="post_norm",
        qk_norm=QKNormConfig(over="head"),
    )


def _read_layers(raw: ConfigReader, sizes: Sizes) -> tuple[LayerConfig, ...]:
    """Where layers have windows, those without one know no positions."""
    num_layers = raw.integer("num_hidden_layers")
    rope = read_model_rope(raw, sizes)
    window = raw.optional_integer("sliding_window")
    kinds = raw.choices("layer_types", (FULL, SLIDING), length=num_layers)
    if kinds is None:
        kinds = _pattern(raw, num_layers)
    full = LayerConfig(rope=None if window else rope)
    return layers_of_kinds(kinds, full=full, sliding=LayerConfig(rope=rope, window=window))


def _pattern(raw: ConfigReader, num_layers: int) -> tuple[str, ...]:
    every = raw.integer("sliding_window_pattern", 4)
    return tuple(FULL if (index + 1) % every == 0 else SLIDING for index in range(num_layers))


FAMILY = Family(
    models="EXAONE 4.0",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**ENDS, **POST_NORMS, **ATTENTION, **QK_NORMS, **GATED_MLP},
    ignored=IGNORED,
)
