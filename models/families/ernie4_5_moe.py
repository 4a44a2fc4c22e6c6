"""How does a ERNIE 4.5 (with experts) checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import (
    DecoderConfig,
    MoEConfig,
    NormConfig,
    RoutingConfig,
)
from jaxserve.models.families.common import (
    MODULES,
    equal_layers,
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.common_moe import (
    EXPERTS,
    IGNORED,
    SHARED_EXPERTS,
    read_num_chosen,
    with_experts,
)
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import RopeKind
from jaxserve.models.stored import Modules, row

DEFAULTS = {
    "vocab_size": 103424,
    "hidden_size": 2560,
    "intermediate_size": 12288,
    "num_hidden_layers": 28,
    "num_attention_heads": 20,
    "num_key_value_heads": 4,
    "hidden_act": "silu",
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": True,
    "rope_theta": 500000.0,
    "moe_intermediate_size": 1536,
    "moe_k": 6,
    "moe_num_experts": 64,
    "moe_num_shared_experts": 2,
}

ONLY = {"moe_gate": "topk", "moe_use_aux_free": True}
"""What released files say and transformers does not read."""

MODULES_WITH_EXPERTS: Modules = {
    **MODULES,
    **EXPERTS,
    **SHARED_EXPERTS,
    "model.layers.*.mlp.moe_statics.e_score_correction_bias": row(
        "layers.*.mlp.router.e_score_correction_bias"
    ),
}

_DRAFTING = (
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
    "input_layernorm",
    "post_attention_layernorm",
)
DRAFTS = frozenset(
    f"model.mtp_{name}.weight"
    for name in (
        "emb_norm.*",
        "hidden_norm.*",
        "linear_proj.*",
        *(f"block.*.{part}" for part in _DRAFTING),
    )
)
"""Of the layers that guess tokens ahead."""


def read_config(raw: ConfigReader) -> DecoderConfig:
    """The config.json of an ERNIE 4.5 with experts in our words."""
    sizes = read_sizes(raw)
    bias = raw.flag("use_bias", False)
    if bias and sizes["tied_embeddings"]:
        raise raw.refused("use_bias", bias, "with tie_word_embeddings only false is handled")
    for name, only in ONLY.items():
        raw.require(name, only)
    rope = read_model_rope(raw, sizes, RopeKind(interleaved=True))
    sparse = _read_sparse_layers(raw)
    return DecoderConfig(
        **sizes,
        layers=with_experts(equal_layers(raw, rope), _read_moe(raw), sparse=sparse),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        qkv_bias=bias,
        o_bias=bias,
        mlp_bias=bias,
        output_bias=bias,
    )


def _read_moe(raw: ConfigReader) -> MoEConfig:
    num_experts = raw.integer("moe_num_experts")
    mlp_dim = raw.integer("moe_intermediate_size")
    routing = RoutingConfig(
        num_experts=num_experts,
        num_chosen=read_num_chosen(raw, "moe_k", num_experts=num_experts),
        normalised=True,
        correction=True,
    )
    shared = raw.index("moe_num_shared_experts") * mlp_dim
    return MoEConfig(routing=routing, mlp_dim=mlp_dim, shared_mlp_dim=shared or None)


def _read_sparse_layers(raw: ConfigReader) -> set[int]:
    num_layers = raw.integer("num_hidden_layers")
    end = raw.whole("moe_layer_end_index", -1)  # the last, or -1
    within = range(raw.index("moe_layer_start_index", 1), num_layers if end == -1 else end + 1)
    every = raw.integer("moe_layer_interval", 1)
    return {index for index in within if (index + 1) % every == 0}


FAMILY = Family(
    models="ERNIE 4.5 21B-A3B and 300B-A47B",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=MODULES_WITH_EXPERTS,
    ignored_keys=DRAFTS,
    ignored={
        **IGNORED,
        "moe_capacity": "only training turns tokens away",
        "moe_norm_min": "the scores of the chosen experts add up to far more",
        "num_nextn_predict_layers": "layers that guess tokens ahead are not run",
    },
)
