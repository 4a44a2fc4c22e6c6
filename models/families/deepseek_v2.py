"""How does a DeepSeek-V2 checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, LayerConfig, NormConfig, RoutingConfig
from jaxserve.models.families.common import OLDER_CODE
from jaxserve.models.families.common_moe import read_groups, read_routing
from jaxserve.models.families.family import Family
from jaxserve.models.families.latent import (
    IGNORED,
    MODULES,
    read_latent,
    read_latent_rope,
    read_latent_sizes,
    read_sparse_layers,
)
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import RopeKind

DEFAULTS = {
    "vocab_size": 102400,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
    "first_k_dense_replace": 0,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "routed_scaling_factor": 1.0,
    "topk_method": "greedy",
    "v_head_dim": 128,
    "moe_intermediate_size": 1407,
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A DeepSeek-V2 config.json in our words."""
    latent = read_latent(raw)
    sizes = read_latent_sizes(raw, latent)
    rope, multiplier = read_latent_rope(raw, sizes, latent, RopeKind(interleaved=True))
    return DecoderConfig(
        **sizes,
        layers=read_sparse_layers(raw, LayerConfig(rope=rope), _read_routing(raw)),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        latent=latent,
        mlp_bias=raw.flag("mlp_bias", False),
        attention_multiplier=multiplier,
    )


def _read_routing(raw: ConfigReader) -> RoutingConfig:
    raw.require("scoring_func", "softmax")
    raw.require("norm_topk_prob", False)
    method = raw.choice("topk_method", "greedy", ("greedy", "group_limited_greedy"))
    groups = read_groups(raw, num_judged_by=1)
    return read_routing(raw, groups=groups if method == "group_limited_greedy" else None)


FAMILY = Family(
    models="DeepSeek-V2, V2-Lite, V2.5, Coder-V2",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=MODULES,
    ignored={**IGNORED, **OLDER_CODE},
)
