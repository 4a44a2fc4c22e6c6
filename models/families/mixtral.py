"""How does a Mixtral checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, MoEConfig, NormConfig, RoutingConfig
from jaxserve.models.families.common import (
    ATTENTION,
    ENDS,
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

DEFAULTS = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_act": "silu",
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "rope_theta": 1000000.0,
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A Mixtral config.json in our words."""
    sizes = read_sizes(raw)
    num_experts = raw.integer("num_local_experts")
    num_chosen = read_num_chosen(raw, "num_experts_per_tok", num_experts=num_experts)
    routing = RoutingConfig(num_experts=num_experts, num_chosen=num_chosen, normalised=True)
    moe = MoEConfig(routing=routing, mlp_dim=sizes["mlp_dim"])
    rope, window = read_model_rope(raw, sizes), raw.optional_integer("sliding_window")
    layers = equal_layers(raw, rope, window=window)
    return DecoderConfig(
        **sizes,
        layers=with_experts(layers, moe, sparse=range(len(layers))),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
    )


FAMILY = Family(
    models="Mixtral 8x7B and 8x22B",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**ENDS, **PRE_NORMS, **ATTENTION, **EXPERTS_OF_MIXTRAL},
    ignored=IGNORED,
)
