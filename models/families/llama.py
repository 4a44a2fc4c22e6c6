"""How does a Llama checkpoint describe itself?

Defaults are those of `LlamaConfig` in transformers 5.
"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig
from jaxserve.models.families.family import Family
from jaxserve.models.layers import ACTIVATIONS
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope import read_rope

IGNORED = {
    "is_llama_config": "a record of how the file was made",
    "pretraining_tp": "sums products in slices, as pretraining did; the result is the same",
}

IGNORED_KEYS = frozenset({"model.layers.*.self_attn.rotary_emb.inv_freq"})

KEYS = {
    "model.embed_tokens.weight": "embed_tokens.weight",
    "model.layers.*.input_layernorm.weight": "layers.*.input_layernorm.weight",
    "model.layers.*.self_attn.q_proj.weight": "layers.*.self_attn.q_proj.weight",
    "model.layers.*.self_attn.q_proj.bias": "layers.*.self_attn.q_proj.bias",
    "model.layers.*.self_attn.k_proj.weight": "layers.*.self_attn.k_proj.weight",
    "model.layers.*.self_attn.k_proj.bias": "layers.*.self_attn.k_proj.bias",
    "model.layers.*.self_attn.v_proj.weight": "layers.*.self_attn.v_proj.weight",
    "model.layers.*.self_attn.v_proj.bias": "layers.*.self_attn.v_proj.bias",
    "model.layers.*.self_attn.o_proj.weight": "layers.*.self_attn.o_proj.weight",
    "model.layers.*.self_attn.o_proj.bias": "layers.*.self_attn.o_proj.bias",
    "model.layers.*.post_attention_layernorm.weight": "layers.*.post_attention_layernorm.weight",
    "model.layers.*.mlp.gate_proj.weight": "layers.*.mlp.gate_proj.weight",
    "model.layers.*.mlp.gate_proj.bias": "layers.*.mlp.gate_proj.bias",
    "model.layers.*.mlp.up_proj.weight": "layers.*.mlp.up_proj.weight",
    "model.layers.*.mlp.up_proj.bias": "layers.*.mlp.up_proj.bias",
    "model.layers.*.mlp.down_proj.weight": "layers.*.mlp.down_proj.weight",
    "model.layers.*.mlp.down_proj.bias": "layers.*.mlp.down_proj.bias",
    "model.norm.weight": "norm.weight",
    "lm_head.weight": "lm_head.weight",
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A Llama config.json in our words."""
    embed_dim = raw.integer("hidden_size", 4096)
    num_q_heads = raw.integer("num_attention_heads", 32)
    max_model_len = raw.integer("max_position_embeddings", 2048)
    attention_bias = raw.flag("attention_bias", False)
    raw.require("rope_interleaved", False)
    return DecoderConfig(
        vocab_size=raw.integer("vocab_size", 32000),
        embed_dim=embed_dim,
        mlp_dim=raw.integer("intermediate_size", 11008),
        num_layers=raw.integer("num_hidden_layers", 32),
        num_q_heads=num_q_heads,
        num_kv_heads=_num_kv_heads(raw, num_q_heads),
        head_dim=_head_dim(raw, embed_dim, num_q_heads),
        norm_eps=raw.number("rms_norm_eps", 1e-6),
        rope=read_rope(raw, max_model_len=max_model_len),
        activation=raw.choice("hidden_act", "silu", ACTIVATIONS),
        qkv_bias=attention_bias,
        o_bias=attention_bias,
        mlp_bias=raw.flag("mlp_bias", False),
        tied_embeddings=raw.flag("tie_word_embeddings", False),
        max_model_len=max_model_len,
    )


def _num_kv_heads(raw: ConfigReader, num_q_heads: int) -> int:
    num_kv_heads = raw.integer("num_key_value_heads", num_q_heads)
    if num_q_heads % num_kv_heads:
        wanted = f"a divisor of num_attention_heads = {num_q_heads}"
        raise raw.wrong("num_key_value_heads", num_kv_heads, wanted)
    return num_kv_heads


def _head_dim(raw: ConfigReader, embed_dim: int, num_q_heads: int) -> int:
    if not raw.has("head_dim") and embed_dim % num_q_heads:
        wanted = f"a multiple of num_attention_heads = {num_q_heads}, as head_dim is absent"
        raise raw.wrong("hidden_size", embed_dim, wanted)
    head_dim = raw.integer("head_dim", embed_dim // num_q_heads)
    if head_dim % 2:
        raise raw.wrong("head_dim", head_dim, "even, since rotation pairs its numbers")
    return head_dim


FAMILY = Family(read_config=read_config, keys=KEYS, ignored_keys=IGNORED_KEYS, ignored=IGNORED)
