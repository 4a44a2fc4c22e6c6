"""How does a OLMoE checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import (
    DecoderConfig,
    MoEConfig,
    NormConfig,
    QKNormConfig,
    RoutingConfig,
)
from jaxserve.models.families.common import (
    ATTENTION,
    ENDS,
    PRE_NORMS,
    QK_NORMS,
    equal_layers,
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.common_moe import (
    EXPERTS,
    IGNORED,
    read_num_chosen,
    with_experts,
)
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader

DEFAULTS = {
    "vocab_size": 50304,
    "hidden_size": 2048,
    "intermediate_size": 2048,
    "num_hidden_layers": 16,
    "num_attention_heads": 16,
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "num_experts_per_tok": 8,
    "num_experts": 64,
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """An OLMoE config.json in our words."""
    sizes = read_sizes(raw)
    attention_bias = raw.flag("attention_bias", False)
    raw.require("clip_qkv", None)
    num_experts = raw.integer("num_experts")
    routing = RoutingConfig(
        num_experts=num_experts,
        num_chosen=read_num_chosen(raw, "num_experts_per_tok", num_experts=num_experts),
        normalised=raw.flag("norm_topk_prob", False),
    )
    moe = MoEConfig(routing=routing, mlp_dim=sizes["mlp_dim"])
    layers = equal_layers(raw, read_model_rope(raw, sizes))
    return DecoderConfig(
        **sizes,
        layers=with_experts(layers, moe, sparse=range(len(layers))),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        qk_norm=QKNormConfig(over="all_heads"),
        qkv_bias=attention_bias,
        o_bias=attention_bias,
    )


FAMILY = Family(
    models="OLMoE 1B-7B",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**ENDS, **PRE_NORMS, **ATTENTION, **QK_NORMS, **EXPERTS},
    ignored=IGNORED,
)
