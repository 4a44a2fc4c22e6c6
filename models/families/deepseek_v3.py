"""How does a DeepSeek-V3 checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, NormConfig
from jaxserve.models.families.common import OLDER_CODE, equal_layers
from jaxserve.models.families.common_moe import read_corrected_moe, with_experts
from jaxserve.models.families.family import Family
from jaxserve.models.families.latent import (
    IGNORED,
    MODULES,
    read_latent,
    read_latent_rope,
    read_latent_sizes,
)
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import RopeKind

DEFAULTS = {
    "vocab_size": 129280,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "n_shared_experts": 1,
    "n_routed_experts": 256,
    "routed_scaling_factor": 2.5,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "qk_nope_head_dim": 128,
    "n_group": 8,
    "topk_group": 4,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "norm_topk_prob": True,
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
}

ONLY = {"moe_layer_freq": 1, "scoring_func": "sigmoid", "topk_method": "noaux_tc"}
"""What released files say and transformers does not read."""

AHEAD = {"num_nextn_predict_layers": "layers that only guess tokens ahead are not read"}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A DeepSeek-V3 config.json in our words."""
    latent = read_latent(raw)
    sizes = read_latent_sizes(raw, latent)
    kind = RopeKind(interleaved=raw.flag("rope_interleave", True))
    rope, multiplier = read_latent_rope(raw, sizes, latent, kind)
    for name, only in ONLY.items():
        raw.require(name, only)
    layers = equal_layers(raw, rope)
    sparse = range(raw.index("first_k_dense_replace"), len(layers))
    return DecoderConfig(
        **sizes,
        layers=with_experts(layers, read_corrected_moe(raw), sparse=sparse),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        latent=latent,
        attention_multiplier=multiplier,
    )


FAMILY = Family(
    models="DeepSeek-V3, V3.1, R1, Moonlight",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=MODULES,
    extra_layers="model.layers.",
    ignored={**IGNORED, **OLDER_CODE, **AHEAD},
)
