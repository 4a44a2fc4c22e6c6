"""How does a Qwen3.5 checkpoint describe itself, with experts or without?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig
from jaxserve.models.families import qwen_hybrid
from jaxserve.models.families.beside_vision import beside_vision
from jaxserve.models.families.common import GATED_MLP, read_sizes
from jaxserve.models.families.common_moe import with_experts
from jaxserve.models.families.family import Family
from jaxserve.models.families.qwen_hybrid import (
    DELTA_INPUTS,
    EXPERTS,
    IGNORED,
    OTHER_PARTS,
    hybrid_config,
    read_mixed_layers,
    read_moe,
)
from jaxserve.models.reader import ConfigReader
from jaxserve.models.stored import Modules

DEFAULTS = {
    **qwen_hybrid.DEFAULTS,
    "vocab_size": 248320,
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 32,
    "num_key_value_heads": 4,
}

MOE_DEFAULTS = {
    **qwen_hybrid.DEFAULTS,
    "vocab_size": 248320,
    "hidden_size": 2048,
    "num_hidden_layers": 40,
    "num_key_value_heads": 2,
    "moe_intermediate_size": 512,
    "shared_expert_intermediate_size": 512,
    "num_experts_per_tok": 8,
    "num_experts": 256,
}

OF_IMAGES = (
    "image_token_id",
    "video_token_id",
    "vision_end_token_id",
    "vision_start_token_id",
)

IMAGE_POSITIONS = ("mrope_interleaved", "mrope_section")
"""How positions of images turn: those of text turn as in every other rope."""


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A config.json without experts in our words."""
    sizes = read_sizes(raw)
    return hybrid_config(raw, sizes, read_mixed_layers(raw, sizes, unread_in_rope=IMAGE_POSITIONS))


def read_moe_config(raw: ConfigReader) -> DecoderConfig:
    """A config.json with experts in our words."""
    sizes = read_sizes(raw, mlp_dim="shared_expert_intermediate_size")
    layers = read_mixed_layers(raw, sizes, unread_in_rope=IMAGE_POSITIONS)
    moe = read_moe(raw, normalised=True)
    return hybrid_config(raw, sizes, with_experts(layers, moe, sparse=range(len(layers))))


_MODULES: Modules = {**qwen_hybrid.MODULES, **DELTA_INPUTS}

FAMILY = Family(
    models="text models of Qwen3.5 by themselves",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**_MODULES, **GATED_MLP},
    other_parts=OTHER_PARTS,
    ignored=IGNORED,
)

MOE_FAMILY = Family(
    models="text models of Qwen3.5 with experts by themselves",
    read_config=read_moe_config,
    defaults=MOE_DEFAULTS,
    modules={**_MODULES, **EXPERTS},
    other_parts=OTHER_PARTS,
    ignored=IGNORED,
)

BESIDE_VISION = beside_vision(
    {"qwen3_5_text": FAMILY},
    models="Qwen3.5 0.8B to 27B (text)",
    of_others=OF_IMAGES,
    tied_embeddings=False,
)

MOE_BESIDE_VISION = beside_vision(
    {"qwen3_5_moe_text": MOE_FAMILY},
    models="Qwen3.5 35B-A3B to 397B-A17B (text)",
    of_others=OF_IMAGES,
    tied_embeddings=False,
)
