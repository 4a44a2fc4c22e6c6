"""How does a Gemma 4 text checkpoint describe itself?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxserve.models.config import (
    DecoderConfig,
    LayerConfig,
    LayerInputsConfig,
    MoEConfig,
    NormConfig,
    QKNormConfig,
    RopeConfig,
    RoutingConfig,
)
from jaxserve.models.families.beside_vision import beside_vision
from jaxserve.models.families.common import (
    ATTENTION,
    ENDS,
    FULL,
    GATED_MLP,
    QK_NORMS,
    SLIDING,
    Sizes,
    read_kinds,
    read_sizes,
)
from jaxserve.models.families.common_moe import read_num_chosen
from jaxserve.models.families.family import Family
from jaxserve.models.families.gemma2 import NORMS
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import read_rope_by_kind
from jaxserve.models.stored import Modules, fused, tensor

DEFAULTS = {
    "vocab_size": 262144,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 30,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": True,
    "sliding_window": 512,
    "vocab_size_per_layer_input": 262144,
    "hidden_size_per_layer_input": 256,
    "global_head_dim": 512,
    "rope_parameters": {
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        "full_attention": {
            "rope_type": "proportional",
            "partial_rotary_factor": 0.25,
            "rope_theta": 1000000.0,
        },
    },
}

LAYER_INPUTS: Modules = {
    "model.embed_tokens_per_layer": "layer_inputs.embed_tokens",
    "model.per_layer_model_projection": "layer_inputs.projection",
    "model.per_layer_projection_norm": "layer_inputs.norm",
    "model.layers.*.per_layer_input_gate": "layers.*.inputs_gate.gate",
    "model.layers.*.per_layer_projection": "layers.*.inputs_gate.projection",
    "model.layers.*.post_per_layer_input_norm": "layers.*.inputs_gate.norm",
}

MULTIPLIERS: Modules = {"model.layers.*.layer_scalar": tensor("layers.*.multiplier")}

EXPERTS: Modules = {
    "model.layers.*.router.proj": "layers.*.beside.router",
    "model.layers.*.router.scale": tensor("layers.*.beside.router_norm.weight"),
    "model.layers.*.router.per_expert_scale": tensor("layers.*.beside.expert_multipliers"),
    "model.layers.*.experts.gate_up_proj": tensor(
        fused("layers.*.beside.experts.gate_proj.weight", "layers.*.beside.experts.up_proj.weight")
    ),
    "model.layers.*.experts.down_proj": tensor("layers.*.beside.experts.down_proj.weight"),
    "model.layers.*.post_feedforward_layernorm_1": "layers.*.beside.mlp_norm",
    "model.layers.*.pre_feedforward_layernorm_2": "layers.*.beside.input_norm",
    "model.layers.*.post_feedforward_layernorm_2": "layers.*.beside.output_norm",
}

NOT_SHARED = frozenset(
    f"model.layers.*.self_attn.{name}.weight" for name in ("k_proj", "v_proj", "k_norm", "v_norm")
)
"""Released files hold them for layers too that read another's keys and values."""


def read_config(raw: ConfigReader) -> DecoderConfig:
    """The config.json of a Gemma 4 that reads text only, in our words."""
    sizes = read_sizes(raw, activation="hidden_activation")
    attention_bias = raw.flag("attention_bias", False)
    if raw.has("use_bidirectional_attention"):  # among tokens of images, which there are none of
        raw.require("use_bidirectional_attention", "vision")
    return DecoderConfig(
        **sizes,
        layers=_read_layers(raw, sizes),
        norm=NormConfig(eps=raw.number("rms_norm_eps")),
        block="sandwich_norm",
        qk_norm=QKNormConfig(over="head", values=True),
        qkv_bias=attention_bias,
        o_bias=attention_bias,
        attention_multiplier=1.0,
        logit_softcap=raw.optional_number("final_logit_softcapping"),
        embedding_multiplier=math.sqrt(sizes["embed_dim"]),
        layer_inputs=_read_layer_inputs(raw),
        layer_multipliers=True,
    )


def _read_layer_inputs(raw: ConfigReader) -> LayerInputsConfig | None:
    size, rows = (raw.index(f"{name}_per_layer_input", 0) for name in ("hidden_size", "vocab_size"))
    return LayerInputsConfig(size=size, vocab_size=rows) if size else None


def _read_experts(raw: ConfigReader) -> MoEConfig | None:
    if not raw.flag("enable_moe_block", False):
        return None
    num_experts = raw.integer("num_experts")
    num_chosen = read_num_chosen(raw, "top_k_experts", num_experts=num_experts)
    return MoEConfig(
        routing=RoutingConfig(num_experts=num_experts, num_chosen=num_chosen, normalised=True),
        mlp_dim=raw.integer("moe_intermediate_size"),
        beside_mlp=True,
    )


