"""How does the text model of a Llama 4 checkpoint describe itself?"""

from __future__ import annotations

from dataclasses import replace

from jaxserve.models.config import (
    DecoderConfig,
    LayerConfig,
    MoEConfig,
    NormConfig,
    QKNormConfig,
    QueryGrowth,
    RopeConfig,
    RoutingConfig,
)
from jaxserve.models.families.beside_vision import beside_vision
from jaxserve.models.families.common import (
    ATTENTION,
    ENDS,
    FULL,
    PRE_NORMS,
    Sizes,
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.common_moe import IGNORED, read_num_chosen, with_experts
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import RopeKind
from jaxserve.models.stored import Modules, tensor, transposed

DEFAULTS = {
    "vocab_size": 202048,
    "hidden_size": 5120,
    "intermediate_size": 8192,
    "intermediate_size_mlp": 16384,
    "num_hidden_layers": 48,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hidden_act": "silu",
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "num_local_experts": 16,
    "num_experts_per_tok": 1,
    "attention_chunk_size": 8192,
    "rope_theta": 500000.0,
}

CHUNKED = "chunked_attention"
PROJECTIONS = ("gate_proj", "up_proj", "down_proj")

FEED_FORWARD: Modules = {
    **{f"model.layers.*.feed_forward.{name}": f"layers.*.mlp.{name}" for name in PROJECTIONS},
    **{
        f"model.layers.*.feed_forward.shared_expert.{name}": f"layers.*.mlp.shared_expert.{name}"
        for name in PROJECTIONS
    },
    "model.layers.*.feed_forward.router": "layers.*.mlp.router",
    "model.layers.*.feed_forward.experts.gate_up_proj": tensor(
        transposed("layers.*.mlp.experts.gate_proj.weight", "layers.*.mlp.experts.up_proj.weight")
    ),
    "model.layers.*.feed_forward.experts.down_proj": tensor(
        transposed("layers.*.mlp.experts.down_proj.weight")
    ),
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """The config.json of Llama 4's text model in our words."""
    sizes = read_sizes(raw)
    attention_bias = raw.flag("attention_bias", False)
    num_experts, expert_dim = raw.integer("num_local_experts"), sizes["mlp_dim"]
    routing = RoutingConfig(
        num_experts=num_experts,
        num_chosen=read_num_chosen(raw, "num_experts_per_tok", num_experts=num_experts),
        scores="sigmoid",
    )
    moe = MoEConfig(
        routing=routing, mlp_dim=expert_dim, weighs_inputs=True, shared_mlp_dim=expert_dim
    )
    normalises = raw.flag("use_qk_norm", True)
    qk_norm = QKNormConfig(over="head", after_rope=True, weighted=False, where_turned=True)
    return DecoderConfig(
        **Sizes({**sizes, "mlp_dim": raw.integer("intermediate_size_mlp")}),
        layers=with_experts(_read_layers(raw, sizes), moe, sparse=_read_sparse_layers(raw)),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        qk_norm=qk_norm if normalises else None,
        qkv_bias=attention_bias,
        o_bias=attention_bias,
    )


def _read_layers(raw: ConfigReader, sizes: Sizes) -> tuple[LayerConfig, ...]:
    """Layers that turn heads see a chunk; without `layer_types` the others see everything."""
    num_layers = raw.integer("num_hidden_layers")
    rope = read_model_rope(raw, sizes, RopeKind(interleaved=True))
    plain, chunk = _read_growing(raw, rope), raw.optional_integer("attention_chunk_size")
    turns = _read_turns(raw, num_layers)
    kinds = raw.choices("layer_types", (FULL, CHUNKED), length=num_layers)
    if kinds is None:
        kinds = tuple(CHUNKED if turned else FULL for turned in turns)
    return tuple(
        LayerConfig(rope=rope if turned else plain, chunk=chunk if kind == CHUNKED else None)
        for turned, kind in zip(turns, kinds, strict=True)
    )


def _read_turns(raw: ConfigReader, num_layers: int) -> tuple[bool, ...]:
    """Whether each layer turns heads: all but every fourth, or what the file lists."""
    every = raw.integer("no_rope_layer_interval", 4)
    listed = raw.switches("no_rope_layers", length=num_layers)
    return listed or tuple((index + 1) % every != 0 for index in range(num_layers))


def _read_growing(raw: ConfigReader, rope: RopeConfig) -> RopeConfig | None:
    """What layers that turn no heads know of positions."""
    beta, length = raw.number("attn_scale", 0.1), raw.integer("floor_scale", 8192)
    if not raw.flag("attn_temperature_tuning", True):
        return None
    growth = QueryGrowth(beta=beta, original_max_len=length, first=1)
    return replace(rope, scaling=None, fraction=0.0, query_growth=growth)


def _read_sparse_layers(raw: ConfigReader) -> tuple[int, ...] | range:
    every = raw.integer("interleave_moe_layer_step", 1)
    if raw.has("moe_layers"):
        return raw.indices("moe_layers")
    return range(every - 1, raw.integer("num_hidden_layers"), every)


FAMILY = Family(
    models="Llama 4 saved as a text model",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**ENDS, **PRE_NORMS, **ATTENTION, **FEED_FORWARD},
    ignored={**IGNORED, "for_llm_compressor": "for another program"},
)

BESIDE_VISION = beside_vision(
    {"llama4_text": FAMILY},
    models="Llama 4 Scout and Maverick (text)",
    of_others=("boi_token_index", "eoi_token_index", "image_token_index"),
    tied_embeddings=False,
)
