"""How does a Qwen3.5 checkpoint describe itself, with experts or without?

Its text model: released files hold a vision tower beside it, which is not loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from jaxserve.models.config import DecoderConfig
from jaxserve.models.families import qwen_hybrid
from jaxserve.models.families.common import GATED_MLP, read_sizes
from jaxserve.models.families.common_moe import with_experts
from jaxserve.models.families.family import Family
from jaxserve.models.families.qwen_hybrid import (
    DELTA_INPUTS,
    EXPERTS,
    OTHER_PARTS,
    hybrid_config,
    read_mixed_layers,
    read_moe,
)
from jaxserve.models.reader import IGNORED, ConfigReader
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

_IMAGES = "images and videos are refused"
BESIDE_TEXT = {
    "image_token_id": _IMAGES,
    "video_token_id": _IMAGES,
    "vision_config": _IMAGES,
    "vision_end_token_id": _IMAGES,
    "vision_start_token_id": _IMAGES,
}

IMAGE_POSITIONS = ("mrope_interleaved", "mrope_section")
"""How positions of images turn: those of text turn as in every other rope."""


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A config.json without experts in our words."""
    return _of_text(raw, DEFAULTS, _read_text)


def read_moe_config(raw: ConfigReader) -> DecoderConfig:
    """A config.json with experts in our words."""
    return _of_text(raw, MOE_DEFAULTS, _read_moe_text)


def _of_text(
    raw: ConfigReader, defaults: Mapping[str, Any], read: Callable[[ConfigReader], DecoderConfig]
) -> DecoderConfig:
    """What `text_config` says, or the whole file where text is all there is."""
    text = raw.table("text_config", defaults)
    if text is None:
        return read(raw)
    config = read(text)
    text.refuse_rest({**IGNORED, **qwen_hybrid.IGNORED})
    tied = raw.flag("tie_word_embeddings", False)
    return replace(config, tied_embeddings=tied)


def _read_text(raw: ConfigReader) -> DecoderConfig:
    sizes = read_sizes(raw)
    return hybrid_config(raw, sizes, read_mixed_layers(raw, sizes, unread_in_rope=IMAGE_POSITIONS))


def _read_moe_text(raw: ConfigReader) -> DecoderConfig:
    sizes = read_sizes(raw, mlp_dim="shared_expert_intermediate_size")
    layers = read_mixed_layers(raw, sizes, unread_in_rope=IMAGE_POSITIONS)
    moe = read_moe(raw, normalised=True)
    return hybrid_config(raw, sizes, with_experts(layers, moe, sparse=range(len(layers))))


def _beside_vision(modules: Modules) -> Modules:
    """`modules` as files of text alone call them, and as those with a vision tower do."""
    inner = {
        key.replace("model.", "model.language_model.", 1): held
        for key, held in modules.items()
        if key.startswith("model.")
    }
    return {**modules, **inner}


_MODULES: Modules = {**qwen_hybrid.MODULES, **DELTA_INPUTS}
_OTHER_PARTS = (*OTHER_PARTS, "model.visual.")
_IGNORED = {**qwen_hybrid.IGNORED, **BESIDE_TEXT}

FAMILY = Family(
    models="Qwen3.5 0.8B to 27B (text)",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=_beside_vision({**_MODULES, **GATED_MLP}),
    other_parts=_OTHER_PARTS,
    ignored=_IGNORED,
)

MOE_FAMILY = Family(
    models="Qwen3.5 35B-A3B to 397B-A17B (text)",
    read_config=read_moe_config,
    defaults=MOE_DEFAULTS,
    modules=_beside_vision({**_MODULES, **EXPERTS}),
    other_parts=_OTHER_PARTS,
    ignored=_IGNORED,
)
