"""What do Qwen3-Next and Qwen3.5 have in common?

Gated delta nets in most layers and gated attention in the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxserve.models.config import (
    DecoderConfig,
    LayerConfig,
    MoEConfig,
    NormConfig,
    QKNormConfig,
    RoutingConfig,
)
from jaxserve.models.families import common_moe
from jaxserve.models.families.common import (
    ENDS,
    FULL,
    PRE_NORMS,
    QK_NORMS,
    Sizes,
    read_model_rope,
)
from jaxserve.models.families.common_moe import read_num_chosen
from jaxserve.models.families.qwen2_moe import SHARED_EXPERT
from jaxserve.models.reader import ConfigReader
from jaxserve.models.recurrent.config import GatedDeltaConfig
from jaxserve.models.rope_config import RopeKind
from jaxserve.models.stored import Modules, fused, fused_by_group, tensor

LINEAR = "linear_attention"

DEFAULTS: Mapping[str, Any] = {
    "num_attention_heads": 16,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
    "partial_rotary_factor": 0.25,
    "head_dim": 256,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
}

IGNORED: Mapping[str, str] = {
    **common_moe.IGNORED,
    "mtp_num_hidden_layers": "drafts tokens ahead, which are not asked for",
    "mtp_use_dedicated_embeddings": "as mtp_num_hidden_layers",
}

OTHER_PARTS = ("mtp.",)
"""Layers that draft tokens ahead."""

_ATTENTION: Modules = {
    "model.layers.*.self_attn.q_proj": fused_by_group(
        "layers.*.self_attn.q_proj", "layers.*.self_attn.gate_proj"
    ),
    "model.layers.*.self_attn.k_proj": "layers.*.self_attn.k_proj",
    "model.layers.*.self_attn.v_proj": "layers.*.self_attn.v_proj",
    "model.layers.*.self_attn.o_proj": "layers.*.self_attn.o_proj",
}

_DELTA: Modules = {
    "model.layers.*.linear_attn.conv1d": fused(
        "layers.*.recurrent.q_conv", "layers.*.recurrent.k_conv", "layers.*.recurrent.v_conv"
    ),
    "model.layers.*.linear_attn.A_log": tensor("layers.*.recurrent.A_log"),
    "model.layers.*.linear_attn.dt_bias": tensor("layers.*.recurrent.dt_bias"),
    "model.layers.*.linear_attn.norm": "layers.*.recurrent.norm",
    "model.layers.*.linear_attn.out_proj": "layers.*.recurrent.out_proj",
}

DELTA_INPUTS_BY_GROUP: Modules = {
    "model.layers.*.linear_attn.in_proj_qkvz": fused_by_group(
        "layers.*.recurrent.q_proj",
        "layers.*.recurrent.k_proj",
        "layers.*.recurrent.v_proj",
        "layers.*.recurrent.z_proj",
    ),
    "model.layers.*.linear_attn.in_proj_ba": fused_by_group(
        "layers.*.recurrent.b_proj", "layers.*.recurrent.a_proj"
    ),
}

DELTA_INPUTS: Modules = {
    "model.layers.*.linear_attn.in_proj_qkv": fused(
        "layers.*.recurrent.q_proj", "layers.*.recurrent.k_proj", "layers.*.recurrent.v_proj"
    ),
    "model.layers.*.linear_attn.in_proj_z": "layers.*.recurrent.z_proj",
    "model.layers.*.linear_attn.in_proj_b": "layers.*.recurrent.b_proj",
    "model.layers.*.linear_attn.in_proj_a": "layers.*.recurrent.a_proj",
}

MODULES: Modules = {**ENDS, **PRE_NORMS, **_ATTENTION, **QK_NORMS, **_DELTA}

EXPERTS: Modules = {**common_moe.EXPERTS, **SHARED_EXPERT}


def hybrid_config(
    raw: ConfigReader, sizes: Sizes, layers: tuple[LayerConfig, ...]
) -> DecoderConfig:
    """A decoder of `layers`, as both families norm and gate them."""
    attention_bias = raw.flag("attention_bias", False)
    raw.require("attn_output_gate", True)
    raw.require("mamba_ssm_dtype", "float32")
    raw.require("use_sliding_window", False)
    return DecoderConfig(
        **sizes,
        layers=layers,
        norm=NormConfig(eps=raw.number("rms_norm_eps"), weight="plus_one"),
        qk_norm=QKNormConfig(over="head"),
        attention_gate=True,
        qkv_bias=attention_bias,
        o_bias=attention_bias,
    )


def read_mixed_layers(
    raw: ConfigReader, sizes: Sizes, *, unread_in_rope: tuple[str, ...] = ()
) -> tuple[LayerConfig, ...]:
    """Layers that attend, and layers with a gated delta net in place of it."""
    kind = RopeKind(fraction="partial_rotary_factor", unread=unread_in_rope)
    full = LayerConfig(rope=read_model_rope(raw, sizes, kind))
    linear = LayerConfig(rope=None, recurrent=_read_delta(raw))
    num_layers, every = raw.integer("num_hidden_layers"), raw.integer("full_attention_interval", 4)
    kinds = raw.choices("layer_types", (FULL, LINEAR), length=num_layers)
    if kinds is None:
        kinds = tuple(LINEAR if (index + 1) % every else FULL for index in range(num_layers))
    return tuple({FULL: full, LINEAR: linear}[kind] for kind in kinds)


def _read_delta(raw: ConfigReader) -> GatedDeltaConfig:
    num_key_heads = raw.integer("linear_num_key_heads")
    num_value_heads = raw.integer("linear_num_value_heads")
    if num_value_heads % num_key_heads:
        wanted = f"a multiple of linear_num_key_heads = {num_key_heads}"
        raise raw.wrong("linear_num_value_heads", num_value_heads, wanted)
    return GatedDeltaConfig(
        num_key_heads=num_key_heads,
        num_value_heads=num_value_heads,
        key_dim=raw.integer("linear_key_head_dim"),
        value_dim=raw.integer("linear_value_head_dim"),
        width=raw.integer("linear_conv_kernel_dim"),
    )


def read_moe(raw: ConfigReader, *, normalised: bool) -> MoEConfig:
    """The experts, with one that all tokens share and weigh."""
    num_experts = raw.integer("num_experts")
    return MoEConfig(
        routing=RoutingConfig(
            num_experts=num_experts,
            num_chosen=read_num_chosen(raw, "num_experts_per_tok", num_experts=num_experts),
            normalised=normalised,
        ),
        mlp_dim=raw.integer("moe_intermediate_size"),
        shared_mlp_dim=raw.integer("shared_expert_intermediate_size"),
        shared_gate=True,
    )
