"""How does a Hunyuan (dense) checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, NormConfig, QKNormConfig
from jaxserve.models.families.common import MODULES, equal_layers, read_model_rope, read_sizes
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import RopeKind

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
}

IGNORED = {
    "eod_token_id": "belongs to the tokenizer, which is read elsewhere",
    "pretraining_tp": "sums products in slices, as pretraining did; the result is the same",
}

ONLY = {
    "add_classification_head": False,
    "mlp_bias": False,
    "norm_type": "rms",
    "use_cla": False,
    "use_qk_norm": True,
    "use_rotary_pos_emb": True,
}
"""What released files say and transformers does not read."""

QK_NORMS = {
    "model.layers.*.self_attn.query_layernorm": "layers.*.self_attn.q_norm",
    "model.layers.*.self_attn.key_layernorm": "layers.*.self_attn.k_norm",
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A dense Hunyuan config.json in our words."""
    sizes = read_sizes(raw)
    attention_bias = raw.flag("attention_bias", False)
    for name, only in ONLY.items():
        raw.require(name, only)
    return DecoderConfig(
        **sizes,
        layers=equal_layers(raw, read_model_rope(raw, sizes, RopeKind(stretches_theta=True))),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        qk_norm=QKNormConfig(over="head", after_rope=True),
        qkv_bias=attention_bias,
        o_bias=attention_bias,
    )


FAMILY = Family(
    models="Hunyuan 0.5B to 7B (dense)",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**MODULES, **QK_NORMS},
    ignored=IGNORED,
)
