"""How does a dots.llm1 checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import (
    DecoderConfig,
    LayerConfig,
    NormConfig,
    QKNormConfig,
)
from jaxserve.models.families.common import (
    FULL,
    MODULES,
    QK_NORMS,
    SLIDING,
    Sizes,
    layers_of_kinds,
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.common_moe import (
    EXPERTS,
    IGNORED,
    SHARED_EXPERTS,
    read_corrected_moe,
    with_experts,
)
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader

DEFAULTS = {
    "vocab_size": 152064,
    "hidden_size": 4608,
    "intermediate_size": 10944,
    "num_hidden_layers": 62,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
    "moe_intermediate_size": 1408,
    "norm_topk_prob": False,
    "sliding_window": 4096,
    "max_window_layers": 62,
}

ONLY = {"moe_layer_freq": 1, "topk_method": "noaux_tc", "use_sliding_window": False}
"""What released files say and transformers does not read."""


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A dots.llm1 config.json in our words."""
    sizes = read_sizes(raw)
    attention_bias = raw.flag("attention_bias", False)
    for name, only in ONLY.items():
        raw.require(name, only)
    raw.choice("scoring_func", "sigmoid", ("sigmoid", "noaux_tc"))  # both say sigmoid
    layers = _read_layers(raw, sizes)
    sparse = range(raw.index("first_k_dense_replace", 0), len(layers))
    return DecoderConfig(
        **sizes,
        layers=with_experts(layers, read_corrected_moe(raw), sparse=sparse),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        qk_norm=QKNormConfig(over="head"),
        qkv_bias=attention_bias,
        o_bias=attention_bias,
    )


def _read_layers(raw: ConfigReader, sizes: Sizes) -> tuple[LayerConfig, ...]:
    """Without `layer_types`, layers of number `max_window_layers` and above have the window."""
    num_layers = raw.integer("num_hidden_layers")
    num_full = raw.index("max_window_layers", num_layers)
    window = raw.optional_integer("sliding_window")
    kinds = raw.choices("layer_types", (FULL, SLIDING), length=num_layers)
    if kinds is None:
        kinds = (FULL,) * min(num_full, num_layers) + (SLIDING,) * max(num_layers - num_full, 0)
    full = LayerConfig(rope=read_model_rope(raw, sizes))
    return layers_of_kinds(kinds, full=full, sliding=LayerConfig(rope=full.rope, window=window))


FAMILY = Family(
    models="dots.llm1",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**MODULES, **QK_NORMS, **EXPERTS, **SHARED_EXPERTS},
    ignored={**IGNORED, "pretraining_tp": "sums products in slices; the result is the same"},
)
