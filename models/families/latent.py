"""What do families with latent attention have in common?

How config.json says the sizes of it and of its experts, and what the modules are called: all have
DeepSeek-V2's names.
"""

from __future__ import annotations

import math

from jaxserve.models.config import (
    LatentConfig,
    LayerConfig,
    MoEConfig,
    RopeConfig,
    RoutingConfig,
)
from jaxserve.models.families import common_moe
from jaxserve.models.families.common import ENDS, GATED_MLP, PRE_NORMS, Sizes, read_sizes
from jaxserve.models.families.common_moe import EXPERTS, SHARED_EXPERTS, with_experts
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import RopeKind, read_rope, read_whole_head_factor
from jaxserve.models.stored import Modules, fused_by_group

LATENT_ATTENTION: Modules = {
    **{
        f"model.layers.*.self_attn.{name}": f"layers.*.self_attn.{name}"
        for name in (
            "q_proj",
            "q_a_proj",
            "q_a_layernorm",
            "q_b_proj",
            "kv_a_proj_with_mqa",
            "kv_a_layernorm",
            "o_proj",
        )
    },
    "model.layers.*.self_attn.kv_b_proj": fused_by_group(
        "layers.*.self_attn.key_up", "layers.*.self_attn.value_up"
    ),
}

MODULES: Modules = {
    **ENDS,
    **PRE_NORMS,
    **LATENT_ATTENTION,
    **GATED_MLP,
    **EXPERTS,
    **SHARED_EXPERTS,
}

IGNORED = {
    **common_moe.IGNORED,
    "aux_loss_alpha": "only training uses it",
    "ep_size": "how the model was run where it was made",
    "seq_aux": "only training uses it",
    "head_dim": "follows from the sizes of the heads' parts",
    "pretraining_tp": "sums products in slices, as pretraining did; the result is the same",
    "qk_head_dim": "follows from the sizes of the heads' parts",
}


def read_latent(raw: ConfigReader) -> LatentConfig:
    """The sizes of latents and of the heads that are made from them."""
    rope_dim = raw.integer("qk_rope_head_dim")
    if rope_dim % 2:
        raise raw.wrong("qk_rope_head_dim", rope_dim, "even, since rotation pairs its numbers")
    return LatentConfig(
        kv_rank=raw.integer("kv_lora_rank"),
        q_rank=raw.optional_integer("q_lora_rank"),
        plain_dim=raw.integer("qk_nope_head_dim"),
        rope_dim=rope_dim,
        value_dim=raw.integer("v_head_dim"),
        eps=1e-6,  # whatever rms_norm_eps says
        bias=raw.flag("attention_bias", False),
    )


def read_latent_sizes(raw: ConfigReader, latent: LatentConfig) -> Sizes:
    """`read_sizes`, where a head is both parts of its query."""
    sizes = read_sizes(raw, head_dim=latent.plain_dim + latent.rope_dim)
    raw.require("num_key_value_heads", sizes["num_q_heads"])
    return sizes


def read_latent_rope(
    raw: ConfigReader, sizes: Sizes, latent: LatentConfig, kind: RopeKind
) -> tuple[RopeConfig, float]:
    """The rope of the turned part, and what scores are multiplied with."""
    rope = read_rope(raw, head_dim=latent.rope_dim, max_model_len=sizes["max_model_len"], kind=kind)
    return rope, read_whole_head_factor(raw) ** 2 / math.sqrt(sizes["head_dim"])


def read_sparse_layers(
    raw: ConfigReader, layer: LayerConfig, routing: RoutingConfig
) -> tuple[LayerConfig, ...]:
    """As many layers like `layer` as `raw` says, with experts in all but the first."""
    raw.require("moe_layer_freq", 1)
    mlp_dim = raw.integer("moe_intermediate_size")
    moe = MoEConfig(
        routing=routing,
        mlp_dim=mlp_dim,
        shared_mlp_dim=mlp_dim * raw.integer("n_shared_experts"),
    )
    num_layers = raw.integer("num_hidden_layers")
    sparse = range(raw.index("first_k_dense_replace"), num_layers)
    return with_experts((layer,) * num_layers, moe, sparse=sparse)
