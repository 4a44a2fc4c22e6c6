"""How does a Phi-1, Phi-1.5 or Phi-2 checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, NormConfig, QKNormConfig
from jaxserve.models.families.common import OLDER_CODE, equal_layers, read_model_rope, read_sizes
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import RopeKind

DEFAULTS = {
    "vocab_size": 51200,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 24,
    "num_attention_heads": 32,
    "hidden_act": "gelu_new",
    "max_position_embeddings": 2048,
    "layer_norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "partial_rotary_factor": 0.5,
}

IGNORED = {
    **OLDER_CODE,
    "embd_pdrop": "only training uses it",
    "resid_pdrop": "only training uses it",
}

MODULES = {
    "model.embed_tokens": "embed_tokens",
    "model.layers.*.input_layernorm": "layers.*.input_layernorm",
    "model.layers.*.self_attn.q_proj": "layers.*.self_attn.q_proj",
    "model.layers.*.self_attn.k_proj": "layers.*.self_attn.k_proj",
    "model.layers.*.self_attn.v_proj": "layers.*.self_attn.v_proj",
    "model.layers.*.self_attn.dense": "layers.*.self_attn.o_proj",
    "model.layers.*.self_attn.q_layernorm": "layers.*.self_attn.q_norm",
    "model.layers.*.self_attn.k_layernorm": "layers.*.self_attn.k_norm",
    "model.layers.*.mlp.fc1": "layers.*.mlp.up_proj",
    "model.layers.*.mlp.fc2": "layers.*.mlp.down_proj",
    "model.final_layernorm": "norm",
    "lm_head": "lm_head",
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A Phi config.json in our words."""
    sizes = read_sizes(raw)
    raw.require("tie_word_embeddings", False)
    rope = read_model_rope(raw, sizes, RopeKind(fraction="partial_rotary_factor"))
    return DecoderConfig(
        **sizes,
        layers=equal_layers(raw, rope),
        norm=NormConfig(eps=raw.number("layer_norm_eps"), centered=True, bias=True),
        block="parallel_shared_norm",
        qk_norm=QKNormConfig(over="head") if raw.flag("qk_layernorm", False) else None,
        gated_mlp=False,
        qkv_bias=True,
        o_bias=True,
        mlp_bias=True,
        output_bias=True,
    )


FAMILY = Family(
    models="Phi-1, Phi-1.5, Phi-2",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=MODULES,
    ignored=IGNORED,
)
