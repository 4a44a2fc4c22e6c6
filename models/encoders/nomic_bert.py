"""How does a Nomic BERT checkpoint describe itself?

Files were released in two spellings: GPT-2's, by the code that came with the weights, and BERT's,
by transformers. Stored keys are the same in both.
"""

from __future__ import annotations

from jaxserve.models.config import LayerConfig, NormConfig, RopeConfig
from jaxserve.models.encoder_config import EncoderConfig
from jaxserve.models.encoders.common import IGNORED as COMMON_IGNORED
from jaxserve.models.encoders.common import read_encoder_sizes, read_first_token_head
from jaxserve.models.encoders.family import EncoderFamily
from jaxserve.models.families.common import OLDER_CODE, read_model_rope
from jaxserve.models.reader import ConfigReader
from jaxserve.models.stored import Modules, fused

DEFAULTS = {
    "vocab_size": 30528,
    "type_vocab_size": 2,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "layer_norm_eps": 1e-12,
    "rope_theta": 1000.0,
}

_TRAINING = "only training uses it"
_KERNELS = "how the released code computes it"
_OTHER_HEADS = "of heads for other tasks"
IGNORED = {
    **COMMON_IGNORED,
    **OLDER_CODE,
    "attn_pdrop": _TRAINING,
    "dense_seq_output": _OTHER_HEADS,
    "embd_pdrop": _TRAINING,
    "fused_bias_fc": _KERNELS,
    "fused_dropout_add_ln": _KERNELS,
    "pad_vocab_size_multiple": "vocab_size is padded already",
    "reorder_and_upcast_attn": "scores are float32 always",
    "resid_pdrop": _TRAINING,
    "rotary_emb_scale_base": "of a rope that no released file has",
    "summary_activation": _OTHER_HEADS,
    "summary_first_dropout": _OTHER_HEADS,
    "summary_proj_to_labels": _OTHER_HEADS,
    "summary_type": _OTHER_HEADS,
    "summary_use_proj": _OTHER_HEADS,
    "use_flash_attn": _KERNELS,
    "use_xentropy": _KERNELS,
}

_BODY = "nomic_bert."
_LAYER = f"{_BODY}encoder.layers.*"
MODULES: Modules = {
    f"{_BODY}embeddings.word_embeddings": "embed_tokens",
    f"{_BODY}embeddings.token_type_embeddings": "embed_token_types",
    f"{_BODY}emb_ln": "embed_norm",
    f"{_LAYER}.attn.Wqkv": fused(
        "layers.*.self_attn.q_proj", "layers.*.self_attn.k_proj", "layers.*.self_attn.v_proj"
    ),
    f"{_LAYER}.attn.out_proj": "layers.*.self_attn.o_proj",
    f"{_LAYER}.norm1": "layers.*.post_self_attn_layernorm",
    f"{_LAYER}.mlp.fc11": "layers.*.mlp.up_proj",
    f"{_LAYER}.mlp.fc12": "layers.*.mlp.gate_proj",
    f"{_LAYER}.mlp.fc2": "layers.*.mlp.down_proj",
    f"{_LAYER}.norm2": "layers.*.post_mlp_layernorm",
}


def read_config(raw: ConfigReader) -> EncoderConfig:
    """A Nomic BERT config.json in our words."""
    if raw.has("n_embd"):
        return _read_released(raw)
    sizes = read_encoder_sizes(raw)
    return EncoderConfig(
        **sizes,
        layers=(LayerConfig(rope=read_model_rope(raw, sizes)),) * raw.integer("num_hidden_layers"),
        norm=NormConfig(eps=raw.number("layer_norm_eps"), centered=True, bias=True),
        norm_after_sum=True,
        num_token_types=raw.integer("type_vocab_size"),
    )


def _read_released(raw: ConfigReader) -> EncoderConfig:
    for name in ("causal", "prenorm", "parallel_block", "parallel_block_tied_norm", "use_rms_norm"):
        raw.require(name, False)
    for name in ("qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias", "rotary_emb_interleaved"):
        raw.require(name, False)
    raw.require("rotary_emb_fraction", 1.0)
    raw.require("scale_attn_weights", True)
    raw.require("scale_attn_by_inverse_layer_idx", False)
    raw.choice("activation_function", None, ("swiglu",))
    embed_dim, num_heads = raw.integer("n_embd"), raw.integer("n_head")
    rope = RopeConfig(theta=raw.number("rotary_emb_base", 1000.0))
    return EncoderConfig(
        vocab_size=raw.integer("vocab_size"),
        embed_dim=embed_dim,
        mlp_dim=raw.integer("n_inner", 4 * embed_dim),
        num_q_heads=num_heads,
        num_kv_heads=num_heads,
        head_dim=embed_dim // num_heads,
        activation="silu",
        tied_embeddings=True,
        max_model_len=_context(raw),
        layers=(LayerConfig(rope=rope),) * raw.integer("n_layer"),
        norm=NormConfig(eps=raw.number("layer_norm_epsilon"), centered=True, bias=True),
        norm_after_sum=True,
        num_token_types=raw.integer("type_vocab_size"),
    )


def _context(raw: ConfigReader) -> int:
    """Its dynamic scaling sets in past the positions of the training, and no text gets there."""
    num_positions, num_trained = (
        raw.integer("n_positions"),
        raw.integer("max_trained_positions", 2048),
    )
    is_scaled = raw.optional_number("rotary_scaling_factor") is not None
    return min(num_positions, num_trained) if is_scaled else num_positions


FAMILY = EncoderFamily(
    read_config=read_config,
    read_head=read_first_token_head,
    defaults=DEFAULTS,
    modules=MODULES,
    head_modules={f"{_BODY}pooler.dense": "hidden.linear", "classifier": "output"},
    prefix=_BODY,
    head_keys=(f"{_BODY}pooler.", "cls."),
    models="nomic-embed-text v1, v1.5",
    ignored=IGNORED,
)
