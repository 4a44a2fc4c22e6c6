"""How does a GPT-2 checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, LayerConfig, NormConfig
from jaxserve.models.families.family import Family
from jaxserve.models.layers import ACTIVATIONS
from jaxserve.models.reader import ConfigReader
from jaxserve.models.stored import Modules, transposed

DEFAULTS = {
    "vocab_size": 50257,
    "n_positions": 1024,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
}

_OTHER_HEADS = "of heads for other tasks"
IGNORED = {
    "attn_pdrop": "only training uses it",
    "embd_pdrop": "only training uses it",
    "n_ctx": "n_positions says it",
    "reorder_and_upcast_attn": "scores are float32 always",
    "resid_pdrop": "only training uses it",
    "summary_activation": _OTHER_HEADS,
    "summary_first_dropout": _OTHER_HEADS,
    "summary_proj_to_labels": _OTHER_HEADS,
    "summary_type": _OTHER_HEADS,
    "summary_use_proj": _OTHER_HEADS,
    "task_specific_params": "defaults of other tools",
}

MODULES: Modules = {
    "transformer.wte": "embed_tokens",
    "transformer.wpe": "embed_positions",
    "transformer.h.*.ln_1": "layers.*.input_layernorm",
    "transformer.h.*.attn.c_attn": transposed(
        "layers.*.self_attn.q_proj", "layers.*.self_attn.k_proj", "layers.*.self_attn.v_proj"
    ),
    "transformer.h.*.attn.c_proj": transposed("layers.*.self_attn.o_proj"),
    "transformer.h.*.ln_2": "layers.*.post_attention_layernorm",
    "transformer.h.*.mlp.c_fc": transposed("layers.*.mlp.up_proj"),
    "transformer.h.*.mlp.c_proj": transposed("layers.*.mlp.down_proj"),
    "transformer.ln_f": "norm",
    "lm_head": "lm_head",
}

MASKS = frozenset({"transformer.h.*.attn.bias", "transformer.h.*.attn.masked_bias"})


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A GPT-2 config.json in our words."""
    embed_dim, num_heads = raw.integer("n_embd"), raw.integer("n_head")
    if embed_dim % num_heads:
        raise raw.wrong("n_embd", embed_dim, f"a multiple of n_head = {num_heads}")
    num_positions = raw.integer("n_positions")
    raw.require("scale_attn_by_inverse_layer_idx", False)
    raw.require("add_cross_attention", False)
    return DecoderConfig(
        vocab_size=raw.integer("vocab_size"),
        embed_dim=embed_dim,
        mlp_dim=raw.integer("n_inner", 4 * embed_dim),
        num_q_heads=num_heads,
        num_kv_heads=num_heads,
        head_dim=embed_dim // num_heads,
        layers=(LayerConfig(rope=None),) * raw.integer("n_layer"),
        norm=NormConfig(eps=raw.number("layer_norm_epsilon"), centered=True, bias=True),
        activation=raw.choice("activation_function", None, ACTIVATIONS),
        tied_embeddings=raw.flag("tie_word_embeddings", False),
        max_model_len=num_positions,
        num_learned_positions=num_positions,
        gated_mlp=False,
        qkv_bias=True,
        o_bias=True,
        mlp_bias=True,
        attention_multiplier=None if raw.flag("scale_attn_weights", True) else 1.0,
    )


FAMILY = Family(
    models="GPT-2, DistilGPT2",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=MODULES,
    prefix="transformer.",
    ignored_keys=MASKS,
    ignored=IGNORED,
)
