"""How does a StableLM checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, NormConfig
from jaxserve.models.families.common import MODULES, equal_layers, read_model_rope, read_sizes
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import RopeKind

DEFAULTS = {
    "vocab_size": 50304,
    "hidden_size": 2560,
    "intermediate_size": 6912,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "layer_norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "partial_rotary_factor": 0.25,
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A StableLM config.json in our words."""
    sizes = read_sizes(raw)
    is_parallel = raw.flag("use_parallel_residual", False)
    raw.require("qk_layernorm", False)
    rope = read_model_rope(raw, sizes, RopeKind(fraction="partial_rotary_factor"))
    return DecoderConfig(
        **sizes,
        layers=equal_layers(raw, rope),
        norm=NormConfig(eps=raw.number("layer_norm_eps"), centered=True, bias=True),
        block="parallel_shared_norm" if is_parallel else "pre_norm",
        qkv_bias=raw.flag("use_qkv_bias", False),
    )


FAMILY = Family(
    models="StableLM 3B, StableLM 2, StableLM Zephyr",
    read_config=read_config,
    defaults=DEFAULTS,
    modules=MODULES,
    ignored={"hidden_dropout": "only training uses it"},
)
