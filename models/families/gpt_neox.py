"""How does a GPT-NeoX or Pythia checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, NormConfig
from jaxserve.models.families.common import equal_layers, read_model_rope, read_sizes
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import RopeKind
from jaxserve.models.stored import Modules, fused_by_group

DEFAULTS = {
    "vocab_size": 50432,
    "hidden_size": 6144,
    "intermediate_size": 24576,
    "num_hidden_layers": 44,
    "num_attention_heads": 64,
    "hidden_act": "gelu",
    "max_position_embeddings": 2048,
    "layer_norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "rotary_pct": 0.25,
}

IGNORED = {
    "classifier_dropout": "only training uses it",
    "hidden_dropout": "only training uses it",
}

BUFFERS = frozenset(
    f"gpt_neox.layers.*.attention.{name}" for name in ("bias", "masked_bias", "rotary_emb.inv_freq")
)

MODULES: Modules = {
    "gpt_neox.embed_in": "embed_tokens",
    "gpt_neox.layers.*.input_layernorm": "layers.*.input_layernorm",
    "gpt_neox.layers.*.attention.query_key_value": fused_by_group(
        "layers.*.self_attn.q_proj", "layers.*.self_attn.k_proj", "layers.*.self_attn.v_proj"
    ),
    "gpt_neox.layers.*.attention.dense": "layers.*.self_attn.o_proj",
    "gpt_neox.layers.*.post_attention_layernorm": "layers.*.post_attention_layernorm",
    "gpt_neox.layers.*.mlp.dense_h_to_4h": "layers.*.mlp.up_proj",
    "gpt_neox.layers.*.mlp.dense_4h_to_h": "layers.*.mlp.down_proj",
    "gpt_neox.final_layer_norm": "norm",
    "embed_out": "lm_head",
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A GPT-NeoX config.json in our words."""
    sizes = read_sizes(raw)
    attention_bias = raw.flag("attention_bias", True)
    rope = read_model_rope(raw, sizes, RopeKind(theta="rotary_emb_base", fraction="rotary_pct"))
    return DecoderConfig(
        **sizes,
        layers=equal_layers(raw, rope),
        norm=NormConfig(eps=raw.number("layer_norm_eps"), centered=True, bias=True),
        block="parallel" if raw.flag("use_parallel_residual", True) else "pre_norm",
        gated_mlp=False,
        qkv_bias=attention_bias,
        o_bias=attention_bias,
        mlp_bias=True,
    )


FAMILY = Family(
    models="GPT-NeoX 20B, Pythia, Dolly 2",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=MODULES,
    prefix="gpt_neox.",
    ignored_keys=BUFFERS,
    ignored=IGNORED,
)
