"""How does a Phi-3, Phi-3.5 or Phi-4 checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, NormConfig
from jaxserve.models.families.common import (
    ENDS,
    FUSED_MLP,
    OLDER_CODE,
    PRE_NORMS,
    equal_layers,
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import RopeKind
from jaxserve.models.stored import Modules, fused

DEFAULTS = {
    "vocab_size": 32064,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "original_max_position_embeddings": 4096,
}

IGNORED = {
    **OLDER_CODE,
    "embd_pdrop": "only training uses it",
    "resid_pdrop": "only training uses it",
}

ONLY = {
    "attention_bias": False,
    "full_attn_mod": 1,
    "interpolate_factor": 1,
    "lm_head_bias": False,
    "mlp_bias": False,
}
"""What released files say and transformers does not read."""

FUSED_ATTENTION: Modules = {
    "model.layers.*.self_attn.qkv_proj": fused(
        "layers.*.self_attn.q_proj", "layers.*.self_attn.k_proj", "layers.*.self_attn.v_proj"
    ),
    "model.layers.*.self_attn.o_proj": "layers.*.self_attn.o_proj",
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A Phi-3 config.json in our words."""
    sizes = read_sizes(raw)
    rope = read_model_rope(raw, sizes, RopeKind(fraction="partial_rotary_factor"))
    for name, only in ONLY.items():
        raw.require(name, only)
    return DecoderConfig(
        **sizes,
        layers=equal_layers(raw, rope, window=raw.optional_integer("sliding_window")),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
    )


FAMILY = Family(
    models="Phi-3, Phi-3.5, Phi-4 (dense, text)",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**ENDS, **PRE_NORMS, **FUSED_ATTENTION, **FUSED_MLP},
    ignored=IGNORED,
)
