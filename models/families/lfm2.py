"""How does an LFM2 checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, LayerConfig, NormConfig, QKNormConfig
from jaxserve.models.families.common import FULL, Sizes, read_model_rope, read_sizes
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader
from jaxserve.models.recurrent.config import ShortConvConfig
from jaxserve.models.stored import Modules, fused

CONV = "conv"

DEFAULTS = {
    "vocab_size": 65536,
    "hidden_size": 2560,
    "intermediate_size": 12288,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_act": "silu",
    "max_position_embeddings": 128000,
    "norm_eps": 1e-05,
    "tie_word_embeddings": True,
    "rope_theta": 1000000.0,
    "conv_L_cache": 3,
    "block_multiple_of": 256,
    "block_ffn_dim_multiplier": 1.0,
}

_TRAINING = "how weights began"
IGNORED = {
    "block_mlp_init_scale": _TRAINING,
    "block_norm_eps": "transformers reads norm_eps",
    "block_out_init_scale": _TRAINING,
    "block_use_xavier_init": _TRAINING,
    "conv_use_xavier_init": _TRAINING,
    "theta": "transformers reads rope_theta",
}

MIXERS: Modules = {
    "model.layers.*.self_attn.q_proj": "layers.*.self_attn.q_proj",
    "model.layers.*.self_attn.k_proj": "layers.*.self_attn.k_proj",
    "model.layers.*.self_attn.v_proj": "layers.*.self_attn.v_proj",
    "model.layers.*.self_attn.out_proj": "layers.*.self_attn.o_proj",
    "model.layers.*.self_attn.q_layernorm": "layers.*.self_attn.q_norm",
    "model.layers.*.self_attn.k_layernorm": "layers.*.self_attn.k_norm",
    "model.layers.*.conv.in_proj": fused(
        "layers.*.recurrent.b_proj", "layers.*.recurrent.c_proj", "layers.*.recurrent.x_proj"
    ),
    "model.layers.*.conv.conv": "layers.*.recurrent.conv",
    "model.layers.*.conv.out_proj": "layers.*.recurrent.out_proj",
}

ENDS_AND_NORMS: Modules = {
    "model.embed_tokens": "embed_tokens",
    "model.embedding_norm": "norm",
    "lm_head": "lm_head",
    "model.layers.*.operator_norm": "layers.*.input_layernorm",
    "model.layers.*.ffn_norm": "layers.*.post_attention_layernorm",
}

MLP: Modules = {
    "model.layers.*.feed_forward.w1": "layers.*.mlp.gate_proj",
    "model.layers.*.feed_forward.w3": "layers.*.mlp.up_proj",
    "model.layers.*.feed_forward.w2": "layers.*.mlp.down_proj",
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """An LFM2 config.json in our words."""
    sizes = read_hybrid_sizes(raw)
    sizes["mlp_dim"] = _read_mlp_dim(raw, sizes["mlp_dim"])
    for name in ("block_dim", "conv_dim", "conv_dim_out"):
        raw.require(name, sizes["embed_dim"])
    raw.require("block_use_swiglu", True)
    kinds = raw.choices("layer_types", (FULL, CONV), length=raw.integer("num_hidden_layers"))
    attending = raw.indices("full_attn_idxs")
    if kinds is None:
        every = not raw.has("full_attn_idxs")
        numbers = range(raw.integer("num_hidden_layers"))
        kinds = tuple(FULL if every or index in attending else CONV for index in numbers)
    return hybrid_config(raw, sizes, hybrid_layers(raw, sizes, kinds))


def read_hybrid_sizes(raw: ConfigReader) -> Sizes:
    """The sizes as all of LFM2 say them."""
    raw.require("hidden_act", "silu")
    raw.require("use_pos_enc", True)
    sizes = read_sizes(raw)
    raw.require("num_heads", sizes["num_q_heads"])
    sizes["tied_embeddings"] = raw.flag("tie_embedding", sizes["tied_embeddings"])
    return sizes


def hybrid_layers(
    raw: ConfigReader, sizes: Sizes, kinds: tuple[str, ...]
) -> tuple[LayerConfig, ...]:
    """A layer per kind, FULL or CONV."""
    conv = ShortConvConfig(
        channels=sizes["embed_dim"],
        width=raw.integer("conv_L_cache"),
        bias=raw.flag("conv_bias", False),
    )
    full = LayerConfig(rope=read_model_rope(raw, sizes))
    mixing = {FULL: full, CONV: LayerConfig(rope=None, recurrent=conv)}
    return tuple(mixing[kind] for kind in kinds)


def hybrid_config(
    raw: ConfigReader, sizes: Sizes, layers: tuple[LayerConfig, ...]
) -> DecoderConfig:
    """A decoder of `layers`, as all of LFM2 norm them."""
    return DecoderConfig(
        **sizes,
        layers=layers,
        norm=NormConfig(eps=raw.number("norm_eps"), rounds_first=True),
        qk_norm=QKNormConfig(over="head"),
    )


def _read_mlp_dim(raw: ConfigReader, otherwise: int) -> int:
    """What the layers have, which is less than what the config calls so."""
    mlp_dim = raw.integer("block_ff_dim", otherwise)
    multiplier, multiple = raw.number("block_ffn_dim_multiplier"), raw.integer("block_multiple_of")
    if not raw.flag("block_auto_adjust_ff_dim", True):
        return mlp_dim
    mlp_dim = int(multiplier * int(2 * mlp_dim / 3))
    return multiple * -(-mlp_dim // multiple)


FAMILY = Family(
    models="LFM2 350M to 2.6B, LFM2.5",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**ENDS_AND_NORMS, **MIXERS, **MLP},
    ignored=IGNORED,
)
