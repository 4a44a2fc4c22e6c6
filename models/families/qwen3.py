"""How does a Qwen3 checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import DecoderConfig, NormConfig, QKNormConfig
from jaxserve.models.families.common import MODULES, QK_NORMS, read_sizes
from jaxserve.models.families.family import Family
from jaxserve.models.families.qwen2 import read_upper_windows
from jaxserve.models.reader import ConfigReader

DEFAULTS = {
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "head_dim": 128,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
    "sliding_window": 4096,
}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A Qwen3 config.json in our words."""
    sizes = read_sizes(raw)
    attention_bias = raw.flag("attention_bias", False)
    return DecoderConfig(
        **sizes,
        layers=read_upper_windows(raw, sizes),
        norm=NormConfig(eps=raw.number("rms_norm_eps"), rounds_first=True),
        qk_norm=QKNormConfig(over="head"),
        qkv_bias=attention_bias,
        o_bias=attention_bias,
    )


FAMILY = Family(
    models="Qwen3 (dense)",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**MODULES, **QK_NORMS},
)
