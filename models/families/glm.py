"""How does a GLM-4 checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, NormConfig
from jaxserve.models.families.common import (
    ATTENTION,
    ENDS,
    FUSED_MLP,
    PRE_NORMS,
    equal_layers,
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import RopeKind

DEFAULTS = {
    "vocab_size": 151552,
    "hidden_size": 4096,
    "intermediate_size": 13696,
    "num_hidden_layers": 40,
    "num_attention_heads": 32,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "hidden_act": "silu",
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1.5625e-07,
    "tie_word_embeddings": False,
    "partial_rotary_factor": 0.5,
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A GLM-4 config.json in our words."""
    sizes = read_sizes(raw)
    kind = RopeKind(fraction="partial_rotary_factor", interleaved=True)
    return DecoderConfig(
        **sizes,
        layers=equal_layers(raw, read_model_rope(raw, sizes, kind)),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        qkv_bias=raw.flag("attention_bias", True),
    )


FAMILY = Family(
    models="GLM-4 9B and GLM-Edge, as transformers stores them",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**ENDS, **PRE_NORMS, **ATTENTION, **FUSED_MLP},
)