@dataclass(frozen=True, slots=True)
class _Heads:
    """The sizes of one layer's attention."""

    head_dim: int
    num_kv_heads: int


def _read_layers(raw: ConfigReader, sizes: Sizes) -> tuple[LayerConfig, ...]:
    kinds = (*read_kinds(raw, every=6)[:-1], FULL)  # the last always is
    heads = _read_heads(raw, sizes, kinds)
    ropes = _read_ropes(raw, sizes, kinds, heads)
    num_own = len(kinds) - raw.index("num_kv_shared_layers", 0)
    window, moe = raw.integer("sliding_window"), _read_experts(raw)
    are_keys = raw.flag("attention_k_eq_v", False)
    is_double = raw.flag("use_double_wide_mlp", False)
    return tuple(
        LayerConfig(
            rope=ropes[kind],
            window=window if kind == SLIDING else None,
            moe=moe,
            head_dim=heads[index].head_dim,
            num_kv_heads=heads[index].num_kv_heads,
            mlp_dim=sizes["mlp_dim"] * 2 if is_double and index >= num_own else None,
            kv_from=_source(raw, kinds, index, num_own),
            values_are_keys=are_keys and kind == FULL,
        )
        for index, kind in enumerate(kinds)
    )


def _source(raw: ConfigReader, kinds: tuple[str, ...], index: int, num_own: int) -> int | None:
    """The layer whose keys and values layer `index` reads: the last of its kind with its own."""
    if index < num_own:
        return None
    like = [other for other in range(num_own) if kinds[other] == kinds[index]]
    if not like:
        wanted = "so few that a layer of each kind has keys and values of its own"
        raise raw.wrong("num_kv_shared_layers", len(kinds) - num_own, wanted)
    return like[-1]


def _read_heads(raw: ConfigReader, sizes: Sizes, kinds: tuple[str, ...]) -> list[_Heads]:
    """Newer files say what differs layer by layer, older ones what all FULL layers have."""
    plain = _Heads(sizes["head_dim"], sizes["num_kv_heads"])
    of_all_full = _Heads(raw.integer("global_head_dim"), _read_full_kv_heads(raw, plain))
    table = raw.table("per_layer_config")
    if table is None:
        return [of_all_full if kind == FULL else plain for kind in kinds]
    width = len(str(len(kinds) - 1))
    heads = [_read_own_heads(table, str(index).zfill(width), plain) for index in range(len(kinds))]
    table.refuse_rest({})
    return heads


def _read_own_heads(table: ConfigReader, name: str, plain: _Heads) -> _Heads:
    own = table.table(name)
    if own is None:
        return plain
    heads = _Heads(
        own.integer("head_dim", plain.head_dim),
        own.integer("num_key_value_heads", plain.num_kv_heads),
    )
    own.refuse_rest({})
    return heads


def _read_full_kv_heads(raw: ConfigReader, plain: _Heads) -> int:
    wanted = raw.optional_integer("num_global_key_value_heads")
    return wanted if wanted and raw.flag("attention_k_eq_v", False) else plain.num_kv_heads


def _read_ropes(
    raw: ConfigReader, sizes: Sizes, kinds: tuple[str, ...], heads: list[_Heads]
) -> dict[str, RopeConfig]:
    dims = {kind: own.head_dim for kind, own in zip(kinds, heads, strict=True)}
    return read_rope_by_kind(
        raw,
        {FULL: "rope_theta", SLIDING: "rope_local_base_freq"},
        head_dim={FULL: dims[FULL], SLIDING: dims.get(SLIDING, sizes["head_dim"])},
        max_model_len=sizes["max_model_len"],
    )


FAMILY = Family(
    models="Gemma 4 saved as a text model",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={
        **ENDS,
        **NORMS,
        **ATTENTION,
        **QK_NORMS,
        **GATED_MLP,
        **LAYER_INPUTS,
        **MULTIPLIERS,
        **EXPERTS,
    },
    ignored_keys=NOT_SHARED,
    ignored=dict.fromkeys(
        ("moe_intermediate_size", "num_experts", "top_k_experts"), "for enable_moe_block only"
    ),
)

BESIDE_VISION = beside_vision(
    {"gemma4_text": FAMILY},
    models="Gemma 4 (text)",
    of_others=(
        "audio_token_id",
        "boa_token_id",
        "boi_token_id",
        "eoa_token_index",
        "eoi_token_id",
        "image_token_id",
        "video_token_id",
        "vision_soft_tokens_per_image",
    ),
    tied_embeddings=True,
)
