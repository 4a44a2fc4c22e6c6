"""How does a Qwen2 (with experts) checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import (
    DecoderConfig,
    LayerConfig,
    MoEConfig,
    NormConfig,
    RoutingConfig,
)
from jaxserve.models.families.common import (
    FULL,
    MODULES,
    SLIDING,
    Sizes,
    layers_of_kinds,
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.common_moe import (
    EXPERTS,
    IGNORED,
    read_num_chosen,
    read_sparse_layers,
    with_experts,
)
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader

DEFAULTS = {
    "vocab_size": 151936,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
    "sliding_window": 4096,
    "moe_intermediate_size": 1408,
    "shared_expert_intermediate_size": 5632,
    "num_experts_per_tok": 4,
    "num_experts": 60,
}

SHARED_EXPERT = {
    "model.layers.*.mlp.shared_expert.gate_proj": "layers.*.mlp.shared_expert.gate_proj",
    "model.layers.*.mlp.shared_expert.up_proj": "layers.*.mlp.shared_expert.up_proj",
    "model.layers.*.mlp.shared_expert.down_proj": "layers.*.mlp.shared_expert.down_proj",
    "model.layers.*.mlp.shared_expert_gate": "layers.*.mlp.shared_gate",
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """The config.json of a Qwen2 with experts in our words."""
    sizes = read_sizes(raw)
    num_experts = raw.integer("num_experts")
    moe = MoEConfig(
        routing=RoutingConfig(
            num_experts=num_experts,
            num_chosen=read_num_chosen(raw, "num_experts_per_tok", num_experts=num_experts),
            normalised=raw.flag("norm_topk_prob", False),
        ),
        mlp_dim=raw.integer("moe_intermediate_size"),
        shared_mlp_dim=raw.integer("shared_expert_intermediate_size"),
        shared_gate=True,
    )
    return DecoderConfig(
        **sizes,
        layers=with_experts(_read_layers(raw, sizes), moe, sparse=read_sparse_layers(raw)),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        qkv_bias=raw.flag("qkv_bias", True),
    )


def _read_layers(raw: ConfigReader, sizes: Sizes) -> tuple[LayerConfig, ...]:
    """Every other of the first `max_window_layers` layers has a window, if any has."""
    num_layers = raw.integer("num_hidden_layers")
    num_lower = raw.index("max_window_layers", 28)
    has_windows = raw.flag("use_sliding_window", False)
    size = raw.index("sliding_window", 0)
    kinds = raw.choices("layer_types", (FULL, SLIDING), length=num_layers)
    if kinds is None:
        lower = range(0, num_lower if has_windows else 0, 2)
        kinds = tuple(SLIDING if index in lower else FULL for index in range(num_layers))
    full = LayerConfig(rope=read_model_rope(raw, sizes))
    window = size if has_windows and size else None
    return layers_of_kinds(kinds, full=full, sliding=LayerConfig(rope=full.rope, window=window))


FAMILY = Family(
    models="Qwen1.5-MoE, Qwen2 57B-A14B",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**MODULES, **EXPERTS, **SHARED_EXPERT},
    ignored=IGNORED,
)
