"""How does a GLM-4.7-Flash checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, NormConfig
from jaxserve.models.families.common import equal_layers
from jaxserve.models.families.common_moe import read_corrected_moe, with_experts
from jaxserve.models.families.deepseek_v3 import AHEAD
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
    "vocab_size": 154880,
    "hidden_size": 2048,
    "intermediate_size": 10240,
    "moe_intermediate_size": 1536,
    "num_hidden_layers": 47,
    "num_attention_heads": 20,
    "num_key_value_heads": 20,
    "n_shared_experts": 1,
    "n_routed_experts": 64,
    "routed_scaling_factor": 1.8,
    "kv_lora_rank": 512,
    "q_lora_rank": 768,
    "qk_rope_head_dim": 64,
    "v_head_dim": 256,
    "qk_nope_head_dim": 192,
    "num_experts_per_tok": 4,
    "hidden_act": "silu",
    "max_position_embeddings": 202752,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
}

ONLY = {"first_k_dense_replace": 1, "partial_rotary_factor": 1.0, "topk_method": "noaux_tc"}
"""What released files say and transformers does not read."""


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A GLM-4.7-Flash config.json in our words."""
    latent = read_latent(raw)
    sizes = read_latent_sizes(raw, latent)
    kind = RopeKind(interleaved=raw.flag("rope_interleave", True))
    rope, multiplier = read_latent_rope(raw, sizes, latent, kind)
    for name, only in ONLY.items():
        raw.require(name, only)
    layers = equal_layers(raw, rope)
    return DecoderConfig(
        **sizes,
        layers=with_experts(layers, read_corrected_moe(raw), sparse=_read_sparse(raw, len(layers))),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        latent=latent,
        attention_multiplier=multiplier,
    )


def _read_sparse(raw: ConfigReader, num_layers: int) -> list[int]:
    """The numbers of the layers with experts: all but the first, unless the file says otherwise."""
    given = raw.choices("mlp_layer_types", ("dense", "sparse"), length=num_layers)
    kinds = given or ("dense", *("sparse",) * (num_layers - 1))
    return [index for index, kind in enumerate(kinds) if kind == "sparse"]


FAMILY = Family(
    models="GLM-4.7-Flash",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=MODULES,
    extra_layers="model.layers.",
    ignored={**IGNORED, **AHEAD},
)
