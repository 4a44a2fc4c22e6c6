"""What do most families have in common?

Attributes that nearly every config.json calls the same, and modules that nearly every checkpoint
calls the same. A family uses what fits it and spells out the rest.
"""

from __future__ import annotations

from typing import TypedDict

from jaxserve.models.config import LayerConfig, RopeConfig
from jaxserve.models.layers import ACTIVATIONS
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import RopeKind, read_rope
from jaxserve.models.stored import Modules, fused

FULL, SLIDING = "full_attention", "sliding_attention"

ENDS = {
    "model.embed_tokens": "embed_tokens",
    "model.norm": "norm",
    "lm_head": "lm_head",
}

PRE_NORMS = {
    "model.layers.*.input_layernorm": "layers.*.input_layernorm",
    "model.layers.*.post_attention_layernorm": "layers.*.post_attention_layernorm",
}

ATTENTION = {
    "model.layers.*.self_attn.q_proj": "layers.*.self_attn.q_proj",
    "model.layers.*.self_attn.k_proj": "layers.*.self_attn.k_proj",
    "model.layers.*.self_attn.v_proj": "layers.*.self_attn.v_proj",
    "model.layers.*.self_attn.o_proj": "layers.*.self_attn.o_proj",
}

QK_NORMS = {
    "model.layers.*.self_attn.q_norm": "layers.*.self_attn.q_norm",
    "model.layers.*.self_attn.k_norm": "layers.*.self_attn.k_norm",
}

PLAIN_MLP = {
    "model.layers.*.mlp.up_proj": "layers.*.mlp.up_proj",
    "model.layers.*.mlp.down_proj": "layers.*.mlp.down_proj",
}

GATED_MLP = {"model.layers.*.mlp.gate_proj": "layers.*.mlp.gate_proj", **PLAIN_MLP}

MODULES = {**ENDS, **PRE_NORMS, **ATTENTION, **GATED_MLP}

FUSED_MLP: Modules = {
    "model.layers.*.mlp.gate_up_proj": fused("layers.*.mlp.gate_proj", "layers.*.mlp.up_proj"),
    "model.layers.*.mlp.down_proj": "layers.*.mlp.down_proj",
}

OLDER_CODE = {"auto_map": "code for releases of transformers without the family; it is never run"}
"""Of families whose released files still name it."""

ROTARY_TABLES = frozenset({"model.layers.*.self_attn.rotary_emb.inv_freq"})
"""Keys that checkpoints of older releases hold."""


class Sizes(TypedDict):
    """The fields of a DecoderConfig that nearly every config.json spells the same."""

    vocab_size: int
    embed_dim: int
    mlp_dim: int
    num_q_heads: int
    num_kv_heads: int
    head_dim: int
    activation: str
    tied_embeddings: bool
    max_model_len: int


def read_sizes(
    raw: ConfigReader,
    *,
    activation: str = "hidden_act",
    mlp_dim: str = "intermediate_size",
    head_dim: int | None = None,
) -> Sizes:
    """The sizes; `activation` is the name of the attribute that says how the MLP bends, `mlp_dim`
    of the one that says how wide it is. `head_dim` is given where no attribute says it."""
    embed_dim = raw.integer("hidden_size")
    num_q_heads = raw.integer("num_attention_heads")
    return Sizes(
        vocab_size=raw.integer("vocab_size"),
        embed_dim=embed_dim,
        mlp_dim=raw.integer(mlp_dim),
        num_q_heads=num_q_heads,
        num_kv_heads=_num_kv_heads(raw, num_q_heads),
        head_dim=head_dim or _head_dim(raw, embed_dim, num_q_heads),
        activation=raw.choice(activation, None, ACTIVATIONS),
        tied_embeddings=raw.flag("tie_word_embeddings", False),
        max_model_len=raw.integer("max_position_embeddings"),
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


def read_model_rope(raw: ConfigReader, sizes: Sizes, kind: RopeKind | None = None) -> RopeConfig:
    """The one rope of all layers."""
    return read_rope(
        raw, head_dim=sizes["head_dim"], max_model_len=sizes["max_model_len"], kind=kind
    )


def equal_layers(
    raw: ConfigReader, rope: RopeConfig | None, *, window: int | None = None
) -> tuple[LayerConfig, ...]:
    """As many equal layers as `raw` says."""
    return (LayerConfig(rope=rope, window=window),) * raw.integer("num_hidden_layers")


def layers_of_kinds(
    kinds: tuple[str, ...], *, full: LayerConfig, sliding: LayerConfig
) -> tuple[LayerConfig, ...]:
    """A layer per kind, FULL or SLIDING."""
    return tuple({FULL: full, SLIDING: sliding}[kind] for kind in kinds)


def read_kinds(raw: ConfigReader, *, every: int) -> tuple[str, ...]:
    """`layer_types`: FULL or SLIDING for each layer.

    Where it is absent, each layer of number `every`, 2 `every`, ... is FULL and the others SLIDING.
    """
    num_layers = raw.integer("num_hidden_layers")
    given = raw.choices("layer_types", (FULL, SLIDING), length=num_layers)
    if given is not None:
        return given
    return tuple(FULL if (index + 1) % every == 0 else SLIDING for index in range(num_layers))
