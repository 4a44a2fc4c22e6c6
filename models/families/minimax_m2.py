"""How does a MiniMax-M2 checkpoint describe itself?"""

from __future__ import annotations

from dataclasses import replace

from jaxserve.models.config import (
    DecoderConfig,
    MoEConfig,
    NormConfig,
    QKNormConfig,
    RopeConfig,
    RoutingConfig,
)
from jaxserve.models.families.common import (
    ATTENTION,
    ENDS,
    OLDER_CODE,
    PRE_NORMS,
    QK_NORMS,
    Sizes,
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
from jaxserve.models.stored import Modules, tensor

DEFAULTS = {
    "vocab_size": 200064,
    "hidden_size": 3072,
    "intermediate_size": 1536,
    "num_hidden_layers": 62,
    "num_attention_heads": 48,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hidden_act": "silu",
    "max_position_embeddings": 196608,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
    "num_experts_per_tok": 8,
    "num_local_experts": 256,
    "rope_theta": 5000000.0,
}

ONLY = {
    "layernorm_full_attention_beta": 1.0,
    "layernorm_linear_attention_beta": 1.0,
    "layernorm_mlp_beta": 1.0,
    "qk_norm_type": "per_layer",
    "scoring_func": "sigmoid",
    "shared_intermediate_size": 0,
    "sliding_window": None,
    "use_qk_norm": True,
    "use_routing_bias": True,
}
"""What released files say and transformers does not read."""

MODULES: Modules = {
    **ENDS,
    **PRE_NORMS,
    **ATTENTION,
    **QK_NORMS,
    **EXPERTS_OF_MIXTRAL,
    "model.layers.*.block_sparse_moe.e_score_correction_bias": tensor(
        "layers.*.mlp.router.e_score_correction_bias"
    ),
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A MiniMax-M2 config.json in our words."""
    sizes = read_sizes(raw)
    for name, only in ONLY.items():
        raw.require(name, only)
    num_experts = raw.integer("num_local_experts")
    routing = RoutingConfig(
        num_experts=num_experts,
        num_chosen=read_num_chosen(raw, "num_experts_per_tok", num_experts=num_experts),
        scores="sigmoid",
        normalised=True,
        correction=True,
    )
    layers = equal_layers(raw, _read_rope(raw, sizes))
    for kind in raw.integers("attn_type_list", length=len(layers), default=1):
        if kind != 1:
            raise raw.refused("attn_type_list", kind, "only 1, softmax attention, is handled")
    moe = MoEConfig(routing=routing, mlp_dim=sizes["mlp_dim"])
    return DecoderConfig(
        **sizes,
        layers=with_experts(layers, moe, sparse=range(len(layers))),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        qk_norm=QKNormConfig(over="all_heads"),
    )


def _read_rope(raw: ConfigReader, sizes: Sizes) -> RopeConfig:
    """Released files count the numbers that are turned, `rotary_dim`."""
    rope = read_model_rope(raw, sizes, RopeKind(fraction="partial_rotary_factor"))
    turned = raw.integer("rotary_dim", int(rope.fraction * sizes["head_dim"]))
    if turned > sizes["head_dim"] or turned % 2:
        raise raw.wrong("rotary_dim", turned, f"even and at most head_dim = {sizes['head_dim']}")
    return replace(rope, fraction=turned / sizes["head_dim"])


FAMILY = Family(
    models="MiniMax-M2",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=MODULES,
    ignored={
        **IGNORED,
        **OLDER_CODE,
        **dict.fromkeys(
            ("mtp_transformer_layers", "num_mtp_modules", "use_mtp"),
            "layers that guess tokens ahead are not run",
        ),
        "mlp_intermediate_size": "of layers without experts, of which there are none",
        "shared_moe_mode": "of shared experts, of which there are none",
    },
)
