"""How does a Granite (with experts) checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import (
    DecoderConfig,
    MoEConfig,
    NormConfig,
    RoutingConfig,
)
from jaxserve.models.families.common import (
    ATTENTION,
    ENDS,
    PRE_NORMS,
    equal_layers,
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.common_moe import (
    IGNORED,
    read_num_chosen,
    with_experts,
)
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader
from jaxserve.models.stored import Modules, fused

DEFAULTS = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
}

STACKED_EXPERTS: Modules = {
    "model.layers.*.block_sparse_moe.router.layer": "layers.*.mlp.router",
    "model.layers.*.block_sparse_moe.input_linear": fused(
        "layers.*.mlp.experts.gate_proj", "layers.*.mlp.experts.up_proj"
    ),
    "model.layers.*.block_sparse_moe.output_linear": "layers.*.mlp.experts.down_proj",
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """The config.json of a Granite with experts in our words."""
    sizes = read_sizes(raw)
    attention_bias = raw.flag("attention_bias", False)
    num_experts = raw.integer("num_local_experts")
    num_chosen = read_num_chosen(raw, "num_experts_per_tok", num_experts=num_experts)
    routing = RoutingConfig(num_experts=num_experts, num_chosen=num_chosen, normalised=True)
    moe = MoEConfig(routing=routing, mlp_dim=sizes["mlp_dim"])
    layers = equal_layers(raw, read_model_rope(raw, sizes))
    return DecoderConfig(
        **sizes,
        layers=with_experts(layers, moe, sparse=range(len(layers))),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        qkv_bias=attention_bias,
        o_bias=attention_bias,
        attention_multiplier=raw.number("attention_multiplier", 1.0),
        embedding_multiplier=raw.number("embedding_multiplier", 1.0),
        residual_multiplier=raw.number("residual_multiplier", 1.0),
        logit_multiplier=1 / raw.number("logits_scaling", 1.0),
    )


FAMILY = Family(
    models="Granite 3.0 and 3.1 1B-A400M and 3B-A800M",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**ENDS, **PRE_NORMS, **ATTENTION, **STACKED_EXPERTS},
    ignored=IGNORED,
)
