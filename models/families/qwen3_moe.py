"""How does a Qwen3 checkpoint with experts describe itself?"""

from __future__ import annotations

from jaxserve.models.config import (
    DecoderConfig,
    MoEConfig,
    NormConfig,
    QKNormConfig,
    RoutingConfig,
)
from jaxserve.models.families.common import (
    MODULES,
    QK_NORMS,
    equal_layers,
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.common_moe import (
    EXPERTS,
    IGNORED,
    read_either,
    read_num_chosen,
    read_sparse_layers,
    with_experts,
)
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader

DEFAULTS = {
    "vocab_size": 151936,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 24,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
    "sliding_window": 4096,
    "moe_intermediate_size": 768,
    "num_experts_per_tok": 8,
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """The config.json of a Qwen3 with experts in our words."""
    sizes = read_sizes(raw)
    attention_bias = raw.flag("attention_bias", False)
    size = raw.optional_integer("sliding_window")
    window = size if raw.flag("use_sliding_window", False) else None
    layers = equal_layers(raw, read_model_rope(raw, sizes), window=window)
    num_experts = read_either(raw, ("num_experts", "num_local_experts"), 128)
    moe = MoEConfig(
        routing=RoutingConfig(
            num_experts=num_experts,
            num_chosen=read_num_chosen(raw, "num_experts_per_tok", num_experts=num_experts),
            normalised=raw.flag("norm_topk_prob", False),
        ),
        mlp_dim=raw.integer("moe_intermediate_size"),
    )
    return DecoderConfig(
        **sizes,
        layers=with_experts(layers, moe, sparse=read_sparse_layers(raw)),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        qk_norm=QKNormConfig(over="head"),
        qkv_bias=attention_bias,
        o_bias=attention_bias,
    )


FAMILY = Family(
    models="Qwen3 30B-A3B and 235B-A22B, Qwen3-Coder",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**MODULES, **QK_NORMS, **EXPERTS},
    ignored={**IGNORED, "max_window_layers": "all layers have the window, or none"},
)
