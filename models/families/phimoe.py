"""How does a Phi-3.5-MoE checkpoint describe itself?"""

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
    OLDER_CODE,
    PRE_NORMS,
    equal_layers,
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.common_moe import (
    EXPERTS_OF_MIXTRAL,
    IGNORED,
    read_num_chosen,
    with_experts,
)
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import RopeKind

DEFAULTS = {
    "vocab_size": 32064,
    "hidden_size": 4096,
    "intermediate_size": 6400,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_act": "silu",
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "num_experts_per_tok": 2,
    "num_local_experts": 16,
    "router_jitter_noise": 0.01,
    "rope_theta": 1000000.0,
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A Phi-3.5-MoE config.json in our words.

    Long contexts have LongRoPE's long factors, as the model's own code has it; transformers' port
    keeps the short ones.
    """
    sizes = read_sizes(raw)
    attention_bias = raw.flag("attention_bias", False)
    num_experts = raw.integer("num_local_experts")
    routing = RoutingConfig(
        num_experts=num_experts,
        num_chosen=read_num_chosen(raw, "num_experts_per_tok", num_experts=num_experts),
        margin=2 * raw.number("router_jitter_noise"),
    )
    rope = read_model_rope(raw, sizes, RopeKind(names_mscales=True))
    layers = equal_layers(raw, rope, window=raw.optional_integer("sliding_window"))
    moe = MoEConfig(routing=routing, mlp_dim=sizes["mlp_dim"])
    return DecoderConfig(
        **sizes,
        layers=with_experts(layers, moe, sparse=range(len(layers))),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), centered=True, bias=True),
        qkv_bias=attention_bias,
        o_bias=attention_bias,
        output_bias=raw.flag("lm_head_bias", False),
    )


FAMILY = Family(
    models="Phi-3.5-MoE, Phi-mini-MoE, Phi-tiny-MoE",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**ENDS, **PRE_NORMS, **ATTENTION, **EXPERTS_OF_MIXTRAL},
    ignored={
        **IGNORED,
        **OLDER_CODE,
        "hidden_dropout": "only training uses it",
        "input_jitter_noise": "only training uses it",
    },
)
