"""How does a Falcon checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import Block, DecoderConfig, NormConfig
from jaxserve.models.families.common import OLDER_CODE, equal_layers
from jaxserve.models.families.family import Family
from jaxserve.models.layers import ACTIVATIONS
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import read_rope
from jaxserve.models.stored import Modules, fused_by_group

DEFAULTS = {
    "vocab_size": 65024,
    "hidden_size": 4544,
    "num_hidden_layers": 32,
    "num_attention_heads": 71,
    "activation": "gelu",
    "max_position_embeddings": 2048,
    "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
}

IGNORED = {**OLDER_CODE, "hidden_dropout": "only training uses it"}

MODULES: Modules = {
    "transformer.word_embeddings": "embed_tokens",
    "transformer.h.*.input_layernorm": "layers.*.input_layernorm",
    "transformer.h.*.ln_attn": "layers.*.input_layernorm",  # where there are two
    "transformer.h.*.self_attention.query_key_value": fused_by_group(
        "layers.*.self_attn.q_proj", "layers.*.self_attn.k_proj", "layers.*.self_attn.v_proj"
    ),
    "transformer.h.*.self_attention.dense": "layers.*.self_attn.o_proj",
    "transformer.h.*.post_attention_layernorm": "layers.*.post_attention_layernorm",
    "transformer.h.*.ln_mlp": "layers.*.post_attention_layernorm",
    "transformer.h.*.mlp.dense_h_to_4h": "layers.*.mlp.up_proj",
    "transformer.h.*.mlp.dense_4h_to_h": "layers.*.mlp.down_proj",
    "transformer.ln_f": "norm",
    "lm_head": "lm_head",
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A Falcon config.json in our words."""
    embed_dim, num_q_heads = raw.integer("hidden_size"), raw.integer("num_attention_heads")
    if embed_dim % (2 * num_q_heads):
        wanted = f"an even multiple of num_attention_heads = {num_q_heads}"
        raise raw.wrong("hidden_size", embed_dim, wanted)
    head_dim = embed_dim // num_q_heads
    max_model_len = raw.integer("max_position_embeddings")
    bias = raw.flag("bias", False)
    raw.require("alibi", False)
    raw.require("apply_residual_connection_post_layernorm", False)
    return DecoderConfig(
        vocab_size=raw.integer("vocab_size"),
        embed_dim=embed_dim,
        mlp_dim=raw.integer("ffn_hidden_size", 4 * embed_dim),
        num_q_heads=num_q_heads,
        num_kv_heads=_num_kv_heads(raw, num_q_heads),
        head_dim=head_dim,
        layers=equal_layers(raw, read_rope(raw, head_dim=head_dim, max_model_len=max_model_len)),
        norm=NormConfig(eps=raw.number("layer_norm_epsilon"), centered=True, bias=True),
        activation=raw.choice("activation", None, ACTIVATIONS),
        tied_embeddings=raw.flag("tie_word_embeddings", False),
        max_model_len=max_model_len,
        block=_block(raw),
        gated_mlp=False,
        qkv_bias=bias,
        o_bias=bias,
        mlp_bias=bias,
    )


def _num_kv_heads(raw: ConfigReader, num_q_heads: int) -> int:
    """The newer files count KV heads; the older ones have one, or one for each query head."""
    given = raw.integer("num_kv_heads", num_q_heads)
    is_multi_query = raw.flag("multi_query", True)
    if not raw.flag("new_decoder_architecture", False):
        return 1 if is_multi_query else num_q_heads
    if num_q_heads % given:
        wanted = f"a divisor of num_attention_heads = {num_q_heads}"
        raise raw.wrong("num_kv_heads", given, wanted)
    return given


def _block(raw: ConfigReader) -> Block:
    is_parallel, num_norms = raw.flag("parallel_attn", True), 1
    if raw.flag("new_decoder_architecture", False):
        raw.require("parallel_attn", True)
        num_norms = raw.integer("num_ln_in_parallel_attn", 2)
    else:
        raw.require("num_ln_in_parallel_attn", 1)
    if not is_parallel:
        return "pre_norm"
    return "parallel" if num_norms == 2 else "parallel_shared_norm"


FAMILY = Family(
    models="Falcon RW, 7B, 40B, 180B, Falcon 2",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=MODULES,
    prefix="transformer.",
    ignored=IGNORED,
)
