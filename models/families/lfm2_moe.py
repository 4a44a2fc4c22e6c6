"""How does an LFM2 checkpoint with experts describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, MoEConfig, RoutingConfig
from jaxserve.models.families import common_moe, lfm2
from jaxserve.models.families.common import FULL
from jaxserve.models.families.common_moe import read_num_chosen, with_experts
from jaxserve.models.families.family import Family
from jaxserve.models.families.lfm2 import CONV, ENDS_AND_NORMS, MIXERS, MLP, hybrid_layers
from jaxserve.models.reader import ConfigReader
from jaxserve.models.stored import Modules, fused, tensor

DEFAULTS = {
    "vocab_size": 65536,
    "hidden_size": 2048,
    "intermediate_size": 7168,
    "moe_intermediate_size": 1792,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_act": "silu",
    "max_position_embeddings": 128000,
    "norm_eps": 1e-05,
    "tie_word_embeddings": True,
    "rope_theta": 1000000.0,
    "conv_L_cache": 3,
    "num_dense_layers": 2,
    "num_experts": 32,
    "num_experts_per_tok": 4,
    "routed_scaling_factor": 1.0,
}

EXPERTS: Modules = {
    "model.layers.*.feed_forward.gate": "layers.*.mlp.router",
    "model.layers.*.feed_forward.expert_bias": tensor(
        "layers.*.mlp.router.e_score_correction_bias"
    ),
    "model.layers.*.feed_forward.experts.*.w1": "layers.*.mlp.experts.gate_proj",
    "model.layers.*.feed_forward.experts.*.w3": "layers.*.mlp.experts.up_proj",
    "model.layers.*.feed_forward.experts.*.w2": "layers.*.mlp.experts.down_proj",
    "model.layers.*.feed_forward.experts.gate_up_proj": tensor(
        fused("layers.*.mlp.experts.gate_proj.weight", "layers.*.mlp.experts.up_proj.weight")
    ),
    "model.layers.*.feed_forward.experts.down_proj": tensor(
        "layers.*.mlp.experts.down_proj.weight"
    ),
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """The config.json of an LFM2 with experts in our words."""
    sizes = lfm2.read_hybrid_sizes(raw)
    kinds = raw.choices("layer_types", (FULL, CONV), length=raw.integer("num_hidden_layers"))
    if kinds is None:
        raise raw.wrong("layer_types", None, f"a list of {FULL} and {CONV}, one for each layer")
    sparse = range(raw.index("num_dense_layers", 0), len(kinds))
    layers = with_experts(hybrid_layers(raw, sizes, kinds), _read_moe(raw), sparse=sparse)
    return lfm2.hybrid_config(raw, sizes, layers)


def _read_moe(raw: ConfigReader) -> MoEConfig:
    num_experts = raw.integer("num_experts")
    return MoEConfig(
        routing=RoutingConfig(
            num_experts=num_experts,
            num_chosen=read_num_chosen(raw, "num_experts_per_tok", num_experts=num_experts),
            scores="sigmoid",
            normalised=raw.flag("norm_topk_prob", True),
            correction=raw.flag("use_expert_bias", True),
            multiplier=raw.number("routed_scaling_factor"),
        ),
        mlp_dim=raw.integer("moe_intermediate_size"),
    )


FAMILY = Family(
    models="LFM2 8B-A1B",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**ENDS_AND_NORMS, **MIXERS, **MLP, **EXPERTS},
    ignored={**lfm2.IGNORED, **common_moe.IGNORED},
)
