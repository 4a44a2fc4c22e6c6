"""How does a Command R7B or Command A checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, LayerConfig, NormConfig
from jaxserve.models.families.cohere import SHARED_NORM
from jaxserve.models.families.common import (
    ATTENTION,
    ENDS,
    GATED_MLP,
    Sizes,
    layers_of_kinds,
    read_kinds,
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
    "sliding_window": 4096,
}

IGNORED = {
    "cache_implementation": "how transformers keeps keys and values",
    "layer_switch": "layer_types or sliding_window_pattern says it",
}

ONLY = {
    "order_of_interleaved_layers": "local_attn_first",
    "position_embedding_type": "rope_gptj",
    "rotary_pct": 1.0,
    "use_embedding_sharing": True,
    "use_gated_activation": True,
    "use_parallel_block": True,
    "use_parallel_embedding": False,
}
"""What released files say and transformers does not read."""


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A Cohere2 config.json in our words."""
    sizes = read_sizes(raw)
    attention_bias = raw.flag("attention_bias", False)
    for name, only in ONLY.items():
        raw.require(name, only)
    return DecoderConfig(
        **sizes,
        layers=_read_layers(raw, sizes),
        norm=NormConfig(eps=raw.number("layer_norm_eps"), centered=True),
        block="parallel_shared_norm",
        qkv_bias=attention_bias,
        o_bias=attention_bias,
        logit_multiplier=raw.number("logit_scale"),
    )


def _read_layers(raw: ConfigReader, sizes: Sizes) -> tuple[LayerConfig, ...]:
    """Layers with a window know positions; those that see everything do not."""
    rope = read_model_rope(raw, sizes, RopeKind(interleaved=True))
    window = raw.optional_integer("sliding_window")
    return layers_of_kinds(
        read_kinds(raw, every=raw.integer("sliding_window_pattern", 4)),
        full=LayerConfig(rope=None),
        sliding=LayerConfig(rope=rope if window else None, window=window),
    )


FAMILY = Family(
    models="Command R7B, Command A",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**ENDS, **SHARED_NORM, **ATTENTION, **GATED_MLP},
    ignored=IGNORED,
)
