"""How does a Hunyuan (with experts) checkpoint describe itself?"""

from __future__ import annotations

from dataclasses import replace

from jaxserve.models.config import (
    DecoderConfig,
    MoEConfig,
    NormConfig,
    QKNormConfig,
    RoutingConfig,
)
from jaxserve.models.families.common import (
    ATTENTION,
    ENDS,
    OLDER_CODE,
    PRE_NORMS,
    equal_layers,
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.common_moe import (
    EACH_EXPERT,
    IGNORED,
    STACKED_EXPERTS,
)
from jaxserve.models.families.family import Family
from jaxserve.models.families.hunyuan_v1_dense import IGNORED as DENSE_IGNORED
from jaxserve.models.families.hunyuan_v1_dense import ONLY as DENSE_ONLY
from jaxserve.models.families.hunyuan_v1_dense import QK_NORMS
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import RopeKind
from jaxserve.models.stored import Modules

DEFAULTS = {
    "vocab_size": 290943,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "num_experts": 1,
    "moe_topk": 1,
}

ONLY = {
    **DENSE_ONLY,
    "group_limited_greedy": False,
    "moe_layer_num_skipped": 0,
    "norm_topk_prob": True,
    "position_embedding_xdrope": False,
    "routed_scaling_factor": False,
    "use_mixed_mlp_moe": True,
}
"""What released files say and transformers does not read."""

OF_IMAGES = dict.fromkeys(
    (
        *("anyres_pooling_size", "anyres_vit_max_image_size", "anyres_vit_two_views"),
        *("im_end_id", "im_newline_id", "im_start_id", "image_token_id", "mask_init_id"),
        *("num_media_embeds", "text_end_id", "text_start_id", "video_end_id", "video_start_id"),
        *("vit_add_patchemb_bias", "vit_input_resolution", "vit_mapping_type", "vit_norm_type"),
        *("vit_patch", "vit_path", "vit_remove_prenorm", "vit_token", "vit_type"),
        "vit_used_rms_norm",
    ),
    "of images and videos, which a text model does not read",
)
OF_A_CLASSIFIER = dict.fromkeys(
    ("class_num", "dense_list", "pool_type", "skip_cls_token"),
    "of a classification head, of which there is none",
)

EXPERTS: Modules = {
    "model.layers.*.mlp.gate.wg": "layers.*.mlp.router",
    **EACH_EXPERT,
    **STACKED_EXPERTS,
    "model.layers.*.mlp.shared_mlp.gate_proj": "layers.*.mlp.shared_expert.gate_proj",
    "model.layers.*.mlp.shared_mlp.up_proj": "layers.*.mlp.shared_expert.up_proj",
    "model.layers.*.mlp.shared_mlp.down_proj": "layers.*.mlp.shared_expert.down_proj",
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """The config.json of a Hunyuan with experts in our words."""
    sizes = read_sizes(raw)
    attention_bias = raw.flag("attention_bias", False)
    for name, only in (*ONLY.items(), ("attention_head_dim", sizes["head_dim"])):
        raw.require(name, only)
    layers = equal_layers(raw, read_model_rope(raw, sizes, RopeKind(stretches_theta=True)))
    moes = _read_moes(raw, sizes["mlp_dim"], len(layers))
    return DecoderConfig(
        **sizes,
        layers=tuple(replace(layer, moe=moe) for layer, moe in zip(layers, moes, strict=True)),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        qk_norm=QKNormConfig(over="head", after_rope=True),
        qkv_bias=attention_bias,
        o_bias=attention_bias,
    )


def _read_moes(raw: ConfigReader, mlp_dim: int, num_layers: int) -> list[MoEConfig]:
    """The experts of each layer. All are as wide as the MLP that every token goes through."""
    num_experts = raw.integer("num_experts")
    for name, only in (("moe_intermediate_size", mlp_dim), ("num_shared_expert", 1)):
        for number in raw.integers(name, length=num_layers, default=only):
            if number != only:
                raise raw.refused(name, number, f"only {only} is handled")
    moes = []
    for num_chosen in raw.integers("moe_topk", length=num_layers):
        if num_chosen > num_experts:
            raise raw.wrong("moe_topk", num_chosen, f"at most num_experts = {num_experts}")
        routing = RoutingConfig(num_experts=num_experts, num_chosen=num_chosen, normalised=True)
        moes.append(MoEConfig(routing=routing, mlp_dim=mlp_dim, shared_mlp_dim=mlp_dim))
    return moes


FAMILY = Family(
    models="Hunyuan A13B",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**ENDS, **PRE_NORMS, **ATTENTION, **QK_NORMS, **EXPERTS},
    ignored={
        **DENSE_IGNORED,
        **IGNORED,
        **OLDER_CODE,
        **OF_IMAGES,
        **OF_A_CLASSIFIER,
        "cla_share_factor": "of keys and values shared between layers, which are none",
        "org_vocab_size": "belongs to the tokenizer, which is read elsewhere",
        "pad_id": "belongs to the tokenizer, which is read elsewhere",
        "moe_drop_tokens": "only training turns tokens away",
        "moe_random_routing_dropped_token": "only training turns tokens away",
        "sep_token_id": "belongs to the tokenizer, which is read elsewhere",
    },
)
