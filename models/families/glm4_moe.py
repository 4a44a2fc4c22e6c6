"""How does a GLM-4.5 checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import (
    DecoderConfig,
    NormConfig,
    QKNormConfig,
)
from jaxserve.models.families.common import (
    MODULES,
    QK_NORMS,
    equal_layers,
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.common_moe import (
    EXPERTS,
    IGNORED,
    SHARED_EXPERTS,
    read_corrected_moe,
    with_experts,
)
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import RopeKind

DEFAULTS = {
    "vocab_size": 151552,
    "hidden_size": 4096,
    "intermediate_size": 10944,
    "num_hidden_layers": 46,
    "num_attention_heads": 96,
    "num_key_value_heads": 8,
    "hidden_act": "silu",
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "partial_rotary_factor": 0.5,
    "moe_intermediate_size": 1408,
    "num_experts_per_tok": 8,
    "n_shared_experts": 1,
    "n_routed_experts": 128,
    "first_k_dense_replace": 1,
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A GLM-4.5 config.json in our words."""
    sizes = read_sizes(raw)
    rope = read_model_rope(raw, sizes, RopeKind(fraction="partial_rotary_factor"))
    layers = equal_layers(raw, rope)
    sparse = range(raw.index("first_k_dense_replace"), len(layers))
    return DecoderConfig(
        **sizes,
        layers=with_experts(layers, read_corrected_moe(raw), sparse=sparse),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        qk_norm=QKNormConfig(over="head") if raw.flag("use_qk_norm", False) else None,
        qkv_bias=raw.flag("attention_bias", False),
    )


FAMILY = Family(
    models="GLM-4.5, GLM-4.5-Air, GLM-4.6",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**MODULES, **QK_NORMS, **EXPERTS, **SHARED_EXPERTS},
    extra_layers="model.layers.",
    ignored={**IGNORED, "num_nextn_predict_layers": "layers that guess tokens ahead are not run"},
)
