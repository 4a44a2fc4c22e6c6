"""How does a Qwen3-Next checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig
from jaxserve.models.families import qwen_hybrid
from jaxserve.models.families.common import GATED_MLP, read_sizes
from jaxserve.models.families.common_moe import read_sparse_layers, with_experts
from jaxserve.models.families.family import Family
from jaxserve.models.families.qwen_hybrid import (
    DELTA_INPUTS_BY_GROUP,
    EXPERTS,
    IGNORED,
    MODULES,
    OTHER_PARTS,
    hybrid_config,
    read_mixed_layers,
    read_moe,
)
from jaxserve.models.reader import ConfigReader

DEFAULTS = {
    **qwen_hybrid.DEFAULTS,
    "vocab_size": 151936,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 48,
    "num_key_value_heads": 2,
    "moe_intermediate_size": 512,
    "shared_expert_intermediate_size": 512,
    "num_experts_per_tok": 10,
    "num_experts": 512,
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A Qwen3-Next config.json in our words."""
    sizes = read_sizes(raw)
    moe = read_moe(raw, normalised=raw.flag("norm_topk_prob", True))
    layers = with_experts(read_mixed_layers(raw, sizes), moe, sparse=read_sparse_layers(raw))
    return hybrid_config(raw, sizes, layers)


FAMILY = Family(
    models="Qwen3-Next 80B-A3B",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**MODULES, **DELTA_INPUTS_BY_GROUP, **GATED_MLP, **EXPERTS},
    other_parts=OTHER_PARTS,
    ignored=IGNORED,
)
