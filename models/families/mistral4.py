"""How does a Mistral 4 checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, LayerConfig, NormConfig
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
    "vocab_size": 131072,
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "n_shared_experts": 1,
    "n_routed_experts": 128,
    "routed_scaling_factor": 1.0,
    "kv_lora_rank": 256,
    "q_lora_rank": 1024,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "qk_nope_head_dim": 64,
    "n_group": 1,
    "topk_group": 1,
    "num_experts_per_tok": 4,
    "first_k_dense_replace": 0,
    "norm_topk_prob": True,
    "hidden_act": "silu",
    "max_position_embeddings": 1048576,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 128.0,
        "original_max_position_embeddings": 8192,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "llama_4_scaling_beta": 0.1,
    },
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A Mistral 4 config.json in our words."""
    latent = read_latent(raw)
    sizes = read_latent_sizes(raw, latent)
    kind = RopeKind(
        turned=latent.rope_dim / sizes["head_dim"],
        interleaved=raw.flag("rope_interleave", True),
        grows_queries=True,
    )
    rope, multiplier = read_latent_rope(raw, sizes, latent, kind)
    routing = read_routing(
        raw,
        normalised=raw.flag("norm_topk_prob", True),
        groups=read_groups(raw, num_judged_by=2),
    )
    return DecoderConfig(
        **sizes,
        layers=read_sparse_layers(raw, LayerConfig(rope=rope), routing),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        latent=latent,
        attention_multiplier=multiplier,
    )


FAMILY = Family(
    models="Mistral Small 4 saved as a text model",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=MODULES,
    ignored=IGNORED,
)
